"""A fit from scratch against the model that has learned day by day, and what stands in for a cluster that died.

    challenge   best of `selection.FITS` random starts, same k: adopted where clearly better and mostly the same
    rescue      an empty cluster's place among the customers who are there

Both end in `models.lineage.descend`: segments keep their ids by the customers they share. A function of its arguments:
another leader, or a replay, finds the same.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats
from models.bundle import Bundle, Maker, centroid_array, rows, scale_array, segment_ids
from models.centroids import Indices, distances, distances_under, nearest
from models.lineage import descend, overlap_of
from models.population import Statistics, dying, means_from
from models.selection import Terms, fit, found
from models.sklearn_refine import converge

LEAST_GAIN = 1.01
"""How many times the challenger's inertia the present one is, at least: batch's own optima lie within .05 %."""

LEAST_OVERLAP = 0.9
"""Least share of the customers who keep their segment; a better clustering of other people is a person's decision."""


class Challenge(NamedTuple):
    """gain: the present inertia as a multiple of the challenger's; overlap: share of customers who keep their id."""

    challenger: Bundle
    gain: float
    overlap: float

    @property
    def is_better(self) -> bool:
        """Whether the challenger's inertia is clearly less."""
        return self.gain > LEAST_GAIN

    @property
    def wins(self) -> bool:
        """Whether the challenger may be adopted without asking anybody: it is better, and mostly the same."""
        return self.is_better and self.overlap >= LEAST_OVERLAP


def challenge(bundle: Bundle, coordinates: Ints, day: int) -> Challenge:
    """Return the challenger of a day. coordinates: int64 (n, d), a uniform sample of the clustered customers.

    Raises `models.selection.SelectionError` where they do not differ in k ways.
    """
    return compare(bundle, refit(bundle, coordinates, bundle.k, day=day, created_by="refit"), coordinates)


def compare(bundle: Bundle, challenger: Bundle, coordinates: Ints) -> Challenge:
    """Compare two models of one space on the same customers, int64 (n, d), in units of the challenger's scale."""
    mine, its = _clusters(bundle, coordinates), _clusters(challenger, coordinates)
    same = np.array(segment_ids(bundle))[mine] == np.array(segment_ids(challenger))[its]
    scale = scale_array(challenger)
    gain = _inertia(coordinates, mine, scale) / max(_inertia(coordinates, its, scale), np.finfo(float).tiny)
    return Challenge(challenger, gain, float(same.mean()))


def refit(bundle: Bundle, coordinates: Ints, k: int, *, day: int, created_by: Maker) -> Bundle:
    """Return the version after `bundle`: the best of some fits from scratch, under the ids of those it continues.

    coordinates: int64 (n, d). Raises `models.selection.SelectionError` where there are fewer than k different rows.
    """
    ordered = coordinates[np.lexsort(coordinates.T)]  # partitions come in any order, and starts are drawn by row
    terms = Terms(day, bundle.features, bundle.learner, bundle.horizon_days, bundle.margin, bundle.recency_offset)
    fitted = found(fit(ordered, k, seed=day), terms)
    overlap = overlap_of(_clusters(bundle, coordinates), _clusters(fitted, coordinates), bundle.k, k)
    return descend(bundle, fitted, overlap, day=day, created_by=created_by)


def dying_segments(bundle: Bundle, coordinates: Ints) -> tuple[int, ...]:
    """Return the ids of the segments with hardly anybody left among the customers, int64 (n, d)."""
    is_dying = dying(np.bincount(_clusters(bundle, coordinates), minlength=bundle.k))
    return tuple(segment.id for segment, lost in zip(bundle.segments, is_dying.tolist(), strict=True) if lost)


def rescue(bundle: Bundle, coordinates: Ints, day: int) -> Bundle | None:
    """Return the version after `bundle` in which no cluster is dying; None where none is, or nothing can be done.

    Each dying cluster's place is given to a half of another one: of the cluster whose halving leaves the least inertia
    once K-Means has converged. The dying segment's id retires, the new cluster has a new one: nobody's id comes to mean
    other people. coordinates: int64 (n, d), a uniform sample of the clustered customers.
    """
    before = _clusters(bundle, coordinates)
    alive = np.flatnonzero(~np.isin(segment_ids(bundle), dying_segments(bundle, coordinates)))
    if len(alive) in (0, bundle.k):
        return None
    scale, centroids = scale_array(bundle), centroid_array(bundle)[alive]
    while len(centroids) < bundle.k:
        tried = [_halved(coordinates, centroids, scale, c) for c in range(len(centroids))]
        living = [labels for labels in tried if labels is not None and not dying(np.bincount(labels)).any()]
        if not living:  # too few different customers, or a few far from everybody else
            return None
        after = min(living, key=lambda labels: _inertia(coordinates, labels, scale))
        parts = Statistics.of(coordinates, after, len(centroids) + 1)
        centroids = means_from(parts, np.zeros((len(centroids) + 1, len(scale))))
    fitted = msgspec.structs.replace(bundle, centroids=rows(centroids), sizes=tuple(parts.n.tolist()), learner_state={})
    overlap = overlap_of(before, _clusters(fitted, coordinates), bundle.k, bundle.k)
    return descend(bundle, fitted, overlap, day=day, created_by="rescue")


def _halved(coordinates: Ints, centroids: Floats, scale: Floats, cluster: int) -> Indices | None:
    """Return the clusters after K-Means from the centroids, one of them replaced by its halves; None for one point."""
    own = coordinates[nearest(distances(coordinates, centroids, scale)) == cluster]
    if not len(own):
        return None
    axis = int(np.argmax(own.std(axis=0) / scale))
    upper = own[:, axis] > own[:, axis].mean()
    if not upper.any():
        return None
    halves = np.stack([own[~upper].mean(axis=0), own[upper].mean(axis=0)]) / COORDINATE_SCALE
    return converge(coordinates, np.vstack([np.delete(centroids, cluster, axis=0), halves]), scale)


def _clusters(bundle: Bundle, coordinates: Ints) -> Indices:
    return nearest(distances_under(bundle, coordinates))


def _inertia(coordinates: Ints, clusters: Indices, scale: Floats) -> float:
    """Return the sum of squared distances to the clusters' means, in units of `scale`."""
    parts = Statistics.of(coordinates, clusters, int(clusters.max()) + 1)
    n = np.maximum(parts.n, 1)[:, None]
    within = parts.squares / COORDINATE_SCALE - (parts.sums / COORDINATE_SCALE) ** 2 / n
    return float((within.sum(axis=0) / scale**2).sum())
