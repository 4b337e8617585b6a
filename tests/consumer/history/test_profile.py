"""Segments in figures: sizes, shares and medians, worked out by hand."""

from __future__ import annotations

import numpy as np

from consumer.history.profile import profiles
from tests.harness.world import first_model

NAN = float("nan")


def values(recency: list[float], frequency: list[float], monetary: list[float]) -> dict[str, np.ndarray]:
    columns = {"recency": recency, "frequency": frequency, "monetary": monetary}
    return {name: np.array(column) for name, column in columns.items()}


def test_sizes_shares_and_medians() -> None:
    labels = np.array([11, 11, 12, 2])
    found = profiles(labels, values([1, 4, 90, NAN], [5, 3, 1, 0], [300.0, 100.0, 50.0, -50.0]), first_model())
    assert [(p.id, p.name, p.customers, p.share_of_customers, p.share_of_revenue) for p in found] == [
        (11, "Active", 2, 0.5, 0.8889),  # 400 of the clusters' 450
        (12, "Dormant", 1, 0.25, 0.1111),
        (2, "No net purchases", 1, 0.25, None),
    ]
    assert (found[0].recency, found[0].frequency, found[0].monetary) == (2.5, 4.0, 200.0)
    assert found[2].recency is None


def test_a_cluster_without_customers_is_shown_and_a_fixed_segment_without_is_not() -> None:
    found = profiles(np.array([11]), values([0], [1], [0.0]), first_model())
    assert [(p.id, p.customers, p.share_of_revenue) for p in found] == [(11, 1, 0.0), (12, 0, 0.0)]
    assert found[1].monetary is None
