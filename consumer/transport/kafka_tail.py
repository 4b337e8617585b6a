"""What is committed to a topic from now on: all its partitions, without a group."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumer.ports import InputRecord
from consumer.transport.kafka_admin import topic_facts
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_source import headers_of


class Arrived(NamedTuple):
    """A record and where it stands."""

    partition: int
    record: InputRecord


class KafkaTail:
    """Reads a topic from its end on. Not for two threads at a time."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        """Connect and stand at the end. Raises `TransportError`."""
        self._topic = topic
        partitions = [TopicPartition(topic, p) for p in range(topic_facts(settings, topic).partitions)]
        self._consumer = build(KafkaConsumer, **settings.reading(), group_id=None)
        try:
            self._consumer.assign(partitions)
            self._to_the_end()
        except LIBRARY_ERRORS as error:
            self.close()
            raise transport_error(f"looking for the end of {topic}", error) from error

    def poll(self, timeout_s: float) -> list[Arrived]:
        """Return what was committed since, after so many seconds at most. Raises `TransportError`."""
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except OffsetOutOfRangeError:  # retention overtook a reader that stood still: what is new counts, not what was
            self._to_the_end()
            return []
        except LIBRARY_ERRORS as error:
            raise transport_error(f"reading {self._topic}", error) from error
        return [
            Arrived(
                at.partition, InputRecord(r.offset, r.timestamp, r.key, r.value, headers_of(r) if r.headers else ())
            )
            for at, records in fetched.items()
            for r in records
        ]

    def close(self) -> None:
        """Free the connection."""
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=1_000)

    def _to_the_end(self) -> None:
        self._consumer.seek_to_end()
        for each in self._consumer.assignment():
            self._consumer.position(each)  # asks now: the end is that of this moment, not of the first poll
