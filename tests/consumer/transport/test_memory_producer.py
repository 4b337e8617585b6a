"""The real sink over the producer in memory keeps the sink's contract; what is planned fires, T1 and T2 are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kafka import TopicPartition, errors
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumer.ports import Committed, Sink, Source, TransportError
from consumer.transport import kafka_producer
from tests.consumer.transport.test_memory_kafka import MemoryTransport
from tests.consumer.transport.transport_contract import GROUP, Transport, TransportContract, everything, joined, out
from tests.harness.memory_producer import MemoryCluster, MemoryProducer, producers_in_memory


class ProducerTransport(MemoryTransport):
    """The fake cluster, written to by the real sink."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = MemoryCluster.of(self.kafka)

    def sink(self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None]) -> Sink:
        return self.cluster.sink(transactional_id, group, topic, before_commit)


@pytest.fixture
def memory() -> Iterator[ProducerTransport]:
    with producers_in_memory():
        yield ProducerTransport()


@pytest.fixture
def transport(memory: ProducerTransport) -> Transport:
    return memory


class TestKafkaSinkInMemory(TransportContract):
    pass


CASES = [
    ("batch", None, False),
    ("batch", errors.NotEnoughReplicasError, False),
    ("batch", errors.MessageSizeTooLargeError, False),
    ("batch", errors.OutOfOrderSequenceNumberError, False),
    ("offsets", None, False),
    ("offsets", errors.IllegalGenerationError, False),
    ("offsets", errors.ProducerFencedError, False),
    ("end", None, False),
    ("end", errors.InvalidTxnStateError, False),
    ("end_lost", None, True),
]


@pytest.mark.parametrize(("request_", "error", "committed"), CASES)
def test_what_the_cluster_does_wrong_is_an_error_and_leaves_all_or_nothing(
    memory: ProducerTransport, request_: str, error: type[errors.KafkaError] | None, committed: bool
) -> None:
    topic, output = memory.topic(), memory.topic()
    source = joined(memory, topic)
    sink = memory.sink("t", GROUP + topic, topic, before_commit=lambda: None)
    sink.open()
    memory.cluster.faults.plan(request_, error)  # type: ignore[arg-type]  # a parameter is str
    with pytest.raises(TransportError):
        sink.publish([out(output, b"1")], {0: Committed(1, "1:1")}, source.membership())
    assert not memory.cluster.faults.planned
    sink.open()
    assert source.committed(frozenset({0}), 0)[0] == (Committed(1, "1:1") if committed else None)
    assert everything(memory.reader(), output) == ([b"1"] if committed else [])


@pytest.mark.parametrize("request_", ["offsets", "end"])
def test_no_producer_of_ours_outlives_a_lost_connection(memory: ProducerTransport, request_: str) -> None:
    topic, output = memory.topic(), memory.topic()
    source = joined(memory, topic)
    sink = memory.sink("t", GROUP + topic, topic, before_commit=lambda: None)
    sink.open()
    memory.cluster.faults.plan(request_, errors.KafkaConnectionError)  # type: ignore[arg-type]  # a parameter is str
    sink.publish([out(output, b"1")], {0: Committed(1, "1:1")}, source.membership())
    assert not memory.cluster.faults.planned
    survived = sink.opened
    assert not survived, "the first request may still arrive, in the middle of the next transaction"
    sink.open()
    sink.publish([out(output, b"2")], {0: Committed(2, "1:2")}, source.membership())
    assert sink.opened
    assert source.committed(frozenset({0}), 0)[0] == Committed(2, "1:2")
    assert everything(memory.reader(), output) == [b"1", b"2"]


def test_producer_that_cannot_be_opened_is_an_error(memory: ProducerTransport) -> None:
    sink = memory.sink("t", "g", "topic", before_commit=lambda: None)
    memory.cluster.faults.plan("init")
    with pytest.raises(TransportError) as caught:
        sink.open()
    assert caught.value.retriable
    sink.open()


def transaction(memory: ProducerTransport, producer: MemoryProducer, group: ConsumerGroupMetadata, **at: int) -> None:
    """Commit offsets of partitions p0, p1 … as a user of the library would who looks at no future."""
    offsets = {TopicPartition("in", int(name[1:])): OffsetAndMetadata(n, "", -1) for name, n in at.items()}
    kafka_producer.send_offsets(producer, offsets, group, 0)
    kafka_producer.commit(producer, 0)


def test_library_commits_offsets_although_the_records_died(memory: ProducerTransport) -> None:
    output, source, producer, group = begun(memory)
    memory.cluster.faults.plan("batch")
    record = producer.send(output, value=b"v", key=b"k", headers=[], partition=0)
    producer.flush()
    transaction(memory, producer, group, p0=9)
    assert isinstance(record.error, errors.KafkaTimeoutError)
    assert everything(memory.reader(), output) == []
    assert source.committed(frozenset({0}), 0)[0] == (9, "")


def test_library_commits_offsets_of_an_aborted_transaction_with_the_next_one(memory: ProducerTransport) -> None:
    _, source, producer, group = begun(memory)
    stale = ConsumerGroupMetadata(group.group_id, group.generation_id - 1, group.member_id, None)
    with pytest.raises(errors.CommitFailedError):
        transaction(memory, producer, stale, p0=100, p1=5)
    assert producer._transaction_manager.begin_abort() is not None
    producer.flush()
    producer.begin_transaction()
    transaction(memory, producer, group, p1=9)
    assert source.committed(frozenset({0, 1}), 0) == {0: (100, ""), 1: (9, "")}


def begun(memory: ProducerTransport) -> tuple[str, Source, MemoryProducer, ConsumerGroupMetadata]:
    """Return an output topic, a member's source, its producer in a transaction, and its group metadata."""
    memory.kafka.create("in", 4)
    output, source = memory.topic(), joined(memory, "in")
    producer = MemoryProducer(cluster=memory.cluster, transactional_id="t")
    producer.init_transactions()
    producer.begin_transaction()
    member = source.membership()
    return output, source, producer, ConsumerGroupMetadata(GROUP + "in", member.generation, member.member_id, None)
