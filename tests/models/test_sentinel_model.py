import numpy as np

from models.sentinel_model import decile_histograms, inspect_model, inspect_population

DAY = 15_000


def test_deciles_are_those_of_the_first_date() -> None:
    first, second = decile_histograms(np.arange(1_000), np.r_[np.arange(100), np.full(50, 5_000)])
    assert first.tolist() == [100] * 10
    assert second.tolist() == [100, 0, 0, 0, 0, 0, 0, 0, 0, 50]


def test_a_coordinate_with_few_values_has_fewer_bins() -> None:
    first, second = decile_histograms(np.array([1] * 95 + [2] * 5), np.array([1, 2, 3]))
    assert (first.sum(), second.sum()) == (100, 3)
    assert len(first) == 2


def test_another_population_alarms_a_shifted_one_is_told_and_a_small_one_is_not_judged() -> None:
    even = np.full(10, 100)
    tilted = np.array([160, 160, 120, 100, 100, 100, 80, 80, 50, 50])
    other = np.array([300, 300, 100, 50, 50, 50, 50, 40, 30, 30])
    found = inspect_population(DAY, {"a": (even, even), "b": (even, tilted), "c": (even, other)})
    assert [(f.measure, f.severity) for f in found] == [("b", "information"), ("c", "alarm")]
    assert inspect_population(DAY, {"b": (even // 25, tilted // 25)}) == []


def test_a_dying_cluster_alarms_and_a_model_without_customers_does_not() -> None:
    found = inspect_model(DAY, {"Champions": 10, "Dormant": 0}, {})
    assert [(f.kind, f.measure, f.severity) for f in found] == [("cluster", "Dormant", "alarm")]
    assert found[0].message == "0 of 10 customers are nearest to its centroid: it is dying"
    assert inspect_model(DAY, {"Champions": 0, "Dormant": 0}, {}) == []


def test_a_name_that_no_longer_fits_is_told() -> None:
    (found,) = inspect_model(DAY, {"Loyal": 10, "Dormant": 20}, {"Loyal": "Active"})
    assert (found.kind, found.severity) == ("name", "information")
    assert found.message == "by its centroid it would be called Active today"


def test_inertia_above_a_fresh_fit_alarms_and_a_low_silhouette_is_told() -> None:
    sizes = {"Champions": 10, "Dormant": 20}
    assert inspect_model(DAY, sizes, {}, inertia_ratio=1.016, silhouette=0.34) == []
    found = inspect_model(DAY, sizes, {}, inertia_ratio=1.05, silhouette=0.1)
    assert [(f.kind, f.severity) for f in found] == [("inertia", "alarm"), ("silhouette", "information")]
    assert found[0].message == "5.0% above the best of fresh batch fits on the same customers"
