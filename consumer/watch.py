"""The sentinel's live half: the leader judges the days whose orders the sweeps have counted (models/sentinel.py).

daily table of each partition --add--> daily inputs --Sentinel--> findings of the newest day --> observer

A finding follows from the table alone; what is held between two days only spares judging the older ones again.
Late orders, which are dated before the newest day, are not in it: `segmenter model check` reads the ledgers.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consumer.observer import Observer
from consumer.stored import FIRST_DAY, Count, Day, read_json
from consumer.tally import Inputs
from features.store import InvalidKey, Store
from features.transaction import date_of
from models.daily_inputs import summed


class Watch:
    """Tells the observer what is odd about a day, once the day's model is made."""

    def __init__(self, store: Store, observer: Observer) -> None:
        from models.sentinel import Sentinel  # river takes seconds: at the worker's start, not in the middle of a day

        self._store, self._observer = store, observer
        self._sentinel = Sentinel()

    def look(self, day: int, partitions: int) -> None:
        """Judge the day before `day`, the sweeps'. Raises `InvalidKey` where a row cannot be read, `StoreError`."""
        inputs = summed(row for partition in range(partitions) for row in self._counted(partition))
        judged = date_of(day - 1)
        self._observer.judged(judged, [each for each in self._sentinel.judge(inputs) if each.day == judged])

    def _counted(self, partition: int) -> Iterator[tuple[int, Inputs]]:
        """Yield the days of a partition's orders and their counts; where a day was swept twice, the later sweep's."""
        try:
            rows = [read_json(data, _Counted) for data in self._store.daily(partition, FIRST_DAY)]
            last = {row.day: row for row in sorted(rows, key=lambda row: row.number)}
            yield from ((day - 1, row.inputs) for day, row in last.items())
        except msgspec.DecodeError as error:
            raise InvalidKey(self._store.key(partition, "daily"), f"a row is none: {error}") from error


class _Counted(msgspec.Struct, frozen=True):
    """The part of `consumer.tally.Row` that is needed, since the whole table is read each day."""

    number: Count
    day: Day
    inputs: Inputs = ()
