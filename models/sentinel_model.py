"""What is odd about the population and the live model: figures in, findings out; beside models/sentinel.py.

customers by decile or segment, now and a week ago --stability index--> population
customers by cluster --> cluster     a fresh batch fit --> inertia     a sample --> silhouette
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.ledger import Ints
from features.transaction import date_of
from models.departure import stability
from models.finding import Finding
from models.population import dying

PSI_INFORMATION, PSI_ALARM = 0.10, 0.25
"""The usual reading: below 0.10 the same population, above 0.25 another one (Siddiqi, Credit Risk Scorecards, 2006)."""

PSI_SCORE = 3.0
"""Deviations of the index that it takes too, so that a hundred customers do not alarm by chance."""

INERTIA_ALARM = 1.02
"""The real file's worst week is 1.0022, 1.016 for a model that is never updated (decision 0008)."""

SILHOUETTE_INFORMATION = 0.20

UNCOMPARED = "recency"
"""A closed week ages everybody: that is no other population, and the volume of orders tells the same in a day."""

FEWEST_CUSTOMERS = 200
"""With fewer, one customer more or less moves an inertia ratio by percents: it and the silhouette are not measured."""


def decile_histograms(before: Ints, after: Ints) -> tuple[Ints, Ints]:
    """Return the customers of two dates by the deciles of the first: of one coordinate, int64 (n,) and (m,), n > 0."""
    edges = decile_edges(before)
    return histogram(before, edges), histogram(after, edges)


def decile_edges(column: Ints) -> Ints:
    """Return the deciles of one coordinate, int64 (n,), n > 0: ascending, equal ones once, int64 (at most 9,)."""
    return np.unique(np.quantile(column, np.arange(1, 10) / 10, method="inverted_cdf")).astype(np.int64)


def histogram(column: Ints, edges: Ints) -> Ints:
    """Return the customers up to the first edge, between two edges (the upper one included), and above the last."""
    return np.bincount(np.searchsorted(edges, column), minlength=len(edges) + 1).astype(np.int64)


def inspect_population(day: int, histograms: Mapping[str, tuple[Ints, Ints]]) -> list[Finding]:
    """Return where the customers of `day` are others than a week before.

    histograms: (before, after), customers, int64 (B,) each, by the name of what divides them; `UNCOMPARED` had better
    not be among them.
    """
    found = []
    for name, (before, after) in histograms.items():
        shift = stability(before, after)
        index, deviation = shift.index, shift.deviation
        if index < PSI_INFORMATION or index < PSI_SCORE * deviation:
            continue
        found.append(
            Finding(
                severity="alarm" if index >= PSI_ALARM else "information",
                kind="population",
                measure=name,
                direction="up",
                day=date_of(day),
                since=date_of(day),
                expected=0.0,
                found=index,
                score=index / deviation,
                message=f"stability index {index:.2f} against a week before",
                advice="see the week's other findings; where they are sound, look for an import or a mass erasure",
            )
        )
    return found


def inspect_model(
    day: int,
    sizes: Mapping[str, int],
    misfits: Mapping[str, str],
    inertia_ratio: float | None = None,
    silhouette: float | None = None,
) -> list[Finding]:
    """Return what is wrong with the live model as of `day`.

    sizes: customers nearest to each cluster, by its name; misfits: the name that the rule would give now, by the
    present one (`models.segments.misfits`); inertia_ratio: to the best of fresh batch fits of the same k;
    silhouette: mean over a sample. None: not measured.
    """
    on = date_of(day)
    everybody = sum(sizes.values())
    dead = dying(np.array([*sizes.values()], np.int64)) if everybody else np.zeros(len(sizes), np.bool_)
    found = [
        Finding(
            severity="alarm",
            kind="cluster",
            measure=name,
            direction="down",
            day=on,
            since=on,
            expected=1.0,
            found=float(size),
            message=f"{size} of {everybody} customers are nearest to its centroid: it is dying",
            advice="the leader rescues it at the turn of the day; if it comes back, bootstrap with a smaller k",
        )
        for (name, size), is_dying in zip(sizes.items(), dead.tolist(), strict=True)
        if is_dying
    ]
    found += [
        Finding(
            severity="information",
            kind="name",
            measure=name,
            direction="down",
            day=on,
            since=on,
            expected=1.0,
            found=0.0,
            message=f"by its centroid it would be called {ruled} today",
            advice="nothing, or another name: ids stay, and programs go by ids",
        )
        for name, ruled in misfits.items()
    ]
    if inertia_ratio is not None and inertia_ratio > INERTIA_ALARM:
        found.append(
            Finding(
                severity="alarm",
                kind="inertia",
                measure="inertia",
                direction="up",
                day=on,
                since=on,
                expected=1.0,
                found=inertia_ratio,
                message=f"{inertia_ratio - 1:.1%} above the best of fresh batch fits on the same customers",
                advice="the next refinement should mend it; else look at the challenger in `segmenter model list`",
            )
        )
    if silhouette is not None and silhouette < SILHOUETTE_INFORMATION:
        found.append(
            Finding(
                severity="information",
                kind="silhouette",
                measure="silhouette",
                direction="down",
                day=on,
                since=on,
                expected=SILHOUETTE_INFORMATION,
                found=silhouette,
                message=f"mean silhouette {silhouette:.2f}: the segments lie within each other",
                advice="fewer segments or other features may describe these customers better",
            )
        )
    return found
