"""Distances to centroids, the nearest one, and the label that is published.

    x_j = coordinate_j / 2^24                      coordinates are integers (features.vector)
    d(c) = sqrt(sum over j of ((x_j - c_j) / scale_j)^2)

The sum runs over the features in their order, one element-wise operation at a time: no matrix
product, whose rounding depends on the library, the batch size and the threads. So a customer has
the same distances in whatever batch he comes, and a plain loop finds the very same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Flags, Floats
from models.bundle import LAPSED, NO_NET, Bundle, centroid_array, scale_array, segment_ids

Indices = npt.NDArray[np.intp]

NOWHERE = -1
"""The cluster index of a customer who stands outside the clusters."""


def distances(coordinates: Ints, centroids: Floats, scale: Floats) -> Floats:
    """Return float64 of shape (n, k): each row's distance to each centroid.

    coordinates: int64 (n, d), in 2^-24 of log units; centroids: float64 (k, d), unscaled log units;
    scale: float64 (d,), above 0. Raises ValueError where d differs.
    """
    if not coordinates.shape[1] == centroids.shape[1] == len(scale):
        raise ValueError(f"features differ: {coordinates.shape[1]}, {centroids.shape[1]}, {len(scale)}")
    x = coordinates / COORDINATE_SCALE
    squares = np.zeros((len(x), len(centroids)))
    for j, deviation in enumerate(scale):
        z = (x[:, j, None] - centroids[None, :, j]) / deviation
        squares += z * z
    roots: Floats = np.sqrt(squares)
    return roots


def distances_under(bundle: Bundle, coordinates: Ints) -> Floats:
    """Return `distances` to the centroids of a model: float64 (n, k). coordinates: int64 (n, d), in its space."""
    return distances(coordinates, centroid_array(bundle), scale_array(bundle))


def nearest(table: Floats) -> Indices:
    """Return the index of the nearest centroid of each row of `distances`; a tie goes to the lowest index."""
    best: Indices = np.argmin(table, axis=1)
    return best


def publish_labels(anchors: Ints, table: Floats, clustered: Flags, lapsed: Flags, bundle: Bundle) -> Ints:
    """Return the segment ids to publish, int64 of shape (n,).

    anchors: int64 (n,), each customer's label at the start of his day (0: none); table: (n, k) of
    `distances`, its rows outside the clusters are never looked at; clustered, lapsed: bool (n,).

    Lapsed goes before "not clustered"; a customer moves to a nearer cluster only where
    d(nearest) < margin * d(anchor's). An anchor that this model does not know binds nobody.
    """
    ids = np.array(segment_ids(bundle), np.int64)
    best = nearest(table)
    is_anchor = anchors[:, None] == ids
    # Where the anchor is no cluster of this model its distance stands as infinite: the nearest wins.
    from_anchor = np.where(is_anchor, table, np.inf).min(axis=1)
    moves = table[np.arange(len(table)), best] < bundle.margin * from_anchor
    labels = np.where(moves, ids[best], anchors)
    return np.where(lapsed, LAPSED.id, np.where(clustered, labels, NO_NET.id))


class Margins(NamedTuple):
    """How clear an assignment is, by customer; each of shape (n,).

    margin: float64, 1 - d(nearest) / d(second nearest): 1 on a centroid, 0 halfway between two, never below 0; 1 where
    k is 1. second: the index of the nearest cluster other than the label's, NOWHERE where k is 1. held: bool, another
    cluster is nearer than the label's, which the margin rule keeps; `second` then is that nearest one.
    Whose label is no cluster of the model has NaN, NOWHERE and False.
    """

    margin: Floats
    second: Indices
    held: Flags


def margin_of(table: Floats, labels: Ints, bundle: Bundle) -> Margins:
    """Return how clear the published labels are.

    table: (n, k) of `distances`; labels: int64 (n,), segment ids. The margin is a customer's alone, whatever was
    published of him: where between the centroids he stands.
    """
    n, k = table.shape
    is_own = labels[:, None] == np.array(segment_ids(bundle), np.int64)
    inside = is_own.any(axis=1)
    if k == 1:
        return Margins(np.where(inside, 1.0, np.nan), np.full(n, NOWHERE), np.zeros(n, np.bool_))
    d_nearest, d_next = np.partition(table, 1, axis=1)[:, :2].T
    ratio = np.divide(d_nearest, d_next, out=np.ones(n), where=d_next > 0)
    second = nearest(np.where(is_own, np.inf, table))
    held = np.where(is_own, table, -np.inf).max(axis=1) > d_nearest
    return Margins(np.where(inside, 1.0 - ratio, np.nan), np.where(inside, second, NOWHERE), held)
