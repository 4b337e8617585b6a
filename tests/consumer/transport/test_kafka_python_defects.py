"""Defects of kafka-python 3.0.12, each shown on its real classes, and beside it that ours does not fall into it.

When a test of the first kind fails, a new version has mended the defect: what guards against it may go.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    CorruptRecordError,
    IllegalGenerationError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumberError,
    UnknownError,
)
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.transaction_manager import ProducerIdAndEpoch, TransactionManager, TransactionState
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from consumer.ports import Committed, OutputRecord, TransportError
from consumer.transport import kafka_producer, kafka_records, kafka_sink, kafka_source, kafka_transaction
from consumer.transport.embedded import EmbeddedBroker
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings, KafkaSink, KafkaSource
from consumer.transport.kafka_source import SourceTuning
from consumer.transport.kafka_writer import EventWriter
from tests.consumer.transport.transport_contract import collect, flow
from tests.harness.live import wait_until

A, B = TopicPartition("in", 0), TopicPartition("in", 1)
OUT = TopicPartition("out", 0)


class Answer:
    """A response as a handler reads it."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


def manager_in_transaction() -> Any:
    """The library's transaction manager as it stands inside a transaction, without a network."""
    manager = TransactionManager(transactional_id="t", transaction_timeout_ms=1_000, api_version=(4, 0))
    manager._current_state = TransactionState.READY
    manager.producer_id_and_epoch = ProducerIdAndEpoch(7, 3)
    manager._transaction_coordinator = manager._consumer_group_coordinator = 1
    manager.begin_transaction()
    return manager


def make_topic(settings: KafkaSettings, name: str) -> None:
    with admin(settings) as client:
        client.create([TopicSpec(name, 4)])


@pytest.fixture
def embedded() -> Iterator[KafkaSettings]:
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(broker.bootstrap, embedded=True)
        for name in ("in", "out"):
            make_topic(settings, name)
        yield settings


def joined(
    settings: KafkaSettings, topic: str, instance: str | None = None, tuning: SourceTuning | None = None
) -> KafkaSource:
    source = KafkaSource(settings, topic, "group-" + topic, instance=instance, tuning=tuning)
    deadline = time.monotonic() + 30
    while not source.membership().partitions and time.monotonic() < deadline:
        source.poll(0.2)
    return source


# --- T1: a transaction is committed without its records -----------------------------------------------------------


