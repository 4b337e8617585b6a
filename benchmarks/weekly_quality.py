"""How near online K-Means stays to batch: the real file replayed day by day, compared each week.

    python -m benchmarks.weekly_quality [--json] [--k 4] [--learners population,frozen,minibatch,river] [PATH]

Bootstrap on the part before 2011-06-01, then each day until 2011-12-10: the sweep as of that day under
the model made yesterday, the learner's step from it, the day's events. Once a week both partitions are
measured on the very same vectors, those of the sweep, in the space of batch's own scaler:

    inertia ratio   of the partition by nearest centroids, against the best of 20 batch fits
    ari             nearest, to the nearest of the distinct optima (fits within 0.1 % of the best inertia)
    ari published   the same for the label that went out, held back by the margin

Refinements fall on the weekday after the check, so the checked model is as old as a model gets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.retail import FILE, Retail, day_of, read
from features.ledger import Ints, empty, expire, from_lines, merge
from features.vector import COORDINATE_SCALE, RFM, Flags, Floats, Vectors, vectors
from models.bundle import Bundle, Segment, centroid_array, rows, scale_array, segment_ids
from models.centroids import NOWHERE, distances, nearest, publish_labels
from models.learner import NAMES, Evidence, learner_named, refinement_due
from models.population import Statistics

HORIZON, MARGIN, FITS = 365, 0.95, 20
FROM, UNTIL = day_of("2011-06-01"), day_of("2011-12-10")
FROZEN = "frozen"
SAME_OPTIMUM = 1.001


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the replay: everyone's vectors at its start and at its end, and who bought, in order of arrival."""

    day: int
    start: Vectors
    end: Vectors
    touched: Ints


