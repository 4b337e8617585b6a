import numpy as np
import pytest
from sklearn.cluster import KMeans

from features.ledger import Ints
from models.bundle import Bundle
from models.population import recentre
from models.sklearn_refine import refine
from tests.models.samples import CENTRES, UNIT, bundle_of, population, statistics_of


def refined(bundle: Bundle, sample: Ints, everyone: Ints | None = None) -> Bundle:
    return refine(bundle, statistics_of(bundle, sample if everyone is None else everyone), sample, day=9)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_k_means_from_the_recentred_start_in_the_space_of_the_scaler(seed: int) -> None:
    sample = population(1_000, seed=seed, spread=0.8)
    bundle = bundle_of(CENTRES + 0.6)
    start = recentre(bundle, statistics_of(bundle, sample), day=9)
    scale = (sample / UNIT).std(axis=0)
    oracle = KMeans(3, init=np.array(start.centroids) / scale, n_init=1, tol=0, max_iter=500).fit(sample / UNIT / scale)
    after = refined(bundle, sample)
    np.testing.assert_allclose(after.centroids, oracle.cluster_centers_ * scale, rtol=1e-9)
    np.testing.assert_allclose(after.scale, scale, rtol=1e-6)
    assert after.created_by == "refine"


def test_the_scaler_is_the_populations_not_the_samples() -> None:
    everyone = population(4_000, spread=0.7)
    after = refined(bundle_of(), everyone[:300], everyone)
    np.testing.assert_allclose(after.scale, (everyone / UNIT).std(axis=0), rtol=1e-6)


def test_a_refined_model_is_a_fixed_point_of_the_daily_step() -> None:
    sample = population(1_500, spread=0.8)
    after = refined(bundle_of(), sample)
    again = recentre(after, statistics_of(after, sample), day=10)
    np.testing.assert_allclose(again.centroids, after.centroids, atol=1e-12)


def test_a_cluster_without_anybody_keeps_its_centroid() -> None:
    far = [40.0, 40.0, 40.0]
    after = refined(bundle_of(np.vstack([CENTRES[:2], [far], CENTRES[2:]])), population())
    assert after.centroids[2] == tuple(far)
    assert after.created_by == "refine"


def test_with_fewer_than_two_inhabited_clusters_the_daily_step_stands_alone() -> None:
    bundle = bundle_of(np.vstack([CENTRES[:1], CENTRES[:1] + 50.0]))
    sample = population(50)
    after = refined(bundle, sample)
    assert after == recentre(bundle, statistics_of(bundle, sample), day=9)


def test_without_a_sample_the_daily_step_stands_alone() -> None:
    bundle, everyone = bundle_of(), population()
    assert refined(bundle, everyone[:0], everyone).created_by == "recentre"


def test_where_k_means_would_move_an_emptied_cluster_elsewhere_the_daily_step_stands_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, sample = bundle_of(), population(900)
    recentred = recentre(bundle, statistics_of(bundle, sample), day=9)
    # Nobody of cluster 0 is in it afterwards: its centroid was put somewhere else.
    monkeypatch.setattr("models.sklearn_refine.converge", _rotated)
    assert refined(bundle, sample) == recentred


def _rotated(coordinates: np.ndarray, centroids: np.ndarray, scale: np.ndarray) -> np.ndarray:
    z = (coordinates[:, None] / UNIT - centroids) / scale
    labels: np.ndarray = ((z**2).sum(axis=2).argmin(axis=1) + 1) % len(centroids)
    return labels
