"""From ledgers to labels: what a sweep, an event, a forecast and an explanation all ask.

ledger --vectors--> coordinates --distances--> nearest (statistics) and label (published)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.ledger import Ints, Ledger
from features.vector import Flags, Floats, Vectors, vectors
from models.bundle import Bundle
from models.centroids import NOWHERE, Indices, distances_under, nearest, publish_labels
from models.population import Statistics


@dataclass(frozen=True, slots=True)
class Scores:
    """n customers as of one day under one model. coordinates: int64 (n, d); table: distances (n, k);
    cluster: nearest centroid's index, NOWHERE for those outside the clusters.
    """

    vectors: Vectors
    coordinates: Ints
    table: Floats
    cluster: Indices

    def labels(self, anchors: Ints, bundle: Bundle) -> Ints:
        """Return the segment ids that the margin rule publishes (PROTOCOL C3)."""
        return publish_labels(anchors, self.table, self.vectors.clustered, self.vectors.lapsed, bundle)

    def statistics(self, rows: Flags) -> Statistics:
        """Return the contribution of the chosen customers, each at his nearest centroid."""
        return Statistics.of(self.coordinates[rows], self.cluster[rows], self.table.shape[1])

    def statistics_by(self, rows: Flags, group: Ints, groups: int) -> list[Statistics]:
        """Return `statistics` of the chosen customers of each group. group: int64 (n,), 0 .. groups - 1."""
        k = self.table.shape[1]
        cluster = self.cluster[rows]
        place = np.where(cluster == NOWHERE, NOWHERE, group[rows] * k + cluster)
        return Statistics.of(self.coordinates[rows], place, groups * k).split(groups)


def score(ledger: Ledger, first_day: Ints, day: int, bundle: Bundle) -> Scores:
    """Score the customers 0 .. len(first_day) - 1, whose ledger is expired to the day's horizon."""
    return scored(vectors(ledger, len(first_day), day, first_day.astype(np.int64), bundle.features), bundle)


def scored(known: Vectors, bundle: Bundle) -> Scores:
    """Score customers whose features are known, at least those of the model."""
    return _scored(known, known.coordinates(bundle.features, bundle.recency_offset), bundle)


def rescored(scores: Scores, bundle: Bundle) -> Scores:
    """Return the same customers on the same day under another model of the same features and recency offset."""
    return _scored(scores.vectors, scores.coordinates, bundle)


def _scored(known: Vectors, coordinates: Ints, bundle: Bundle) -> Scores:
    table = distances_under(bundle, coordinates)
    return Scores(known, coordinates, table, np.where(known.clustered, nearest(table), NOWHERE))
