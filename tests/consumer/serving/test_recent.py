"""The newest moves of a topic in memory: what was there, what comes, and each once."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from consumer.messages import SegmentRecord
from consumer.ports import InputRecord, TopicFacts, TransportError
from consumer.serving.recent import KEPT, PAST, Moves, Recent, Sources, move_of
from consumer.transport.kafka_tail import Arrived
from models.bundle import Segment
from tests.harness.live import wait_until

CHAMPIONS, LOYAL = Segment(11, "Champions"), Segment(12, "Loyal")


def record(offset: int, customer: str = "12748", **more: Any) -> InputRecord:
    told: dict[str, Any] = {
        "customer_id": customer,
        "segment": CHAMPIONS,
        "previous": LOYAL,
        "cause": "purchase",
        "revision": offset + 1,
        "as_of": "2011-06-10",
        "entered_on": "2011-06-10",
        "margin": 0.5,
        "second": None,
        "features": {},
        "model_version": 3,
    }
    return InputRecord(offset, 1_000 * offset, customer.encode(), msgspec.json.encode(SegmentRecord(**(told | more))))


class Topic:
    """Two partitions in memory: what is there, and a tail that hands out what is put."""

    def __init__(self, *there: InputRecord) -> None:
        self.there, self.put = list(there), queue.Queue[Arrived | TransportError]()
        self.opened = self.closed = 0

    def __call__(self) -> Topic:
        self.opened += 1
        return self

    def facts(self, topic: str) -> TopicFacts:
        return TopicFacts(topic, 2)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        del topic
        return (0, len(self.there)) if partition == 0 else (0, 0)

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[InputRecord]:
        del topic, partition
        return iter(self.there[start:stop])

    def poll(self, timeout_s: float) -> Sequence[Arrived]:
        del timeout_s
        try:
            found = self.put.get(timeout=0.01)
        except queue.Empty:
            return []
        if isinstance(found, TransportError):
            raise found
        return [found]

    def close(self) -> None:
        self.closed += 1


def recent_of(topic: Topic, *, tail: bool = True, now: Any = None) -> Recent:
    sources = Sources(topic, topic if tail else None, "segments")  # type: ignore[arg-type]  # as it uses them
    return Recent(sources) if now is None else Recent(sources, now)


def ids(moves: Moves) -> list[str]:
    return [move.customer_id for move in moves.moves]


def test_what_is_there_comes_first_and_what_comes_goes_before_it_once() -> None:
    topic = Topic(record(0, "a"), record(1, "b"))
    recent = recent_of(topic)
    assert ids(recent.newest(wait_s=10)) == ["b", "a"]
    topic.put.put(Arrived(0, record(1, "b")))  # the tail stood at the end before the past was read
    topic.put.put(Arrived(0, record(2, "c")))
    wait_until(lambda: ids(recent.newest()) == ["c", "b", "a"], "the new move in front", 10)
    assert recent.newest().following
    recent.close()
    assert (topic.opened, topic.closed) == (2, 2)


def test_only_so_many_are_kept() -> None:
    topic = Topic(*(record(i, str(i)) for i in range(PAST + 5)))
    recent = recent_of(topic)
    assert len(recent.newest(wait_s=10).moves) == PAST
    last = KEPT + PAST + 5
    for i in range(PAST + 5, last):
        topic.put.put(Arrived(0, record(i, str(i))))
    wait_until(lambda: ids(recent.newest())[0] == str(last - 1), "the last of them", 20)
    assert len(recent.newest().moves) == KEPT
    recent.close()


def test_an_outage_is_told_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.serving.recent.AGAIN_S", 0.05)
    topic = Topic(record(0, "a"))
    recent = recent_of(topic)
    recent.newest(wait_s=10)
    topic.put.put(TransportError("gone", retriable=True))
    wait_until(lambda: topic.opened >= 4, "another try", 10)
    wait_until(lambda: recent.newest().following, "moves again", 10)
    assert (ids(recent.newest()), recent.newest().trouble) == (["a"], None)
    recent.close()


def test_what_cannot_be_read_is_said() -> None:
    def broken() -> Topic:
        raise TransportError("nobody answers", retriable=True)

    recent = Recent(Sources(broken, broken, "segments"))  # type: ignore[arg-type]  # as it uses them
    found = recent.newest(wait_s=10)
    assert (found.moves, found.following) == ((), False)
    assert "Kafka" in str(found.trouble)
    recent.close()


def test_a_recording_is_read_once() -> None:
    topic = Topic(record(0, "a"))
    recent = recent_of(topic, tail=False)
    for _ in range(3):
        found = recent.newest(wait_s=10)
        assert (ids(found), found.following, found.trouble) == (["a"], False, None)
    assert topic.opened == 1


def test_nobody_who_asks_nobody_who_reads() -> None:
    clock = [0.0]
    topic = Topic(record(0, "a"))
    recent = recent_of(topic, now=lambda: clock[0])
    recent.newest(wait_s=10)
    clock[0] = 1_000.0
    wait_until(lambda: topic.closed == 2, "the end of the thread", 10)
    assert ids(recent.newest(wait_s=10)) == ["a"]
    recent.close()


def test_a_tombstone_is_an_erasure_and_who_stayed_has_not_moved() -> None:
    erased = move_of(Arrived(1, InputRecord(7, 3_500, b"12815", None)))
    assert erased is not None
    assert (erased.customer_id, erased.segment, erased.cause, erased.published) == ("12815", None, "erasure", 3.5)
    assert move_of(Arrived(0, record(0, entered_on="2011-06-01"))) is None
    assert move_of(Arrived(0, InputRecord(0, 0, b"x", b"no record of ours"))) is None
