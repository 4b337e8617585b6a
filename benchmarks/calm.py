"""How calm published labels are, and what calm costs: margins and recency offsets on the real file.

    python -m benchmarks.calm [--k 4] [--offsets 1,7,14,30] [PATH]

The course is that of benchmarks/weekly_quality.py, through the population learner.

    margins   one replay, its labels published under each: moves between clusters, those that go back within 7 days
              (A -> B -> A), those of them in which time and the model alone moved (unbidden), and the mean ARI of
              nearest and of published labels to batch
    steps     customers who stand at one centroid, wandering a little each day, and from one day on at another: how many
              of them move exactly once, on that day; every pair of clusters, under each margin
    offsets   a replay each, with the recency coordinate log(days + offset): silhouette and stability over resamples as
              of the last day (models/selection.py), inertia ratio and ARI to batch in that space, moves and returns
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.choosing_k import coordinates
from benchmarks.retail import FILE, Retail, read
from benchmarks.weekly_quality import MARGIN, course
from features.vector import COORDINATE_SCALE, RFM
from models.bundle import FIRST_CLUSTER_ID, Bundle, centroid_array, scale_array
from models.centroids import distances_under, publish_labels
from models.selection import choose_k
from reports.learners import Replay, comparison, contestants, replayed

MARGINS = (1.0, 0.975, 0.95, 0.9)
OFFSETS = (1, 7, 14, 30)
DRAWS, WANDER = 50, 0.1
"""Customers a pair of clusters, and their daily standard deviation in those of the population."""


def replay_of(retail: Retail, k: int, margins: tuple[float, ...], offset: int = 1) -> Replay:
    """Return the population learner's replay."""
    return replayed(course(retail, offset), k, contestants(["population"]), margins, time.process_time)[0]


def steps(models: Sequence[Bundle], margin: float, seed: int = 0) -> tuple[int, int]:
    """Return how many customers moved exactly once and on the day of their step, which is the middle one; of how many.

    models: the model of each day. Before and after they stand at the centroids of that day's model.
    """
    rng, middle = np.random.default_rng(seed), len(models) // 2
    scale, centroids = scale_array(models[middle]), centroid_array(models[middle])
    pairs = np.array(list(permutations(range(len(centroids)), 2))).repeat(DRAWS, axis=0)
    labels, everyone = np.zeros(len(pairs), np.int64), np.ones(len(pairs), np.bool_)
    moved = np.zeros((len(models), len(pairs)), np.bool_)
    for day, model in enumerate(models):
        at = centroids[pairs[:, int(day >= middle)]] + rng.normal(scale=WANDER, size=(len(pairs), len(scale))) * scale
        table = distances_under(model, np.rint(at * COORDINATE_SCALE).astype(np.int64))
        under = msgspec.structs.replace(model, margin=margin)
        now = publish_labels(labels, table, everyone, ~everyone, under)
        moved[day] = (now != labels) & (labels >= FIRST_CLUSTER_ID)
        labels = now
    return int((moved[middle] & (moved.sum(axis=0) == 1)).sum()), len(pairs)


def of_margins(retail: Retail, k: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of margins, the head first."""
    yield ("margin", "moves", "returns", "unbidden", "fall", "ARI", "published", "cost", "one move")
    replay = replay_of(retail, k, MARGINS)
    for i, margin in enumerate(MARGINS):
        found = comparison(replay, 0, i)
        fall = 1 - found.returns / max(replay.published[0].returns, 1)
        aris = (found.ari, found.ari_published, found.ari - found.ari_published)
        once, of = steps(replay.models, margin)
        yield (
            str(margin),
            f"{found.moves:,}",
            f"{found.returns:,}",
            f"{replay.published[i].unbidden:,}",
            f"{fall:.1%}",
            *(f"{ari:.4f}" for ari in aris),
            f"{once} of {of}",
        )


def of_offsets(retail: Retail, k: int, offsets: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of offsets, the head first."""
    yield (
        "offset",
        "silhouette",
        "stability",
        "worst",
        "inertia",
        "worst",
        "ARI",
        "worst",
        "published",
        "moves",
        "back",
    )
    for offset in offsets:
        row = next(row for row in choose_k(coordinates(retail, retail.until, RFM, offset)).table if row.k == k)
        found = comparison(replay_of(retail, k, (MARGIN,), offset), 0)
        yield (
            str(offset),
            *(f"{cell:.3f}" for cell in (row.silhouette, row.stability, row.worst)),
            *(f"{cell:.4f}" for cell in (found.inertia_ratio, found.worst_inertia_ratio)),
            *(f"{cell:.3f}" for cell in (found.ari, found.worst_ari, found.ari_published)),
            f"{found.moves:,}",
            f"{found.returns:,}",
        )


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--offsets", default=",".join(map(str, OFFSETS)))
    args = parser.parse_args()
    retail = read(args.path)
    for row in of_margins(retail, args.k):
        print("".join(f"{cell:>12}" for cell in row), flush=True)
    print()
    for row in of_offsets(retail, args.k, [int(offset) for offset in args.offsets.split(",")]):
        print("".join(f"{cell:>12}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
