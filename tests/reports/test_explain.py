"""Contributions by hand, and what came since a day."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from features.ledger import MONEY, from_lines
from models.centroids import NOWHERE
from reports.explain import Nearest, contributions, since, two_nearest
from tests.features.ledgers import Line, columns
from tests.reports.test_foretell import BUNDLE

UNIT = 1 << 24


def test_a_feature_speaks_for_the_cluster_that_it_is_nearer_to() -> None:
    # Centroids (1, 1, 3) and (5, 1, 3): at recency 2 it is 9 - 1 for the first; the others say nothing.
    x = np.array([[2, 0, 8], [4, 1, 3]], np.int64) * UNIT
    found = contributions(x, Nearest(np.array([0, 1]), np.array([1, 0])), BUNDLE)
    assert found.tolist() == [[8.0, 0.0, 0.0], [8.0, 0.0, 0.0]]


def test_contributions_are_in_squared_standard_deviations_and_add_up_to_the_difference() -> None:
    bundle = msgspec.structs.replace(BUNDLE, scale=(2.0, 0.5, 1.0), centroids=((1.0, 1.0, 3.0), (5.0, 2.0, 1.0)))
    found = contributions(np.array([[2, 1, 3]], np.int64) * UNIT, Nearest(np.array([0]), np.array([1])), bundle)
    assert found.tolist() == [[9 / 4 - 1 / 4, 1 / 0.25, 4.0]]
    distances = [1 / 4, 9 / 4 + 4 + 4]
    assert found.sum() == pytest.approx(distances[1] - distances[0])


def test_the_two_nearest_are_told_apart_by_the_lowest_index_where_they_tie() -> None:
    table = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
    assert [each.tolist() for each in two_nearest(table)] == [[1, 0], [2, 1]]
    assert two_nearest(table[:, :1]).second.tolist() == [NOWHERE, NOWHERE]


def test_what_came_since_a_day_is_dated_after_it() -> None:
    rows = [
        Line(0, 1, 100, 5 * MONEY, 1),
        Line(0, 2, 101, 7 * MONEY, 1),
        Line(0, 3, 102, 1 * MONEY, 1),
        Line(0, 3, 102, 2 * MONEY, 1),
        Line(0, 4, 103, -4 * MONEY, -1),
    ]
    assert since(from_lines(columns(rows)), 100) == (2, 10 * MONEY, 4 * MONEY)
    assert since(from_lines(columns(rows)), 103) == (0, 0, 0)
