"""Bulk publishing keeps order, bounds memory and loses nothing silently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest
from kafka.producer.producer_batch import ProducerBatch

from consumer.ports import TransportError
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings
from consumer.transport.kafka_writer import EventWriter


@pytest.fixture
def settings(kafka_bootstrap: str, namespace: str) -> KafkaSettings:
    settings = KafkaSettings(kafka_bootstrap)
    with admin(settings) as client:
        client.create([TopicSpec(namespace, 4)])
    return settings


@pytest.fixture
def reader(settings: KafkaSettings) -> Iterator[KafkaReader]:
    reader = KafkaReader(settings, silence_s=5.0)
    yield reader
    reader.close()


def fill(settings: KafkaSettings, topic: str, records: int, outstanding_bytes: int) -> None:
    with EventWriter(settings, topic, outstanding_bytes=outstanding_bytes) as writer:
        for _ in range(records):
            writer.send(b"k", b"x" * 1_000, 0)


def test_keys_go_to_their_partitions_in_order(settings: KafkaSettings, reader: KafkaReader, namespace: str) -> None:
    sent = [(b"%d" % (12_345 + i % 50), b"%d" % i) for i in range(2_000)]
    with EventWriter(settings, namespace) as writer:
        for key, value in sent:
            writer.send(key, value)
    expected: dict[int, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for key, value in sent:
        expected[partition_of(key, 4)].append((key, value))
    for partition in range(4):
        found = reader.read(namespace, partition, *reader.bounds(namespace, partition))
        assert [(record.key, record.value) for record in found] == expected[partition]


def test_partition_may_be_named_and_must_be_without_a_key(
    settings: KafkaSettings, reader: KafkaReader, namespace: str
) -> None:
    with EventWriter(settings, namespace) as writer:
        writer.send(None, b"tick", 3)
        with pytest.raises(ValueError, match="needs a partition"):
            writer.send(None, b"tick")
    assert reader.bounds(namespace, 3) == (0, 1)


def test_flush_returns_when_all_is_there(settings: KafkaSettings, reader: KafkaReader, namespace: str) -> None:
    with EventWriter(settings, namespace) as writer:
        for i in range(100):
            writer.send(b"k", b"%d" % i, 0)
        writer.flush()
        assert reader.bounds(namespace, 0) == (0, 100)


def test_outstanding_records_are_bounded(settings: KafkaSettings, namespace: str) -> None:
    with EventWriter(settings, namespace, outstanding_bytes=100_000) as writer:
        for _ in range(1_000):
            writer.send(b"k", b"x" * 1_000, 0)
            assert writer._outstanding <= 100_000 + 1_101


@pytest.fixture
def expiring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch reach its delivery timeout before it is sent."""
    monkeypatch.setattr(ProducerBatch, "has_reached_delivery_timeout", lambda *_args, **_kwargs: True)


@pytest.mark.usefixtures("expiring")
def test_failed_delivery_is_counted_and_raised(settings: KafkaSettings, namespace: str) -> None:
    with pytest.raises(TransportError, match=f"3 of 3 records were not delivered to {namespace}"):
        fill(settings, namespace, 3, 1_000_000)


@pytest.mark.usefixtures("expiring")
def test_failed_delivery_stops_the_stream_before_its_end(settings: KafkaSettings, namespace: str) -> None:
    with pytest.raises(TransportError, match=r"of \d\d records were not delivered"):
        fill(settings, namespace, 1_000, 50_000)


def test_unknown_topic_is_named(settings: KafkaSettings) -> None:
    with pytest.raises(TransportError, match="topic no-such-topic does not exist") as caught:
        EventWriter(settings, "no-such-topic")
    assert not caught.value.retriable
