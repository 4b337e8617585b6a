"""The comparison with batch knows a perfect model, a bad one and an equally good other optimum."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from reports.quality import batch, inertia, nearest, quality

CENTRES = np.array([[0.0, 0.0, 0.0], [6.0, 1.0, 0.0], [0.0, 5.0, 9.0]])


def shop(n: int = 300, spread: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(1)
    return CENTRES[rng.integers(3, size=n)] + rng.normal(scale=spread, size=(n, 3))


def test_batchs_own_centroids_are_as_good_as_batch() -> None:
    x = shop(spread=1.5)
    scaler = StandardScaler().fit(x)
    fitted = KMeans(3, n_init=20, random_state=0).fit(scaler.transform(x))
    found = quality(x, scaler.inverse_transform(fitted.cluster_centers_), scaler.scale_)
    assert found.inertia_ratio == pytest.approx(1.0, abs=1e-6)
    assert found.ari == pytest.approx(1.0, abs=0.02)
    assert sorted(found.sizes) == sorted(np.bincount(fitted.labels_))
    assert found.customers == sum(found.sizes) == 300


def test_a_model_elsewhere_is_worse_by_both_measures() -> None:
    found = quality(shop(), np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]), np.ones(3))
    assert found.inertia_ratio > 1.5
    assert found.ari < 0.9


def test_the_scale_of_the_live_model_decides_who_is_near_to_what() -> None:
    x, centroids = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 3.0]])
    assert nearest(x, centroids, np.array([1.0, 1.0])).tolist() == [0]
    assert nearest(x, centroids, np.array([0.1, 10.0])).tolist() == [1]


def test_inertia_is_measured_to_the_means_of_a_partition() -> None:
    z = np.array([[0.0], [2.0], [10.0], [14.0]])
    assert inertia(z, np.array([0, 0, 1, 1])) == 1 + 1 + 4 + 4


def test_two_optima_of_one_inertia_are_both_found_and_the_nearest_counts() -> None:
    """The corners of a square, in two clusters: left and right, or up and down."""
    rng = np.random.default_rng(2)
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(25, axis=0)
    x = corners + rng.normal(scale=1e-4, size=corners.shape)
    _, optima = batch(StandardScaler().fit_transform(x), 2, 20)
    assert len(optima) == 2
    for centroids in (np.array([[0.0, 0.5], [1, 0.5]]), np.array([[0.5, 0.0], [0.5, 1]])):
        found = quality(x, centroids, np.ones(2))
        assert found.ari == pytest.approx(1.0)
        assert found.optima == 2


def test_one_cluster_has_no_silhouette() -> None:
    found = quality(shop(), np.zeros((1, 3)), np.ones(3))
    assert found.silhouette is None
    assert found.inertia_ratio == pytest.approx(1.0)


def test_fewer_customers_than_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="2 customers"):
        quality(np.zeros((2, 3)), np.zeros((3, 3)), np.ones(3))


def test_the_report_is_plain() -> None:
    report = quality(shop(), CENTRES, np.ones(3)).report()
    assert {"inertia_ratio", "ari", "silhouette", "k", "sizes", "customers"} <= report.keys()
    assert report["sizes"] == [int(n) for n in report["sizes"]]
