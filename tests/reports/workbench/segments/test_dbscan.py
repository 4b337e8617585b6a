"""DBSCAN's parts against plain loops over all distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.workbench.segments.dbscan import dbscan, dense_places, distances_exhibit, k_distances, knee, places_exhibit
from reports.workbench.study import Study


@pytest.fixture(scope="module")
def few(sample: Study) -> Study:
    return replace(sample, customers=sample.clustered.iloc[::8])


def away(z: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.sqrt(((z[:, None] - z[None]) ** 2).sum(axis=2))
    return found


def test_the_curve_is_each_customers_distance_to_his_last_needed_neighbour(few: Study) -> None:
    nearest = np.sort(away(few.vectors), axis=1)[:, 5]  # the 0th is himself
    assert k_distances(few.vectors, 6) == pytest.approx(np.sort(nearest)[::-1])


def test_the_knee_is_where_the_curve_hangs_furthest_below_its_chord() -> None:
    assert knee(np.array([10.0, 8.0, 2.0, 1.5, 1.0, 0.5, 0.0])) == 2


def test_a_dense_place_is_what_core_customers_reach(few: Study) -> None:
    z, eps = few.vectors, 0.4
    near = away(z) <= eps
    core = near.sum(axis=1) >= 6
    labels = dbscan(z, eps, 6)
    reached = near[:, core].any(axis=1)
    assert ((labels == -1) == ~reached).all()
    linked = near & core[:, None] & core[None]
    assert all(len(set(labels[linked[i]].tolist())) == 1 for i in np.flatnonzero(core))


def test_places_are_described_by_their_customers(few: Study) -> None:
    customers = few.clustered
    labels = np.minimum(customers["frequency"].to_numpy(), 3).astype(np.int64) - 2  # -1: one order, 0: two, 1: more
    table = dense_places(customers, labels).set_index("customers")
    two, more = customers[customers["frequency"] == 2], customers[customers["frequency"] > 2]
    described = table[["fewest_orders", "most_orders"]].to_dict("index")
    assert described[len(two)] == {"fewest_orders": 2, "most_orders": 2}
    assert table.loc[len(more), "median_recency"] == more["recency"].median()
    assert table.loc[len(more), "customer_share"] == pytest.approx(len(more) / len(customers))
    assert table.index.is_monotonic_decreasing
    said = places_exhibit(dense_places(customers, labels)).sentence
    assert "1 of 2 clusters" in said
    assert ("steps of a count" in said) == (len(two) / len(customers) >= 0.25)
    assert "number of orders (2)" in said


def test_a_place_of_one_count_is_called_small_where_it_is(few: Study) -> None:
    rare = few.clustered["frequency"] == 5
    said = places_exhibit(dense_places(few.clustered, rare.to_numpy().astype(np.int64))).sentence
    assert f"1 of 2 clusters, {rare.mean() * 100:.1f} % of the customers, holds only people" in said
    assert "a small part" in said
    assert "steps of a count" not in said


def test_places_of_mixed_customers_are_not_called_steps_of_a_count(few: Study) -> None:
    labels = np.zeros(len(few.clustered), np.int64)
    assert "None of the 1 cluster" in places_exhibit(dense_places(few.clustered, labels)).sentence


def test_the_plot_has_the_knee_and_at_most_a_thousand_points() -> None:
    curve = np.linspace(3, 0, 20_000) ** 3
    exhibit = distances_exhibit(curve, knee(curve), 6)
    assert len(exhibit.data) <= 1_001
    marked = exhibit.data[exhibit.data["knee"]]
    assert marked["distance"].tolist() == [curve[knee(curve)]]
    pd.testing.assert_series_equal(
        exhibit.data["distance"], pd.Series(curve[exhibit.data["place"] - 1]), check_names=False
    )
