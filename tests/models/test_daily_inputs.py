"""The days' histograms, against a plain loop over orders."""

import math
from collections import Counter

import numpy as np
import pytest

from features.ledger import FOLDED, Ledger, Lines, from_lines, merge
from models.daily_inputs import (
    BINS,
    CENTRES,
    MEASURES,
    PER_OCTAVE,
    DailyInputs,
    daily_inputs,
    edge,
    nothing,
    packed,
    summed,
    unpacked,
)

DAY = 15_000


def some_lines(seed: int, n: int = 400) -> Lines:
    rng = np.random.default_rng(seed)
    units = rng.integers(-3, 40, n)
    owner = rng.integers(0, 30, n)
    order = (owner * 100 + rng.integers(1, 9, n)).astype(np.uint64)
    return Lines(owner, order, rng.integers(DAY, DAY + 9, n), units * rng.integers(5_000, 90_000, n), units, order * 0)


def first_days(lines: Lines, owners: int = 30) -> np.ndarray:
    return np.array([min(lines.day[lines.owner == o].tolist(), default=0) for o in range(owners)])


def same(a: DailyInputs, b: DailyInputs) -> bool:
    return bool(np.array_equal(a.days, b.days) and np.array_equal(a.counts, b.counts))


def test_each_purchase_counts_once_in_the_bin_of_its_value_units_and_price() -> None:
    lines = some_lines(1)
    first = first_days(lines)
    expected: Counter[tuple[int, int, int]] = Counter()
    orders: dict[tuple[int, int, int], list[int]] = {}
    for owner, order, day, amount, units in zip(
        lines.owner.tolist(), lines.order.tolist(), lines.day.tolist(), lines.amount.tolist(), lines.units.tolist(),
        strict=True,
    ):  # fmt: skip
        total = orders.setdefault((owner, order, day), [0, 0])
        total[0] += amount
        total[1] += units
    for (owner, _, day), (net, units) in orders.items():
        if net <= 0 or units <= 0 or not DAY + 2 <= day < DAY + 7:
            continue
        numbers = [net / 10_000, units, net / 10_000 / units]
        numbers += numbers[:2] if day == first[owner] else []
        for measure, number in enumerate(numbers):
            expected[day, measure, math.floor((math.log2(number) + 8) * 4)] += 1
    found = daily_inputs(from_lines(lines), first, DAY + 2, DAY + 7)
    assert found.days.tolist() == sorted({day for day, _, _ in expected})
    at = np.argwhere(found.counts)
    counted = {(int(found.days[d]), int(m), int(b)): int(found.counts[d, m, b]) for d, m, b in at}
    assert counted == expected


def test_partitions_add_up_to_the_whole() -> None:
    lines = some_lines(2)
    first = first_days(lines)
    whole = daily_inputs(from_lines(lines), first, DAY, DAY + 9)
    total = nothing()
    for part in range(3):
        total = total + daily_inputs(from_lines(lines.take(lines.owner % 3 == part)), first, DAY, DAY + 9)
    assert same(total, whole)


def test_the_order_of_arrival_changes_nothing() -> None:
    lines = some_lines(3)
    first = first_days(lines)
    early, late = lines.take(slice(200)), lines.take(slice(200, None))
    one_by_one = daily_inputs(merge(from_lines(late), from_lines(early)), first, DAY, DAY + 9)
    assert same(one_by_one, daily_inputs(from_lines(lines), first, DAY, DAY + 9))


def test_a_folded_record_stands_for_several_orders_and_is_left_out() -> None:
    one = np.array([1])
    ledger = Ledger(one * 0, np.array([FOLDED], np.uint64), one * DAY, one * 10_000, one, one, one)
    assert len(daily_inputs(ledger, one * DAY, DAY, DAY + 1)) == 0


def test_what_lies_beyond_the_bins_counts_in_the_outermost() -> None:
    units = np.array([1, 1, 1])
    net = np.array([1, 10_000, 10_000 * 2**40])
    lines = Lines(units * 0, np.arange(1, 4, dtype=np.uint64), units * DAY, net, units, np.zeros(3, np.uint64))
    (counts,) = daily_inputs(from_lines(lines), units[:1] * DAY, DAY, DAY + 1).counts[:, 0]
    assert np.flatnonzero(counts).tolist() == [0, 8 * PER_OCTAVE, BINS - 1]


def test_a_bin_s_centre_lies_between_its_edges() -> None:
    for bin_ in (0, 32, BINS - 1):
        assert math.log2(edge(bin_)) + 0.125 == pytest.approx(CENTRES[bin_])
        assert math.log2(edge(bin_ + 1)) - 0.125 == pytest.approx(CENTRES[bin_])


def test_days_can_be_cut_off_and_counted() -> None:
    found = daily_inputs(from_lines(some_lines(4)), np.zeros(30, np.int64), DAY, DAY + 9)
    assert found.since(DAY + 5).days.tolist() == [DAY + 5, DAY + 6, DAY + 7, DAY + 8]
    assert found.orders.tolist() == [int(day[0].sum()) for day in found.counts]
    assert found.counts.shape[1:] == (len(MEASURES), BINS)


def test_packed_counts_come_back_and_what_is_none_is_refused() -> None:
    for counts in daily_inputs(from_lines(some_lines(5)), np.zeros(30, np.int64), DAY, DAY + 9).counts:
        assert np.array_equal(unpacked(packed(counts)), counts)
    assert not unpacked(()).any()
    assert packed(unpacked(((32, 2, 40, 1),))) == ((32, 2, 40, 1), (), (), (), ())
    with pytest.raises(ValueError, match="pairs of bin and orders"):
        summed([(DAY, ((BINS, 1),))])
    for wrong in (((32,),), ((BINS, 1),), ((), (), (), (), (), ())):
        with pytest.raises(ValueError, match="pairs of bin and orders"):
            unpacked(wrong)


def test_a_series_begins_with_another_where_the_days_and_counts_are_the_same() -> None:
    whole = daily_inputs(from_lines(some_lines(6)), np.zeros(30, np.int64), DAY, DAY + 9)
    first = DailyInputs(whole.days[:4], whole.counts[:4])
    assert whole.begins_with(first)
    assert whole.begins_with(nothing())
    assert not first.begins_with(whole)
    assert not whole.begins_with(DailyInputs(first.days, first.counts + 1))


def test_packed_days_of_partitions_add_up_in_any_order() -> None:
    lines = some_lines(7)
    first = first_days(lines)
    rows = []
    for part in range(3):
        found = daily_inputs(from_lines(lines.take(lines.owner % 3 == part)), first, DAY, DAY + 9)
        rows += [(day, packed(counts)) for day, counts in zip(found.days.tolist(), found.counts, strict=True)]
    whole = daily_inputs(from_lines(lines), first, DAY, DAY + 9)
    assert same(summed([*reversed(rows), (DAY + 50, ())]), whole)
    assert same(summed([]), nothing())
