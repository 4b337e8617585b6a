r"""What came in, day by day: histograms of order value, units and unit price that add up exactly.

    ledger --purchases of a day--> net, units, net / units --bins--> counts (days, measures, BINS)
                              \--of them by new customers---> net, units

An order is the unit, not a line: the lines of one order resemble each other, so a thousand lines of
sixty orders know about prices what sixty independent numbers know (the design effect; Kish, 1965), and
a threshold scaled to lines would alarm every week. Returns are left out, and so are folded records,
which stand for several orders. New customers are looked at by themselves too: ten bulk buyers are few
among sixty orders, and many among ten first ones. The bins are a quarter of an octave wide, the same for
every measure and shop, and counts are integers: partitions and chunks add up to the same table in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from features.ledger import FOLDED, MONEY, Ints, Ledger
from features.vector import Floats

MEASURES = ("order value", "units", "unit price", "new customers' order value", "new customers' units")
"""In the currency unit, in pieces an order, and in the currency unit a piece; the last two of customers' first days."""

PER_OCTAVE = 4
"""Bins for each doubling: neighbours differ by 19 %, and a mean of logs is off by less than 1 % of that."""

_LOWEST, _HIGHEST = -8, 32
BINS = PER_OCTAVE * (_HIGHEST - _LOWEST)
"""From 1/256 to 4.3 billion; the first and the last bin take what lies beyond."""

_EDGES: Floats = np.exp2(np.arange(BINS + 1) / PER_OCTAVE + _LOWEST)

CENTRES: Floats = (np.arange(BINS) + 0.5) / PER_OCTAVE + _LOWEST
"""Of each bin, in log2 of the measure's unit."""


Packed = tuple[tuple[int, ...], ...]
"""A day's counts without their zeros (`packed`)."""


@dataclass(frozen=True, slots=True)
class DailyInputs:
    """days: int64 (n,), ascending, days since 1970-01-01; counts: int64 (n, measures, BINS), orders.

    A day on which nobody ordered has no row.
    """

    days: Ints
    counts: Ints

    def __len__(self) -> int:
        return len(self.days)

    def __add__(self, other: DailyInputs) -> DailyInputs:
        days = np.union1d(self.days, other.days)
        counts = np.zeros((len(days), len(MEASURES), BINS), np.int64)
        for part in (self, other):
            counts[np.searchsorted(days, part.days)] += part.counts
        return DailyInputs(days, counts)

    @property
    def orders(self) -> Ints:
        """Orders a day, int64 (n,)."""
        return np.asarray(self.counts[:, 0].sum(axis=1), np.int64)

    def begins_with(self, other: DailyInputs) -> bool:
        """Say whether the first days are the other's, with the same counts."""
        n = len(other)
        return np.array_equal(self.days[:n], other.days) and np.array_equal(self.counts[:n], other.counts)

    def since(self, day: int) -> DailyInputs:
        """Return the days from `day` on."""
        first = int(np.searchsorted(self.days, day))
        return DailyInputs(self.days[first:], self.counts[first:])


def edge(bin_: int) -> float:
    """Return the lower edge of a bin, in the measure's unit."""
    return float(_EDGES[bin_])


def nothing() -> DailyInputs:
    """Return the inputs of no day."""
    return DailyInputs(np.empty(0, np.int64), np.empty((0, len(MEASURES), BINS), np.int64))


def packed(counts: Ints) -> Packed:
    """Return a day's counts, int64 (measures, BINS), as pairs of bin and orders, one flat tuple a measure."""
    return tuple(
        tuple(np.column_stack([filled, row[filled]]).ravel().tolist())
        for row, filled in ((row, np.flatnonzero(row)) for row in counts)
    )


def unpacked(measures: Packed) -> Ints:
    """Return what `packed` was given; nothing at all is a day without orders. Raises ValueError for other pairs."""
    _check(measures)
    counts = np.zeros((len(MEASURES), BINS), np.int64)
    for measure, row in enumerate(measures):
        counts[measure, list(row[::2])] = row[1::2]
    return counts


def summed(rows: Iterable[tuple[int, Packed]]) -> DailyInputs:
    """Add up many days' packed counts, of several partitions in any order. Raises ValueError as `unpacked`."""
    given = [(day, measures) for day, measures in rows if any(measures)]
    days, place = np.unique(np.array([day for day, _ in given], np.int64), return_inverse=True)
    counts = np.zeros((len(days), len(MEASURES), BINS), np.int64)
    for at, (_, measures) in zip(place.tolist(), given, strict=True):
        _check(measures)
        for measure, row in enumerate(measures):
            own = counts[at, measure]
            for bin_, orders in zip(row[::2], row[1::2], strict=True):
                own[bin_] += orders
    return DailyInputs(days, counts)


def _check(measures: Packed) -> None:
    if len(measures) > len(MEASURES) or any(len(row) % 2 or max(row[::2], default=0) >= BINS for row in measures):
        raise ValueError("counts of a day's orders are no pairs of bin and orders")


def daily_inputs(ledger: Ledger, first_day: Ints, first: int, until: int) -> DailyInputs:
    """Count the purchases dated first <= day < until.

    first_day: int64, by owner, the day of each customer's first order.
    """
    inside = (ledger.day >= first) & (ledger.day < until)
    inside &= (ledger.net > 0) & (ledger.units > 0) & (ledger.order != FOLDED)
    days, row = np.unique(ledger.day[inside], return_inverse=True)
    value, units = ledger.net[inside] / MONEY, ledger.units[inside]
    new = ledger.day[inside] == first_day[ledger.owner[inside]]
    columns = [_counted(row, column, len(days)) for column in (value, units, value / units)]
    columns += [_counted(row[new], column[new], len(days)) for column in (value, units)]
    return DailyInputs(days, np.stack(columns, axis=1))


def _counted(row: Ints, column: Floats | Ints, days: int) -> Ints:
    bins = np.searchsorted(_EDGES[1:-1], column, side="right")
    return np.bincount(row * BINS + bins, minlength=days * BINS).reshape(days, BINS).astype(np.int64)
