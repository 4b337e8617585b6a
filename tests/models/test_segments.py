import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.vector import RFM
from models.bundle import Segment
from models.segments import PLACES, champion, freshness, misfits, names, order, value
from tests.models.samples import bundle_of

VOCABULARY = {
    "Champions",
    "Loyal",
    "Active",
    "New",
    "Promising",
    "Needs attention",
    "At risk",
    "Previously loyal",
    "Almost lost",
    "Dormant",
}


def log(*customers: tuple[float, float, float]) -> np.ndarray:
    """Typical customers (days since, orders, spend) as centroids."""
    logs: np.ndarray = np.log1p(np.array(customers))
    return logs


def test_the_real_files_four_segments_have_the_names_a_marketer_would_give() -> None:
    # The medians that ANALYST.md gives: of recency, orders, and spend in the order of their revenue.
    four = log((9, 10, 3500), (54, 4, 1300), (19, 2, 380), (183, 1, 300))
    assert names(four, RFM) == ("Champions", "Needs attention", "Promising", "Dormant")


def test_three_segments_of_the_real_file() -> None:
    assert names(log((9, 10, 3594), (30, 3, 996), (144, 1, 289)), RFM) == ("Champions", "Needs attention", "Dormant")


def test_the_most_valuable_of_two_fresh_clusters_is_the_champion() -> None:
    four = log((11, 15, 6179), (10, 6, 1914), (84, 2, 700), (170, 1, 200))
    assert names(four, RFM)[0] == "Champions"


def test_good_customers_gone_silent_are_not_called_dormant() -> None:
    lost, active, late, poor = names(log((200, 20, 9000), (5, 4, 900), (30, 2, 300), (300, 1, 100)), RFM)
    assert lost in {"Previously loyal", "At risk"}
    assert active in {"Active", "Loyal"}
    assert late == "Promising"
    assert poor == "Dormant"


def test_without_a_fresh_cluster_that_is_best_alone_nobody_is_named_champion_beforehand() -> None:
    assert champion(np.array([0.9, 0.5, 0.1]), np.array([0.9, 0.4, 0.1])) == 0
    assert champion(np.array([0.4, 0.9, 0.1]), np.array([0.9, 0.4, 0.1])) is None
    assert champion(np.array([0.9, 0.7, 0.1]), np.array([0.9, 0.9, 0.1])) is None
    assert champion(np.array([0.75, 0.25]), np.array([0.75, 0.25])) is None


@pytest.mark.parametrize("k", range(1, 11))
@given(seed=st.integers(0, 10_000))
def test_up_to_ten_clusters_get_different_names_of_the_vocabulary(k: int, seed: int) -> None:
    given_names = names(np.random.default_rng(seed).uniform(0, 8, size=(k, 3)), RFM)
    assert len(set(given_names)) == k
    assert set(given_names) <= VOCABULARY


def test_clusters_that_are_all_alike_still_get_different_names() -> None:
    assert len(set(names(np.ones((10, 3)), RFM))) == 10


def test_more_clusters_than_names_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        names(np.ones((11, 3)), RFM)


