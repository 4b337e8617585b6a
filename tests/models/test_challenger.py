"""A fit from scratch competes with the model, and a dying cluster's place is given away; scikit-learn is the oracle."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.cluster import KMeans

from features.ledger import Ints
from features.vector import Floats
from models.bundle import Bundle, centroid_array, scale_array, segment_ids
from models.centroids import Indices, distances, nearest
from models.challenger import Challenge, challenge, refit, rescue
from models.lineage import SURVIVAL
from models.selection import SelectionError
from tests.models.samples import CENTRES, UNIT, bundle_of, population, to_coordinates

FOUR = np.array([[1.0, 3.0, 9.0], [3.0, 2.0, 7.0], [5.0, 1.0, 5.0], [5.0, 3.0, 9.0]])
DAY = 20_000


def clusters(bundle: Bundle, coordinates: Ints) -> Indices:
    return nearest(distances(coordinates, centroid_array(bundle), scale_array(bundle)))


def batch_inertia(coordinates: Ints, k: int, scale: Floats) -> float:
    return float(KMeans(k, n_init=4, random_state=7).fit(coordinates / UNIT / scale).inertia_)


def inertia(coordinates: Ints, labels: Indices, scale: Floats) -> float:
    z = coordinates / UNIT / scale
    return float(sum(((z[labels == c] - z[labels == c].mean(axis=0)) ** 2).sum() for c in np.unique(labels)))


def test_a_model_at_the_optimum_keeps_its_place() -> None:
    sample = population(1_000)
    scale = (sample / UNIT).std(axis=0)
    best = KMeans(3, init=CENTRES / scale, n_init=1, tol=0).fit(sample / UNIT / scale).cluster_centers_
    found = challenge(bundle_of(best * scale, scale=tuple(scale.tolist())), sample, DAY)
    assert found.gain == pytest.approx(1.0, abs=1e-4)
    assert found.overlap > 0.99
    assert not found.wins
    assert segment_ids(found.challenger) == (11, 12, 13)


def test_a_model_in_a_bad_optimum_meets_a_challenger_as_good_as_batch() -> None:
    sample = population(1_000, centres=FOUR, spread=0.2)
    stuck = bundle_of(np.array([[1.0, 3.0, 9.0], [1.1, 3.0, 9.0], [4.0, 1.5, 6.0], [5.0, 3.0, 9.0]]))
    found = challenge(stuck, sample, DAY)
    scale = scale_array(found.challenger)
    mine, its = clusters(stuck, sample), clusters(found.challenger, sample)
    assert inertia(sample, its, scale) == pytest.approx(batch_inertia(sample, 4, scale), rel=1e-4)
    assert found.gain == pytest.approx(inertia(sample, mine, scale) / inertia(sample, its, scale), rel=1e-4)
    assert found.gain > 2
    assert not found.wins, "too many customers would change their segment: a person decides"


def test_a_challenger_wins_by_a_clear_gain_that_moves_few() -> None:
    wins = [Challenge(bundle_of(), gain, overlap).wins for gain, overlap in [(1.02, 0.95), (1.005, 0.99), (1.3, 0.8)]]
    assert wins == [True, False, False]
    better = [Challenge(bundle_of(), gain, 0.8).is_better for gain in (1.02, 1.005)]
    assert better == [True, False], "a person may want a better clustering of other people"


def test_the_order_in_which_partitions_give_their_sample_changes_nothing() -> None:
    sample = population(400)
    shuffled = sample[np.random.default_rng(3).permutation(len(sample))]
    assert challenge(bundle_of(), sample, DAY) == challenge(bundle_of(), shuffled, DAY)


def test_a_refit_follows_its_parent_with_all_that_is_not_fitted() -> None:
    parent = bundle_of(margin=0.9, recency_offset=30, horizon_days=200, named=(12,))
    made = refit(parent, population(400), 4, day=DAY, created_by="refit")
    assert (made.version, made.day, made.k, made.created_by) == (2, DAY, 4, "refit")
    assert (made.margin, made.recency_offset, made.horizon_days, made.named) == (0.9, 30, 200, (12,))
    assert len({*segment_ids(made)}) == 4
    assert {c.id for c in made.lineage} >= {*segment_ids(made)}


def test_more_clusters_than_different_customers_are_refused() -> None:
    with pytest.raises(SelectionError, match="2 different"):
        refit(bundle_of(), np.array([[1, 2, 3], [4, 5, 6]] * 5) << 20, 3, day=DAY, created_by="refit")


def test_a_dead_cluster_is_rescued_and_nobody_elses_id_comes_to_mean_other_people() -> None:
    sample = population(600, centres=FOUR[:3], spread=0.2)
    dead = bundle_of(np.vstack([FOUR[:3], [[40.0, 40.0, 40.0]]]))
    made = rescue(dead, sample, DAY)
    assert made is not None
    assert made.created_by == "rescue"
    assert 14 not in segment_ids(made)
    assert made.retired_id == 14
    before, after = np.array(segment_ids(dead))[clusters(dead, sample)], np.array(segment_ids(made))
    after = after[clusters(made, sample)]
    for segment in (11, 12, 13):
        now_in_it = before[after == segment]
        assert (now_in_it == segment).mean() >= 0.99, "an id's people come from that id"
        kept = (after[before == segment] == segment).mean()
        assert kept >= SURVIVAL, "one of them gave its smaller half away"
    scale = scale_array(made)
    assert inertia(sample, clusters(made, sample), scale) <= 1.02 * batch_inertia(sample, 4, scale)
    assert [c.fate for c in made.lineage if c.id == 15] == ["split"]


def test_a_cluster_of_a_handful_among_thousands_is_dying() -> None:
    handful = to_coordinates(np.array([[5.0, 0.2, 5.0]] * 3))
    sample = np.vstack([population(4_000, centres=FOUR[:3], spread=0.1), handful])
    made = rescue(bundle_of(np.vstack([FOUR[:3], [[5.0, 0.2, 5.0]]])), sample, DAY)
    assert made is not None
    assert 14 not in segment_ids(made)
    assert np.bincount(clusters(made, sample)).min() > 300


def test_a_handful_far_from_everybody_else_keeps_its_cluster() -> None:
    sample = np.vstack([population(4_000, centres=FOUR[:3], spread=0.2), to_coordinates(np.full((3, 3), 20.0))])
    made = rescue(bundle_of(np.vstack([FOUR[:3], [[20.0, 20.0, 20.0]]])), sample, DAY)
    assert made is None or np.bincount(clusters(made, sample)).min() >= 5


def test_where_no_cluster_is_dying_or_nothing_can_be_done_there_is_no_rescue() -> None:
    sample = population(400)
    assert rescue(bundle_of(CENTRES), sample, DAY) is None
    same = to_coordinates(np.full((50, 3), 3.0))
    assert rescue(bundle_of(np.vstack([[[3.0, 3.0, 3.0]], [[30.0, 3.0, 3.0]]])), same, DAY) is None
    assert rescue(bundle_of(), np.empty((0, 3), np.int64), DAY) is None


def test_two_dead_clusters_are_rescued_at_once() -> None:
    sample = population(800, centres=FOUR, spread=0.2)
    dead = bundle_of(np.vstack([FOUR[:2], [[40.0, 4.0, 4.0], [4.0, 50.0, 4.0]]]))
    made = rescue(dead, sample, DAY)
    assert made is not None
    assert len(np.unique(clusters(made, sample))) == 4
    assert {13, 14}.isdisjoint(segment_ids(made))
    assert msgspec.structs.asdict(made)["retired_id"] == 14
