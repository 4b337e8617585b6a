"""A history published as events: the lines of files in the order of their time, with the history's ids, and ticks.

    History --time order--> pace --> room --> JSON lines, keyed by customer --> transactions, murmur2
                                                     ... the last line, then a tick to every partition

Ids are those that a bootstrap of the same files gives (PROTOCOL H3), whatever part of them is published: a
line that the bootstrap has read already counts once. A record's timestamp is the time of publishing: retention
works on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from consumer.history.csv_source import History
from features.ledger import MONEY
from features.transaction import DAY_SECONDS

CHUNK = 500
"""Events between two looks at room and progress."""
ROOM_BYTES = 1 << 20
"""An embedded partition keeps about 5 MB: what is unread must stay well below (DESIGN section 6)."""
ROOM_POLL_S = 0.1
STUCK_AFTER_S = 120.0

Sleep = Callable[[float], None]


class Line(msgspec.Struct, omit_defaults=True):
    """One event as it is published; docs/topics.md tells the fields."""

    invoice_no: str
    stock_code: str
    quantity: int
    unit_price: float
    invoice_date: str
    customer_id: str = ""
    event_id: str = ""
    original_invoice_no: str = ""
    description: str = ""
    country: str = ""


class Event(NamedTuple):
    """An event to publish: its customer's key (None: a guest's), the JSON, and when it happened in local seconds."""

    key: bytes | None
    value: bytes
    time: int


class Writer(Protocol):
    """Publishes to one topic (consumer.transport.kafka_writer)."""

    def send(self, key: bytes | None, value: bytes, partition: int) -> None:
        """Queue a record for a partition; errors are raised here or by `flush`."""

    def flush(self) -> None:
        """Return when everything queued was acknowledged."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which lines are published: start <= time < stop, both local seconds, None: no bound."""

    start: int | None = None
    stop: int | None = None

    def of(self, history: History) -> History:
        """Return the lines in the window, by time; lines of one second keep the files' order."""
        inside = np.ones(len(history), np.bool_)
        if self.start is not None:
            inside &= history.time >= self.start
        if self.stop is not None:
            inside &= history.time < self.stop
        chosen = np.flatnonzero(inside)
        return history.take(chosen[np.argsort(history.time[chosen], kind="stable")])


def events(history: History, chunk: int = 20_000) -> Iterator[Event]:
    """Yield the lines of a history as events, in its order; a part at a time, so that the first comes at once."""
    encode = msgspec.json.Encoder().encode
    for low in range(0, len(history), chunk):
        part = history.take(slice(low, low + chunk))
        columns = zip(
            part.customer_ids(),
            part.invoice_no.tolist(),
            part.original_invoice_no.tolist(),
            part.stock_code.tolist(),
            part.description.tolist(),
            part.country.tolist(),
            part.quantity.tolist(),
            (part.price / MONEY).tolist(),  # the double nearest to a multiple of 1/10,000: its shortest text is exact
            part.iso_times(),
            part.event_ids(),
            part.time.tolist(),
            strict=True,
        )
        for who, order, original, code, text, country, quantity, price, moment, event, at in columns:
            line = Line(order, code, quantity, price, moment, who, event, original, text, country)
            yield Event(who.encode() or None, encode(line), at)


def tick(day: int) -> bytes:
    """Return the tick that turns a partition's day; `day` since 1970-01-01 in the configured zone."""
    return msgspec.json.encode({"type": "tick", "at": str(np.datetime64(day * DAY_SECONDS, "s"))})


@dataclass(slots=True)
class Published:
    """What was published, a partition at a time: records, and the running sum of their bytes."""

    records: dict[int, int] = field(default_factory=dict)
    ends: dict[int, list[int]] = field(default_factory=dict)

    def add(self, partition: int, size: int) -> int:
        """Count a record; return its number in the partition, from 0."""
        ends = self.ends.setdefault(partition, [0])
        ends.append(ends[-1] + size)
        number = self.records.get(partition, 0)
        self.records[partition] = number + 1
        return number

    def unread(self, partition: int, read: int) -> int:
        """Return the bytes published after the first `read` records."""
        ends = self.ends.get(partition, [0])
        return ends[-1] - ends[min(read, len(ends) - 1)]

    @property
    def total(self) -> int:
        """Records in all partitions."""
        return sum(self.records.values())


