"""The transactional producer through kafka-python (PROTOCOL A3, A4, A7).

One transaction, in this order:

    1 refuse an unfenced publish    2 begin    3 sends    4 flush(timeout)    5 every send's future checked
    6 offsets with their metadata    7 commit    8 only now may the producer be used again

The order is what keeps three defects of the library harmless (test_kafka_python_defects.py shows each
on its real classes). It commits a transaction although a batch of it died (T1): so nothing is in flight, and every
future has succeeded, before 6. A producer that aborted commits the old offsets with its next transaction (T2): so
none survives an error. Its waits have no end (T3): so ours have.

A request whose connection broke is sent again, and the first one may still stand in the broker's queue. In this version
of the protocol nothing tells two transactions of one epoch apart: it would end the NEXT one in its middle, or put the
old offsets into it. So no producer survives a lost connection within a transaction; the next one has another epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import MessageSizeTooLargeError, UnknownTopicOrPartitionError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumer.ports import Committed, Membership, OutputRecord, TransportError
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_producer import (
    commit,
    connections_lost,
    discard,
    flush,
    knows_topic,
    last_error,
    send_offsets,
)
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_transaction import (
    DELIVERY_TIMEOUT_S,
    OPEN_TIMEOUT_S,
    PUBLISH_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    TRANSACTION_TIMEOUT_S,
    UNKNOWN_TOPIC_S,
    as_written,
    nothing,
    refuse_unfenced,
)


class KafkaSink:
    """Writes output records and the input offsets that they come from, both or neither."""

    def __init__(
        self,
        settings: KafkaSettings,
        transactional_id: str,
        group: str,
        topic: str,
        *,
        before_commit: Callable[[], None] = nothing,
    ) -> None:
        """Remember how to open; `topic` and `group` are those whose offsets are committed.

        before_commit: called inside each transaction when only its commit is missing (a test's crash point).
        """
        self._settings = settings
        self._transactional_id = transactional_id
        self._group = group
        self._topic = topic
        self._before_commit = before_commit
        self._producer: Any | None = None

    @property
    def opened(self) -> bool:
        """Whether a sound producer is there: not before `open`, nor after a publish that failed."""
        return self._producer is not None

    def open(self) -> None:
        """Throw an older producer away, make a new one and `init_transactions` (PROTOCOL A4).

        A transaction that the older one left open is aborted by the coordinator here. Raises `TransportError`.
        """
        self.close()
        producer = build(
            KafkaProducer,
            **self._settings.again().client(),
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            delivery_timeout_ms=int(DELIVERY_TIMEOUT_S * 1000),
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            max_block_ms=int(OPEN_TIMEOUT_S * 1000),
            # Slept through twice a transaction, whose predecessor is still completing: 58 a second with 2, 30 with 5,
            # 7 with the default 100. Lower would hammer a broker that lacks replicas.
            retry_backoff_ms=2,
            batch_size=512 << 10,
            max_request_size=16 << 20,  # a dead letter is as large as its original; the topic's own limit decides
            allow_auto_create_topics=self._settings.embedded,
        )
        try:
            producer.init_transactions()
        except LIBRARY_ERRORS as error:
            discard(producer)
            raise transport_error(f"opening the transactions of {self._transactional_id}", error) from error
        self._producer = producer

    def publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership
    ) -> None:
        """Write records and input offsets in one transaction (PROTOCOL A3); records may be empty.

        Returns only when the transaction is known to be committed. On any `TransportError` its
        outcome is unknown. Afterwards `opened` tells whether the producer must be opened again (PROTOCOL A4).
        """
        refuse_unfenced(offsets, membership)  # 1
        self._publish(records, offsets, membership)

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Write records in one transaction that commits no offsets; what fences is the transactional id alone.

        Raises and leaves behind what `publish` does.
        """
        self._publish(records, {}, None)

    def _publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership | None
    ) -> None:
        producer = self._taken()
        lost = connections_lost(producer)
        try:
            self._transact(producer, records, offsets, membership)
        except LIBRARY_ERRORS as error:
            cause = last_error(producer) or error
            raise transport_error(f"publishing {len(records)} records", cause) from error
        else:
            if connections_lost(producer) == lost:
                self._producer, producer = producer, None  # 8
        finally:
            if producer is not None:
                discard(producer)

    def close(self) -> None:
        """Stop without waiting for anything in flight."""
        if self._producer is not None:
            discard(self._producer)
            self._producer = None

    def _taken(self) -> Any:
        # Taken out of the object until it is known to be sound: an interrupt leaves none behind to be used again.
        producer, self._producer = self._producer, None
        if producer is None:
            raise TransportError("the producer must be opened before it publishes", retriable=True)
        return producer

    def _transact(
        self,
        producer: Any,
        records: Sequence[OutputRecord],
        offsets: Mapping[int, Committed],
        membership: Membership | None,
    ) -> None:
        _check_topics(producer, {each.topic for each in records})
        deadline = time.monotonic() + PUBLISH_TIMEOUT_S
        producer.begin_transaction()  # 2
        pending = [_send(producer, each) for each in records]  # 3
        flush(producer, deadline)  # 4
        _check_sent(records, pending, deadline)  # 5
        if membership is not None:
            send_offsets(producer, self._positions(offsets), self._fence(membership), deadline)  # 6
        self._before_commit()
        commit(producer, deadline)  # 7

    def _positions(self, offsets: Mapping[int, Committed]) -> dict[Any, Any]:
        return {
            TopicPartition(self._topic, each): OffsetAndMetadata(at.offset, at.metadata, -1)
            for each, at in offsets.items()
        }

    def _fence(self, membership: Membership) -> Any:
        return ConsumerGroupMetadata(self._group, membership.generation, membership.member_id, membership.instance)


def _check_topics(producer: Any, topics: set[str]) -> None:
    for each in topics:
        if not knows_topic(producer, each, UNKNOWN_TOPIC_S):
            raise UnknownTopicOrPartitionError(f"topic {each} does not exist")


def _check_sent(records: Sequence[OutputRecord], pending: Sequence[Any], deadline: float) -> None:
    """Return when every record was taken; of several errors the one is raised that a person can mend."""
    first: BaseException | None = None
    for record, sent in zip(records, pending, strict=True):
        try:
            sent.get(timeout=max(0.0, deadline - time.monotonic()))
        except MessageSizeTooLargeError as error:
            raise TransportError(
                f"topic {record.topic} takes no record of {len(record.value or b'')} bytes and its headers: "
                "raise its max.message.bytes",
                retriable=False,
            ) from error
        except LIBRARY_ERRORS as error:
            first = first or error
    if first is not None:
        raise first


def _send(producer: Any, record: OutputRecord) -> Any:
    value, headers = as_written(record)
    return producer.send(record.topic, value=value, key=record.key, headers=list(headers), partition=record.partition)
