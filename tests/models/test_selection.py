from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from benchmarks.choosing_k import coordinates
from benchmarks.retail import day_of, read
from features.vector import RFM
from models import selection
from models.bundle import decode, encode
from models.population import recentre
from models.selection import Candidate, SelectionError, Terms, bend, choose_k, decide, fit, found
from tests.models.samples import CENTRES, UNIT, population, statistics_of, to_coordinates

TERMS = Terms(day=15_126, features=RFM, learner="population", horizon_days=365, margin=0.95, recency_offset=1)


def row(k: int, stability: float = 0.9, worst: float = 0.7, bend_at: float = 0.1) -> Candidate:
    return Candidate(k, 100.0 / k, 0.3, stability, worst, bend_at)


def test_the_fit_is_batch_k_means_on_standardised_log_features() -> None:
    customers = population(2_000)
    fitted = fit(customers, 3)
    scaler = StandardScaler().fit(customers / UNIT)
    oracle = KMeans(3, n_init=20, random_state=1).fit(scaler.transform(customers / UNIT))
    expected = scaler.inverse_transform(oracle.cluster_centers_)
    np.testing.assert_allclose(fitted.scale, scaler.scale_, rtol=1e-6)
    np.testing.assert_allclose(sorted(fitted.centroids.tolist()), sorted(expected.tolist()), rtol=1e-3)
    assert fitted.inertia == pytest.approx(oracle.inertia_, rel=1e-4)
    assert sorted(fitted.sizes) == sorted(np.bincount(oracle.labels_))


def test_a_first_model_is_where_the_first_recentring_finds_it() -> None:
    customers = population(2_000)
    bundle = found(fit(customers, 3), TERMS)
    after = recentre(bundle, statistics_of(bundle, customers), day=15_126)
    np.testing.assert_allclose(after.centroids, bundle.centroids, atol=1e-3)
    np.testing.assert_allclose(after.scale, bundle.scale, rtol=1e-12)


def test_a_first_model_is_valid_and_its_ids_follow_the_vocabulary_from_11_on() -> None:
    bundle = found(fit(population(900), 3), TERMS)
    assert decode(encode(bundle)) == bundle
    assert [(segment.id, segment.name) for segment in bundle.segments] == [
        (11, "Champions"),
        (12, "Needs attention"),
        (13, "Dormant"),
    ]
    np.testing.assert_allclose(bundle.centroids, CENTRES, atol=0.1)
    assert (bundle.version, bundle.parent, bundle.created_by, bundle.day) == (1, None, "bootstrap", 15_126)
    assert sum(bundle.sizes) == 900


def test_equal_customers_and_seeds_give_equal_answers() -> None:
    customers = population(500, spread=0.8)
    assert encode(found(fit(customers, 4, seed=3), TERMS)) == encode(found(fit(customers, 4, seed=3), TERMS))
    assert choose_k(customers, seed=3) == choose_k(customers, seed=3)


def test_k_clusters_that_are_there_are_found() -> None:
    centres = np.array([[1.0, 1.0, 1.0], [1.0, 6.0, 6.0], [6.0, 1.0, 6.0], [6.0, 6.0, 1.0]])
    choice = choose_k(population(800, centres=centres, spread=0.3))
    assert choice.k == 4
    best = next(candidate for candidate in choice.table if candidate.k == 4)
    assert best.is_stable
    assert best.worst > 0.99
    assert best.silhouette == max(candidate.silhouette for candidate in choice.table)
    assert "4" in choice.reason


def test_the_table_says_what_was_looked_at() -> None:
    choice = choose_k(population(400))
    assert [candidate.k for candidate in choice.table] == [2, 3, 4, 5, 6, 7, 8]
    assert (choice.customers, choice.silhouette_customers, choice.resamples) == (400, 400, 20)


def test_progress_is_told_after_each_k() -> None:
    told: list[tuple[int, int]] = []
    choose_k(population(120), progress=lambda done, of: told.append((done, of)))
    assert told == [(i, 7) for i in range(1, 8)]


def test_of_the_stable_k_the_one_with_the_greatest_bend_is_taken() -> None:
    k, reason = decide([row(2, 0.99), row(3, bend_at=0.2), row(4, bend_at=0.3), row(5, bend_at=0.1)])
    assert k == 4
    assert "3, 4, 5" in reason


