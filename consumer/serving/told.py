"""What was said of customers and still holds: for whom the same bytes are stored on the same day, under the same model.

    row --(id, bytes, generation, day, sweep)--> said before? --> the same again
                                                    no       --> computed, with all others that are new

Guarantee: nothing is ever out of date. A description is a function of its key alone, and each look-up reads all of the
key from the store; what is saved is the computing, most of which is the next move.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from consumer.commands.lookup import Customer, Opened, Row, describe, grouped
from features.identity import position

KEPT = 10_000
"""Customers, about 4 kB each; who has not been asked for longest is computed anew."""

_Key = tuple[str, bytes, str, int, int, int, bool]


class Told:
    """Descriptions by what they are made of. May be asked from several threads."""

    def __init__(self) -> None:
        self._kept: dict[_Key, Customer] = {}
        self._lock = threading.Lock()

    def of(self, state: Opened, rows: Sequence[Row]) -> dict[str, Customer]:
        """Return each row's description by id. Raises `StoreError`, `InvalidState`."""
        keys = {row.customer: _key(state, row) for row in rows}
        with self._lock:
            found = {name: self._kept.pop(key) for name, key in keys.items() if key in self._kept}
        new = [row for row in rows if row.customer not in found]
        lasting = dict(found)
        try:
            for group in grouped(state, new):
                described = {each.customer_id: each for each in describe(group)}
                found |= described
                lasting |= described if group.bundle is not None else {}  # a lost model may be put back
        finally:
            with self._lock:
                self._kept |= {keys[name]: each for name, each in lasting.items()}
                while len(self._kept) > KEPT:
                    del self._kept[next(iter(self._kept))]
        return found


def _key(state: Opened, row: Row) -> _Key:
    sweep = row.standing.sweep
    ahead = sweep.cursor is not None and position(row.customer) > sweep.cursor
    return row.customer, row.blob, state.binding.generation, sweep.day, sweep.version, sweep.number, ahead
