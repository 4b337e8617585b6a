"""A partition's input in order of offset: who did what, and what became of everything else.

lines and erasures by customer | counters | refusals | turns of the day that are missing
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from reports.verify_events import DAY, GUEST, Erase, Line, Reader, Refused, Tick, local_seconds, murmur2
from reports.verify_input import Facts, InputRecord, Partition
from reports.verify_life import Turn, iso

NO_RUN: Final[tuple[int, frozenset[str]]] = (0, frozenset())
"""So many events far ahead came in a row, and of whom."""

Complain = Callable[[str, str, Any, Any], None]
"""Told (customer, kind, expected, found) of what is wrong with the partition's state."""


@dataclass(slots=True)
class Stream:
    """What a partition's input says. items: lines and erasures of each customer, by offset."""

    items: dict[str, list[Line | Erase]] = field(default_factory=lambda: defaultdict(list))
    counters: Counter[str] = field(default_factory=Counter)
    refused: dict[int, str] = field(default_factory=dict)


class Reading:
    """Reads one partition's input once."""

    def __init__(
        self, facts: Facts, partition: Partition, turns: Sequence[Turn], newest: int, complain: Complain
    ) -> None:
        self._facts, self._partition, self._complain = facts, partition, complain
        self._turns = turns
        self._from = [turn.applied for turn in turns]
        self._reader = Reader(facts.timezone, facts.currency, (facts.today + 2) * DAY)
        self._home = lru_cache(maxsize=1 << 18)(home_of(facts))
        self.watermark = newest
        self._run = NO_RUN
        self._missed_turns: set[int] = set()
        self.stream = Stream()

    def run(self) -> Stream:
        """Return what the records from the start to the committed offset say."""
        partition, read = self._partition, self._reader.read
        start, stop, dead, gaps = partition.start, partition.standing.applied, partition.dead, partition.standing.gaps
        lines = 0
        for record in partition.input:
            offset, timestamp, _, value = record
            if not start <= offset < stop or (gaps and self._is_skipped(offset)):
                continue
            lines += 1
            found = read(offset, timestamp, value)
            if offset in dead and dead[offset] == "future" and not isinstance(found, Erase | str):
                found = "future"  # only the service knows what day it was then
            if isinstance(found, Line):
                self._line(record, found)
            elif isinstance(found, str):
                self._refuse(offset, found)
            else:
                self._control(found)
        self.stream.counters["lines"] += lines
        return self.stream

    def _is_skipped(self, offset: int) -> bool:
        return any(start <= offset < stop for start, stop in self._partition.standing.gaps)

    def _refuse(self, offset: int, reason: str) -> None:
        if reason == GUEST:
            self.stream.counters["guests"] += 1
            return
        self.stream.counters[f"refused.{reason}"] += 1
        self.stream.refused[offset] = reason

    def _line(self, record: InputRecord, line: Line) -> None:
        if self._home(line.customer) != self._partition.number:
            named = "foreign_partition" if record.key == line.customer.encode() else "key_mismatch"
            self._refuse(record.offset, "key_missing" if record.key is None else named)
        elif self._facts.clock == "event" and self._is_ahead(line):
            self._refuse(record.offset, "ahead")
        else:
            self.watermark = max(self.watermark, line.time)
            self.stream.items[line.customer].append(line)

    def _is_ahead(self, line: Line) -> bool:
        """Follow the rule for events far ahead of the day: refused, until ten of three customers come in a row."""
        facts, today, day = self._facts, self._day_at(line.offset), line.time // DAY
        if day <= today:
            self._run = NO_RUN
            return False
        count, customers = self._run
        if len(customers) < facts.ahead_customers:
            customers |= {line.customer}
        resumed = count + 1 >= facts.ahead_events and len(customers) >= facts.ahead_customers
        if day <= today + facts.ahead_days or resumed:
            self._miss_turn(line.offset, day, today)
            return False
        self._run = (count + 1, customers)
        return True

    def _control(self, control: Erase | Tick) -> None:
        if isinstance(control, Tick):
            self.stream.counters["ticks"] += 1
            day, today = control.at // DAY, self._day_at(control.offset)
            if self._facts.clock == "event" and day > today:
                self._miss_turn(control.offset, day, today)
            return
        if self._home(control.customer) != self._partition.number:
            self._refuse(control.offset, "foreign_partition")
            return
        self.stream.counters["erasures"] += 1
        at = control.at if control.at is not None else self._time_of_erasure(control)
        self.stream.items[control.customer].append(control._replace(at=at))

    def _time_of_erasure(self, control: Erase) -> int:
        if self._facts.clock == "event":
            return self.watermark
        try:
            published = datetime.fromtimestamp(control.published / 1000, UTC)
            return local_seconds(f"{published:%Y-%m-%dT%H:%M:%SZ}", self._zone)
        except (ValueError, OverflowError, OSError, Refused):
            return self.watermark  # a producer may write any number as a record's time

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._facts.timezone)

    def _day_at(self, offset: int) -> int:
        return self._turns[bisect_right(self._from, offset) - 1].day

    def _miss_turn(self, offset: int, day: int, today: int) -> None:
        if day not in self._missed_turns:
            self._missed_turns.add(day)
            self._complain("", f"day at offset {offset}", f"at least {iso(day)}", iso(today))


def home_of(facts: Facts) -> Callable[[str], int]:
    """Return customer -> partition."""
    given = facts.partition_of
    return given if given is not None else lambda customer: murmur2(customer.encode()) % facts.partitions
