"""Spark's K-Means and silhouette against plain loops, hand-worked cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from features.vector import Floats
from reports.workbench.origin.origin_kmeans import ITERATIONS, Labels, agrees, lloyd, search, silhouette, standardised


def naive_silhouette(x: Floats, labels: Labels) -> float:
    """The definition, with a mean over every pair's squared distance."""
    scores = []
    for i, point in enumerate(x):
        distances = ((x - point) ** 2).sum(axis=1)
        own = (labels == labels[i]) & (np.arange(len(x)) != i)
        if not own.any():
            scores.append(0.0)
            continue
        inside = distances[own].mean()
        outside = min(distances[labels == other].mean() for other in set(labels.tolist()) - {int(labels[i])})
        scores.append((outside - inside) / max(inside, outside))
    return float(np.mean(scores))


def naive_lloyd(x: Floats, centroids: Floats) -> tuple[list[int], float, int]:
    """Assign, move, until no centre moves by more than 1e-4, 20 times at most."""
    centroids = centroids.copy()
    steps = 0
    for _ in range(20):
        steps += 1
        nearest = [int(np.argmin([((point - c) ** 2).sum() for c in centroids])) for point in x]
        moved = centroids.copy()
        for j in range(len(centroids)):
            members = [point for point, near in zip(x, nearest, strict=True) if near == j]
            if members:
                moved[j] = np.mean(members, axis=0)
        far = max(float(np.linalg.norm(a - b)) for a, b in zip(moved, centroids, strict=True))
        centroids = moved
        if far <= 1e-4:
            break
    nearest = [int(np.argmin([((point - c) ** 2).sum() for c in centroids])) for point in x]
    return nearest, sum(float(((p - centroids[j]) ** 2).sum()) for p, j in zip(x, nearest, strict=True)), steps


def test_a_silhouette_worked_by_hand() -> None:
    # 0 and 2 together, 10 alone. Of 0: inside 4, outside 100: 0.96. Of 2: 4 and 64: 0.9375. Whoever is alone: 0.
    x = np.array([[0.0], [2.0], [10.0]])
    assert silhouette(x, np.array([0, 0, 1])) == pytest.approx((0.96 + 0.9375) / 3, abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_closed_form_is_the_mean_of_all_squared_distances(k: int) -> None:
    rng = np.random.default_rng(k)
    x = rng.normal(size=(120, 4)) * [1, 5, 0.1, 2]
    labels = np.r_[np.arange(k), rng.integers(k, size=119 - k), k]  # the last one is alone
    assert silhouette(x, labels) == pytest.approx(naive_silhouette(x, labels), abs=1e-10)


def test_equal_points_in_two_clusters_have_no_silhouette() -> None:
    assert silhouette(np.ones((4, 2)), np.array([0, 0, 1, 1])) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_lloyd_is_the_plain_loop_where_it_ends_and_where_it_is_cut_off(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(250, 2))
    start = x[rng.choice(len(x), 7 if seed % 2 else 2, replace=False)]
    labels, wcss = lloyd(x, start)
    expected, sum_of_squares, steps = naive_lloyd(x, start)
    assert labels.tolist() == expected
    assert wcss == pytest.approx(sum_of_squares, rel=1e-12)
    assert steps <= ITERATIONS


def test_lloyd_run_to_its_end_is_scikit_learns() -> None:
    x = np.random.default_rng(1).normal(size=(300, 3)) + np.repeat(np.eye(3) * 12, 100, axis=0)
    start = x[[0, 100, 200]]
    labels, wcss = lloyd(x, start)
    model = KMeans(3, init=start, n_init=1, tol=0).fit(x)
    assert labels.tolist() == model.labels_.tolist()
    assert wcss == pytest.approx(model.inertia_, rel=1e-12)


def test_an_empty_cluster_keeps_its_centre() -> None:
    labels, wcss = lloyd(np.array([[0.0], [1.0]]), np.array([[0.5], [99.0]]))
    assert labels.tolist() == [0, 0]
    assert wcss == pytest.approx(0.5)


def test_columns_are_divided_by_their_deviation_with_one_less_in_the_denominator() -> None:
    x = standardised(np.array([[1.0, 7.0], [3.0, 7.0], [8.0, 7.0]]))
    assert x[:, 0] == pytest.approx(np.array([1, 3, 8]) / np.sqrt((9 + 1 + 16) / 2))
    assert x[:, 1].tolist() == [7, 7, 7], "a column that never varies"


def test_the_search_ends_at_the_recorded_run_and_else_names_the_nearest() -> None:
    x = np.random.default_rng(5).uniform(size=(400, 2))
    every = [search(x, 6, [seed], (1.0, 1.0)) for seed in range(12)]
    wanted = every[7]
    first = next(run for run in every if agrees(run, (wanted.wcss, wanted.silhouette)))
    assert search(x, 6, range(12), (wanted.wcss, wanted.silhouette)).seed == first.seed
    assert search(x, 6, range(12), None).wcss == min(run.wcss for run in every)
    low = min(every, key=lambda run: abs(run.wcss / 0.01 - 1) + abs(run.silhouette / 0.1 - 1))
    assert search(x, 6, range(12), (0.01, 0.1)).seed == low.seed