class Pace:
    """Waits so that event time runs at `factor` times the clock's; a factor of None never waits."""

    def __init__(self, factor: float | None, now: Callable[[], float], sleep: Sleep) -> None:
        self._factor, self._now, self._sleep = factor, now, sleep
        self._first: tuple[int, float] | None = None

    def wait(self, event_time: int) -> None:
        """Return when an event of this time is due."""
        if self._factor is None:
            return
        if self._first is None:
            self._first = event_time, self._now()
        due = self._first[1] + (event_time - self._first[0]) / self._factor
        left = due - self._now()
        if left > 0:
            self._sleep(left)


class Room:
    """Waits while a partition's unread bytes exceed what an embedded broker keeps safely."""

    def __init__(
        self,
        applied: Callable[[], Mapping[int, int]],
        published: Published,
        sleep: Sleep = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`applied`: records read so far by partition, counted from the first that was published here."""
        self._applied, self._published, self._sleep, self._now = applied, published, sleep, now

    def wait(self) -> None:
        """Return when every partition has room. Raises TimeoutError where nobody reads."""
        before: Mapping[int, int] | None = None
        patience = self._now() + STUCK_AFTER_S
        while True:
            read = self._applied()
            if all(self._published.unread(p, read.get(p, 0)) <= ROOM_BYTES for p in self._published.records):
                return
            if read != before:
                before, patience = read, self._now() + STUCK_AFTER_S
            if self._now() > patience:
                raise TimeoutError(f"nobody has read the topic for {STUCK_AFTER_S:g} s: is a worker running?")
            self._sleep(ROOM_POLL_S)


@dataclass(frozen=True, slots=True)
class Replay:
    """How events go out. partition_of: key -> partition; sent: told of each record (partition, number, key, value)."""

    writer: Writer
    partition_of: Callable[[bytes], int]
    partitions: int
    pace: Pace
    room: Callable[[], None] = lambda: None
    sent: Callable[[int, int, bytes | None, bytes], None] = lambda _p, _n, _k, _v: None
    published: Published = field(default_factory=Published)
    stopping: Callable[[], bool] = lambda: False

    def publish(self, stream: Iterable[Event], of: int, progress: Callable[[int, int], None]) -> None:
        """Publish events in their order; returns early when told to stop."""
        rest, done = iter(stream), 0
        while chunk := list(islice(rest, CHUNK)):
            if self.stopping():
                break
            self.room()
            done += self._chunk(chunk)
            progress(done, of)
        self.writer.flush()

    def tick(self, day: int) -> None:
        """Turn the day of every partition, behind what was published."""
        for partition in range(self.partitions):
            self._send(partition, None, tick(day))
        self.writer.flush()

    def _chunk(self, chunk: list[Event]) -> int:
        """Publish what is due of a chunk; at a pace events go out one by one, else without a look at the clock."""
        for event in chunk:
            if self.stopping():
                break
            self.pace.wait(event.time)
            # A guest belongs nowhere; his line's own bytes spread him evenly, the same way each time.
            self._send(self.partition_of(event.key or event.value), event.key, event.value)
        return len(chunk)

    def _send(self, partition: int, key: bytes | None, value: bytes) -> None:
        self.writer.send(key, value, partition)
        number = self.published.add(partition, len(value) + len(key or b"") + 80)
        self.sent(partition, number, key, value)


def parse_speed(text: str) -> float | None:
    """Return the factor of ``max`` (None) or ``100x``. Raises ValueError."""
    if text == "max":
        return None
    number = text.removesuffix("x")
    try:
        factor = float(number)
    except ValueError:
        factor = 0.0
    if not (text.endswith("x") and 0 < factor < float("inf")):
        raise ValueError(f"--speed {text}: write max, or a factor such as 1x or 3600x")
    return factor
