"""Reading any partition outside the group: committed records only, from here to there (PROTOCOL B3, B4, H2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from consumer.ports import InputRecord, TopicFacts, TransportError
from consumer.transport.kafka_admin import topic_facts
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_source import headers_of, out_of_range


class KafkaReader:
    """A consumer without a group. One `read` at a time: a new one ends the one before."""

    def __init__(self, settings: KafkaSettings, *, silence_s: float = 20.0) -> None:
        """Connect. silence_s: how long the broker may make no progress before a call fails (retriable)."""
        self._settings = settings
        self._silence_s = silence_s
        self._reading = 0
        self._consumer = build(
            KafkaConsumer,
            **settings.reading(),
            group_id=None,
            max_poll_records=5_000,
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=20,  # what is asked next waits behind a fetch that the broker holds back at a log's end
        )
        self._uncommitted: Any | None = None
        """Sees what transactions in doubt have written; made when it is first asked for."""

    def facts(self, topic: str) -> TopicFacts:
        """Return the topic's id and number of partitions; `TransportError`, not retriable, if there is none."""
        return topic_facts(self._settings, topic)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (earliest, end) as a read_committed reader sees them: the end is where an open transaction begins."""
        asked = TopicPartition(topic, partition)
        timeout_ms = int(self._silence_s * 1000)
        try:
            first = self._consumer.beginning_offsets([asked], timeout_ms=timeout_ms)[asked]
            return first, self._consumer.end_offsets([asked], timeout_ms=timeout_ms)[asked]
        except LIBRARY_ERRORS as error:
            # The library asks on for what it may not see, until time is up, and then speaks of the time alone.
            unseen = topic in self._consumer._client.cluster.unauthorized_topics  # noqa: SLF001 -- told nowhere else
            cause = TopicAuthorizationFailedError({topic}) if unseen else error
            raise transport_error(f"asking for the bounds of {topic}-{partition}", cause) from error

    def end_beyond(self, topic: str, partition: int, offset: int) -> int:
        """Return where a log ends for whoever stands at an offset: there, where only transaction markers follow."""
        first, end = self.bounds(topic, partition)
        start = max(first, offset)
        return offset if start < end and next(iter(self.read(topic, partition, start, end)), None) is None else end

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the end with all that transactions in doubt have written: beyond that of `bounds` while one is."""
        asked = TopicPartition(topic, partition)
        if self._uncommitted is None:
            options = self._settings.again().reading() | {"isolation_level": "read_uncommitted"}
            self._uncommitted = build(KafkaConsumer, **options, group_id=None)
        try:
            ends = self._uncommitted.end_offsets([asked], timeout_ms=int(self._silence_s * 1000))
        except LIBRARY_ERRORS as error:
            raise transport_error(f"asking for the high watermark of {topic}-{partition}", error) from error
        return int(ends[asked])

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the first offset published at or after a time, None where there is none."""
        asked = TopicPartition(topic, partition)
        try:
            found = self._consumer.offsets_for_times({asked: timestamp_ms}, timeout_ms=int(self._silence_s * 1000))
        except LIBRARY_ERRORS as error:
            raise transport_error(f"asking for the offset of a time in {topic}-{partition}", error) from error
        return None if found[asked] is None or found[asked].offset < 0 else found[asked].offset

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[InputRecord]:
        """Yield the committed records with start <= offset < stop, in order.

        Ends when the position has reached `stop`, not when a record has: the last offsets may belong to
        transaction markers, aborted records or compacted ones. Raises `RetentionGap`, or `TransportError`
        (retriable) when the position does not move for `silence_s`.
        """
        asked = TopicPartition(topic, partition)
        turn = self._begin(asked, start)
        position, moved = start, time.monotonic()
        while position < stop:
            for record in self._fetch(asked):
                if record.offset >= stop:
                    return
                yield InputRecord(
                    record.offset,
                    record.timestamp,
                    record.key,
                    record.value,
                    headers_of(record) if record.headers else (),
                )
                if turn != self._reading:
                    raise RuntimeError("another read has begun on this reader")
            position, before = self._consumer.position(asked), position
            moved = time.monotonic() if position != before else moved
            if time.monotonic() - moved > self._silence_s:
                raise TransportError(f"{topic}-{partition} stays at offset {position} of {stop}", retriable=True)

    def close(self) -> None:
        """Free the connection."""
        for consumer in (self._consumer, self._uncommitted):
            if consumer is not None:
                with suppress(KafkaError):
                    consumer.close(autocommit=False, timeout_ms=1_000)

    def _begin(self, asked: Any, start: int) -> int:
        self._consumer.assign([asked])
        self._consumer.seek(asked, start)
        self._reading += 1
        return self._reading

    def _fetch(self, asked: Any) -> list[Any]:
        try:
            fetched: list[Any] = self._consumer.poll(timeout_ms=500).get(asked, [])
        except OffsetOutOfRangeError as error:
            bounds = self.bounds(asked.topic, asked.partition)
            raise out_of_range(asked.topic, asked.partition, error.args[0][asked], bounds) from error
        except LIBRARY_ERRORS as error:
            raise transport_error(f"reading {asked.topic}-{asked.partition}", error) from error
        return fetched
