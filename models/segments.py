"""Names for clusters: a fixed vocabulary laid out on a map, and each cluster gets the name nearest to its place.

    value
      ^   Previously loyal                     Champions
      |                 At risk         Loyal
      |                     Needs attention  Active
      |      Almost lost
      |                                Promising
      |   Dormant                              New
      +--------------------------------------------> freshness

A cluster's freshness and value are ranks among the centroids of the same model, so the names compare
customers of this shop with each other, not with a textbook. docs/segments.md tells the rule to people.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from features.vector import Floats
from models.bundle import Bundle, centroid_array

CHAMPIONS = "Champions"
PLACES = {
    CHAMPIONS: (0.86, 0.99),
    "Loyal": (0.66, 0.78),
    "Active": (0.80, 0.60),
    "New": (0.92, 0.10),
    "Promising": (0.68, 0.32),
    "Needs attention": (0.45, 0.60),
    "At risk": (0.28, 0.68),
    "Previously loyal": (0.08, 0.90),
    "Almost lost": (0.22, 0.30),
    "Dormant": (0.10, 0.10),
}
"""Name -> (freshness, value), both in 0 .. 1; the order is that of the segment ids, best first."""

MAX_CLUSTERS = len(PLACES)
"""More clusters than names cannot be told apart by people either: k is refused above it."""

FRESH = ("recency",)
"""Features of which less is fresher."""

VALUABLE = (
    ("frequency", "frequency_30", "frequency_90", "frequency_365"),
    ("monetary", "monetary_30", "monetary_90", "monetary_365", "basket_value"),
)
"""Features of which more is worth more: how often, and how much. The others say nothing about a name."""


def names(centroids: Floats, features: tuple[str, ...], kept: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Return a name for each centroid, all different.

    centroids: float64 (k, d), k <= 10, in any monotone units; kept: names that stay, by the index of the centroid.
    Of the others the `champion` is named first, then the matching with the least total squared distance on the map is
    taken, among the names that are left. Raises ValueError for a greater k.
    """
    if len(centroids) > MAX_CLUSTERS:
        raise ValueError(f"k = {len(centroids)}: there are names for at most {MAX_CLUSTERS} clusters")
    kept = kept or {}
    # In an order of their own: where two matchings are as good, the list's order must not decide.
    listed = [i for i in np.lexsort(centroids.T).tolist() if i not in kept]
    spots = np.stack([freshness(centroids, features), value(centroids, features)], axis=1)
    vocabulary = [name for name in PLACES if name not in kept.values()]
    places = np.array([PLACES[name] for name in vocabulary])
    cost = ((spots[listed][:, None] - places[None, :]) ** 2).sum(axis=2)
    best = champion(*spots.T)
    if best in listed and vocabulary[0] == CHAMPIONS:
        cost[listed.index(best), 1:] = np.inf
    _, chosen = linear_sum_assignment(cost)
    given = dict(kept) | {i: vocabulary[n] for i, n in zip(listed, chosen.tolist(), strict=True)}
    return tuple(given[i] for i in range(len(centroids)))


def misfits(bundle: Bundle) -> dict[int, str]:
    """Return the name that the rule would give today, by segment id, where it is another one than the segment has.

    A name stays with its id while the centroid moves, so that people can rely on it; this says where it no longer tells
    the truth. A name that a person gave is his own business.
    """
    ruled = names(centroid_array(bundle), bundle.features)
    return {
        segment.id: name
        for segment, name in zip(bundle.segments, ruled, strict=True)
        if segment.name != name and segment.id not in bundle.named
    }


def champion(fresh: Floats, worth: Floats) -> int | None:
    """Return the index of the cluster that is Champions whatever the map says: alone the most valuable, and fresh.

    Among three or more clusters, of which it is in the fresher half. Else two fresh clusters with nearly
    the same recency would share out Loyal and Active, and the best customers would be nobody's champions.
    """
    best = int(np.argmax(worth))
    alone = int((worth == worth[best]).sum()) == 1
    return best if alone and len(worth) > 2 and fresh[best] > 0.5 else None


def order(given: tuple[str, ...]) -> list[int]:
    """Return the indices that put clusters into the order of the vocabulary, Champions first."""
    vocabulary = list(PLACES)
    return sorted(range(len(given)), key=lambda i: vocabulary.index(given[i]))


def freshness(centroids: Floats, features: tuple[str, ...]) -> Floats:
    """Return each centroid's rank by recency, float64 (k,) in 0 .. 1, 1 the freshest; 1/2 without that feature."""
    return 1.0 - _mean_rank(centroids, features, FRESH)


def value(centroids: Floats, features: tuple[str, ...]) -> Floats:
    """Return each centroid's value: the mean of its ranks by how often and how much; 1/2 without such a feature.

    Several features of one kind (frequency over 30 and 90 days) weigh as much together as one.
    """
    kinds = [kind for kind in VALUABLE if set(kind) & set(features)]
    if not kinds:
        return np.full(len(centroids), 0.5)
    ranks: Floats = np.mean([_mean_rank(centroids, features, kind) for kind in kinds], axis=0)
    return ranks


def _mean_rank(centroids: Floats, features: tuple[str, ...], kind: tuple[str, ...]) -> Floats:
    """Return the mean of the mid-ranks by the features of a kind: (i + 1/2) / k, equal values share theirs."""
    columns = [centroids[:, j] for j, feature in enumerate(features) if feature in kind]
    if not columns:
        return np.full(len(centroids), 0.5)
    below = [(c[None, :] < c[:, None]).sum(axis=1) + (c[None, :] <= c[:, None]).sum(axis=1) for c in columns]
    ranks: Floats = np.mean(below, axis=0) / (2 * len(centroids))
    return ranks
