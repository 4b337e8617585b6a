"""The first clustering: batch K-Means, the choice of k, and the bundle that both make.

    how many?   1  stable: over resamples of the customers the partition comes back (mean ARI >= 0.80,
                   and no resample below 0.50)
                2  elbow: of the stable k, the one where the inertia curve bends most
    k = 2 only splits the active from the rest; it stands in the table and is taken only where nothing else is stable.

Why two numbers and not one: docs/decisions/0003-choosing-k.md, with what each alone would have chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats
from models import segments
from models.bundle import FIRST_CLUSTER_ID, Bundle, Segment, rows
from models.population import Statistics, means_from, scale_from

KS = (2, 3, 4, 5, 6, 7, 8)
"""The k that are compared. The elbow depends on both ends: widening the range moves it up."""

RESAMPLES = 20
"""Bootstrap resamples a k. Fewer and the mean's error (0.02 here) reaches the distance between neighbours."""

MEAN_STABILITY = 0.80
WORST_STABILITY = 0.50

FITS, RESAMPLE_FITS = 10, 3
"""Random starts of a k's fit, of which the best counts, and of a resample's."""

MAX_SAMPLE = 20_000
"""Customers that k is chosen on, at most; a uniform sample of more. It bounds the time, not the quality."""

SILHOUETTE_SAMPLE = 2_000
"""Customers that the silhouette is taken over: it is quadratic, and only shown."""

Progress = Callable[[int, int], None]
"""Told (k done, of how many) after each k."""


class SelectionError(ValueError):
    """The customers cannot be clustered so; the message says how many could be."""


class Fit(NamedTuple):
    """A batch clustering: scale float64 (d,), centroids float64 (k, d) in unscaled log units, inertia in scaled units.

    sizes: int64 (k,), customers a cluster.
    """

    scale: Floats
    centroids: Floats
    inertia: float
    sizes: Ints


class Candidate(NamedTuple):
    """A row of the table of `choose_k`.

    inertia, silhouette: of the best fit on the sample; stability, worst: mean and least adjusted Rand
    index over the resamples; bend: how far the inertia curve hangs below its chord, in 0 .. 1.
    """

    k: int
    inertia: float
    silhouette: float
    stability: float
    worst: float
    bend: float

    @property
    def is_stable(self) -> bool:
        """Whether a resample of the customers gives the same segments back."""
        return self.stability >= MEAN_STABILITY and self.worst >= WORST_STABILITY


class Choice(NamedTuple):
    """The chosen k, the table it was read from, why in one sentence, and how much was looked at."""

    k: int
    table: tuple[Candidate, ...]
    reason: str
    customers: int
    silhouette_customers: int
    resamples: int


def fit(coordinates: Ints, k: int, seed: int = 0) -> Fit:
    """Return the best of `FITS` K-Means fits of all customers, in units of their standard deviations.

    coordinates: int64 (n, d), in 2^-24 of log units. Above `MAX_SAMPLE` customers the starts compete on
    a sample, and the best one is converged on everyone. Raises `SelectionError` where k is greater
    than the number of different customers.
    """
    different = _different(coordinates)
    if not 1 <= k <= different:
        raise SelectionError(
            f"k = {k}: there are {different} different customers to cluster; a k up to that can be had"
        )
    everyone = Statistics.of(coordinates, np.zeros(len(coordinates), np.intp), 1)
    scale = scale_from(everyone)
    z = coordinates / COORDINATE_SCALE / scale
    with threadpool_limits(limits=1):
        model = _best(_sample(z, seed), k, FITS, seed)
        if len(z) > MAX_SAMPLE:
            model = KMeans(k, init=model.cluster_centers_, n_init=1, random_state=seed).fit(z)
    # From integers again: the same sums as a sweep's statistics, so the first recentring finds nothing to round.
    parts = Statistics.of(coordinates, model.labels_, k)
    return Fit(scale, means_from(parts, model.cluster_centers_ * scale), float(model.inertia_), parts.n)


def choose_k(coordinates: Ints, seed: int = 0, progress: Progress | None = None) -> Choice:
    """Return k for these customers, with the table and the reason; equal arguments give equal answers.

    coordinates: int64 (n, d), in 2^-24 of log units. About 2 s for 4,000 customers on one core.
    Raises `SelectionError` without any customer; few and equal ones get as many clusters as they differ in.
    """
    different = _different(coordinates)
    ks = [k for k in KS if k < different]
    if not different:
        raise SelectionError("there is no customer with a positive net in the horizon: nothing to cluster")
    if not ks:
        return Choice(different, (), f"there are only {different} different customers", len(coordinates), 0, 0)
    scale = scale_from(Statistics.of(coordinates, np.zeros(len(coordinates), np.intp), 1))
    z = _sample(coordinates / COORDINATE_SCALE / scale, seed)
    resamples = np.random.default_rng(seed).integers(len(z), size=(RESAMPLES, len(z)))
    found = []
    with threadpool_limits(limits=1):
        for done, k in enumerate(ks, start=1):
            found.append(_examine(z, k, resamples, seed))
            if progress:
                progress(done, len(ks))
    bends = bend([row.inertia for row in found])
    table = tuple(row._replace(bend=b) for row, b in zip(found, bends, strict=True))
    k, reason = decide(table)
    return Choice(k, table, reason, len(z), min(len(z), SILHOUETTE_SAMPLE), RESAMPLES)


