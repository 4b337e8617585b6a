import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Segment, rows
from models.centroids import NOWHERE, distances, margin_of, nearest, publish_labels
from tests.models.samples import CENTRES, UNIT, bundle_of, population, to_coordinates

SCALE = np.array([1.4, 0.7, 1.2])


def plain_distance(row: list[int], centroid: list[float], scale: list[float]) -> float:
    total = 0.0
    for coordinate, c, s in zip(row, centroid, scale, strict=True):
        z = (coordinate / UNIT - c) / s
        total += z * z
    return math.sqrt(total)


def test_distances_equal_a_plain_loop_to_the_last_bit() -> None:
    coordinates = population(500)
    loop = [[plain_distance(r, c, SCALE.tolist()) for c in CENTRES.tolist()] for r in coordinates.tolist()]
    assert distances(coordinates, CENTRES, SCALE).tolist() == loop


def test_a_distance_worked_by_hand() -> None:
    coordinates = to_coordinates(np.array([[4.0, 2.0, 1.0]]))
    table = distances(coordinates, np.array([[1.0, 2.0, 1.0], [4.0, 0.0, 4.0]]), np.array([1.0, 0.5, 1.0]))
    assert table.tolist() == [[3.0, 5.0]]


@given(cuts=st.sets(st.integers(1, 199)))
def test_the_batch_a_customer_comes_in_changes_no_bit(cuts: set[int]) -> None:
    coordinates = population(200)
    parts = [distances(part, CENTRES, SCALE) for part in np.split(coordinates, sorted(cuts))]
    assert np.concatenate(parts).tobytes() == distances(coordinates, CENTRES, SCALE).tobytes()


def test_no_customers_have_no_distances() -> None:
    table = distances(np.empty((0, 3), np.int64), CENTRES, SCALE)
    assert table.shape == (0, 3)
    assert nearest(table).shape == (0,)
    assert margin_of(table, np.empty(0, np.int64), BUNDLE).margin.shape == (0,)


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match="features differ"):
        distances(np.zeros((1, 2), np.int64), CENTRES, SCALE)


def test_a_tie_goes_to_the_lowest_index() -> None:
    assert nearest(np.array([[2.0, 1.0, 1.0], [3.0, 3.0, 3.0]])).tolist() == [1, 0]


BUNDLE = bundle_of(segments=(Segment(13, "A"), Segment(11, "B"), Segment(12, "C")))


def publish(anchor: int, row: list[float], *, clustered: bool = True, lapsed: bool = False) -> int:
    labels = publish_labels(np.array([anchor]), np.array([row]), np.array([clustered]), np.array([lapsed]), BUNDLE)
    return int(labels[0])


@pytest.mark.parametrize("anchor", [0, 1, 2, 99])
def test_an_anchor_that_is_no_cluster_of_the_model_binds_nobody(anchor: int) -> None:
    assert publish(anchor, [3.0, 1.0, 2.0]) == 11


def test_a_customer_moves_only_where_the_new_cluster_is_nearer_by_the_margin() -> None:
    assert publish(13, [2.0, 1.89, 9.0]) == 11
    assert publish(13, [2.0, 1.91, 9.0]) == 13


def test_exactly_the_margin_is_not_enough() -> None:
    exact = 0.95 * 2.0
    assert publish(13, [2.0, exact, 9.0]) == 13
    assert publish(13, [2.0, float(np.nextafter(exact, 0)), 9.0]) == 11


def test_an_anchor_that_is_nearest_stays() -> None:
    assert publish(12, [3.0, 2.0, 1.0]) == 12


def test_the_move_goes_to_the_nearest_not_to_the_next_one() -> None:
    assert publish(13, [9.0, 2.0, 1.0]) == 12


def test_lapsed_goes_before_no_net_purchases_and_both_before_any_distance() -> None:
    row = [math.nan, math.nan, math.nan]
    assert publish(11, row, clustered=False) == 2
    assert publish(11, row, clustered=False, lapsed=True) == 1


def test_with_a_margin_of_one_the_label_is_the_nearest_but_for_ties() -> None:
    bundle = msgspec.structs.replace(BUNDLE, margin=1.0)
    everyone = np.array([True])
    table = np.array([[1.0, 1.0, 2.0]])
    assert publish_labels(np.array([11]), table, everyone, ~everyone, bundle).tolist() == [11]
    assert publish_labels(np.array([12]), table, everyone, ~everyone, bundle).tolist() == [13]


