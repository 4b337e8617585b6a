"""Which seed leads to a run that the origin recorded, and how near do the others come?

    python -m benchmarks.origin_seeds [--starts 3000] [--k 7] [PATH]

Each start is k-means++ from one seed, then Lloyd as Spark runs it (reports/workbench/origin/origin_kmeans.py). The
seeds in reports/workbench/origin/origin_recorded.py are what this printed; 3,000 starts of one k take half a minute to
a minute.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.retail import FILE
from consumer.history.csv_frame import frame
from consumer.history.csv_source import read_history
from reports.workbench.origin.origin_kmeans import agrees, search
from reports.workbench.origin.origin_recorded import RUNS
from reports.workbench.origin.origin_steps import origin_of


def main() -> None:
    """Search and print a line a k."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--starts", type=int, default=3_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--k", type=int, choices=tuple(RUNS), help="only this k")
    args = parser.parse_args()
    lines = frame(read_history([args.path], everything=True))
    x = origin_of(lines, lines["time"].max().normalize() + pd.Timedelta(days=1)).x
    for k, recorded in RUNS.items():
        if args.k not in (None, k):
            continue
        began = time.monotonic()
        with threadpool_limits(limits=1):
            run = search(x, k, range(args.first, args.first + args.starts), recorded)
        print(
            f"k = {k:>2}  seed {run.seed:>6}  {'the recorded run' if agrees(run, recorded) else 'the nearest':<16}  "
            f"WCSS {run.wcss:.6f} ({run.wcss / recorded[0] - 1:+.1e})  silhouette {run.silhouette:.6f} "
            f"({run.silhouette - recorded[1]:+.1e})  {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
