"""How near online K-Means stays to batch: the real file replayed day by day, compared each week.

    python -m benchmarks.weekly_quality [--json] [--k 4] [--learners population,frozen,…] [--challenged] [PATH]

Bootstrap on the first half, then each day of the rest (of the real file 2011-06-01 to 2011-12-10), by
reports/learners.py, which says what is compared. Refinements fall on the weekday after the check, so the checked model
is as old as a model gets. With --challenged the population learner also comes with the leader's challengers: as they
are adopted by themselves, and with each better one adopted, however many customers it puts elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.retail import FILE, Retail, read
from features.vector import RFM
from models.bundle import Bundle
from models.challenger import LEAST_OVERLAP, challenge
from models.learner import Evidence, challenge_due, learner_named
from models.selection import Terms
from reports.learners import CONTESTANTS, Comparison, Course, Replay, comparison, contestants, replayed

HORIZON, MARGIN = 365, 0.95


class Challenged:
    """The population learner, and every 14 days a fit from scratch that takes its model's place where it is better."""

    name, needs_touched = "population", False

    def __init__(self, least_overlap: float) -> None:
        self._learner, self._least_overlap = learner_named("population"), least_overlap

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        made = self._learner.update(bundle, evidence)
        if not challenge_due(bundle, evidence.day):
            return made
        found = challenge(made, evidence.sample, evidence.day)
        if not found.is_better or found.overlap < self._least_overlap:
            return made
        return msgspec.structs.replace(found.challenger, version=made.version, parent=made.parent)


CHALLENGED = (("challenged", Challenged(LEAST_OVERLAP)), ("any challenger", Challenged(0.0)))


def course(retail: Retail, recency_offset: int = 1) -> Course:
    """Return the course that all figures of the documents are from."""
    terms = Terms(retail.first, RFM, "population", HORIZON, MARGIN, recency_offset)
    return Course(retail.lines, len(retail.customers), retail.until, terms)


def run(
    retail: Retail, learners: tuple[str, ...] = CONTESTANTS, k: int = 4, *, challenged: bool = False
) -> list[Replay]:
    """Return the replays, one a learner, published under the margin and under none; all meet the same batch fits."""
    compared = [*contestants(learners), *(CHALLENGED if challenged else ())]
    return replayed(course(retail), k, compared, (MARGIN, 1.0), time.process_time)


def table(retail: Retail, replays: list[Replay]) -> dict[str, Comparison]:
    """Return each learner's figures."""
    events = int((retail.lines.day >= retail.first).sum())
    return {replay.name: comparison(replay, events) for replay in replays}


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--learners", default=",".join(CONTESTANTS))
    parser.add_argument("--challenged", action="store_true")
    args = parser.parse_args()
    retail = read(args.path)
    found = table(retail, run(retail, tuple(args.learners.split(",")), args.k, challenged=args.challenged))
    rows = [msgspec.to_builtins(each) for each in found.values()]
    if args.json:
        json.dump({"k": args.k, "learners": rows}, sys.stdout, indent=2)
        return
    print("".join(f"{head:>21}" for head in rows[0]))
    for row in rows:
        print("".join(f"{cell:>21}" for cell in row.values()))


if __name__ == "__main__":
    main()
