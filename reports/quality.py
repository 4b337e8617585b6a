"""How near the live clusters are to batch K-Means on the very same customers; nothing of models/ is imported.

    vectors --standardise--> z --20 fits--> best inertia, distinct optima within 0.1 % of it
    live centroids --nearest--> partition --in z--> inertia ratio, ARI to the nearest optimum, silhouette

Inertia is the firm measure. Batch itself has optima of nearly the same inertia that agree with each other
only in part, so an adjusted Rand index is taken to the one that lies nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FITS: Final = 20
SAME_OPTIMUM: Final = 1.001
"""Fits within 0.1 % of the least inertia are optima that batch might have found as well."""
SAME_PARTITION: Final = 0.999
"""Two optima whose ARI is above this are one."""
SILHOUETTE_SAMPLE: Final = 5_000
"""Customers that the silhouette is taken of: it compares everyone with everyone."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The comparison of n customers.

    inertia_ratio: live partition's sum of squared distances to its own means over batch's best, >= 1 up to
    rounding; ari: adjusted Rand index to the nearest distinct optimum, 1 is the same partition; optima: how
    many distinct ones there are; silhouette: mean over the customers, of the live partition (None: fewer than
    two clusters have anybody); sizes: customers a cluster, in the order of the centroids.
    """

    customers: int
    k: int
    inertia_ratio: float
    ari: float
    optima: int
    silhouette: float | None
    sizes: tuple[int, ...]

    def report(self) -> dict[str, Any]:
        """Return the figures as JSON's types."""
        return asdict(self) | {"sizes": list(self.sizes)}


def quality(vectors: Floats, centroids: Floats, scale: Floats, fits: int = FITS) -> Quality:
    """Compare the partition by nearest centroids with the best of some batch fits of the same k.

    vectors: float64 (n, d), log units, of every clustered customer; centroids: float64 (k, d), log units;
    scale: float64 (d,), the live model's standard deviations. Raises ValueError where n < k.
    """
    n, k = len(vectors), len(centroids)
    if n < k:
        raise ValueError(f"{n} customers cannot be put into {k} clusters")
    live = nearest(vectors, centroids, scale)
    z = standardised(vectors)
    best, optima = batch(z, k, fits)
    with_anybody = len(np.unique(live))
    return Quality(
        customers=n,
        k=k,
        inertia_ratio=float(inertia(z, live) / best) if best > 0 else 1.0,
        ari=agreement(optima, live),
        optima=len(optima),
        silhouette=silhouette(z, live) if 1 < with_anybody < n else None,
        sizes=tuple(np.bincount(live, minlength=k).tolist()),
    )


def nearest(vectors: Floats, centroids: Floats, scale: Floats) -> Labels:
    """Return the index of each vector's nearest centroid, int64 (n,); distances are in standard deviations."""
    squares = (((vectors[:, None, :] - centroids[None, :, :]) / scale) ** 2).sum(axis=2)
    return np.asarray(squares.argmin(axis=1), np.int64)


def standardised(vectors: Floats) -> Floats:
    """Return vectors, (n, d), in units of their own standard deviations, with means of 0."""
    z: Floats = StandardScaler().fit_transform(vectors)
    return z


def agreement(optima: Sequence[Labels], labels: Labels) -> float:
    """Return the adjusted Rand index of a partition to the nearest of some optima; 1 is the same partition."""
    return float(max(adjusted_rand_score(optimum, labels) for optimum in optima))


def inertia(z: Floats, labels: Labels) -> float:
    """Return the sum of squared distances of standardised vectors, (n, d), to the means of their clusters."""
    parts = [z[labels == label] for label in np.unique(labels)]
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


def batch(z: Floats, k: int, fits: int) -> tuple[float, list[Labels]]:
    """Return the least inertia of some fits, and the distinct partitions as good as it (within `SAME_OPTIMUM`)."""
    found = []
    with threadpool_limits(limits=1):  # small data: threads cost more than they bring
        for seed in range(fits):
            labels = KMeans(k, n_init=1, tol=1e-6, random_state=seed).fit(z).labels_.astype(np.int64)
            found.append((inertia(z, labels), labels))
    found.sort(key=lambda fit: fit[0])
    best = found[0][0]
    optima: list[Labels] = []
    for value, labels in found:
        if value <= best * SAME_OPTIMUM and all(adjusted_rand_score(o, labels) < SAME_PARTITION for o in optima):
            optima.append(labels)
    return best, optima


def silhouette(z: Floats, labels: Labels) -> float:
    """Return the mean silhouette, of a seeded sample where there are many."""
    if len(z) <= SILHOUETTE_SAMPLE:
        return float(silhouette_score(z, labels))
    chosen = np.random.default_rng(0).choice(len(z), SILHOUETTE_SAMPLE, replace=False)
    return float(silhouette_score(z[chosen], labels[chosen])) if len(np.unique(labels[chosen])) > 1 else 0.0
