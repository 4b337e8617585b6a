import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.bundle import centroid_array
from models.population import Statistics, StatisticsError, decode, encode, means_from, recentre, scale_from
from tests.models.samples import CENTRES, UNIT, bundle_of, population, statistics_of, to_coordinates

K, D = 3, 2
MOST = to_coordinates(np.array([np.log1p(1e13)]))[0]
"""The coordinate of the greatest amount that any customer can reach, and then some."""

vectors = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.just(D)), elements=st.integers(0, int(MOST)))


def clusters_of(coordinates: np.ndarray) -> np.ndarray:
    return (coordinates.sum(axis=1) % (K + 1)) - 1 if len(coordinates) else np.empty(0, np.intp)


def plain_statistics(coordinates: np.ndarray) -> tuple[list[int], list[list[int]], list[list[int]]]:
    n, sums, squares = [0] * K, [[0] * D for _ in range(K)], [[0] * D for _ in range(K)]
    for row, cluster in zip(coordinates.tolist(), clusters_of(coordinates).tolist(), strict=True):
        if cluster < 0:
            continue
        n[cluster] += 1
        for j, x in enumerate(row):
            sums[cluster][j] += x
            squares[cluster][j] += int(Fraction(x * x, UNIT) + Fraction(1, 2))
    return n, sums, squares


def of(coordinates: np.ndarray) -> Statistics:
    return Statistics.of(coordinates, clusters_of(coordinates), K)


@given(coordinates=vectors)
def test_statistics_equal_a_plain_loop_and_index_minus_one_counts_nowhere(coordinates: np.ndarray) -> None:
    statistics = of(coordinates)
    assert (statistics.n.tolist(), statistics.sums.tolist(), statistics.squares.tolist()) == plain_statistics(
        coordinates
    )


@given(a=vectors, b=vectors, seed=st.integers(0, 99))
def test_any_order_and_any_split_give_the_same_bytes(a: np.ndarray, b: np.ndarray, seed: int) -> None:
    both = np.concatenate([a, b])
    shuffled = np.random.default_rng(seed).permutation(both)
    assert encode(of(a) + of(b)) == encode(of(shuffled))


@given(a=vectors, b=vectors)
def test_what_is_taken_out_leaves_no_trace(a: np.ndarray, b: np.ndarray) -> None:
    assert of(a) + of(b) - of(b) == of(a)
    assert of(a) - of(a) == Statistics.zeros(K, D)


def test_a_hundred_million_of_the_greatest_vectors_do_not_overflow() -> None:
    one = Statistics.of(np.array([[MOST, MOST]]), np.array([0]), 1)
    many = 10**8
    assert int(one.squares[0, 0]) * many < 2**63
    assert int(one.sums[0, 0]) * many < 2**63


@given(coordinates=vectors)
def test_statistics_read_back(coordinates: np.ndarray) -> None:
    statistics = of(coordinates)
    read = decode(encode(statistics))
    assert read == statistics
    assert read.shape == (K, D)
    assert read + read - statistics == statistics


@pytest.mark.parametrize("position", range(0, 8 + 8 * K * (1 + 2 * D) + 4, 5))
def test_a_flipped_bit_is_noticed(position: int) -> None:
    data = bytearray(encode(of(population(50)[:, :D])))
    data[position] ^= 4
    with pytest.raises(StatisticsError):
        decode(bytes(data))


@pytest.mark.parametrize("length", [0, 3, 11, 40])
def test_cut_off_bytes_are_refused(length: int) -> None:
    with pytest.raises(StatisticsError):
        decode(encode(of(population(50)[:, :D]))[:length])


def test_a_later_schema_is_refused_by_its_number() -> None:
    body = bytearray(encode(Statistics.zeros(K, D))[:-4])
    body[1] = 9
    with pytest.raises(StatisticsError, match="schema 9"):
        decode(bytes(body) + zlib.crc32(body).to_bytes(4, "little"))


