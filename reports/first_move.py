"""The first step of a way on which a customer's published label moves: days of silence, or amounts of an order.

    low ........................................ high      is there a step at which he moves?
    [evaluate low: moved? -> found]
        low+1 ............ | ................. high        no: halve what is left, and drop each half
                                                           whose bound says that nobody moves in it;
                                                           few steps are left: try each

A rival c takes him from his anchor a where d(c) < m d(a), m the margin, which is where

    sum over features j of  ((x_j - c_j)^2 - m^2 (x_j - a_j)^2) / scale_j^2  <  0

Along the way each coordinate goes one way only, so between two steps it lies between its values there. Each summand
is convex in x_j (a line where m = 1), so its least value is at an end or at its vertex, and the sum of these is a bound
from below: nothing is overlooked. It is sharp where only one coordinate varies, which is recency in silence and
monetary with an order; then a halving costs about two evaluations. What is found was evaluated by the code that
publishes, so nothing is invented either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Flags
from models.bundle import Bundle, centroid_array, scale_array, segment_ids
from models.centroids import Indices
from models.scoring import Scores

NEVER = int(np.iinfo(np.int64).max)
"""The step of a customer who does not move."""

ROUNDING = 1e-9
"""Slack of the bound, relative to the squared distances: far above what rounding does to them."""


LONGEST_TIE = 1_000
"""Steps along which two clusters may be equally near and each step still be tried; a longer tie is no move."""


AT_ONCE = 4_096
"""So few steps are tried one and all, in one call: for few customers it is the call that costs and not the step."""


class FirstMoves(NamedTuple):
    """By customer, int64 of shape (n,): the first step at which he moves, `NEVER` for none, and the segment he moves to
    (where none, the one he is in).
    """

    step: Ints
    segment: Ints


def first_moves(
    scores_at: Callable[[Indices, Ints], Scores], low: Ints, high: Ints, labels: Ints, bundle: Bundle
) -> FirstMoves:
    """Return for n customers the first of the steps low .. high, both included, at which the label moves.

    scores_at(rows, steps): scores of the customers `rows` (one may come twice) at a step each. On the way every
    coordinate goes one way only, and who is clustered or lapsed at `low` is so up to `high`. low, high, labels:
    int64 of shape (n,); low > high: no step; labels: the published ones, to which the margin is anchored.
    """
    step, segment = np.full(len(labels), NEVER), labels.copy()
    row = np.flatnonzero(low <= high)
    first, last = low[row], high[row]
    while len(row):
        size = last - first + 1
        if size.sum() <= AT_ONCE and size.max() <= LONGEST_TIE:
            row, first = np.repeat(row, size), np.repeat(first, size) + from_zero(size)
            last = first
        here = scores_at(row, first)
        label = here.labels(labels[row], bundle)
        moved = label != labels[row]
        np.minimum.at(step, row[moved], first[moved])
        best = moved & (first == step[row])
        segment[row[best]] = label[best]
        # Outside the clusters nothing changes on the way; behind a step found nobody asks.
        left = np.flatnonzero(~moved & here.vectors.clustered & (first < last) & (first < step[row]))
        if not len(left):
            break
        row, first, last = row[left], first[left], last[left]
        there, long = scores_at(row, last), last - first > LONGEST_TIE
        left = np.flatnonzero(may_move(here.coordinates[left], there.coordinates, labels[row], long, bundle))
        row, first, last = row[left], first[left], last[left]
        middle = (first + 1 + last) // 2
        row, first, last = np.r_[row, row], np.r_[first + 1, middle + 1], np.r_[middle, last]
        left = np.flatnonzero((first <= last) & (first < step[row]))
        row, first, last = row[left], first[left], last[left]
    return FirstMoves(step, segment)


def may_move(here: Ints, there: Ints, labels: Ints, long: Flags, bundle: Bundle) -> Flags:
    """Say of each customer whether he may move somewhere between two vectors, each coordinate between its two values.

    here, there: int64 (n, d) coordinates; labels: int64 (n,), clusters of the model; long: bool (n,), a rival as
    near as the margin all the way, to within `ROUNDING`, is none there. But for that never False where he moves; True
    also where the bound is not sharp enough to tell.
    """
    centroids, margin = centroid_array(bundle), bundle.margin**2
    own = (labels[:, None] == np.array(segment_ids(bundle))).argmax(axis=1)
    low, high = np.minimum(here, there) / COORDINATE_SCALE, np.maximum(here, there) / COORDINATE_SCALE
    least, most = np.zeros((2, len(labels), bundle.k))
    size = np.ones((len(labels), 1))
    for j, deviation in enumerate(scale_array(bundle)):
        rival, anchor = centroids[None, :, j], centroids[own, j, None]
        ends = low[:, j, None], high[:, j, None]
        # A line (margin 1) has no vertex; its least value is at an end.
        vertex = np.clip((rival - margin * anchor) / (1 - margin), *ends) if margin < 1 else ends[0]
        terms = [((x - rival) ** 2 - margin * (x - anchor) ** 2) / deviation**2 for x in (*ends, vertex)]
        least += np.minimum.reduce(terms)
        most += np.maximum.reduce(terms)
        size += np.maximum.reduce([(x - anchor) ** 2 / deviation**2 for x in ends])
    least[np.arange(len(labels)), own] = np.inf
    slack = ROUNDING * size
    tie = long[:, None] & (least > -slack) & (most < slack)
    # Where no coordinate differs the vector is the same all the way, and at its first step nobody moved.
    return np.asarray(((least < slack) & ~tie).any(axis=1) & (here != there).any(axis=1))


def from_zero(counts: Ints) -> Ints:
    """Return 0 .. count - 1 for each count, one after the other."""
    steps: Ints = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return steps
