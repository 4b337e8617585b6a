"""The learner `minibatch`: scikit-learn's MiniBatchKMeans as a pure function of centroids and weights.

The estimator never leaves the call. It is made again each day from public API alone:

    1  MiniBatchKMeans(init=centroids, n_init=1, reassignment_ratio=0)     no silent re-seeding of rare centroids
    2  partial_fit(centroids, sample_weight=weights)                       each centroid is its own first row
    3  partial_fit(the day's vectors)                                      the step
    4  weights + bincount(labels)                                          what step 2 needs tomorrow

which equals one estimator that lives for ever, to the last bits (a test compares them). Weights above
`MAX_WEIGHT` are cut, else it never forgets: after 500 batches a shift of the population would hardly move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats
from models.bundle import Bundle, centroid_array, scale_array, successor
from models.learner import Evidence

WEIGHTS = "weights"
"""The learner's state: how many vectors each centroid stands for."""

MAX_WEIGHT = 10_000.0
"""Cap on a weight: with it a centroid moves at least 1/10,001 of the way to a new vector.

Too low and the segments follow each day's buyers; too high and they never follow anybody.
"""


@dataclass(frozen=True, slots=True)
class MiniBatchLearner:
    """Learns from the customers touched that day, in log units divided by the bundle's scale, which stays."""

    name: str = "minibatch"
    needs_touched: bool = True
    max_weight: float = MAX_WEIGHT

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        """Return the model after one mini-batch; without a touched customer the centroids stay to the bit."""
        sizes = tuple(evidence.statistics.n.tolist())
        weights = np.clip(weights_of(bundle), 1.0, self.max_weight)  # a centroid stands at least for itself
        centroids = centroid_array(bundle)
        if len(evidence.touched):
            centroids, weights = step(centroids, weights, scale_array(bundle), evidence.touched)
        made = successor(bundle, day=evidence.day, created_by="recentre", centroids=centroids, sizes=sizes)
        return msgspec.structs.replace(made, learner_state={WEIGHTS: tuple(weights.tolist())})


def weights_of(bundle: Bundle) -> Floats:
    """Return the centroids' weights, float64 (k,): the state's, or at first the sizes of the bootstrap's clusters."""
    return np.array(bundle.learner_state.get(WEIGHTS, bundle.sizes), np.float64)


def step(centroids: Floats, weights: Floats, scale: Floats, touched: Ints) -> tuple[Floats, Floats]:
    """Return (centroids, weights) after one mini-batch.

    centroids: float64 (k, d) in log units; weights: float64 (k,); scale: float64 (d,); touched: int64
    (t, d), t > 0, in 2^-24 of log units.
    """
    start, batch = centroids / scale, touched / COORDINATE_SCALE / scale
    model = MiniBatchKMeans(len(start), init=start, n_init=1, reassignment_ratio=0, random_state=0)
    with threadpool_limits(limits=1):
        model.partial_fit(start, sample_weight=weights)
        labels = model.predict(batch)
        model.partial_fit(batch)
    return model.cluster_centers_ * scale, weights + np.bincount(labels, minlength=len(start))