def test_negative_counts_and_sums_of_nobody_are_invalid() -> None:
    one, two = of(np.array([[4, 9]])), of(np.array([[5, 9], [4, 9]]))
    assert one.is_valid
    assert two.is_valid
    assert not (one - two).is_valid
    assert not Statistics(one.n * 0, one.sums, one.squares).is_valid
    assert not Statistics(one.n * 0, one.sums * 0, one.squares + 1).is_valid


def test_the_scale_is_the_population_standard_deviation() -> None:
    coordinates = population(2_000)
    statistics = statistics_of(bundle_of(), coordinates)
    np.testing.assert_allclose(scale_from(statistics), (coordinates / UNIT).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.7, 13.123456789, 29.9])
def test_a_feature_that_does_not_vary_has_scale_one(value: float) -> None:
    coordinates = to_coordinates(np.full((997, 1), value))
    assert scale_from(Statistics.of(coordinates, np.zeros(997, np.intp), 1)).tolist() == [1.0]


def test_a_small_but_real_variation_is_not_taken_for_none() -> None:
    x = 8.0 + 0.01 * np.resize([-1.0, 1.0], (1_000, 1))
    scale = scale_from(Statistics.of(to_coordinates(x), np.zeros(1_000, np.intp), 1))
    np.testing.assert_allclose(scale, [0.01], rtol=1e-3)


def test_nobody_has_scale_one() -> None:
    assert scale_from(Statistics.zeros(K, D)).tolist() == [1.0, 1.0]


def test_recentring_is_one_lloyd_step_over_the_population() -> None:
    bundle, coordinates = bundle_of(), population(1_500)
    x = coordinates / UNIT
    labels = (((x[:, None] - np.array(bundle.centroids)) / np.array(bundle.scale)) ** 2).sum(axis=2).argmin(axis=1)
    after = recentre(bundle, statistics_of(bundle, coordinates), day=15_200)
    np.testing.assert_allclose(after.centroids, [x[labels == i].mean(axis=0) for i in range(3)], rtol=1e-12)
    np.testing.assert_allclose(after.scale, x.std(axis=0), rtol=1e-6)
    assert after.sizes == tuple(np.bincount(labels).tolist())
    assert (after.version, after.day, after.created_by) == (2, 15_200, "recentre")
    assert after.segments == bundle.segments


def test_an_empty_cluster_keeps_its_centroid() -> None:
    bundle = bundle_of(np.vstack([CENTRES, [[40.0, 40.0, 40.0]]]))
    after = recentre(bundle, statistics_of(bundle, population()), day=1)
    assert after.centroids[3] == (40.0, 40.0, 40.0)
    assert after.sizes[3] == 0
    assert after.centroids[:3] != bundle.centroids[:3]


def test_nobody_at_all_keeps_centroids_and_scale() -> None:
    bundle = bundle_of()
    after = recentre(bundle, Statistics.zeros(3, 3), day=1)
    assert (after.centroids, after.scale, after.sizes) == (bundle.centroids, bundle.scale, (0, 0, 0))


def test_means_are_exact_where_the_division_is() -> None:
    coordinates = to_coordinates(np.array([[1.0, 2.0], [2.0, 4.0]]))
    statistics = Statistics.of(coordinates, np.array([1, 1]), 2)
    assert means_from(statistics, np.array([[7.0, 8.0], [0.0, 0.0]])).tolist() == [[7.0, 8.0], [1.5, 3.0]]


def test_statistics_of_another_shape_or_with_negative_counts_are_refused() -> None:
    bundle = bundle_of()
    statistics = statistics_of(bundle, population(5))
    with pytest.raises(StatisticsError, match=r"\(4, 3\)"):
        recentre(bundle, Statistics.zeros(4, 3), day=1)
    with pytest.raises(StatisticsError, match="rebuild"):
        recentre(bundle, statistics - statistics - statistics, day=1)


def test_the_present_model_stays_as_it_is() -> None:
    bundle = bundle_of()
    before = centroid_array(bundle).copy()
    recentre(bundle, statistics_of(bundle, population()), day=1)
    np.testing.assert_array_equal(centroid_array(bundle), before)
