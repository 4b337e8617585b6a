"""Refinement: scikit-learn's K-Means to convergence, warm from the present centroids (DESIGN D4)."""

from __future__ import annotations

import msgspec
import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats
from models.bundle import Bundle, centroid_array, rows, scale_array
from models.centroids import Indices, distances_under, nearest
from models.population import Statistics, means_from, recentre

MAX_STEPS = 300
"""Lloyd steps at most; warm starts on the real file take 2 to 30."""


def refine(bundle: Bundle, statistics: Statistics, sample: Ints, day: int) -> Bundle:
    """Return the next version: a Lloyd step from the statistics, then K-Means on the sample to convergence.

    sample: int64 (m, d), a uniform sample of the customers in `statistics`. The scaler is that of the
    statistics' totals. A cluster without anybody in the sample keeps its centroid. Where K-Means moved
    an empty cluster elsewhere (its segment would change its meaning silently), or fewer than two
    clusters have anybody, the Lloyd step stands alone and the maker is "recentre".
    """
    stepped = recentre(bundle, statistics, day)
    before = nearest(distances_under(stepped, sample))
    inhabited = np.flatnonzero(np.bincount(before, minlength=bundle.k))
    if len(inhabited) < 2:
        return stepped
    after = inhabited[converge(sample, centroid_array(stepped)[inhabited], scale_array(stepped))]
    if not np.isin(inhabited, after[after == before]).all():
        return stepped
    centroids = means_from(Statistics.of(sample, after, bundle.k), centroid_array(stepped))
    return msgspec.structs.replace(stepped, centroids=rows(centroids), created_by="refine")


def converge(coordinates: Ints, centroids: Floats, scale: Floats) -> Indices:
    """Return each row's cluster after K-Means from `centroids`, intp of shape (m,).

    coordinates: int64 (m, d); centroids: float64 (k, d) in unscaled log units; scale: float64 (d,). Only the partition
    is taken from scikit-learn; the means are ours, from integers. One thread: with several, the order of its sums and
    with it the last bit is left to chance.
    """
    model = KMeans(len(centroids), init=centroids / scale, n_init=1, tol=0.0, max_iter=MAX_STEPS, random_state=0)
    with threadpool_limits(limits=1):
        labels: Indices = model.fit(coordinates / COORDINATE_SCALE / scale).labels_.astype(np.intp)
    return labels
