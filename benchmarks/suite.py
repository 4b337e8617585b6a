"""The benchmarks that stand for the product, one after the other, and the page that they write.

    make bench          python -m benchmarks.suite            under 20 minutes
    make bench-peers    python -m benchmarks.suite --peers    the other engines, and what takes long

    benchmarks/results.json   every figure, with the machine that it was taken on
    docs/benchmarks.md        the page (benchmarks.page)

Each part is a command of its own and can be run alone; what a part found last stays in the document until it runs
again. A part that fails is said, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contest import machine
from benchmarks.page import PAGE, RESULTS, written
from benchmarks.retail import FILE as REAL
from tests.harness.broker import REPOSITORY


class Part(NamedTuple):
    """One command. section: where its figures go; words: its module and arguments."""

    section: str
    words: tuple[str, ...]


def parts(peers: bool) -> list[Part]:
    """Return what is run."""
    history = ("--history", str(REAL)) if REAL.exists() else ()
    if peers:
        words = ("benchmarks.contest", "--peers", "kafka_streams,flink,bytewax,spark,ours-librdkafka")
        return [
            Part("engines", (*words, "--events", "300000")),
            Part("throughput_million", ("benchmarks.contest", "--peers", "raw-poll,quix,kafka_streams,ours")),
            Part("latency_million", ("benchmarks.latency", "--seconds", "15")),
            Part("growth_million", ("benchmarks.growth", *history)),
            Part("history", ("benchmarks.bootstrapping",)),
        ]
    return [
        Part("throughput", ("benchmarks.contest", "--events", "200000", "--customers", "50000")),
        Part("latency", ("benchmarks.latency", "--seconds", "10", "--customers", "100000")),
        Part("growth", ("benchmarks.growth", "--sizes", "10000", "100000", "--events", "100000", *history)),
        Part("workers", ("benchmarks.workers", "--events", "200000", "--customers", "50000")),
        Part("bootstrap", ("benchmarks.bootstrapping", "--rows", "2000000", "--customers", "200000")),
    ]


def run(part: Part) -> dict[str, Any]:
    """Run a part, its lines shown as they come; return its figures. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="segmenter-bench-") as directory:
        file = Path(directory) / "found.json"
        command = [sys.executable, "-m", *part.words, "--json", str(file)]
        done = subprocess.run(command, cwd=REPOSITORY, check=False)
        if done.returncode or not file.exists():
            raise RuntimeError(f"{' '.join(part.words)} ended with {done.returncode}")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Run the parts, keep their figures, write the page; exit with 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", action="store_true", help="the other engines and what takes long, instead of the suite"
    )
    parser.add_argument("--only", help="one section of it")
    given = parser.parse_args()
    chosen = [part for part in parts(given.peers) if given.only in (None, part.section)]
    failed = []
    for n, part in enumerate(chosen, 1):
        print(f"==> {n} of {len(chosen)}: {part.section} (python -m {' '.join(part.words)})", flush=True)
        began = time.monotonic()
        about = machine()
        try:
            found = run(part)
        except RuntimeError as error:
            failed.append(part.section)
            print(f"{part.section}: {error}", file=sys.stderr, flush=True)
            continue
        told = {
            "made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "took_s": round(time.monotonic() - began),
            "command": f"python -m {' '.join(part.words)}".replace(str(REPOSITORY) + os.sep, ""),
            "machine": about,
        }
        document = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        document[part.section] = told | found.get("throughput", found)
        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(written(document), encoding="utf-8")
    print(f"written: {PAGE.relative_to(REPOSITORY)}, {RESULTS.relative_to(REPOSITORY)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
