"""The transport over librdkafka keeps the same contract on a real broker, and shares a group with kafka-python's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer

from consumer.ports import Committed, Membership, Sink, Source, TransportError
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_python_transport import KafkaSettings, SourceTuning
from consumer.transport.kafka_source import NOBODY
from consumer.transport.kafka_transaction import nothing
from consumer.transport.librdkafka_sink import LibrdkafkaSink
from consumer.transport.librdkafka_source import LibrdkafkaSource, membership_of, serial_of
from tests.consumer.transport.test_kafka_python_defects import written_between
from tests.consumer.transport.test_kafka_transport import KafkaTransport
from tests.consumer.transport.transport_contract import (
    ALL,
    GROUP,
    PATIENCE_S,
    CommitContract,
    Transport,
    collect,
    everything,
    flow,
    join,
    joined,
    opened,
    out,
)


class LibrdkafkaTransport(KafkaTransport):
    """`Transport` over a broker: sources and sinks over librdkafka, topics and readers as before."""

    def source(self, topic: str, group: str, *, instance: str | None = None, max_poll_records: int = 5_000) -> Source:
        tuning = SourceTuning(max_poll_records=max_poll_records, session_timeout_s=6.0)
        return self.closing(LibrdkafkaSource(self.settings, topic, group, instance=instance, tuning=tuning))

    def sink(self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None]) -> Sink:
        return self.closing(LibrdkafkaSink(self.settings, transactional_id, group, topic, before_commit=before_commit))


@pytest.fixture
def real(kafka_bootstrap: str) -> Iterator[LibrdkafkaTransport]:
    transport = LibrdkafkaTransport(KafkaSettings(kafka_bootstrap))
    yield transport
    transport.close()


@pytest.fixture
def transport(real: LibrdkafkaTransport) -> Transport:
    return real


class TestLibrdkafka(CommitContract):
    """The rest of the contract, in which much is waited for, is kept by tests/faults/test_librdkafka.py."""


def test_both_clients_read_what_either_committed(real: LibrdkafkaTransport) -> None:
    topic, other = real.topic(), KafkaTransport(real.settings)
    group, at = GROUP + topic, {0: Committed(10, "3:7"), 2: Committed(0, "3:9")}
    source = joined(real, topic)
    asker = other.source(topic, group)  # polls never: no member yet
    for sink in (real.sink("a" + topic, group, topic, before_commit=nothing), opened(other, topic, "b")):
        sink.open()
        sink.publish([], at, source.membership())
        assert {p: source.committed(ALL, 10.0)[p] for p in at} == at
        assert {p: asker.committed(ALL, 10.0)[p] for p in at} == at
        with admin(real.settings) as asked:
            assert asked.group_offsets(group, topic) == at
    other.close()


@pytest.mark.parametrize(
    ("first", "then"), [(KafkaTransport, LibrdkafkaTransport), (LibrdkafkaTransport, KafkaTransport)]
)
def test_both_clients_share_a_group_and_only_what_moves_is_revoked(
    first: type[KafkaTransport], then: type[KafkaTransport], kafka_bootstrap: str
) -> None:
    ours, theirs = first(KafkaSettings(kafka_bootstrap)), then(KafkaSettings(kafka_bootstrap))
    topic = ours.topic()
    old = joined(ours, topic)
    old.rebalanced()
    new = theirs.source(topic, GROUP + topic)
    kept, moved = join(ours, old, new)
    assert old.rebalanced() == (frozenset(), moved)
    assert new.rebalanced() == (moved, frozenset())
    old.close()
    join(theirs, new)
    assert new.rebalanced().assigned == kept
    for each in (ours, theirs):
        each.close()


@pytest.mark.parametrize("instance", [None, "worker-1", ""])
def test_membership_survives_the_library_s_serial_form(instance: str | None) -> None:
    member = Membership(300, "rdkafka-1", instance, ALL)
    assert membership_of(serial_of(member, "group"), ALL) == member


def test_library_s_serial_form_of_a_membership_is_the_one_we_read() -> None:
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    assert consumer.consumer_group_metadata() == serial_of(NOBODY, "g")
    consumer.close()
    with pytest.raises(ValueError, match="layout"):
        membership_of(b"CGMDv9:", ALL)


def test_batch_that_a_topic_does_not_take_at_once_goes_in_smaller_ones_next(real: LibrdkafkaTransport) -> None:
    topic = real.topic()
    narrow = f"narrow-{topic}"
    with admin(real.settings) as client:
        client.create([TopicSpec(narrow, 4, {"max.message.bytes": "3000"})])
    source, sink = joined(real, topic), opened(real, topic)
    records = [out(narrow, bytes(200)) for _ in range(200)]
    with pytest.raises(TransportError, match=r"max.message.bytes") as caught:
        sink.publish(records, {0: Committed(1, "1:1")}, source.membership())
    assert caught.value.retriable
    sink.open()
    sink.publish(records, {0: Committed(1, "1:1")}, source.membership())
    assert len(everything(real.reader(), narrow)) == len(records)
    with pytest.raises(TransportError, match=rf"{narrow}.*max.message.bytes") as caught:
        sink.publish([out(narrow, bytes(4_000))], {0: Committed(2, "1:2")}, source.membership())
    assert not caught.value.retriable


def test_facts_are_those_of_the_topic_and_cost_no_wait(real: LibrdkafkaTransport) -> None:
    topic = real.topic()
    source = real.source(topic, GROUP + topic)
    deadline = time.monotonic() + PATIENCE_S
    while (found := source.facts()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == real.reader().facts(topic)


def test_member_whose_name_another_took_says_so(real: LibrdkafkaTransport) -> None:
    topic = real.topic()
    first = real.source(topic, GROUP + topic, instance="till")
    join(real, first)
    rival = real.source(topic, GROUP + topic, instance="till")
    join(real, rival)
    with pytest.raises(TransportError, match="another worker took the place of instance till") as caught:
        collect(first, 1)
    assert (caught.value.fenced, caught.value.retriable) == (True, False)


def test_no_broker_is_said_in_time() -> None:
    nowhere = KafkaSettings("127.0.0.1:1", connect_timeout_s=0.5)
    with pytest.raises(TransportError, match=r"connecting to 127\.0\.0\.1:1") as caught:
        LibrdkafkaSource(nowhere, "topic", "group")
    assert caught.value.retriable


def test_record_whose_header_names_are_no_utf8_holds_up_nothing(real: LibrdkafkaTransport) -> None:
    topic = real.topic()
    written_between(real.settings, topic)
    source = joined(real, topic)
    flow(source)
    records = collect(source, 3)[0]
    assert [record.value for record in records] == [b"1", b"2", b"3"]
    assert [record.headers for record in records] == [(), (), (("ü", b""),)]
