import numpy as np
from river.cluster import KMeans

from models.learner import Evidence
from models.river_learner import RiverLearner, learn
from tests.models.samples import CENTRES, UNIT, bundle_of, population, statistics_of, to_coordinates

SCALE = np.array([1.4, 0.7, 1.2])


def plain_river(centroids: np.ndarray, vectors: np.ndarray, step: float) -> np.ndarray:
    """Sequential K-Means as a loop, written from its definition."""
    centres = [list(row) for row in centroids.tolist()]
    for x in vectors.tolist():
        near = min(range(len(centres)), key=lambda i: sum((c - v) ** 2 for c, v in zip(centres[i], x, strict=True)))
        centres[near] = [c + step * (v - c) for c, v in zip(centres[near], x, strict=True)]
    return np.array(centres)


def test_it_equals_a_plain_loop() -> None:
    touched = population(800, spread=0.9)
    expected = plain_river(CENTRES / SCALE, touched / UNIT / SCALE, 0.02) * SCALE
    np.testing.assert_allclose(learn(CENTRES, SCALE, touched, 0.02), expected, rtol=1e-12)


def test_days_equal_one_river_model_that_lives_for_ever() -> None:
    bundle = bundle_of()
    scale = np.array(bundle.scale)
    one = KMeans(n_clusters=3, halflife=0.005)
    for centre, row in zip(one.centers.values(), np.array(bundle.centroids) / scale, strict=True):
        centre.update(dict(enumerate(row.tolist())))
    for day, touched in enumerate(np.split(population(1_500, seed=4, spread=0.9), 30)):
        for x in touched / UNIT / scale:
            one.learn_one(dict(enumerate(x.tolist())))  # type: ignore[no-untyped-call]  # river types it nowhere
        bundle = RiverLearner().update(bundle, Evidence(day, statistics_of(bundle, touched), touched[:0], touched))
    living = np.array([[centre[j] for j in range(3)] for centre in one.centers.values()]) * scale
    np.testing.assert_allclose(bundle.centroids, living, rtol=0, atol=1e-12)


def test_the_order_of_arrival_matters_to_it() -> None:
    touched = population(200)
    forwards, backwards = learn(CENTRES, SCALE, touched, 0.1), learn(CENTRES, SCALE, touched[::-1], 0.1)
    assert not np.allclose(forwards, backwards)


def test_the_step_size_is_a_share_of_the_way() -> None:
    touched = to_coordinates(CENTRES[:1] + 0.25)
    after = learn(CENTRES, SCALE, touched, 0.5)
    np.testing.assert_allclose(after[0], CENTRES[0] + 0.125, rtol=1e-7)
    np.testing.assert_allclose(after[1:], CENTRES[1:], rtol=1e-15)
