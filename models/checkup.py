"""A checkup: the sentinel's weekly look at a model version, on the sample that the leader has when it refines.

    sample --nearest--> sizes, silhouette      the day's challenger --gain--> inertia ratio
       |
       +--deciles of the coordinates--> kept: the next week's sample is laid into them --stability index--> population

A function of its arguments. Thresholds and findings are those of models/sentinel_model.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import msgspec
import numpy as np

from features.ledger import Ints
from features.vector import COORDINATE_SCALE
from models.bundle import Bundle, scale_array
from models.centroids import Indices, distances_under, nearest
from models.departure import stability
from models.finding import Finding
from models.segments import misfits
from models.sentinel_model import (
    FEWEST_CUSTOMERS,
    UNCOMPARED,
    decile_edges,
    histogram,
    inspect_model,
    inspect_population,
)

WEEK = 7
EARLIEST, LATEST = 4, 14
"""Days between two checkups whose populations are compared: about a week, whatever the setting for refinements."""


class Deciles(msgspec.Struct, frozen=True):
    """A coordinate's distribution: up to 9 edges, ascending, in 2^-24 of log units, and the customers between them."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]


class Checkup(msgspec.Struct, frozen=True):
    """What was seen of a version on the day that it was made from.

    customers: of the sample. silhouette: mean over at most `models.selection.SILHOUETTE_SAMPLE` of them;
    inertia_ratio: to the best of fresh batch fits, 1 where it is that fit itself. Both are None with fewer than
    `FEWEST_CUSTOMERS` customers, the second also on days without a challenger, or where that one is perfect.
    population: the stability index by feature against the checkup of the day `against`, empty where there is none of
    about a week before. Days are since 1970-01-01.
    """

    version: int
    day: int
    customers: int
    silhouette: float | None
    inertia_ratio: float | None
    population: dict[str, float]
    against: int | None
    findings: tuple[Finding, ...]
    deciles: dict[str, Deciles]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that somebody should look at now."""
        return tuple(finding for finding in self.findings if finding.severity == "alarm")

    @property
    def shift(self) -> float | None:
        """The greatest of the population's stability indices, None where there is none."""
        return max(self.population.values(), default=None)


def check_up(bundle: Bundle, sample: Ints, day: int, *, inertia_ratio: float | None, before: Checkup | None) -> Checkup:
    """Return the checkup of a model. sample: int64 (n, d), a uniform sample of the clustered customers, n > 0.

    inertia_ratio: of the day's challenger (models.challenger), None where there was none; before: `week_before`.
    """
    clusters = nearest(distances_under(bundle, sample))
    many = len(sample) >= FEWEST_CUSTOMERS
    ratio = inertia_ratio if many and inertia_ratio is not None and isfinite(inertia_ratio) else None
    silhouette = _silhouette(bundle, sample, clusters) if many else None
    columns = {name: sample[:, j] for j, name in enumerate(bundle.features) if name != UNCOMPARED}
    compared = _compared(columns, before)
    sizes = np.bincount(clusters, minlength=bundle.k).tolist()
    names = {segment.id: segment.name for segment in bundle.segments}
    findings = [
        *inspect_population(day, compared),
        *inspect_model(
            day,
            dict(zip(names.values(), sizes, strict=True)),
            {names[i]: ruled for i, ruled in misfits(bundle).items()},
            ratio,
            silhouette,
        ),
    ]
    return Checkup(
        version=bundle.version,
        day=day,
        customers=len(sample),
        silhouette=None if silhouette is None else round(silhouette, 6),
        inertia_ratio=None if ratio is None else round(ratio, 6),
        population={name: round(stability(*both).index, 6) for name, both in compared.items()},
        against=before.day if before is not None and compared else None,
        findings=tuple(findings),
        deciles={name: _deciles(column) for name, column in columns.items()},
    )


def checkup_due(checkups: Mapping[int, Checkup], day: int) -> bool:
    """Say whether the newest of the checkups lies a week or more before a day, or there is none.

    A young model is refined daily, and its checkup costs many times what the refinement does.
    """
    return all(day - each.day >= WEEK for each in checkups.values())


def week_before(checkups: Mapping[int, Checkup], day: int) -> Checkup | None:
    """Return the one of `EARLIEST` to `LATEST` days before a day that lies nearest to a week before it, if any."""
    found = [each for each in checkups.values() if EARLIEST <= day - each.day <= LATEST]
    return min(found, key=lambda each: (abs(day - each.day - WEEK), -each.version), default=None)


def _compared(columns: Mapping[str, Ints], before: Checkup | None) -> dict[str, tuple[Ints, Ints]]:
    """Return the customers between the deciles of before, then and now; of the features that both know."""
    known = {} if before is None else before.deciles
    return {
        name: (np.array(deciles.counts, np.int64), histogram(columns[name], np.array(deciles.edges, np.int64)))
        for name, deciles in known.items()
        if name in columns
    }


def _deciles(column: Ints) -> Deciles:
    edges = decile_edges(column)
    return Deciles(tuple(edges.tolist()), tuple(histogram(column, edges).tolist()))


def _silhouette(bundle: Bundle, sample: Ints, clusters: Indices) -> float | None:
    """Return the mean silhouette in the model's own units; None where fewer than two clusters have anybody."""
    from models.selection import silhouette  # late: scikit-learn takes seconds to import

    # In an order of their own: partitions come in any, and some of the customers are drawn by row.
    order = np.lexsort(sample.T)
    z = sample[order] / COORDINATE_SCALE / scale_array(bundle)
    found = silhouette(z, clusters[order])
    return None if np.isnan(found) else found
