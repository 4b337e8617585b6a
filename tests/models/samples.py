"""Bundles and populations for the tests of models/: small, seeded, with clusters that are there."""

from __future__ import annotations

import msgspec
import numpy as np

from features.ledger import Ints
from features.vector import RFM, Floats
from models.bundle import Bundle, Segment, rows
from models.centroids import distances, nearest
from models.population import Statistics

UNIT = 1 << 24
"""A coordinate's denominator, written out again: the tests do not take it from the code."""

CENTRES = np.array([[1.5, 2.5, 8.0], [3.5, 1.7, 6.5], [5.2, 0.7, 5.6]])


def population(customers: int = 600, seed: int = 0, centres: Floats = CENTRES, spread: float = 0.4) -> Ints:
    """Return int64 coordinates (customers, d), scattered round the centres."""
    rng = np.random.default_rng(seed)
    x = centres[rng.integers(len(centres), size=customers)] + rng.normal(
        scale=spread, size=(customers, centres.shape[1])
    )
    return to_coordinates(np.maximum(x, 0.0))


def to_coordinates(x: Floats) -> Ints:
    return np.rint(x * UNIT).astype(np.int64)


def bundle_of(centroids: Floats = CENTRES + 0.3, **changes: object) -> Bundle:
    """Return a first model with these centroids, and some fields replaced."""
    k = len(centroids)
    bundle = Bundle(
        version=1,
        parent=None,
        day=15_126,
        learner="population",
        features=RFM,
        horizon_days=365,
        margin=0.95,
        scale=(1.4, 0.7, 1.2),
        centroids=rows(centroids),
        segments=tuple(Segment(11 + i, f"Segment {i}") for i in range(k)),
        created_by="bootstrap",
        sizes=tuple(range(100, 100 + k)),
    )
    return msgspec.structs.replace(bundle, **changes)


def statistics_of(bundle: Bundle, coordinates: Ints) -> Statistics:
    table = distances(coordinates, np.array(bundle.centroids), np.array(bundle.scale))
    return Statistics.of(coordinates, nearest(table), bundle.k)