def decide(table: Sequence[Candidate]) -> tuple[int, str]:
    """Return (k, why) from the rows of one or more k, by the rule at the head of this module."""
    stable = [row for row in table if row.is_stable and row.k > 2]
    if stable:
        best = max(stable, key=lambda row: (row.bend, -row.k))
        names = _listed([row.k for row in stable])
        return best.k, (
            f"of the stable k ({names}) the inertia curve bends most at {best.k} "
            f"(mean ARI {best.stability:.2f} over resamples, at least {best.worst:.2f})"
        )
    best = max(table, key=lambda row: (row.is_stable, row.stability, -row.k))
    return best.k, f"no k above 2 is stable over resamples; {best.k} is the most stable (mean ARI {best.stability:.2f})"


def bend(inertias: Sequence[float]) -> list[float]:
    """Return how far each point of a falling curve hangs below the chord between its ends, both axes 0 .. 1."""
    curve = np.asarray(inertias, np.float64)
    fall = curve[0] - curve[-1]
    if len(curve) < 3 or fall <= 0:
        return [0.0] * len(curve)
    hanging: list[float] = ((curve[0] - curve) / fall - np.linspace(0, 1, len(curve))).tolist()
    return hanging


class Terms(NamedTuple):
    """What a first model is made for; the fields are those of `Bundle`."""

    day: int
    features: tuple[str, ...]
    learner: str
    horizon_days: int
    margin: float
    recency_offset: int


def found(fitted: Fit, terms: Terms) -> Bundle:
    """Return version 1: segments named by their place among each other, ids from 11 in the vocabulary's order."""
    names = segments.names(fitted.centroids, terms.features)
    by_name = segments.order(names)
    return Bundle(
        version=1,
        parent=None,
        **terms._asdict(),
        scale=tuple(fitted.scale.tolist()),
        centroids=rows(fitted.centroids[by_name]),
        segments=tuple(Segment(FIRST_CLUSTER_ID + place, names[i]) for place, i in enumerate(by_name)),
        created_by="bootstrap",
        sizes=tuple(fitted.sizes[by_name].tolist()),
    )


def _examine(z: Floats, k: int, resamples: Ints, seed: int) -> Candidate:
    """Return a row without its bend. z: float64 (n, d); resamples: (r, n) indices, the same for every k."""
    model = _best(z, k, FITS, seed)
    agreements = [
        adjusted_rand_score(model.labels_, _best(z[chosen], k, RESAMPLE_FITS, seed + i).predict(z))
        for i, chosen in enumerate(resamples)
        if _different(z[chosen]) >= k
    ] or [0.0]
    found = silhouette(z, model.labels_, seed)
    return Candidate(k, float(model.inertia_), found, float(np.mean(agreements)), float(min(agreements)), 0.0)


def _best(z: Floats, k: int, fits: int, seed: int) -> KMeans:
    return KMeans(k, n_init=fits, random_state=seed).fit(z)


def silhouette(z: Floats, labels: Ints, seed: int = 0) -> float:
    """Return the mean silhouette of at most `SILHOUETTE_SAMPLE` customers; NaN where fewer than two clusters have any.

    z: float64 (n, d), scaled; labels: (n,).
    """
    chosen = np.random.default_rng(seed).permutation(len(z))[:SILHOUETTE_SAMPLE]
    clusters = len(np.unique(labels[chosen]))
    # The sample of a tiny cluster may be empty; the silhouette wants 2 clusters and a customer more than these.
    if not 1 < clusters < len(chosen):
        return float("nan")
    with threadpool_limits(limits=1):
        return float(silhouette_score(z[chosen], labels[chosen]))


def _sample(z: Floats, seed: int) -> Floats:
    """Return at most `MAX_SAMPLE` rows, a uniform choice in the order they came in."""
    if len(z) <= MAX_SAMPLE:
        return z
    return z[np.sort(np.random.default_rng(seed).permutation(len(z))[:MAX_SAMPLE])]


def _different(table: Floats | Ints) -> int:
    """Return how many different rows there are; counting stops being exact above the greatest k that matters."""
    head = np.unique(table[:1_000], axis=0)
    return len(head) if len(head) > segments.MAX_CLUSTERS else len(np.unique(table, axis=0))


def _listed(ks: Sequence[int]) -> str:
    return ", ".join(map(str, ks))
