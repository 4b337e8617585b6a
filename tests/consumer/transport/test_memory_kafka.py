"""The fake keeps the contract of the real one, and fails on cue."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence

import pytest

from consumer.ports import Committed, Sink, Source, TopicReader, TransportError
from tests.consumer.transport.transport_contract import (
    GROUP,
    Transport,
    TransportContract,
    flow,
    join,
    joined,
    opened,
    out,
)
from tests.harness.memory_kafka import Crash, MemoryKafka


class MemoryTransport:
    """`Transport` over the fake."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka()

    def topic(self) -> str:
        name = uuid.uuid4().hex
        self.kafka.create(name, 4)
        return name

    def recreate(self, topic: str) -> None:
        self.kafka.create(topic, 4)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        self.kafka.delete_before(topic, partition, offset)

    def write(self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        for key, value in records:
            self.kafka.write(topic, partition, key, value)

    def source(self, topic: str, group: str, *, instance: str | None = None, max_poll_records: int = 5_000) -> Source:
        return self.kafka.source(topic, group, instance=instance, max_poll_records=max_poll_records)

    def sink(self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None]) -> Sink:
        return self.kafka.sink(transactional_id, group, topic, before_commit=before_commit)

    def reader(self) -> TopicReader:
        return self.kafka.reader()

    def poll_until(self, sources: Sequence[Source], settled: Callable[[], bool]) -> None:
        for _ in range(10):
            for source in sources:
                source.poll(0)
            if settled():
                return


@pytest.fixture
def memory() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def transport(memory: MemoryTransport) -> Transport:
    return memory


class TestMemoryKafka(TransportContract):
    pass


@pytest.mark.parametrize("point", ["before_transaction", "mid_transaction", "after_commit"])
def test_planned_fault_fires_once_and_only_a_lost_answer_leaves_the_commit(memory: MemoryTransport, point: str) -> None:
    topic, output = memory.topic(), memory.topic()
    source, sink = joined(memory, topic), opened(memory, topic)
    memory.kafka.plan(point, TransportError("planned", retriable=True))  # type: ignore[arg-type]  # a parameter is str
    assert [*memory.kafka.planned] == [point]
    with pytest.raises(TransportError, match="planned"):
        sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, source.membership())
    assert not memory.kafka.planned
    sink.open()
    expected = Committed(1, "1:1") if point == "after_commit" else None
    assert source.committed(frozenset({0}), 0)[0] == expected


def test_crashed_process_leaves_its_transaction_open_until_it_expires(memory: MemoryTransport) -> None:
    topic, output = memory.topic(), memory.topic()
    source, sink = joined(memory, topic), opened(memory, topic)
    memory.kafka.plan("mid_transaction", Crash())
    with pytest.raises(Crash):
        sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, source.membership())
    opened(memory, topic, "another-id")
    with pytest.raises(TransportError):
        source.committed(frozenset({0}), 0)
    memory.kafka.expire_transactions()
    assert source.committed(frozenset({0}), 0) == {0: None}
    assert memory.kafka.values(output, 0) == []


def test_evicted_member_is_a_zombie_until_it_polls(memory: MemoryTransport) -> None:
    topic = memory.topic()
    zombie, sink = joined(memory, topic), opened(memory, topic)
    flow(zombie)
    memory.kafka.evict(GROUP + topic, zombie.membership().member_id)
    heir = joined(memory, topic)
    with pytest.raises(TransportError) as caught:
        sink.publish([], {0: Committed(1, "1:1")}, zombie.membership())
    assert caught.value.fenced
    join(memory, zombie, heir)
    assert zombie.rebalanced().revoked == frozenset(range(4))


def test_forgetful_cluster_never_knows_a_commit(memory: MemoryTransport) -> None:
    memory.kafka.forgets_commits = True
    topic, output = memory.topic(), memory.topic()
    source = joined(memory, topic)
    opened(memory, topic).publish([out(output, b"v")], {0: Committed(1, "1:1")}, source.membership())
    assert source.committed(frozenset({0}), 0) == {0: None}
    assert memory.kafka.values(output, 0) == [b"v"]


def test_lost_offsets_are_gone(memory: MemoryTransport) -> None:
    topic = memory.topic()
    source = joined(memory, topic)
    opened(memory, topic).publish([], {0: Committed(1, "1:1")}, source.membership())
    memory.kafka.lose_offsets(GROUP + topic)
    assert source.committed(frozenset({0}), 0) == {0: None}