@dataclass(frozen=True, slots=True)
class Batch:
    """Batch K-Means on the vectors of one day: its scaler, least inertia, and the distinct best partitions."""

    scaler: StandardScaler
    inertia: float
    optima: tuple[Ints, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One week's comparison of a learner with batch."""

    day: str
    inertia_ratio: float
    ari: float
    ari_published: float


def days_of(retail: Retail, first: int = FROM, until: int = UNTIL) -> Iterator[Day]:
    """Yield the days of a replay; the first one's start is the bootstrap."""
    lines, count = retail.lines, len(retail.customers)
    ledger, no_tenure = from_lines(lines.take(lines.day < first)), np.zeros(count, np.int64)
    for day in range(first, until + 1):
        ledger, _ = expire(ledger, day - HORIZON)
        today = lines.take(lines.day == day)
        after = merge(ledger, from_lines(today) if len(today) else empty())
        start, end = (vectors(ledger_of, count, day, no_tenure, RFM) for ledger_of in (ledger, after))
        yield Day(day, start, end, np.array(list(dict.fromkeys(today.owner.tolist())), np.int64))
        ledger = after


def batch_fit(coordinates: Ints, k: int, fits: int = FITS) -> Batch:
    """Return the best of some scikit-learn fits on standardised vectors, and the other optima as good as it."""
    scaler = StandardScaler().fit(coordinates / COORDINATE_SCALE)
    z = scaler.transform(coordinates / COORDINATE_SCALE)
    models = [KMeans(k, n_init=1, tol=1e-6, random_state=seed).fit(z) for seed in range(fits)]
    best = min(model.inertia_ for model in models)
    good = tuple(model.labels_.astype(np.int64) for model in models if model.inertia_ <= best * SAME_OPTIMUM)
    return Batch(scaler, best, good)


def partition_inertia(z: Floats, labels: Ints) -> float:
    """Return the sum of squared distances of standardised vectors, (n, d), to the means of their clusters."""
    parts = [z[labels == label] for label in np.unique(labels)]
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


def bootstrap(coordinates: Ints, k: int, learner: str) -> Bundle:
    """Return the first model: batch's best fit, in log units."""
    scaler = StandardScaler().fit(coordinates / COORDINATE_SCALE)
    z = scaler.transform(coordinates / COORDINATE_SCALE)
    model = KMeans(k, n_init=FITS, random_state=0).fit(z)
    return Bundle(
        version=1,
        parent=None,
        day=FROM,
        learner=learner,
        features=RFM,
        horizon_days=HORIZON,
        margin=MARGIN,
        scale=tuple(scaler.scale_.tolist()),
        centroids=rows(scaler.inverse_transform(model.cluster_centers_)),
        segments=tuple(Segment(11 + i, f"Cluster {i}") for i in range(k)),
        created_by="bootstrap",
        sizes=tuple(np.bincount(model.labels_, minlength=k).tolist()),
    )


class Replay:
    """One learner's model and published labels, moved on day by day as the worker does (decision 0005).

    turn    the model made yesterday carries everyone to the new day      statistics, check
    learn   tomorrow's model, from these statistics
    events  what the day's purchases change, still under the day's model
    """

    def __init__(self, learner: str, k: int, customers: int) -> None:
        self.learner = None if learner == FROZEN else learner_named(learner)
        self.name, self.k = learner, k
        self.labels = np.zeros(customers, np.int64)
        self.touched = np.empty((0, len(RFM)), np.int64)
        self.bundle: Bundle | None = None
        self.made: Bundle | None = None

    def turn(self, day: Day) -> None:
        """Take up the model made yesterday, at first the bootstrap's, and publish everyone's label."""
        self.bundle = self.made or bootstrap(day.start.coordinates(RFM, 1)[day.start.clustered], self.k, self.name)
        self._publish(day.start, slice(None))

    def learn(self, day: Day) -> None:
        """Make tomorrow's model from the day's sweep and yesterday's buyers; the bootstrap's day has nothing new."""
        assert self.bundle is not None
        self.made = self.bundle
        if self.learner is None or day.day == FROM:
            return
        inside, everyone = day.start.clustered, day.start.coordinates(RFM, 1)
        at = np.where(inside, nearest(self._distances(self.bundle, everyone)), NOWHERE)
        due = refinement_due(self.bundle, day.day)
        evidence = Evidence(day.day, Statistics.of(everyone, at, self.k), everyone[inside], self.touched, due)
        self.made = self.learner.update(self.bundle, evidence)

    def events(self, day: Day) -> None:
        """Publish what the day's events change, and keep their vectors for the learner."""
        self._publish(day.end, day.touched)
        self.touched = day.end.coordinates(RFM, 1)[day.touched[day.end.clustered[day.touched]]]

    def _publish(self, at: Vectors, who: Ints | slice) -> None:
        assert self.bundle is not None
        table = self._distances(self.bundle, at.coordinates(RFM, 1)[who])
        self.labels[who] = publish_labels(self.labels[who], table, at.clustered[who], at.lapsed[who], self.bundle)

    @staticmethod
    def _distances(bundle: Bundle, coordinates: Ints) -> Floats:
        return distances(coordinates, centroid_array(bundle), scale_array(bundle))

    def check(self, day: Day, batch: Batch) -> Check:
        """Compare the day's model with batch on the vectors of its sweep."""
        assert self.bundle is not None
        inside: Flags = day.start.clustered
        coordinates = day.start.coordinates(RFM, 1)[inside]
        near = nearest(self._distances(self.bundle, coordinates))
        z = batch.scaler.transform(coordinates / COORDINATE_SCALE)
        published = np.searchsorted(segment_ids(self.bundle), self.labels[inside])
        return Check(
            str(np.datetime64(day.day, "D")),
            partition_inertia(z, near) / batch.inertia,
            max(adjusted_rand_score(optimum, near) for optimum in batch.optima),
            max(adjusted_rand_score(optimum, published) for optimum in batch.optima),
        )


def run(retail: Retail, learners: tuple[str, ...], k: int = 4, fits: int = FITS) -> dict[str, list[Check]]:
    """Return each learner's weekly checks; all of them meet the same batch fits."""
    replays = {name: Replay(name, k, len(retail.customers)) for name in learners}
    checks: dict[str, list[Check]] = {name: [] for name in learners}
    for day in days_of(retail):
        for replay in replays.values():
            replay.turn(day)
        if day.day > FROM and (day.day - FROM) % 7 == 0:
            batch = batch_fit(day.start.coordinates(RFM, 1)[day.start.clustered], k, fits)
            for name, replay in replays.items():
                checks[name].append(replay.check(day, batch))
        for replay in replays.values():
            replay.learn(day)
            replay.events(day)
    return checks


def summary(checks: list[Check]) -> dict[str, float]:
    """Return the means and the worst of some checks."""
    ratios = [check.inertia_ratio for check in checks]
    return {
        "weeks": len(checks),
        "inertia_ratio": round(fmean(ratios), 5),
        "worst_inertia_ratio": round(max(ratios), 5),
        "ari": round(fmean(check.ari for check in checks), 4),
        "worst_ari": round(min(check.ari for check in checks), 4),
        "ari_published": round(fmean(check.ari_published for check in checks), 4),
    }


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--learners", default=",".join(("population", FROZEN, *NAMES[1:])))
    args = parser.parse_args()
    with threadpool_limits(limits=1):
        found = run(read(args.path), tuple(args.learners.split(",")), args.k)
    table = {name: summary(checks) for name, checks in found.items()}
    if args.json:
        json.dump({"k": args.k, "learners": table}, sys.stdout, indent=2)
        return
    heads = list(next(iter(table.values())))
    print(f"{'learner':<12}" + "".join(f"{head:>21}" for head in heads))
    for name, row in table.items():
        print(f"{name:<12}" + "".join(f"{row[head]:>21}" for head in heads))


if __name__ == "__main__":
    main()
