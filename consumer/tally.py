"""How many customers a segment has, what they spent, and who came from where: counted with each commit.

    commit   tally = tally - touched before + touched after, flows + moves      (as the statistics, PROTOCOL C4)
    sweep    the totals begin at zero and are those of everybody at its end     -> a row of the daily table
             the orders of the day before are counted as it passes those who placed them
    row      day, totals, the flows since the row before, these orders; flows begin anew

So within a partition, and over all of them, totals(row) = totals(row before) + flows in - flows out. Segment 0 is none:
who comes is born from it, who is erased or forgotten goes to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from consumer.stored import Count, Day
from features.ledger import Ints, Ledger
from features.vector import Flags
from models.centroids import Indices

NOBODY = 0
"""The segment of who has none."""
_LABELS = 1 << 16
"""More than there are labels: a head has two bytes for one."""

Whole = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
"""A number of customers, or a sum of money in 1/10,000. Damage may make it negative; the next sweep counts anew."""

Flows = Mapping[tuple[int, int, str], int]
"""(source, target, cause) -> customers."""


Inputs = tuple[tuple[Count, ...], ...]


class Total(msgspec.Struct, frozen=True, array_like=True):
    """A segment's customers, and their net revenue in the horizon in 1/10,000 of the currency unit."""

    segment: Count
    customers: Whole
    net: Whole


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """So many customers went from one segment to another for one cause; to 0: `erasure` or `forgotten`."""

    source: Count
    target: Count
    cause: str
    customers: Whole


class Tally(msgspec.Struct, frozen=True):
    """What is counted of a partition. totals: of whom the sweep has counted; flows: since the last row.

    flows None: a part of them was not counted (the state was raised to schema 2 meanwhile). inputs: while a sweep
    runs, the orders of the day before it, of whom it has passed (`models.daily_inputs.packed`).
    """

    totals: tuple[Total, ...] = ()
    flows: tuple[Flow, ...] | None = ()
    inputs: Inputs = ()

    def changed(self, before: Sequence[Total], after: Sequence[Total], flows: Flows) -> Tally:
        """Take out what some customers were, put in what they are, and count their moves."""
        customers: Counter[int] = Counter()
        net: Counter[int] = Counter()
        for totals, sign in ((self.totals, 1), (before, -1), (after, 1)):
            for total in totals:
                customers[total.segment] += sign * total.customers
                net[total.segment] += sign * total.net
        totals = tuple(Total(s, customers[s], net[s]) for s in sorted(customers) if customers[s] or net[s])
        return Tally(totals, None if self.flows is None else added(self.flows, flows), self.inputs)


class Row(msgspec.Struct, frozen=True):
    """One finished sweep of a partition in the daily table. version: the model's, whose segments these are.

    inputs: the orders of the day before; empty in rows from before they were counted.
    """

    number: Count
    day: Day
    version: Count
    totals: tuple[Total, ...]
    flows: tuple[Flow, ...] | None
    inputs: Inputs = ()


def totals_of(labels: Ints, ledger: Ledger, rows: Flags | Indices) -> tuple[Total, ...]:
    """Count the chosen customers by label. labels: int64 (n,); ledger: owners 0..n-1, within the horizon."""
    return totals_by(labels, ledger, rows, np.zeros(len(labels), np.int64), 1)[0]


def totals_by(labels: Ints, ledger: Ledger, rows: Flags | Indices, group: Ints, groups: int) -> list[tuple[Total, ...]]:
    """Count the chosen customers by label, those of each group alone. group: int64 (n,), 0..groups-1; else as above."""
    net = np.zeros(len(labels), np.int64)
    np.add.at(net, ledger.owner, ledger.net)
    chosen, worth = group[rows] * _LABELS + labels[rows], net[rows]
    found, place = np.unique(chosen, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, place, worth)
    counts = np.bincount(place, minlength=len(found))
    totals: list[list[Total]] = [[] for _ in range(groups)]
    for key, customers, money in zip(found.tolist(), counts.tolist(), sums.tolist(), strict=True):
        totals[key // _LABELS].append(Total(key % _LABELS, customers, money))
    return [tuple(each) for each in totals]


def added(flows: Iterable[Flow], more: Flows) -> tuple[Flow, ...]:
    """Add flows up, in the order of their segments and causes."""
    found = Counter(more)
    for flow in flows:
        found[flow.source, flow.target, flow.cause] += flow.customers
    return tuple(Flow(*key, n) for key, n in sorted(found.items()) if n)


def by_day(rows: Iterable[Row]) -> list[Row]:
    """Put the rows of a day together, in the order of days: totals of the last, flows of all."""
    found: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: (row.day, row.number)):
        before = found.get(row.day)
        known = row.flows is not None and (before is None or before.flows is not None)
        flows = added((*(before.flows or () if before else ()), *(row.flows or ())), {}) if known else None
        found[row.day] = msgspec.structs.replace(row, flows=flows)
    return list(found.values())


class DaySum(NamedTuple):
    """All partitions on one day. swept: how many have a row of it; the others' totals are those of their last row."""

    day: int
    version: int
    swept: int
    totals: tuple[Total, ...]
    flows: tuple[Flow, ...] | None


def summed(tables: Mapping[int, Iterable[Row]]) -> list[DaySum]:
    """Add the partitions' tables up, day by day; what holds of each holds of the sum, whoever is late."""
    rows = {partition: {row.day: row for row in by_day(table)} for partition, table in tables.items()}
    last: dict[int, Row] = {}
    found = []
    for day in sorted({day for table in rows.values() for day in table}):
        today = {partition: table[day] for partition, table in rows.items() if day in table}
        last |= today
        whole = Tally().changed((), [total for row in last.values() for total in row.totals], {})
        known = [row.flows for row in today.values() if row.flows is not None]
        flows = added((flow for each in known for flow in each), {}) if len(known) == len(today) else None
        version = max(row.version for row in today.values())
        found.append(DaySum(day, version, len(today), whole.totals, flows))
    return found
