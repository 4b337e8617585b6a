"""The sentinel on made-up shops: seeded faults alarm on their first day, chance and seasons do not.

The whole year of the real file and every start day: `python -m benchmarks.sentinel`.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pytest

from benchmarks.sentinel import FAULTS, seeded, shop, table, three_times, year_of
from models.daily_inputs import BINS, MEASURES, DailyInputs
from models.finding import Finding
from models.sentinel import FEWEST_DAYS, Sentinel, inspect

FIRST = 10_000
START = FIRST + 60
"""A Friday, eight weeks into the shop's life."""


def alarms(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "alarm"]


@pytest.mark.parametrize("fault", [name for name in FAULTS if "10 %" not in name])
def test_a_seeded_fault_alarms_on_its_first_day(fault: str) -> None:
    for seed in range(2):
        run = seeded(year_of(shop(seed, 63, 60)), FAULTS[fault], START, seed, days=1)
        assert run.days == 1, f"{fault}, seed {seed}: {[f.sentence for f in run.told]}"


def test_the_alarm_names_the_measure_and_the_factor() -> None:
    run = seeded(year_of(shop(0, 63, 60)), FAULTS["prices x3"], START, 0, days=1)
    (price,) = [f for f in run.told if f.kind == "level" and f.measure == "unit price"]
    assert (price.day, price.direction, price.severity) == (date(1997, 7, 18), "up", "alarm")
    assert price.found / price.expected == pytest.approx(2, rel=0.1)  # winsorised: the limit is about twice the usual


def test_a_rush_of_usual_orders_is_information() -> None:
    for seed in range(3):
        run = seeded(year_of(shop(seed, 63, 60)), three_times, START, seed, days=1)
        assert [(f.kind, f.severity, f.direction) for f in run.told] == [("volume", "information", "up")]


def test_two_hundred_stationary_shops_raise_no_alarm() -> None:
    # A week judged each, from 2 to 100 orders a day; the benchmark does 90 days a shop.
    judged = 0
    for seed in range(200):
        inputs = table(shop(seed, 25, (2, 10, 30, 100)[seed % 4]))
        judged += len(inputs) - FEWEST_DAYS
        assert [f.sentence for f in alarms(inspect(inputs))] == [], seed
    assert judged > 1_400


def test_a_day_of_few_orders_does_not_alarm_where_a_day_of_many_with_the_same_shift_does() -> None:
    rng = np.random.default_rng(5)

    def series(last: int) -> DailyInputs:
        orders = [rng.normal(60, 6, 60).astype(int) for _ in range(30)] + [rng.normal(63, 6, last).astype(int)]
        counts = np.stack([np.bincount(day, minlength=BINS) for day in orders])
        return DailyInputs(FIRST + np.arange(31), np.repeat(counts[:, None], len(MEASURES), axis=1))

    assert alarms(inspect(series(10))) == []
    assert {f.kind for f in alarms(inspect(series(3_000)))} >= {"level"}


def test_closed_days_are_not_looked_at_and_few_days_say_nothing() -> None:
    lines = shop(1, 60, 60)
    closed = table(lines.take((lines.day < FIRST + 40) | (lines.day > FIRST + 47)))
    assert alarms(inspect(closed)) == []
    few = table(lines.take(lines.day < FIRST + 16))
    assert len(few) <= FEWEST_DAYS
    assert inspect(few) == []


def test_the_alarm_lasts_while_the_fault_does_and_is_new_once() -> None:
    run = seeded(year_of(shop(2, 80, 60)), FAULTS["pence for pounds"], START, 0, days=14)
    told = [f for f in alarms(run.told) if f.kind == "level" and f.measure == "unit price"]
    assert len(told) == 12  # fourteen days but two Sundays
    assert [f.is_new for f in told] == [True] + [False] * 11


def test_a_level_that_lasts_counts_as_usual_in_the_end() -> None:
    run = seeded(year_of(shop(3, 150, 60)), FAULTS["prices x3"], START, 0, days=90)
    last = max(f.day for f in alarms(run.told))
    assert (last - date(1997, 7, 18)).days in range(35, 60)


def test_the_findings_of_a_day_do_not_depend_on_the_days_after_it() -> None:
    lines = shop(4, 90, 60)
    wrong = table(
        FAULTS["units and price swapped"](lines.take(lines.day >= START), np.random.default_rng(0), START, lines)
    )
    whole = table(lines.take(lines.day < START)) + wrong
    cut = DailyInputs(whole.days[:-10], whole.counts[:-10])
    end = date.fromordinal(719_163 + int(cut.days[-1]))
    assert [f for f in inspect(whole) if f.day <= end] == inspect(cut)


def test_a_series_that_grows_by_a_day_is_found_to_be_as_odd_as_the_whole_of_it() -> None:
    lines = shop(5, 75, 40)
    lines.amount[(lines.day >= START) & (lines.day < START + 3)] *= 3
    whole = table(lines)
    sentinel = Sentinel()
    for n in range(len(whole) - 12, len(whole) + 1):
        cut = DailyInputs(whole.days[:n], whole.counts[:n])
        assert sentinel.judge(cut) == inspect(cut)
    other = table(shop(6, 75, 40))
    assert sentinel.judge(other) == inspect(other)  # another past is judged anew
