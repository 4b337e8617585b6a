"""The learner `river`: river's KMeans, fed the customers touched that day one by one.

Two traps are closed here. Its centroids begin as random Gaussians, and a look-up of a missing
coordinate draws another one: so every coordinate of every centroid is set from the bundle. And its
`halflife` is no half-life: it is the constant share of the way that a centroid moves towards each vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from river.cluster import KMeans

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats
from models.bundle import Bundle, centroid_array, scale_array, successor
from models.learner import Evidence

STEP_SIZE = 0.005
"""Share of the way to each new vector; greater ones make the segments follow the last few buyers."""


@dataclass(frozen=True, slots=True)
class RiverLearner:
    """Learns in log units divided by the bundle's scale, which stays; about 40,000 vectors a second."""

    name: str = "river"
    needs_touched: bool = True
    step_size: float = STEP_SIZE

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        """Return the model after the day's vectors; without one the centroids stay to the bit."""
        centroids = centroid_array(bundle)
        if len(evidence.touched):
            centroids = learn(centroids, scale_array(bundle), evidence.touched, self.step_size)
        made = successor(bundle, day=evidence.day, created_by="recentre", centroids=centroids)
        return msgspec.structs.replace(made, sizes=tuple(evidence.statistics.n.tolist()))


def learn(centroids: Floats, scale: Floats, touched: Ints, step_size: float) -> Floats:
    """Return the centroids, float64 (k, d) in log units, after the touched vectors, int64 (t, d), in their order."""
    model = KMeans(n_clusters=len(centroids), halflife=step_size, seed=0)
    for centre, row in zip(model.centers.values(), (centroids / scale).tolist(), strict=True):
        centre.update(enumerate(row))
    # Integer keys: river walks a *set* of them, and the order of a set of texts differs from process to process.
    for vector in (touched / COORDINATE_SCALE / scale).tolist():
        model.learn_one(dict(enumerate(vector)))  # type: ignore[no-untyped-call]  # river types it nowhere
    d = len(scale)
    return np.array([[centre[j] for j in range(d)] for centre in model.centers.values()]) * scale
