"""Publishing events in bulk: idempotent, in order, bounded in memory, no failure unseen (for `replay`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from consumer.ports import TransportError
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_producer import discard, knows_topic
from consumer.transport.kafka_settings import KafkaSettings

OUTSTANDING_BYTES = 16 << 20
"""So much may wait for its acknowledgement; the library itself has no bound. With less the line to the broker idles."""

_RECORD_OVERHEAD = 100
_UNKNOWN_TOPIC_S = 5.0


class EventWriter:
    """Writes keyed records to one topic.

        with EventWriter(settings, "transactions") as writer:
            writer.send(b"17850", b"{...}")

    Leaving the block without an exception flushes; with one, what is unsent is dropped.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        *,
        outstanding_bytes: int = OUTSTANDING_BYTES,
        delivery_timeout_s: float = 120.0,
    ) -> None:
        """Connect. delivery_timeout_s: how long an outage may last before records count as lost."""
        self._topic = topic
        self._limit = outstanding_bytes
        self._patience_s = delivery_timeout_s + 5.0
        self._sent = self._failed = 0
        self._first_error: BaseException | None = None
        self._waiting: deque[tuple[Any, int]] = deque()
        self._outstanding = 0
        self._producer = build(
            KafkaProducer,
            **settings.client(),
            allow_auto_create_topics=settings.embedded,
            enable_idempotence=True,
            delivery_timeout_ms=int(delivery_timeout_s * 1000),
            request_timeout_ms=int(min(15.0, delivery_timeout_s / 2) * 1000),
            max_block_ms=10_000,
            linger_ms=5,
            batch_size=512 << 10,
            max_request_size=16 << 20,
            compression_type=None if settings.embedded else "lz4",
        )
        self._partitions = self._count_partitions()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            discard(self._producer)

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write a record, to its key's partition (murmur2) unless one is given; a null key needs one.

        Waits while too much is outstanding. Raises `TransportError` as soon as a failed delivery is known: what was
        sent after it may be there or not.
        """
        if partition is None:
            partition = self.partition_of(key)
        try:
            future = self._producer.send(self._topic, key=key, value=value, partition=partition, headers=list(headers))
        except LIBRARY_ERRORS as error:
            raise transport_error(f"publishing to {self._topic}", error) from error
        size = len(value or b"") + len(key or b"") + _RECORD_OVERHEAD
        self._waiting.append((future, size))
        self._sent += 1
        self._outstanding += size
        if self._outstanding > self._limit:
            self._settle(self._limit // 2)

    def write(self, key: bytes | None, value: bytes | None, partition: int) -> int:
        """Write one record now and return its offset. Raises `TransportError`."""
        self.send(key, value, partition)
        future, _ = self._waiting[-1]
        self.flush()
        return int(future.get().offset)

    def partition_of(self, key: bytes | None) -> int:
        """Return the partition that a key belongs to."""
        if key is None:
            raise ValueError("a record without a key needs a partition")
        return partition_of(key, self._partitions)

    def flush(self) -> None:
        """Wait until everything sent is acknowledged. Raises `TransportError` with the count of what was not."""
        try:
            self._producer.flush(timeout=self._patience_s)
        except KafkaTimeoutError as error:
            raise transport_error(f"{self._lost(len(self._waiting))}", error) from error
        self._settle(0)

    def _settle(self, room: int) -> None:
        """Take note of what became of the oldest records, until at most `room` bytes are outstanding."""
        while self._waiting and self._outstanding > room:
            future, size = self._waiting.popleft()
            self._outstanding -= size
            try:
                future.get(timeout=self._patience_s)
            except LIBRARY_ERRORS as error:
                self._failed += 1
                self._first_error = self._first_error or error
        if self._first_error is not None:
            raise transport_error(self._lost(self._failed), self._first_error) from self._first_error

    def _lost(self, failed: int) -> str:
        return f"{failed:,} of {self._sent:,} records were not delivered to {self._topic}"

    def _count_partitions(self) -> int:
        try:
            if knows_topic(self._producer, self._topic, _UNKNOWN_TOPIC_S):
                return len(self._producer.partitions_for(self._topic))
        except LIBRARY_ERRORS as error:
            discard(self._producer)
            raise transport_error(f"looking for topic {self._topic}", error) from error
        discard(self._producer)
        raise TransportError(f"topic {self._topic} does not exist", retriable=False)