@pytest.fixture
def expiring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch reach its delivery timeout before it is sent."""
    monkeypatch.setattr(ProducerBatch, "has_reached_delivery_timeout", lambda *_args, **_kwargs: True)


@pytest.mark.usefixtures("expiring")
def test_library_commits_offsets_although_the_records_died(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    source = joined(settings, namespace)
    producer = KafkaProducer(**settings.client(), transactional_id=namespace)
    producer.init_transactions()
    producer.begin_transaction()
    record = producer.send(namespace, b"v", partition=0)
    producer.flush(10)
    member = source.membership()
    group = ConsumerGroupMetadata("group-" + namespace, member.generation, member.member_id, None)
    producer.send_offsets_to_transaction({TopicPartition(namespace, 0): OffsetAndMetadata(9, "1:9", -1)}, group)
    producer.commit_transaction()
    assert record.failed()
    assert source.committed(frozenset({0}), 10.0) == {0: (9, "1:9")}
    producer.close()
    source.close()


@pytest.mark.usefixtures("expiring")
def test_our_transaction_with_a_dead_record_commits_nothing(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    source, sink = joined(settings, namespace), KafkaSink(settings, namespace, "group-" + namespace, namespace)
    sink.open()
    with pytest.raises(TransportError, match="Expiring") as caught:
        sink.publish([OutputRecord(namespace, 0, b"k", b"v", ())], {0: Committed(9, "1:9")}, source.membership())
    assert caught.value.retriable
    sink.open()
    assert source.committed(frozenset({0}), 10.0) == {0: None}
    source.close()
    sink.close()


def test_library_reports_a_commit_that_an_epoch_bump_has_aborted() -> None:
    manager = manager_in_transaction()
    manager._partitions_in_transaction.add(OUT)
    manager._transaction_started = True
    commit = manager.begin_commit()
    assert manager.next_request_handler(True) is None  # EndTxn waits for a batch in flight …
    lost = Answer(topic_partition=OUT)
    assert manager.classify_batch_error(OutOfOrderSequenceNumberError, lost) == "NEEDS_EPOCH_BUMP"
    manager.bump_producer_id_and_epoch()  # … whose failure makes the broker abort
    bump = manager.next_request_handler(False)
    bump.handle_response(Answer(error_code=0, producer_id=7, producer_epoch=4))
    with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever the sender thread dies of; the result is already set
        manager.next_request_handler(False)
    assert commit.succeeded


def test_nothing_of_ours_is_in_flight_when_offsets_and_commit_are_sent(
    embedded: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def watch(producer: Any, *args: object) -> None:
            seen.append((name, producer._accumulator.has_incomplete))
            call(producer, *args)

        return watch

    monkeypatch.setattr(kafka_sink, "send_offsets", watched("offsets", kafka_producer.send_offsets))
    monkeypatch.setattr(kafka_sink, "commit", watched("commit", kafka_producer.commit))
    source, sink = joined(embedded, "in"), KafkaSink(embedded, "t", "group-in", "in")
    sink.open()
    records = [OutputRecord("out", i % 4, b"k", b"v" * 1_000, ()) for i in range(2_000)]
    sink.publish(records, {0: Committed(1, "1:1")}, source.membership())
    assert seen == [("offsets", False), ("commit", False)]
    source.close()
    sink.close()


# --- T2: a producer that aborted commits old offsets --------------------------------------------------------------


def test_library_commits_offsets_of_an_aborted_transaction_with_the_next_one() -> None:
    manager = manager_in_transaction()
    old = ConsumerGroupMetadata(group_id="g", generation_id=5, member_id="m")
    manager.send_offsets_to_transaction({A: OffsetAndMetadata(100, "7", -1), B: OffsetAndMetadata(5, "3", -1)}, old)
    manager.next_request_handler(False).handle_response(Answer(error_code=0))
    stale = IllegalGenerationError.errno
    manager.next_request_handler(False).handle_response(Answer(topics=[("in", [(0, stale), (1, stale)])]))
    assert isinstance(manager.last_error, CommitFailedError)
    manager.begin_abort()
    manager.next_request_handler(False).handle_response(Answer(error_code=0))
    manager.begin_transaction()
    new = ConsumerGroupMetadata(group_id="g", generation_id=6, member_id="m")
    manager.send_offsets_to_transaction({B: OffsetAndMetadata(9, "4", -1)}, new)
    manager.next_request_handler(False).handle_response(Answer(error_code=0))
    (topic,) = manager.next_request_handler(False).request.topics
    assert {each.partition_index: each.committed_offset for each in topic.partitions} == {0: 100, 1: 9}


@pytest.mark.parametrize("cause", [ValueError("a bad partition"), KeyboardInterrupt()])
def test_no_producer_of_ours_outlives_an_error(embedded: KafkaSettings, cause: BaseException) -> None:
    def fail() -> None:
        raise cause

    source, sink = joined(embedded, "in"), KafkaSink(embedded, "t", "group-in", "in", before_commit=fail)
    sink.open()
    broken = sink._producer
    assert broken is not None
    with pytest.raises((TransportError, KeyboardInterrupt)):
        sink.publish([], {0: Committed(1, "1:1")}, source.membership())
    assert sink._producer is None
    broken._sender.join(10)
    assert not broken._sender.is_alive()
    source.close()


def test_connections_that_broke_are_counted_where_the_library_hides_them() -> None:
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(broker.bootstrap, embedded=True)
        make_topic(settings, "out")
        sink = KafkaSink(settings, "t", "group", "in")
        sink.open()
        producer = sink._producer
        assert kafka_producer.connections_lost(producer) == 0
    wait_until(lambda: kafka_producer.connections_lost(producer) > 0, "a connection that broke with its broker", 20)
    sink.close()


# --- T3: waits without an end (that ours end: test_kafka_silence.py) ----------------------------------------------


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction", "abort_transaction"])
def test_library_offers_no_deadline_for_a_transaction(call: str) -> None:
    assert not [name for name in inspect.signature(getattr(KafkaProducer, call)).parameters if "timeout" in name]
    assert "result.wait()" in inspect.getsource(getattr(KafkaProducer, call))


def test_our_delivery_ends_before_our_transaction_and_the_transaction_before_the_coordinators() -> None:
    assert (
        kafka_transaction.REQUEST_TIMEOUT_S < kafka_transaction.DELIVERY_TIMEOUT_S < kafka_transaction.PUBLISH_TIMEOUT_S
    )
    assert kafka_transaction.PUBLISH_TIMEOUT_S < kafka_transaction.TRANSACTION_TIMEOUT_S


def test_library_delivers_longer_than_a_transaction_lives_by_default() -> None:
    assert KafkaProducer.DEFAULT_CONFIG["delivery_timeout_ms"] > KafkaProducer.DEFAULT_CONFIG["transaction_timeout_ms"]


def test_library_cannot_close_a_busy_producer_at_once(embedded: KafkaSettings) -> None:
    producer = KafkaProducer(**embedded.client(), linger_ms=60_000)
    producer.partitions_for("out")
    producer.send("out", b"v", partition=0)
    producer._accumulator.muted.add(TopicPartition("out", 0))  # as while a batch before it is in flight
    with pytest.raises(KafkaTimeoutError):
        producer.close(timeout=0)
    assert producer._sender.is_alive()
    kafka_producer.discard(producer)
    producer._sender.join(10)
    assert not producer._sender.is_alive()


# --- the consumer stalls ------------------------------------------------------------------------------------------


def write(settings: KafkaSettings, topic: str, values: dict[int, int]) -> None:
    with EventWriter(settings, topic) as writer:
        for partition, count in values.items():
            for i in range(count):
                writer.send(None, b"%d" % i, partition)


def test_library_never_resumes_what_it_parked_beside_a_drained_fetch(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    write(settings, namespace, {0: 10})
    consumer = KafkaConsumer(**settings.reading(), group_id=None, max_poll_records=3)
    held, empty = TopicPartition(namespace, 0), TopicPartition(namespace, 1)
    consumer.assign([held, empty])
    for each in (held, empty):
        consumer.seek(each, 0)
    deadline = time.monotonic() + 10
    while not consumer.poll(timeout_ms=200) and time.monotonic() < deadline:
        pass
    # Parked while another partition's fetch, of no records, is the last one taken in hand.
    fetcher = consumer._fetcher
    consumer.pause(held)
    consumer.poll(timeout_ms=50)
    assert held in fetcher._paused_partition_records
    if fetcher._next_partition_records is None:
        fetcher._next_partition_records = Drained()
    consumer.resume(held)
    assert [consumer.poll(timeout_ms=50) for _ in range(5)] == [{}] * 5
    kafka_source._unblock_resumed(consumer)
    assert [record.value for record in consumer.poll(timeout_ms=500)[held]] == [b"3", b"4", b"5"]
    consumer.close()


class Drained:
    """What is left in the fetcher's hand of a fetch that is used up: false, and not None."""

    def __bool__(self) -> bool:
        return False


