"""Why a customer is in the segment nearest to him, feature by feature, and what became of him since an earlier day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from features.ledger import Ints, Ledger, order_starts
from features.vector import COORDINATE_SCALE, Floats
from models.bundle import Bundle, centroid_array, scale_array
from models.centroids import NOWHERE, Indices


class Nearest(NamedTuple):
    """The two nearest clusters of each customer, indices of shape (n,); second: `NOWHERE` where k is 1."""

    best: Indices
    second: Indices


def two_nearest(table: Floats) -> Nearest:
    """Return the nearest and the second nearest cluster of each row of `models.centroids.distances`, (n, k)."""
    order = np.argsort(table, axis=1, kind="stable")  # of equals the lowest index first, as everywhere
    return Nearest(order[:, 0], order[:, 1] if table.shape[1] > 1 else np.full(len(table), NOWHERE))


def contributions(coordinates: Ints, clusters: Nearest, bundle: Bundle) -> Floats:
    """Return what each feature adds to d(second)^2 - d(best)^2: float64 (n, d), in squared standard deviations.

        ((x_j - second_j)^2 - (x_j - best_j)^2) / scale_j^2

    Above 0 it speaks for the nearest cluster, below 0 for the second; the sum over the features is the difference.
    coordinates: int64 (n, d), of customers in the clusters; k of the model is 2 or more.
    """
    x, centroids = coordinates / COORDINATE_SCALE, centroid_array(bundle)
    best, second = (x - centroids[clusters.best], x - centroids[clusters.second])
    found: Floats = (second**2 - best**2) / scale_array(bundle) ** 2
    return found


class Since(NamedTuple):
    """One customer's lines dated after a day: orders with a positive net among them, their net and that of the other
    orders (returns that stand alone), in 1/10,000.
    """

    orders: int
    bought: int
    returned: int


def since(ledger: Ledger, day: int) -> Since:
    """Return what one customer's ledger holds from the day after `day` on, an order by what it has of it."""
    later = ledger.take(ledger.day > day)
    starts = order_starts(later)
    net = np.add.reduceat(later.net, starts) if len(starts) else later.net
    return Since(int((net > 0).sum()), int(net[net > 0].sum()), int(-net[net < 0].sum()))