def test_the_elbow_is_passed_over_where_it_is_not_stable() -> None:
    assert decide([row(3, bend_at=0.2), row(4, stability=0.79, bend_at=0.3), row(5, bend_at=0.1)])[0] == 3
    assert decide([row(3, bend_at=0.2), row(4, worst=0.49, bend_at=0.3), row(5, bend_at=0.25)])[0] == 5


def test_the_limits_of_stability_belong_to_it() -> None:
    assert row(4, stability=0.80, worst=0.50).is_stable
    assert not row(4, stability=0.7999).is_stable
    assert not row(4, worst=0.4999).is_stable


def test_two_segments_are_taken_only_where_nothing_else_is_stable() -> None:
    assert decide([row(2, 0.99, bend_at=0.9), row(3, 0.81)])[0] == 3
    k, reason = decide([row(2, 0.99), row(3, 0.7), row(4, 0.75)])
    assert k == 2
    assert "no k above 2 is stable" in reason


def test_where_nothing_is_stable_the_most_stable_is_taken_and_said() -> None:
    k, reason = decide([row(2, 0.5), row(3, 0.6), row(4, 0.55)])
    assert k == 3
    assert "0.60" in reason


def test_an_equal_bend_goes_to_fewer_segments() -> None:
    assert decide([row(3), row(4), row(5)])[0] == 3


def test_the_bend_is_the_drop_below_the_chord_worked_by_hand() -> None:
    assert bend([10.0, 4.0, 2.0]) == pytest.approx([0.0, 0.25, 0.0])
    assert bend([10.0, 6.0, 2.0]) == pytest.approx([0.0, 0.0, 0.0])
    assert bend([10.0, 4.0]) == [0.0, 0.0]
    assert bend([5.0, 5.0, 5.0]) == [0.0, 0.0, 0.0]


def test_nobody_to_cluster_is_said() -> None:
    with pytest.raises(SelectionError, match="nothing to cluster"):
        choose_k(np.empty((0, 3), np.int64))


@pytest.mark.parametrize("customers", [1, 2])
def test_as_few_customers_as_segments_get_one_each(customers: int) -> None:
    few = to_coordinates(np.arange(3.0 * customers).reshape(customers, 3))
    choice = choose_k(few)
    assert (choice.k, choice.table) == (customers, ())
    assert found(fit(few, choice.k), TERMS).k == customers


def test_a_handful_of_customers_can_be_clustered() -> None:
    choice = choose_k(population(5))
    assert 2 <= choice.k <= 4
    assert found(fit(population(5), choice.k), TERMS).k == choice.k


def test_customers_who_are_all_alike_are_one_segment() -> None:
    alike = to_coordinates(np.full((300, 3), 2.0))
    assert choose_k(alike).k == 1
    assert found(fit(alike, 1), TERMS).sizes == (300,)


def test_more_segments_than_different_customers_are_refused() -> None:
    with pytest.raises(SelectionError, match="2 different"):
        fit(np.repeat(to_coordinates(np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])), 50, axis=0), 3)
    with pytest.raises(SelectionError, match="k = 0"):
        fit(population(50), 0)


def test_above_the_sample_k_is_chosen_on_part_and_the_fit_is_converged_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    customers = population(3_000)
    whole = fit(customers, 3)
    monkeypatch.setattr(selection, "MAX_SAMPLE", 500)
    assert choose_k(customers).customers == 500
    sampled = fit(customers, 3)
    np.testing.assert_array_equal(sampled.scale, whole.scale)
    np.testing.assert_allclose(sorted(sampled.centroids.tolist()), sorted(whole.centroids.tolist()), atol=1e-2)
    assert sampled.sizes.sum() == 3_000


def test_the_real_files_customers_are_four_segments_with_the_names_of_the_docs(real_dataset: Path | None) -> None:
    if real_dataset is None:
        pytest.skip("measured on UCI Online Retail, which does not lie beside the repository")
    customers = coordinates(read(real_dataset), day_of("2011-12-10"), RFM)
    choice = choose_k(customers)
    assert len(customers) == 4_243
    assert choice.k == 4
    bundle = found(fit(customers, choice.k), TERMS)
    assert [s.name for s in bundle.segments] == ["Champions", "Promising", "Needs attention", "Dormant"]
    typical = np.expm1(bundle.centroids).round()
    assert typical[:, 0].tolist() == [8, 17, 46, 156]
