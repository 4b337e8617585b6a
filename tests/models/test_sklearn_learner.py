import numpy as np
from sklearn.cluster import MiniBatchKMeans

from models.learner import Evidence
from models.sklearn_learner import MAX_WEIGHT, MiniBatchLearner, step
from tests.models.samples import UNIT, bundle_of, population, statistics_of, to_coordinates


def batches(count: int, size: int = 60) -> list[np.ndarray]:
    return np.split(population(count * size, seed=4, spread=0.9), count)


def test_two_hundred_days_equal_one_estimator_that_lives_for_ever() -> None:
    bundle, days = bundle_of(), batches(200)
    scale = np.array(bundle.scale)
    start = np.array(bundle.centroids) / scale
    one = MiniBatchKMeans(3, init=start, n_init=1, reassignment_ratio=0, random_state=0)
    one.partial_fit(start, sample_weight=np.array(bundle.sizes, float))
    learner = MiniBatchLearner(max_weight=1e12)
    for day, touched in enumerate(days):
        one.partial_fit(touched / UNIT / scale)
        bundle = learner.update(bundle, Evidence(day, statistics_of(bundle, touched), touched[:0], touched))
        np.testing.assert_allclose(bundle.centroids, one.cluster_centers_ * scale, rtol=0, atol=1e-12)


def test_weights_count_the_vectors_seen_from_the_bootstraps_sizes_on() -> None:
    bundle = bundle_of()
    touched = population(90)
    after = MiniBatchLearner().update(bundle, Evidence(1, statistics_of(bundle, touched), touched[:0], touched))
    nearest = (((touched / UNIT - np.array(bundle.centroids)[:, None]) / bundle.scale) ** 2).sum(axis=2).argmin(axis=0)
    assert after.learner_state == {"weights": tuple(np.array(bundle.sizes) + np.bincount(nearest, minlength=3))}


def test_a_capped_weight_moves_a_centroid_by_one_part_of_the_cap() -> None:
    bundle = bundle_of(sizes=(10**9, 10**9, 10**9))
    target = np.array(bundle.centroids[0]) + 0.1
    touched = to_coordinates(target[None, :])
    after = MiniBatchLearner().update(bundle, Evidence(1, statistics_of(bundle, touched), touched[:0], touched))
    moved = np.array(after.centroids[0]) - np.array(bundle.centroids[0])
    np.testing.assert_allclose(moved, 0.1 / (MAX_WEIGHT + 1), rtol=1e-5)


def test_a_centroid_that_stands_for_nobody_still_weighs_one() -> None:
    bundle = bundle_of(sizes=(0, 0, 0))
    touched = to_coordinates(np.array(bundle.centroids)[:1] + 0.2)
    after = MiniBatchLearner().update(bundle, Evidence(1, statistics_of(bundle, touched), touched[:0], touched))
    np.testing.assert_allclose(np.array(after.centroids[0]) - np.array(bundle.centroids[0]), 0.1, rtol=1e-6)


def test_a_rare_centroid_is_never_put_elsewhere() -> None:
    scale = np.ones(3)
    centroids = np.array([[1.0, 1.0, 1.0], [20.0, 20.0, 20.0]])
    touched = to_coordinates(np.random.default_rng(0).normal(1.0, 0.1, size=(5_000, 3)))
    weights = np.array([1.0, 1.0])
    for _ in range(20):
        centroids, weights = step(centroids, weights, scale, touched)
    assert centroids[1].tolist() == [20.0, 20.0, 20.0]
