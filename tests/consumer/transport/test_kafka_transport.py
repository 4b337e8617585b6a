"""The transport over kafka-python keeps its contract on a real broker, and on the embedded one what that one can."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumer.ports import Committed, Sink, Source, TopicReader
from consumer.transport.embedded import EmbeddedBroker
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings, KafkaSink, KafkaSource, SourceTuning
from tests.consumer.transport.transport_contract import (
    PATIENCE_S,
    Transport,
    TransportContract,
    collect,
    everything,
    flow,
    joined,
    opened,
    out,
    values,
)

_Closed = TypeVar("_Closed", Source, Sink, TopicReader)


def in_a_round(source: Source) -> bool:
    """Tell whether a member knows that the group is being rearranged; librdkafka's does not say."""
    return isinstance(source, KafkaSource) and bool(source._consumer._coordinator.need_rejoin())


class KafkaTransport:
    """`Transport` over a broker; closes what it handed out."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._open = ExitStack()

    def close(self) -> None:
        self._open.close()

    def topic(self) -> str:
        name = f"contract-{uuid.uuid4().hex[:12]}"
        self._create(name)
        return name

    def recreate(self, topic: str) -> None:
        client = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        client.delete_topics([topic])
        client.close()
        self._create(topic)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        client = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        client.delete_records({TopicPartition(topic, partition): offset})
        client.close()

    def write(self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        producer = KafkaProducer(**self.settings.client())
        for key, value in records:
            producer.send(topic, key=key, value=value, partition=partition)
        producer.flush()
        producer.close()

    def source(self, topic: str, group: str, *, instance: str | None = None, max_poll_records: int = 5_000) -> Source:
        tuning = SourceTuning(max_poll_records=max_poll_records, session_timeout_s=6.0)
        return self.closing(KafkaSource(self.settings, topic, group, instance=instance, tuning=tuning))

    def sink(self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None]) -> Sink:
        return self.closing(KafkaSink(self.settings, transactional_id, group, topic, before_commit=before_commit))

    def reader(self) -> TopicReader:
        return self.closing(KafkaReader(self.settings, silence_s=2.0))

    def closing(self, made: _Closed) -> _Closed:
        """Close it with the transport."""
        self._open.callback(made.close)
        return made

    def poll_until(self, sources: Sequence[Source], settled: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S

        def at_rest() -> bool:
            # The partitions may be where they belong while one more round is on, for which each member must poll.
            return settled() and not any(in_a_round(each) for each in sources)

        def keep_polling(source: Source) -> None:
            while not at_rest() and time.monotonic() < deadline:
                source.poll(0.1)

        with ThreadPoolExecutor(len(sources)) as threads:
            list(threads.map(keep_polling, sources))

    def _create(self, name: str) -> None:
        with admin(self.settings) as client:
            client.create([TopicSpec(name, 4)])


@pytest.fixture
def real(kafka_bootstrap: str) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(KafkaSettings(kafka_bootstrap))
    yield transport
    transport.close()


@pytest.fixture
def transport(real: KafkaTransport) -> Transport:
    return real


class TestKafkaPython(TransportContract):
    pass


def test_embedded_broker_carries_events_in_and_transactions_out() -> None:
    with EmbeddedBroker() as broker:
        transport = KafkaTransport(KafkaSettings(broker.bootstrap, embedded=True))
        topic, output = transport.topic(), transport.topic()
        source, sink = joined(transport, topic), opened(transport, topic)
        flow(source)
        for turn in range(3):  # from the second transaction on its checksums are wrong
            transport.write(topic, 1, [(b"k", b"event %d" % turn)])
            assert values(collect(source, 1)[1]) == [b"event %d" % turn]
            records = [out(output, b"move %d" % turn), out(output, None)]
            sink.publish(records, {1: Committed(turn + 1, f"1:{turn}")}, source.membership())
        reader = transport.reader()
        assert everything(reader, output) == [b"move 0", None, b"move 1", None, b"move 2", None]
        assert reader.high_watermark(output, 0) == reader.bounds(output, 0)[1], "a recovery would wait for ever"
        assert source.committed(frozenset({1}), 10.0) == {1: None}, "it no longer forgets: PROTOCOL B3 has a case less"
        transport.close()
