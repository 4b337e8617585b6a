"""A group's committed offsets with their metadata, as kafka-python reads them for either client.

confluent-kafka 2.16 cannot be asked: it takes the metadata for a C string. What it writes ends with a NUL, and of
what another client wrote it reads on beyond the end (test_librdkafka_transport.py shows both).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from consumer.ports import Committed, TransportError
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_settings import KafkaSettings


def committed_of(found: Any) -> Committed:
    """Read an `OffsetAndMetadata`, whichever client wrote it."""
    return Committed(found.offset, (found.metadata or "").rstrip("\0"))


def committed_by_group(
    consumer: Any, topic: str, partitions: frozenset[int], timeout_s: float
) -> dict[int, Committed | None]:
    """Return the stable committed offsets of a `KafkaConsumer`'s group, None where there is none.

    Under read_committed the library asks for stable offsets, and repeats while a transaction is in doubt.
    Raises `TransportError` (retriable) when the answer does not come in time.
    """
    deadline = time.monotonic() + timeout_s
    return {each: _one(consumer, topic, each, deadline - time.monotonic()) for each in sorted(partitions)}


def _one(consumer: Any, topic: str, partition: int, left_s: float) -> Committed | None:
    try:
        found = consumer.committed(
            TopicPartition(topic, partition), metadata=True, timeout_ms=max(1, int(left_s * 1000))
        )
    except KafkaTimeoutError as error:
        raise TransportError(
            f"the committed offset of {topic}-{partition} is in doubt: a transaction has not ended, or the "
            "broker is slow to answer; if it stays so: docs/operations.md, An offset stays in doubt",
            retriable=True,
        ) from error
    except LIBRARY_ERRORS as error:
        raise transport_error(f"asking for the committed offset of {topic}-{partition}", error) from error
    return None if found is None else committed_of(found)


class CommittedOffsets:
    """Asks for a group's offsets in one topic without being a member; connects at the first question."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        """Remember whom to ask."""
        self._settings, self._topic, self._group = settings.again(), topic, group
        self._consumer: Any | None = None

    def ask(self, partitions: frozenset[int], timeout_s: float) -> dict[int, Committed | None]:
        """Return what `committed_by_group` does, and raise what it raises."""
        if self._consumer is None:
            self._consumer = build(KafkaConsumer, **self._settings.reading(), group_id=self._group)
        return committed_by_group(self._consumer, self._topic, partitions, timeout_s)

    def close(self) -> None:
        """Free the connection."""
        if self._consumer is not None:
            with suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=1_000)
            self._consumer = None
