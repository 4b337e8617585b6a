"""The newest moves, for who comes and asks: a thread follows the output topic while anybody does.

    output topic --the newest that are there--> | the last `KEPT` moves | --newest()--> a page, every second
                 --read_committed, from then on-->

Where no broker runs, what a demo has recorded of its topic is shown instead; it goes no further.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from consumer.messages import SegmentRecord
from consumer.ports import TopicReader
from consumer.serving.problem import refusal_of
from consumer.transport.kafka_tail import Arrived, KafkaTail
from models.bundle import Segment

KEPT = 500
PAST = 100
"""So many records of a partition are looked at when the thread begins."""
LOOK_S = 0.2
UNASKED_S = 30.0
"""Nobody has asked for so long: the thread ends, and the next who asks begins anew."""
AGAIN_S = 2.0

_decode = msgspec.json.Decoder(SegmentRecord).decode


class Move(NamedTuple):
    """A record of the output that tells of a move. published: seconds since 1970; segment: None for an erasure."""

    published: float
    partition: int
    offset: int
    customer_id: str
    previous: Segment | None
    segment: Segment | None
    cause: str
    as_of: str
    revision: int


class Moves(NamedTuple):
    """The newest moves, the newest first. following: more come by themselves; trouble: why not."""

    moves: tuple[Move, ...]
    following: bool
    trouble: str | None


class Sources(NamedTuple):
    """Where moves are read. past: what is there already, with its topic's partitions; tail: None without a broker."""

    past: Callable[[], TopicReader]
    tail: Callable[[], KafkaTail] | None
    topic: str


def move_of(arrived: Arrived) -> Move | None:
    """Return the move that a record tells of; None for one that tells of none, or is none of ours.

    With `SEGMENTER_EMIT=all` a record may tell that a customer stayed: he entered his segment on another day.
    """
    record = arrived.record
    at = (record.timestamp / 1000, arrived.partition, record.offset)
    if record.value is None:
        return Move(*at, (record.key or b"").decode("utf-8", "replace"), None, None, "erasure", "", 0)
    try:
        told = _decode(record.value)
    except msgspec.DecodeError:
        return None
    if told.entered_on != told.as_of:
        return None
    return Move(*at, told.customer_id, told.previous, told.segment, told.cause, told.as_of, told.revision)


class Recent:
    """Keeps the newest moves of one topic. May be asked from several threads; now: a clock that only goes forward."""

    def __init__(self, sources: Sources, now: Callable[[], float] = time.monotonic) -> None:
        self._sources, self._now = sources, now
        self._kept: deque[Move] = deque(maxlen=KEPT)
        self._ends: dict[int, int] = {}
        self._asked = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._begun = threading.Event()
        self._trouble: str | None = None
        self._following = self._whole = False

    def newest(self, *, wait_s: float = 0.0) -> Moves:
        """Return what is known by now. wait_s: so long at most the first answer waits for what is there already."""
        self._asked = self._now()
        with self._lock:
            idle = self._thread is None or not self._thread.is_alive()
            if idle and not self._whole and not self._ending.is_set():
                self._begun.clear()
                self._thread = threading.Thread(target=self._run, name="moves", daemon=True)
                self._thread.start()
        self._begun.wait(wait_s)
        with self._lock:
            return Moves(tuple(reversed(self._kept)), self._following, self._trouble)

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._wanted():
            try:
                self._follow()
                return
            except Exception as error:  # noqa: BLE001 -- whatever it is, who asks is told, and it is tried again
                self._following, self._trouble = False, str(refusal_of(error))
                self._begun.set()
                self._ending.wait(AGAIN_S)

    def _follow(self) -> None:
        """Read what is there, and what comes until nobody asks any more. Raises `TransportError`."""
        tail = None if self._sources.tail is None else self._sources.tail()
        try:
            self._add(self._past())
            self._trouble = None
            self._whole = tail is None
            self._begun.set()
            if tail is None:
                return
            self._following = True
            while self._wanted():
                self._add(tail.poll(LOOK_S))
        finally:
            self._following = False
            if tail is not None:
                tail.close()

    def _past(self) -> Sequence[Arrived]:
        reader, topic = self._sources.past(), self._sources.topic
        found: list[Arrived] = []
        try:
            for partition in range(reader.facts(topic).partitions):
                first, end = reader.bounds(topic, partition)
                start = max(first, end - PAST)
                if start < end:
                    found += [Arrived(partition, record) for record in reader.read(topic, partition, start, end)]
        finally:
            reader.close()
        return sorted(found, key=lambda each: (each.record.timestamp, each.partition, each.record.offset))

    def _add(self, arrived: Iterable[Arrived]) -> None:
        """Keep what was not seen yet: the tail stood at the end before the past was read."""
        with self._lock:
            for each in arrived:
                if each.record.offset >= self._ends.get(each.partition, 0):
                    self._ends[each.partition] = each.record.offset + 1
                    move = move_of(each)
                    if move is not None:
                        self._kept.append(move)

    def _wanted(self) -> bool:
        return not self._ending.is_set() and self._now() - self._asked < UNASKED_S
