"""Ids last: what becomes of a segment is decided by the customers it shares with the clusters of a new fit."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lineage import retrained
from features.ledger import Ints
from models.bundle import Bundle, BundleError, Change, Segment
from models.lineage import descend, kinship, overlap_of
from tests.models.samples import bundle_of

NAMED = ("Champions", "Promising", "Dormant")


def parent_of() -> Bundle:
    return bundle_of(segments=tuple(Segment(11 + i, name) for i, name in enumerate(NAMED)))


def fit_of(*centroids: tuple[float, float, float]) -> Bundle:
    return bundle_of(np.array(centroids), sizes=tuple(100 * (i + 1) for i in range(len(centroids))))


FRESH, MIDDLE, OLD = (1.0, 3.0, 9.0), (3.5, 1.7, 6.5), (5.5, 0.7, 5.0)


def after(parent: Bundle, fitted: Bundle, overlap: list[list[int]]) -> Bundle:
    return descend(parent, fitted, np.array(overlap), day=20_000, created_by="refit")


def ids(bundle: Bundle) -> dict[tuple[float, ...], int]:
    return {c: s.id for c, s in zip(bundle.centroids, bundle.segments, strict=True)}


def test_the_number_of_a_cluster_decides_nothing() -> None:
    made = after(parent_of(), fit_of(OLD, FRESH, MIDDLE), [[0, 90, 10], [5, 0, 95], [80, 0, 0]])
    assert ids(made) == {FRESH: 11, MIDDLE: 12, OLD: 13}
    assert [s.name for s in made.segments] == list(NAMED)
    assert made.sizes == (200, 300, 100), "sizes go with their centroids"
    assert {c.fate for c in made.lineage} == {"continued"}
    assert {c.id: c.customers for c in made.lineage} == {11: 90, 12: 95, 13: 80}


def test_a_split_leaves_the_id_with_the_larger_part_and_says_where_the_other_came_from() -> None:
    newer = (2.0, 2.5, 8.0)
    made = after(parent_of(), fit_of(FRESH, newer, MIDDLE, OLD), [[60, 40, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]])
    assert ids(made) == {FRESH: 11, newer: 14, MIDDLE: 12, OLD: 13}
    assert Change("split", 14, made.segments[1].name, 11, 40) in made.lineage
    assert len({s.name for s in made.segments}) == 4


def test_a_merger_retires_the_smaller_id_for_good() -> None:
    merged = after(parent_of(), fit_of(FRESH, OLD), [[100, 0], [0, 40], [0, 70]])
    assert ids(merged) == {FRESH: 11, OLD: 13}
    assert merged.retired_id == 12
    assert [c for c in merged.lineage if c.fate == "merged"] == [Change("merged", 12, "Promising", 13, 40)]
    again = after(merged, fit_of(FRESH, MIDDLE, OLD), [[100, 0, 0], [0, 45, 65]])
    assert ids(again) == {FRESH: 11, MIDDLE: 14, OLD: 13}


def test_a_segment_that_scatters_retires_and_a_cluster_out_of_many_is_born() -> None:
    made = after(parent_of(), fit_of(FRESH, MIDDLE, OLD), [[100, 20, 0], [30, 24, 26], [0, 20, 100]])
    assert ids(made) == {FRESH: 11, MIDDLE: 14, OLD: 13}
    assert {(c.fate, c.id) for c in made.lineage} == {
        ("continued", 11),
        ("born", 14),
        ("continued", 13),
        ("retired", 12),
    }
    assert made.retired_id == 12


def test_a_segment_that_nobody_is_left_in_retires() -> None:
    made = after(parent_of(), fit_of(FRESH, MIDDLE, OLD), [[60, 0, 40], [0, 100, 0], [0, 0, 0]])
    assert ids(made)[OLD] == 14
    assert Change("retired", 13, "Dormant", None, 0) in made.lineage
    assert Change("split", 14, "Dormant", 11, 40) in made.lineage


def test_a_handful_that_joins_a_crowd_does_not_give_it_its_id() -> None:
    made = after(parent_of(), fit_of(FRESH, MIDDLE, OLD), [[100, 0, 0], [0, 90, 60], [0, 0, 3]])
    assert ids(made) == {FRESH: 11, MIDDLE: 12, OLD: 14}
    assert {(c.fate, c.id, c.kin) for c in made.lineage} >= {("split", 14, 12), ("merged", 13, 14)}


def test_the_greatest_retired_id_is_never_given_again() -> None:
    parent = msgspec.structs.replace(parent_of(), retired_id=40)
    made = after(parent, fit_of(FRESH, (2.0, 2.5, 8.0), MIDDLE, OLD), [[60, 40, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
    assert sorted(s.id for s in made.segments) == [11, 12, 13, 41]


def test_a_name_given_by_hand_goes_on_with_its_segment_and_ends_with_it() -> None:
    parent = msgspec.structs.replace(
        parent_of(), segments=(Segment(11, "VIP"), Segment(12, "B"), Segment(13, "C")), named=(11, 12)
    )
    made = after(parent, fit_of(FRESH, OLD), [[100, 0], [0, 40], [0, 70]])
    assert made.named == (11,)
    assert made.segments[0] == Segment(11, "VIP")


def test_ids_that_are_used_up_are_refused() -> None:
    parent = msgspec.structs.replace(parent_of(), retired_id=65_535)
    with pytest.raises(BundleError, match="65535"):
        after(parent, fit_of(FRESH, MIDDLE, OLD), [[100, 0, 0], [0, 10, 10], [0, 0, 0]])


def test_a_model_of_schema_1_cannot_say_what_became_of_its_segments() -> None:
    with pytest.raises(BundleError, match="segmenter upgrade"):
        after(msgspec.structs.replace(parent_of(), schema=1), fit_of(FRESH, OLD), [[100, 0], [0, 40], [0, 70]])


@given(seed=st.integers(0, 10_000), k_old=st.integers(1, 6), k=st.integers(1, 6))
def test_any_numbering_of_clusters_and_segments_gives_the_same_kinship(seed: int, k_old: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    overlap: Ints = rng.permutation(1_000)[: k_old * k].reshape(k_old, k)  # all different: no tie to break
    rows, columns = rng.permutation(k_old), rng.permutation(k)
    one, other = kinship(overlap), kinship(overlap[rows][:, columns])
    assert [rows[i] if i >= 0 else -1 for i in other.heir] == one.heir[columns].tolist()
    assert [rows[i] if i >= 0 else -1 for i in other.out_of] == one.out_of[columns].tolist()
    assert [columns[j] if j >= 0 else -1 for j in other.into] == one.into[rows].tolist()


def test_the_overlap_is_a_plain_count() -> None:
    before, now = np.array([0, 0, 1, 1, 1, -1, 0]), np.array([1, 1, 0, 2, 2, 0, -1])
    assert overlap_of(before, now, 2, 3).tolist() == [[0, 2, 0], [1, 0, 2]]


def test_over_retrains_of_a_planted_shop_ids_last_and_every_change_is_told() -> None:
    outcomes = list(retrained(12, seed=9))
    assert {o.event for o in outcomes} >= {"split", "merge"}
    assert sum(o.kept for o in outcomes) >= 0.99 * sum(o.stayed for o in outcomes) > 0
    assert sum(o.named for o in outcomes) >= 0.9 * len(outcomes)
    assert sum(o.back + o.unrecorded for o in outcomes) == 0
