"""The ledger: a customer's orders in the horizon, for many customers at once.

    owner  order      day    net     units  lines  orders
      0    a1f3..    15125   1200      4      2      1      <- one record an (order, day)
      0    77c0..    15140   -300     -1      1      0      <- a return is an order with a negative net
      1    0         15001   9900     31     12      5      <- "folded": the oldest orders of one day

`merge` is the only operation: it adds records of equal (owner, order, day). Integer addition is
commutative and associative, so batch = stream = replay in any order and with any batch size
(DESIGN D1). No floats: sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

MONEY = 10_000
"""Amounts are integers in 1/10,000 of the currency unit."""

FOLDED = 0
"""The order hash of a record that stands for several orders of one day (`hash64` never gives 0)."""

MAX_ORDERS = 1_000
"""Records a customer may hold; beyond it the oldest fold into one record a day (PROTOCOL C1)."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Accepted transaction lines as columns of one length n.

    owner: int64, index of the customer in the caller's list; order: uint64, hash of the invoice
    number; day: int64, days since 1970-01-01 in the configured zone; amount: int64, signed, in
    1/10,000 of the currency unit; units: int64, signed; event_id: uint64, 0 where there is none.
    """

    owner: Ints
    order: Hashes
    day: Ints
    amount: Ints
    units: Ints
    event_id: Hashes

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Lines:
        """Return the rows that a NumPy index selects."""
        return Lines(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ragged table of records, sorted by (owner, order, day), unique in these three.

    All columns have one length n. owner: int64; order: uint64; day: int64; net: int64 in 1/10,000;
    units: int64; lines: int64; orders: int64, the positive orders that a folded record stands for
    (0 in every other record).
    """

    owner: Ints
    order: Hashes
    day: Ints
    net: Ints
    units: Ints
    lines: Ints
    orders: Ints

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Ledger:
        """Return the records that a NumPy index selects; the caller keeps the order."""
        return Ledger(*(getattr(self, f.name)[index] for f in fields(self)))


def empty() -> Ledger:
    """Return a ledger without records."""
    none = np.empty(0, np.int64)
    return Ledger(none, np.empty(0, np.uint64), none, none, none, none, none)


def from_lines(lines: Lines) -> Ledger:
    """Return the ledger of some lines: one record an (owner, order, day)."""
    return _combine(
        Ledger(
            lines.owner,
            lines.order,
            lines.day,
            lines.amount,
            lines.units,
            np.ones(len(lines), np.int64),
            np.zeros(len(lines), np.int64),
        )
    )


def merge(a: Ledger, b: Ledger) -> Ledger:
    """Return the sum of two ledgers over the same list of customers."""
    if not len(a):
        return b
    if not len(b):
        return a
    return _combine(Ledger(*(np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Ledger))))


def expire(ledger: Ledger, first_day: int) -> tuple[Ledger, Ledger]:
    """Split a ledger into (the records from `first_day` on, the older ones)."""
    old = ledger.day < first_day
    if not old.any():
        return ledger, empty()
    return ledger.take(~old), ledger.take(old)


def fold(ledger: Ledger, cap: int = MAX_ORDERS) -> Ledger:
    """Fold the oldest records of every customer above `cap` records into one record a day.

    The newest `cap // 2` records of such a customer stay as they are, so a fold is rare: the older ones become one
    record a day that keeps net, units, lines and the number of positive orders. What is lost is the
    identity of the folded orders: a later line of one of them counts as an order of its own.
    """
    counts = np.bincount(ledger.owner)
    if not len(counts) or counts.max() <= cap:
        return ledger
    crowded = counts[ledger.owner] > cap
    rows = np.flatnonzero(crowded)
    by_age = rows[np.lexsort((ledger.order[rows], -ledger.day[rows], ledger.owner[rows]))]
    owners = ledger.owner[by_age]
    first = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    rank = np.arange(len(by_age)) - np.repeat(first, np.diff(np.r_[first, len(by_age)]))
    oldest = by_age[rank >= cap // 2]
    positive = _positive_orders(ledger)
    order, orders = ledger.order.copy(), ledger.orders.copy()
    order[oldest] = FOLDED
    orders[oldest] = positive[oldest]
    return _combine(Ledger(ledger.owner, order, ledger.day, ledger.net, ledger.units, ledger.lines, orders))


def order_starts(ledger: Ledger) -> npt.NDArray[np.intp]:
    """Return the index of the first record of every (owner, order); a folded day is an order of its own."""
    if not len(ledger):
        return np.empty(0, np.intp)
    new = (ledger.owner[1:] != ledger.owner[:-1]) | (ledger.order[1:] != ledger.order[:-1])
    return np.flatnonzero(np.r_[True, new | (ledger.order[1:] == FOLDED)])


def _positive_orders(ledger: Ledger) -> Ints:
    """Return, a record, how many positive orders it counts for: an order is counted in its last record."""
    counted = ledger.orders.copy()
    starts = order_starts(ledger)
    positive = np.add.reduceat(ledger.net, starts) > 0
    last = np.r_[starts[1:], len(ledger)] - 1
    whole = ledger.order[last] != FOLDED
    counted[last[whole]] = positive[whole]
    return counted


def _combine(rows: Ledger) -> Ledger:
    """Sort by (owner, order, day) and add up equal keys."""
    if not len(rows):
        return rows
    by_key = np.lexsort((rows.day, rows.order, rows.owner))
    sorted_rows = rows.take(by_key)
    owner, order, day = sorted_rows.owner, sorted_rows.order, sorted_rows.day
    new = (owner[1:] != owner[:-1]) | (order[1:] != order[:-1]) | (day[1:] != day[:-1])
    starts = np.flatnonzero(np.r_[True, new])
    return Ledger(
        owner[starts],
        order[starts],
        day[starts],
        np.add.reduceat(sorted_rows.net, starts),
        np.add.reduceat(sorted_rows.units, starts),
        np.add.reduceat(sorted_rows.lines, starts),
        np.add.reduceat(sorted_rows.orders, starts),
    )