def plain_label(anchor: int, row: list[float], ids: list[int], margin: float) -> int:
    best = min(range(len(row)), key=lambda i: (row[i], i))
    if anchor not in ids:
        return ids[best]
    return ids[best] if row[best] < margin * row[ids.index(anchor)] else anchor


@given(seed=st.integers(0, 10_000), margin=st.floats(0.5, 1.0))
def test_labels_equal_a_plain_loop(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.uniform(0.5, 2.0, size=(40, 3))
    anchors = rng.choice([0, 1, 2, 11, 12, 13, 77], size=40)
    everyone = np.ones(40, bool)
    bundle = msgspec.structs.replace(BUNDLE, margin=margin)
    expected = [plain_label(int(a), row, [13, 11, 12], margin) for a, row in zip(anchors, table.tolist(), strict=True)]
    assert publish_labels(anchors, table, everyone, ~everyone, bundle).tolist() == expected


def plain_margin(row: list[float], label: int, ids: list[int]) -> tuple[float | None, int, bool]:
    """Margin (None outside), index of the nearest other cluster, held."""
    if label not in ids:
        return None, NOWHERE, False
    first, second = sorted(row)[:2]
    own = ids.index(label)
    other = min((i for i in range(len(row)) if i != own), key=lambda i: (row[i], i))
    return 1 - first / second, other, row[own] > first


@given(seed=st.integers(0, 10_000))
def test_margins_equal_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.uniform(0.5, 2.0, size=(40, 3))
    labels = rng.choice([0, 1, 2, 11, 12, 13, 77], size=40)
    found = margin_of(table, labels, BUNDLE)
    expected = [plain_margin(row, int(a), [13, 11, 12]) for a, row in zip(labels, table.tolist(), strict=True)]
    margins = [None if math.isnan(margin) else margin for margin in found.margin.tolist()]
    assert list(zip(margins, found.second.tolist(), found.held.tolist(), strict=True)) == expected


def test_the_margin_is_one_less_the_ratio_of_the_two_nearest() -> None:
    margin, second, held = margin_of(np.array([[4.0, 1.0, 2.0], [0.0, 3.0, 5.0]]), np.array([11, 13]), BUNDLE)
    assert margin.tolist() == [0.5, 1.0]
    assert second.tolist() == [2, 1]
    assert held.tolist() == [False, False]


def test_a_held_label_has_the_same_margin_and_the_nearest_cluster_as_second() -> None:
    margin, second, held = margin_of(np.array([[1.25, 1.0, 2.0]]), np.array([13]), BUNDLE)
    assert (margin.tolist(), second.tolist(), held.tolist()) == ([pytest.approx(0.2)], [1], [True])


@given(seed=st.integers(0, 10_000), margin=st.floats(0.5, 1.0))
def test_whoever_is_held_stands_within_the_margin_of_a_change(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    bundle = msgspec.structs.replace(BUNDLE, margin=margin)
    table, everyone = rng.uniform(0.5, 2.0, size=(40, 3)), np.ones(40, bool)
    labels = publish_labels(rng.choice([11, 12, 13], size=40), table, everyone, ~everyone, bundle)
    found = margin_of(table, labels, bundle)
    assert (found.margin >= 0).all()
    assert (found.margin[found.held] <= 1 - margin).all()


def test_between_two_centroids_at_one_distance_nobody_is_held() -> None:
    for label, other in ((13, 1), (11, 0)):
        margin, second, held = margin_of(np.array([[1.0, 1.0, 2.0]]), np.array([label]), BUNDLE)
        assert (margin.tolist(), second.tolist(), held.tolist()) == ([0.0], [other], [False])


def test_two_centroids_in_one_place_leave_no_margin() -> None:
    assert margin_of(np.array([[0.0, 0.0, 1.0]]), np.array([13]), BUNDLE).margin.tolist() == [0.0]


def test_who_stands_outside_the_clusters_has_no_margin() -> None:
    margin, second, held = margin_of(np.array([[1.0, 2.0, 3.0]] * 3), np.array([0, 1, 2]), BUNDLE)
    assert np.isnan(margin).all()
    assert (second.tolist(), held.tolist()) == ([NOWHERE] * 3, [False] * 3)


def test_a_single_cluster_has_no_second() -> None:
    bundle = bundle_of(CENTRES[:1])
    assert rows(CENTRES[:1]) == bundle.centroids
    margin, second, held = margin_of(np.array([[0.7], [0.0]]), np.array([11, 11]), bundle)
    assert (margin.tolist(), second.tolist(), held.tolist()) == ([1.0, 1.0], [NOWHERE] * 2, [False] * 2)
