"""Small shifts that last, on seeded standard scores."""

import numpy as np

from models.river_drift import shifts


def test_a_shift_by_one_deviation_is_told_within_weeks_and_a_greater_one_sooner() -> None:
    rng = np.random.default_rng(3)
    delays = {}
    for size in (1.0, 2.0):
        told = [shifts([*rng.normal(size=60), *(rng.normal(size=60) + size)]) for _ in range(40)]
        delays[size] = np.median([min((i for i in each if i >= 60), default=120) - 60 for each in told])
    assert delays[2.0] < 12 < delays[1.0] < 30


def test_it_tells_of_a_fall_as_of_a_rise() -> None:
    scores = [0.0] * 40
    assert shifts([*scores, *[2.0] * 20]) == shifts([*scores, *[-2.0] * 20]) != []


def test_a_year_of_chance_is_told_of_seldom() -> None:
    rng = np.random.default_rng(4)
    assert sum(len(shifts(rng.normal(size=300).tolist())) for _ in range(40)) <= 4


def test_a_few_days_tell_nothing() -> None:
    assert shifts([9.0] * 5 + [-9.0] * 5) == []
