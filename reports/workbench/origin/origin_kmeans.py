"""K-Means as the origin ran it: Spark's Lloyd iteration and Spark's silhouette.

scikit-learn stops by another rule (the sum of all moves against the variance of the data) and measures plain distances;
figures of a run that was cut off after 20 iterations come only from the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.vector import Floats

Labels = npt.NDArray[np.intp]

ITERATIONS, TOLERANCE = 20, 1e-4
"""The origin's settings: at most so many iterations, and an end where no centre moves further."""

FITS = 20
"""Random starts of the fit that shows what was to be found, each run to its end."""


class Run(NamedTuple):
    """One K-Means: k-means++ from a seed, then Lloyd. labels: int (n,); wcss: within-cluster sum of squares."""

    seed: int
    labels: Labels
    wcss: float
    silhouette: float


def standardised(table: Floats) -> Floats:
    """Return columns in their standard deviations (n - 1 below, as Spark's StandardScaler has it), not centred."""
    spread = table.std(axis=0, ddof=1)
    return table / np.where(spread > 0, spread, 1.0)


def lloyd(x: Floats, centroids: Floats) -> tuple[Labels, float]:
    """Return (labels int (n,), WCSS) after Lloyd iterations from centroids (k, d), both under the last centroids.

    An empty cluster keeps its centroid. x: float64 (n, d).
    """
    labels, wcss = _assigned(x, centroids)
    for _ in range(ITERATIONS):
        sizes, sums = _sums(x, labels, len(centroids))
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centroids)
        shift = ((moved - centroids) ** 2).sum(axis=1).max()
        centroids = moved
        labels, wcss = _assigned(x, centroids)
        if shift <= TOLERANCE**2:
            break
    return labels, wcss


def silhouette(x: Floats, labels: Labels) -> float:
    """Return the mean silhouette on squared Euclidean distances in Spark's closed form (n k operations, not n^2).

    The mean squared distance of a point to a cluster of n points y is |x|^2 + sum |y|^2 / n - 2 x . sum y / n; for its
    own cluster it is taken over the n - 1 others. A point that is alone has 0. Source: the notes of Spark's
    SquaredEuclideanSilhouette (org.apache.spark.ml.evaluation.ClusteringEvaluator).
    """
    _, labels = np.unique(labels, return_inverse=True)
    k = int(labels.max()) + 1
    sizes, sums = _sums(x, labels, k)
    squares = (x * x).sum(axis=1)
    to = squares[:, None] + np.bincount(labels, squares, k) / sizes - 2 * (x @ sums.T) / sizes
    rows, own = np.arange(len(x)), sizes[labels]
    inside = to[rows, labels] * own / np.maximum(own - 1, 1)
    to[rows, labels] = np.inf
    outside = to.min(axis=1)
    greater = np.maximum(np.maximum(inside, outside), np.finfo(np.float64).tiny)
    return float(np.where(own > 1, (outside - inside) / greater, 0.0).mean())


def search(x: Floats, k: int, seeds: Sequence[int], recorded: tuple[float, float] | None) -> Run:
    """Return the run nearest to a recorded (WCSS, silhouette), to which both count alike; else the one of least WCSS.

    The search ends at the first seed that gives both to six decimals.
    """
    found: list[tuple[float, Run]] = []
    for seed in seeds:
        labels, wcss = lloyd(x, kmeans_plusplus(x, k, random_state=seed)[0])
        run = Run(seed, labels, wcss, silhouette(x, labels))
        found.append((wcss if recorded is None else distance(run, recorded), run))
        if recorded is not None and agrees(run, recorded):
            break
    return min(found, key=lambda each: each[0])[1]


def distance(run: Run, recorded: tuple[float, float]) -> float:
    """Return how far a run is from the recorded one: relative difference of the WCSS plus that of the silhouette."""
    return abs(run.wcss / recorded[0] - 1) + abs(run.silhouette / recorded[1] - 1)


def agrees(run: Run, recorded: tuple[float, float]) -> bool:
    """Say whether a run is the recorded one to the six decimals that the origin printed."""
    return abs(run.wcss - recorded[0]) <= 6e-7 and abs(run.silhouette - recorded[1]) <= 6e-7


def best_wcss(x: Floats, k: int, seed: int) -> float:
    """Return the least WCSS of `FITS` starts that run until they converge."""
    with threadpool_limits(limits=1):
        return float(KMeans(k, n_init=FITS, max_iter=1_000, tol=0, random_state=seed).fit(x).inertia_)


def _assigned(x: Floats, centroids: Floats) -> tuple[Labels, float]:
    # |x|^2 is the same for every centroid, so it joins only the sum.
    distances = (centroids * centroids).sum(axis=1) - 2 * (x @ centroids.T)
    labels = distances.argmin(axis=1)
    return labels, float((x * x).sum() + distances[np.arange(len(x)), labels].sum())


def _sums(x: Floats, labels: Labels, k: int) -> tuple[Floats, Floats]:
    sizes = np.bincount(labels, minlength=k).astype(np.float64)
    return sizes, np.stack([np.bincount(labels, column, k) for column in x.T], axis=1)