def test_ours_resumes_what_was_parked(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    write(settings, namespace, {0: 20_000})
    source = joined(settings, namespace, tuning=SourceTuning(max_poll_records=5_000))
    flow(source)
    found = len(collect(source, 1)[0])
    source.pause(frozenset({0}))
    write(settings, namespace, {1: 1})
    assert collect(source, 1).keys() == {1}
    source.resume(frozenset({0}))
    assert found + len(collect(source, 20_000 - found)[0]) == 20_000
    source.close()


def test_library_drops_the_join_that_ends_between_two_polls_and_ours_does_not(embedded: KafkaSettings) -> None:
    # The embedded broker answers the first JoinGroup of a group after three seconds: polls of a tenth end before it.
    library = KafkaConsumer(
        **embedded.reading(), group_id="g", partition_assignment_strategy=[CooperativeStickyAssignor]
    )
    library.subscribe(["in"])
    library.partitions_for_topic("in")
    library.poll(timeout_ms=100)
    coordinator = library._coordinator
    first = coordinator._join_task
    wait_for(lambda: first.is_done)
    library.poll(timeout_ms=100)
    assert coordinator._join_task not in (None, first)  # a second JoinGroup, although the first was answered
    assert not library.assignment()
    library.close(timeout_ms=100)

    source = KafkaSource(embedded, "in", "another")
    source.poll(0.1)
    assert source.membership().partitions == frozenset(range(4))
    source.close()


def test_library_forgets_a_join_for_a_changed_topic_and_ours_takes_it_up(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    source = joined(settings, namespace)
    coordinator = source._consumer._coordinator
    generation = source.membership().generation
    # As a leader stands whose poll ended while it joined anew because the topic changed: the change counts as seen.
    coordinator.rejoining, coordinator.state = True, MemberState.REBALANCING
    assert not coordinator.need_rejoin()
    wait_for(lambda: source.poll(0.1) is not None and source.membership().generation > generation)
    assert source.membership().partitions == frozenset(range(4))
    source.close()


def test_library_keeps_it_to_itself_that_its_name_was_taken_and_ours_says_so(
    kafka_bootstrap: str, namespace: str
) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    source = joined(settings, namespace, "till")
    rival = joined(settings, namespace, "till")
    library, coordinator = source._consumer, source._consumer._coordinator
    wait_for(lambda: library.poll(timeout_ms=50) == {} and not coordinator._heartbeat_enabled)
    assert coordinator.stable()
    assert len(library.assignment()) == 4  # and reads on
    with pytest.raises(TransportError) as caught:
        source.poll(0.1)
    assert caught.value.fenced
    assert not caught.value.retriable
    source.close()
    rival.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


# --- smaller ones -------------------------------------------------------------------------------------------------


def small_records(topic: str) -> list[OutputRecord]:
    return [OutputRecord(topic, 0, b"k", bytes(200), ()) for _ in range(200)]


def make_narrow_topic(settings: KafkaSettings, name: str) -> None:
    """Make a topic that takes a record of `small_records`, but not all of them at once."""
    with admin(settings) as client:
        client.create([TopicSpec(name, 4, {"max.message.bytes": "3000"})])


def test_library_gives_a_flush_up_that_splits_a_batch(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_narrow_topic(settings, namespace)
    producer = KafkaProducer(**settings.client(), transactional_id=namespace, batch_size=512 << 10)
    producer.init_transactions()
    producer.begin_transaction()
    sent = [producer.send(namespace, each.value, partition=0) for each in small_records(namespace)]
    with pytest.raises(UnknownError, match="not done"):
        producer.flush(10)
    assert all(future.get(10) for future in sent)  # it takes them all, in smaller batches
    producer.abort_transaction()
    producer.close()


def test_ours_publishes_in_smaller_batches_what_a_topic_does_not_take_at_once(
    kafka_bootstrap: str, namespace: str
) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_narrow_topic(settings, namespace)
    source, sink = joined(settings, namespace), KafkaSink(settings, namespace, "group-" + namespace, namespace)
    sink.open()
    sink.publish(small_records(namespace), {0: Committed(0, "1:1")}, source.membership())
    reader = KafkaReader(settings)
    assert len(list(reader.read(namespace, 0, *reader.bounds(namespace, 0)))) == 200
    too_large = OutputRecord(namespace, 0, b"k", bytes(4_000), ())
    with pytest.raises(
        TransportError, match=rf"{namespace} takes no record of 4000 bytes.*max.message.bytes"
    ) as caught:
        sink.publish([*small_records(namespace), too_large], {0: Committed(0, "1:2")}, source.membership())
    assert not caught.value.retriable
    reader.close()
    source.close()
    sink.close()


def test_library_refuses_a_record_that_is_null_in_key_and_value(embedded: KafkaSettings) -> None:
    producer = KafkaProducer(**embedded.client())
    with pytest.raises(ValueError, match="at least one"):
        producer.send("out", value=None, key=None, partition=0)
    producer.close()


def test_library_buffers_without_a_bound() -> None:
    assert "buffer_memory" not in KafkaProducer.DEFAULT_CONFIG
    assert "buffer_memory" not in RecordAccumulator.DEFAULT_CONFIG


def test_library_leaves_a_thread_behind_when_it_finds_no_broker() -> None:
    before = threading.active_count()
    with pytest.raises(KafkaTimeoutError):
        KafkaConsumer(bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=300)
    assert threading.active_count() == before + 1


# --- a header's name that is no UTF-8 ------------------------------------------------------------------------------


class Latin(str):
    """A name that the library writes as another language's producer would."""

    __slots__ = ()

    def encode(self, *_how: str) -> bytes:
        return super().encode("latin-1")


def written_between(settings: KafkaSettings, topic: str) -> None:
    """Write a record whose header's name is no UTF-8 between two others."""
    producer = KafkaProducer(**settings.client())
    for value, headers in ((b"1", []), (b"2", [("trace", b"a"), (Latin("müll"), b"b")]), (b"3", [("ü", b"")])):
        producer.send(topic, value, b"k", headers=headers, partition=0)
    producer.flush(10)
    producer.close()


def test_library_takes_a_header_name_for_a_corrupt_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DefaultRecordBatch, "_read_msg", kafka_records.AS_SHIPPED)
    written = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000)
    written.append(0, 0, b"k", b"v", [(Latin("müll"), b"b")])
    with pytest.raises(CorruptRecordError, match="UnicodeDecodeError"):
        next(DefaultRecordBatch(written.build()))


def test_ours_reads_such_a_record_and_those_behind_it(kafka_bootstrap: str, namespace: str) -> None:
    settings = KafkaSettings(kafka_bootstrap)
    make_topic(settings, namespace)
    written_between(settings, namespace)
    source = joined(settings, namespace)
    flow(source)
    records = collect(source, 3)[0]
    assert [record.value for record in records] == [b"1", b"2", b"3"]
    assert [record.headers for record in records] == [(), (("trace", b"a"), ("m\ufffdll", b"b")), (("ü", b""),)]
    source.close()
