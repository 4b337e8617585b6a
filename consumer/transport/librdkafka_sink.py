"""The transactional producer through librdkafka (PROTOCOL A3, A4, A7).

One transaction in the order of kafka_sink.py, within the same limits of time. This library commits nothing of which a
record failed and its waits end; but it speaks the same version of the protocol, in which nothing tells two
transactions of one epoch apart. So here too no producer survives an error, or a connection lost within a transaction:
what of it still stands in a broker's queue is refused by the next one's epoch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from consumer.ports import Committed, Membership, OutputRecord, TransportError
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
from consumer.transport.librdkafka_errors import LIBRARY_ERRORS, Connection, kafka_error, translated
from consumer.transport.librdkafka_settings import client
from consumer.transport.librdkafka_source import serial_of

_BATCH_BYTES = 512 << 10
_SMALLER = 1_024
"""A topic may take each of the records and not so many at once, and this library splits no batch that was refused: the
next producer's batches are so many times smaller, until a batch is a record or two."""

_GRACE_S = 0.5
"""So much longer than its timeout a call may take; the transaction still lives then."""


class LibrdkafkaSink:
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
        self._batch_bytes = _BATCH_BYTES
        self._open: _Open | None = None

    @property
    def opened(self) -> bool:
        """Whether a sound producer is there: not before `open`, nor after a publish that failed."""
        return self._open is not None

    def open(self) -> None:
        """Throw an older producer away, make a new one and `init_transactions` (PROTOCOL A4).

        A transaction that the older one left open is aborted by the coordinator here. Raises `TransportError`.
        """
        self.close()
        made = _Open(self._settings, self._transactional_id, self._batch_bytes)
        try:
            made.producer.init_transactions(OPEN_TIMEOUT_S)
        except LIBRARY_ERRORS as error:
            made.producer.poll(0)  # tells why a connection failed
            why = made.connection.why or error
            made.discard()
            raise translated(f"opening the transactions of {self._transactional_id}", why) from error
        self._open = made

    def publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership
    ) -> None:
        """Write records and input offsets in one transaction (PROTOCOL A3); records may be empty.

        Returns only when the transaction is known to be committed. On any `TransportError` its
        outcome is unknown. Afterwards `opened` tells whether the producer must be opened again (PROTOCOL A4).
        """
        refuse_unfenced(offsets, membership)
        self._publish(records, offsets, membership)

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Write records in one transaction that commits no offsets; what fences is the transactional id alone.

        Raises and leaves behind what `publish` does.
        """
        self._publish(records, {}, None)

    def _publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership | None
    ) -> None:
        # Taken out of the object until it is known to be sound: an interrupt leaves none behind to be used again.
        made, self._open = self._open, None
        if made is None:
            raise TransportError("the producer must be opened before it publishes", retriable=True)
        made.producer.poll(0)  # tells of connections lost before
        lost = made.connection.lost
        try:
            self._transact(made, records, offsets, membership)
        except LIBRARY_ERRORS as error:
            raise self._told(f"publishing {len(records)} records", error) from error
        else:
            made.producer.poll(0)
            if made.connection.lost == lost:
                self._open, made = made, None
        finally:
            if made is not None:
                made.discard()

    def close(self) -> None:
        """Stop without waiting for anything in flight."""
        made, self._open = self._open, None
        if made is not None:
            made.discard()

    def _transact(
        self,
        made: _Open,
        records: Sequence[OutputRecord],
        offsets: Mapping[int, Committed],
        membership: Membership | None,
    ) -> None:
        made.check_topics({each.topic for each in records})
        deadline = time.monotonic() + PUBLISH_TIMEOUT_S
        producer = made.producer
        producer.begin_transaction()
        for each in records:
            made.send(each, deadline)
        _in_time(not producer.flush(max(0.0, deadline - time.monotonic())))
        if membership is not None:
            positions = [TopicPartition(self._topic, each, at.offset, at.metadata) for each, at in offsets.items()]
            fence = serial_of(membership, self._group)
            _within(deadline, lambda left: producer.send_offsets_to_transaction(positions, fence, left))
        self._before_commit()
        _within(deadline, producer.commit_transaction)

    def _told(self, doing: str, error: BaseException) -> TransportError:
        """Classify what became of a transaction; a failed record fails it, and the error names its topic."""
        told, found = translated(doing, error), kafka_error(error)
        if found is None or found.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            return told
        smaller = self._batch_bytes // _SMALLER
        if again := smaller > 1:
            self._batch_bytes = smaller
        return TransportError(f"{told}; raise the topic's max.message.bytes", retriable=again)


class _Open:
    """One producer from `init_transactions` to its end, and what it has told."""

    def __init__(self, settings: KafkaSettings, transactional_id: str, batch_bytes: int) -> None:
        self.connection = Connection()
        self._topics: frozenset[str] = frozenset()
        self._may_create = settings.embedded
        config = client(settings.again(), self.connection.note) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
            "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
            "request.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
            "socket.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
            "retry.backoff.ms": 2,  # slept through where the predecessor is still completing, as in kafka_sink.py
            "linger.ms": 5,  # the flush ends it
            "batch.size": batch_bytes,
            "message.max.bytes": 16 << 20,  # a dead letter is as large as its original; the topic's own limit decides
            "queue.buffering.max.messages": 0,
            "topic.metadata.propagation.max.ms": int(UNKNOWN_TOPIC_S * 1000),
        }
        self.producer = Producer(config)

    def check_topics(self, topics: set[str]) -> None:
        """Return when the brokers know these topics; a producer of this library would make them."""
        deadline = time.monotonic() + UNKNOWN_TOPIC_S
        while not self._may_create and (missing := topics - self._topics):
            self._topics = frozenset(self.producer.list_topics(timeout=REQUEST_TIMEOUT_S).topics)
            if not topics <= self._topics:
                if time.monotonic() > deadline:
                    text = f"topic {min(missing)} does not exist"
                    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, text))
                time.sleep(0.05)

    def send(self, record: OutputRecord, deadline: float) -> None:
        """Hand a record over; waits while the library's queue is full."""
        value, found = as_written(record)
        headers = list[tuple[str, str | bytes | None]](found)
        while True:
            try:
                self.producer.produce(
                    record.topic, value=value, key=record.key, partition=record.partition, headers=headers
                )
            except BufferError:
                self.producer.poll(0.1)
                _in_time(time.monotonic() < deadline)
            else:
                return

    def discard(self) -> None:
        """End the producer at once, whatever it waits for, and without an abort that could reach the next one's."""
        # The library's threads are joined when the last reference goes, which may take a request's timeout.
        ending = threading.Thread(target=_purged, args=(self.producer,), daemon=True)
        del self.producer
        ending.start()


def _purged(producer: Producer) -> None:
    producer.purge(blocking=False)


def _within(deadline: float, call: Callable[[float], object]) -> None:
    """Make a call of the library's with the seconds that are left, and give it up where it does not keep to them.

    `send_offsets_to_transaction` outlasts its timeout for minutes where the broker was killed and came back.
    """
    left = max(0.001, deadline - time.monotonic())
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            call(left)
        except BaseException as error:  # noqa: BLE001 -- raised below, where the caller waits
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)  # left behind, it holds up no end of the process
    thread.start()
    thread.join(left + _GRACE_S)
    _in_time(bool(ended), "no answer from the coordinator")
    if ended[0] is not None:
        raise ended[0]


def _in_time(done: bool, what: str = "records are not acknowledged") -> None:
    if not done:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{what} in time"))
