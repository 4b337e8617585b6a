"""The ledger: a customer's orders in the horizon, for many customers at once.

    owner  order      day    net     units  lines  orders
      0    a1f3..    15125   1200      4      2      1      <- one record an (order, day)
      0    a1f3..    15140   -300     -1      1      0      <- a return that names its order: the order's net is 900
      0    77c0..    15150   -300     -1      1      0      <- one that does not: an order with a negative net
      1    0         15001   9900     31     12      5      <- "folded": the oldest orders of one day

`merge` is the only operation: it adds records of equal (owner, order, day). Integer addition is
commutative and associative, so batch = stream = replay in any order and with any batch size
(DESIGN D1). No floats: sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

MONEY = 10_000
"""Amounts are integers in 1/10,000 of the currency unit."""

FOLDED = 0
"""The order hash of a record that stands for several orders of one day (`hash64` never gives 0)."""

MAX_ORDERS = 1_000
"""Orders a customer may hold; those before the newest so many fold into one record a day (PROTOCOL C1)."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Accepted transaction lines as columns of one length n.

    owner: int64, index of the customer in the caller's list; order: uint64, hash of the number of the
    order, for a return of the one that it takes back, where it names it; day: int64, days since
    1970-01-01 in the configured zone; amount: int64, signed, in 1/10,000; units: int64, signed;
    event_id: uint64, 0 where there is none.
    """

    owner: Ints
    order: Hashes
    day: Ints
    amount: Ints
    units: Ints
    event_id: Hashes

    def __len__(self) -> int:
        return len(self.owner)

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Return the columns in their order."""
        return self.owner, self.order, self.day, self.amount, self.units, self.event_id

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Lines:
        """Return the rows that a NumPy index selects."""
        return Lines(*(column[index] for column in self.columns()))


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
    """Return the sum of two ledgers over the same list of customers.

    The smaller one is looked up in the larger, which is sorted already: a batch's few lines cost a
    binary search each and one copy of the table, not a sort of it.
    """
    if len(a) < len(b):
        a, b = b, a
    if not len(b):
        return a
    at = _lower_bounds(a, b)
    near = np.minimum(at, len(a) - 1)
    known = (a.owner[near] == b.owner) & (a.order[near] == b.order) & (a.day[near] == b.day)
    new = ~known
    # From a's records, with b's new ones put in front of those at `at`.
    source = np.insert(np.arange(len(a)), at[new], len(a) + np.arange(np.count_nonzero(new)))

    def key(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(a, name), getattr(b, name)[new]])[source]

    def total(name: str) -> Ints:
        column = np.concatenate([getattr(a, name), getattr(b, name)[new]])
        column[at[known]] += getattr(b, name)[known]  # b's keys are distinct, so no index comes twice
        return column[source]

    return Ledger(key("owner"), key("order"), key("day"), total("net"), total("units"), total("lines"), total("orders"))


def expire(ledger: Ledger, first_day: int) -> tuple[Ledger, Ledger]:
    """Split a ledger into (the records from `first_day` on, the older ones)."""
    old = ledger.day < first_day
    if not old.any():
        return ledger, empty()
    return ledger.take(~old), ledger.take(old)


def fold(ledger: Ledger, cap: int = MAX_ORDERS) -> Ledger:
    """Fold a customer's records before his newest `cap` into one record a day; they keep their sums.

    Which records are the newest `cap` depends on the records alone, not on when they came, so batches
    of any size fold to the same. What is lost is the identity of the folded orders: one that spans days
    counts once for each day with a positive net, and so does a line that comes later still.
    """
    counts = np.bincount(ledger.owner)
    if not len(ledger) or counts.max() <= cap:
        return ledger
    over = counts[ledger.owner] > cap
    folded, others = _folded(ledger.take(over), cap), ledger.take(~over)
    by_owner = np.argsort(np.concatenate([others.owner, folded.owner]), kind="stable")
    pairs = ((getattr(others, f.name), getattr(folded, f.name)) for f in fields(ledger))
    return Ledger(*(np.concatenate(pair)[by_owner] for pair in pairs))


def _folded(ledger: Ledger, cap: int) -> Ledger:
    """Fold customers all of whom have more than `cap` records."""
    whole = np.flatnonzero(ledger.order != FOLDED)
    newest_first = whole[np.lexsort((ledger.order[whole], -ledger.day[whole], ledger.owner[whole]))]
    owners = ledger.owner[newest_first]
    rank = np.arange(len(owners)) - np.searchsorted(owners, owners)
    oldest = newest_first[rank >= cap]
    order, orders = ledger.order.copy(), ledger.orders.copy()
    order[oldest] = FOLDED
    orders[oldest] = ledger.net[oldest] > 0
    return _combine(replace(ledger, order=order, orders=orders))


def order_starts(ledger: Ledger) -> npt.NDArray[np.intp]:
    """Return the index of the first record of every (owner, order); a folded day is an order of its own."""
    if not len(ledger):
        return np.empty(0, np.intp)
    new = (ledger.owner[1:] != ledger.owner[:-1]) | (ledger.order[1:] != ledger.order[:-1])
    return np.flatnonzero(np.r_[True, new | (ledger.order[1:] == FOLDED)])


def _lower_bounds(a: Ledger, b: Ledger) -> npt.NDArray[np.intp]:
    """Return for each record of b the first index in a whose key (owner, order, day) is not before its own."""
    low = np.asarray(np.searchsorted(a.owner, b.owner))
    high = np.asarray(np.searchsorted(a.owner, b.owner, side="right"))
    while (open_ := low < high).any():
        middle = np.minimum((low + high) // 2, len(a) - 1)
        order, day = a.order[middle], a.day[middle]
        before = (order < b.order) | ((order == b.order) & (day < b.day))
        low = np.where(open_ & before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low


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