@given(seed=st.integers(0, 10_000), k=st.integers(2, 10))
def test_a_name_belongs_to_the_cluster_not_to_its_place_in_the_list(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    centroids = rng.uniform(0, 8, size=(k, 3))
    shuffle = rng.permutation(k)
    assert list(names(centroids[shuffle], RFM)) == [names(centroids, RFM)[i] for i in shuffle]


@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_features_changes_no_name(seed: int) -> None:
    centroids = np.random.default_rng(seed).uniform(0, 8, size=(4, 3))
    assert names(centroids[:, [2, 0, 1]], ("monetary", "recency", "frequency")) == names(centroids, RFM)


def test_features_that_say_neither_fresh_nor_valuable_change_no_name() -> None:
    four = log((9, 10, 3500), (54, 4, 1300), (19, 2, 380), (183, 1, 300))
    tenure = np.array([[5.0], [1.0], [3.0], [2.0]])
    assert names(np.hstack([four, tenure]), (*RFM, "tenure")) == names(four, RFM)


def test_ranks_are_worked_by_hand_and_ties_share_theirs() -> None:
    three = np.array([[1.0, 5.0, 7.0], [2.0, 5.0, 9.0], [3.0, 4.0, 8.0]])
    np.testing.assert_allclose(freshness(three, RFM), [5 / 6, 3 / 6, 1 / 6])
    np.testing.assert_allclose(value(three, RFM), [(4 / 6 + 1 / 6) / 2, (4 / 6 + 5 / 6) / 2, (1 / 6 + 3 / 6) / 2])


def test_several_features_of_one_kind_weigh_as_one() -> None:
    names_of = ("frequency_30", "frequency_90", "monetary")
    table = np.array([[1.0, 1.0, 2.0], [2.0, 2.0, 1.0]])
    np.testing.assert_allclose(value(table, names_of), [0.5, 0.5])


def test_without_recency_or_without_value_the_names_follow_from_what_is_left() -> None:
    by_value = names(np.array([[5.0], [1.0]]), ("monetary",))
    by_freshness = names(np.array([[1.0], [5.0]]), ("recency",))
    assert len({*by_value}) == len({*by_freshness}) == 2
    np.testing.assert_allclose(freshness(np.array([[5.0], [1.0]]), ("monetary",)), 0.5)
    np.testing.assert_allclose(value(np.array([[5.0], [1.0]]), ("recency",)), 0.5)
    assert PLACES[by_value[0]][1] > PLACES[by_value[1]][1]
    assert PLACES[by_freshness[0]][0] > PLACES[by_freshness[1]][0]


def test_the_order_is_that_of_the_vocabulary_with_champions_first() -> None:
    given_names = ("Dormant", "Champions", "Promising", "Loyal")
    assert [given_names[i] for i in order(given_names)] == ["Champions", "Loyal", "Promising", "Dormant"]


@given(seed=st.integers(0, 10_000), k=st.integers(3, 10))
def test_names_stand_in_the_order_of_the_ranks(seed: int, k: int) -> None:
    centroids = np.random.default_rng(seed).uniform(0, 8, size=(k, 3))
    given_names = names(centroids, RFM)
    spots = np.stack([freshness(centroids, RFM), value(centroids, RFM)], axis=1)
    best = champion(*spots.T)
    for i in range(k):
        for j in range(k):
            better = (spots[i] > spots[j]).all() and best not in (i, j)
            place, other = PLACES[given_names[i]], PLACES[given_names[j]]
            assert not (better and place[0] < other[0] and place[1] < other[1])


def test_names_that_stay_are_left_alone_and_the_others_choose_among_the_rest() -> None:
    four = log((9, 10, 3500), (54, 4, 1300), (19, 2, 380), (183, 1, 300))
    given_names = names(four, RFM, {0: "Loyal", 2: "Our own name"})
    assert given_names[0] == "Loyal"
    assert given_names[2] == "Our own name"
    assert given_names[1] == "Needs attention"
    assert given_names[3] == "Dormant"
    assert names(four, RFM, dict(enumerate("abcd"))) == ("a", "b", "c", "d")


def test_a_name_that_stays_is_not_given_to_another_champion() -> None:
    four = log((9, 10, 3500), (54, 4, 1300), (19, 2, 380), (183, 1, 300))
    assert names(four, RFM, {1: "Champions"})[0] != "Champions"


def test_a_name_that_no_longer_fits_is_reported_unless_a_person_gave_it() -> None:
    four = log((183, 1, 300), (54, 4, 1300), (19, 2, 380), (9, 10, 3500))
    wrong = bundle_of(four, segments=tuple(Segment(11 + i, n) for i, n in enumerate(names(four[::-1], RFM))))
    assert misfits(wrong)[11] == "Dormant"
    assert misfits(wrong)[14] == "Champions"
    assert 11 not in misfits(msgspec.structs.replace(wrong, named=(11,)))
    right = msgspec.structs.replace(wrong, segments=tuple(Segment(11 + i, n) for i, n in enumerate(names(four, RFM))))
    assert misfits(right) == {}


def test_the_map_in_the_docs_is_the_map_in_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "segments.md").read_text(encoding="utf-8")
    documented = {
        m[1]: (float(m[2]), float(m[3]))
        for m in re.finditer(r"^\| ([\w ]+?) \| (0\.\d\d) \| (0\.\d\d) \|", text, re.MULTILINE)
    }
    assert documented == PLACES
