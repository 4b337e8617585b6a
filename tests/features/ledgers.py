"""The plain truth about ledgers: a dict and a loop, and lines for hypothesis to play with."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from features.ledger import FOLDED, Ledger, Lines

Key = tuple[int, int, int]
Record = tuple[int, int, int, int]
"""net, units, lines, orders"""


class Line(NamedTuple):
    """One transaction line."""

    owner: int
    order: int
    day: int
    amount: int
    units: int
    event_id: int = 0


# Few keys, so that they collide; hashes on both sides of 2^63, where signed and unsigned differ.
ORDERS = (1, 2, 3, 2**63 - 1, 2**63, 2**64 - 1)
lines = st.builds(
    Line,
    owner=st.integers(0, 3),
    order=st.sampled_from(ORDERS),
    day=st.integers(15_000, 15_008),
    amount=st.integers(-(10**13), 10**13) | st.integers(-3, 3),
    units=st.integers(-(10**9), 10**9),
    event_id=st.just(0),
)


def columns(rows: Sequence[Line]) -> Lines:
    """Rows as the columns that the code takes."""
    owner, order, day, amount, units, ids = zip(*rows, strict=True) if rows else ((),) * 6
    return Lines(
        np.array(owner, np.int64),
        np.array(order, np.uint64),
        np.array(day, np.int64),
        np.array(amount, np.int64),
        np.array(units, np.int64),
        np.array(ids, np.uint64),
    )


def plain_ledger(rows: Iterable[Line]) -> dict[Key, Record]:
    """What a ledger is, one line at a time."""
    table: dict[Key, Record] = {}
    for line in rows:
        net, units, count, orders = table.get(line[:3], (0, 0, 0, 0))
        table[line[:3]] = (net + line.amount, units + line.units, count + 1, orders)
    return table


def plain_fold(table: dict[Key, Record], cap: int) -> dict[Key, Record]:
    """A customer's records before his newest `cap`, one a day."""
    folded: dict[Key, Record] = {}
    for customer in {owner for owner, _, _ in table}:
        whole = sorted((-day, order) for owner, order, day in table if owner == customer and order != FOLDED)
        newest = {(customer, order, -day) for day, order in whole[:cap]}
        for key, record in table.items():
            if key[0] != customer:
                continue
            if key in newest:
                folded[key] = record
                continue
            net, units, count, orders = record
            orders += net > 0 and key[1] != FOLDED
            day = (customer, FOLDED, key[2])
            old = folded.get(day, (0, 0, 0, 0))
            folded[day] = (old[0] + net, old[1] + units, old[2] + count, old[3] + orders)
    return folded


def as_table(ledger: Ledger) -> dict[Key, Record]:
    """A ledger as the plain table; its keys must be distinct and in order."""
    rows = list(zip(*(getattr(ledger, field.name).tolist() for field in fields(Ledger)), strict=True))
    keys = [row[:3] for row in rows]
    assert keys == sorted(set(keys))
    return {row[:3]: row[3:] for row in rows}


def as_bytes(ledger: Ledger) -> list[tuple[str, str, bytes]]:
    """Every column's name, type and bytes: equal lists are equal ledgers, byte for byte."""
    found = [(field.name, getattr(ledger, field.name)) for field in fields(Ledger)]
    return [(name, str(column.dtype), column.tobytes()) for name, column in found]
