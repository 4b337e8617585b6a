"""The input topic through librdkafka's group consumer (PROTOCOL A1, B1).

The library fetches ahead and sends heartbeats on threads of its own; the rebalance callbacks run in the caller's
`poll`. A partition goes through

    assigned (callback) --rebalanced()--> told to the caller --seek()--> flowing --> revoked or lost (callback)

and the library is told to fetch it only by `seek`: what the group assigned and nobody sought costs nothing and gives
nothing. A `pause` of the library's drops what it fetched ahead, and a worker pauses for a turn at a time; so ours keeps
what comes of a paused partition in hand, and stops fetching it only beyond some batches.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from operator import methodcaller
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from consumer.ports import Committed, InputRecord, Membership, Rebalance, TopicFacts, TransportError
from consumer.transport.kafka_committed import CommittedOffsets
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_source import ENDS_S, LEAVE_S, NOBODY, SourceTuning, out_of_range
from consumer.transport.librdkafka_errors import LIBRARY_ERRORS, Connection, kafka_error, translated
from consumer.transport.librdkafka_settings import client

log = logging.getLogger(__name__)

_AHEAD = 4
"""So many batches are fetched ahead: enough that a poll waits for nobody, few enough to drop at a rebalance."""

_SHARE_BYTES = 1 << 20
"""Of one partition in one fetch. Less than kafka-python takes, so that a poll brings several partitions, and one's
commit is written while the next is decided: a tenth more events a second. (By kafka-python a fetch costs more.)"""

_MEMBERSHIP = b"CGMDv2:"
"""librdkafka's serial form of a group membership begins so, then generation, group, member and instance."""

_NOT_THERE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}
_OUT_OF_RANGE = {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}


def membership_of(serial: bytes, partitions: frozenset[int]) -> Membership:
    """Read the opaque bytes of `consumer_group_metadata()`. Raises `ValueError` for another layout."""
    if not serial.startswith(_MEMBERSHIP):
        raise ValueError(f"librdkafka's group metadata has another layout: {serial[:8]!r}")
    (generation,) = struct.unpack_from("<i", serial, len(_MEMBERSHIP))
    _, member, rest = serial[len(_MEMBERSHIP) + 4 :].split(b"\0", 2)
    unnamed, name = rest[0], rest[1:].rstrip(b"\0").decode()
    return Membership(generation, member.decode(), None if unnamed else name, partitions)


def serial_of(membership: Membership, group: str) -> bytes:
    """Return what `send_offsets_to_transaction` takes for a membership: the inverse of `membership_of`."""
    named = membership.instance is not None
    instance = b"\0" + str(membership.instance).encode() + b"\0" if named else b"\1"
    return b"%s%s%s\0%s\0%s" % (
        _MEMBERSHIP,
        struct.pack("<i", membership.generation),
        group.encode(),
        membership.member_id.encode(),
        instance,
    )


# Where the binding fails it returns with an exception pending. A call from bytecode may not see it, and unpack the NULL
# that stands for the name; one from C does.
_headers: Callable[[Message], Iterable[Any] | None] = methodcaller("headers")


def headers_of(message: Message) -> tuple[tuple[str, bytes], ...]:
    """Return a message's headers; one without a value, which any producer may write, has an empty one.

    Of a message with a name that is no UTF-8 none can be read: the binding fails, and must not be asked again.
    """
    try:
        headers = _headers(message)
    except SystemError:
        return ()
    return tuple((name, value or b"") for name, value in headers) if headers else ()


class LibrdkafkaSource:
    """Our share of one topic. Not for two threads at a time."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        *,
        instance: str | None = None,
        tuning: SourceTuning | None = None,
    ) -> None:
        """Connect and subscribe; the group is joined by the first polls. Raises `TransportError`."""
        self._settings, self._topic, self._group, self._instance = settings, topic, group, instance
        self._tuning = tuning or SourceTuning()
        self._facts = None if settings.embedded else _Facts(settings, topic, self._tuning.metadata_age_s)
        self._committed = CommittedOffsets(settings, topic, group)
        self._assigned: set[int] = set()
        self._revoked: set[int] = set()
        self._begin(self._made(settings))

    def _made(self, settings: KafkaSettings) -> Consumer:
        tuning, connection = self._tuning, Connection()
        config = client(settings, connection.note) | {
            "group.id": self._group,
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,  # by it a position passes over markers at the end
            "allow.auto.create.topics": settings.embedded,
            "max.partition.fetch.bytes": min(_SHARE_BYTES, tuning.max_partition_fetch_bytes),
            "fetch.max.bytes": tuning.fetch_max_bytes,
            "queued.min.messages": _AHEAD * tuning.max_poll_records,
            "queued.max.messages.kbytes": tuning.fetch_max_bytes >> 10,
            "fetch.wait.max.ms": int(tuning.fetch_wait_s * 1000),
            "fetch.queue.backoff.ms": 10,  # the default of 1 s starves a reader whose queue is as short as ours
            "fetch.error.backoff.ms": 100,
            "session.timeout.ms": int(tuning.session_timeout_s * 1000),
            "heartbeat.interval.ms": int(min(1.0, tuning.session_timeout_s / 3) * 1000),
            "max.poll.interval.ms": int(tuning.max_poll_interval_s * 1000),
            "topic.metadata.refresh.interval.ms": int(tuning.metadata_age_s * 1000),
            "socket.timeout.ms": 15_000,
        }
        if self._instance is not None:
            config["group.instance.id"] = self._instance
        consumer = Consumer(config)
        try:
            self._await_topic(consumer, connection, settings.connect_timeout_s)
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _await_topic(self, consumer: Consumer, connection: Connection, patience_s: float) -> None:
        """Return when the brokers know the topic; a leader that joins before it does assigns nothing."""
        deadline = time.monotonic() + self._tuning.call_timeout_s
        while True:
            try:
                found = consumer.list_topics(self._topic, timeout=patience_s).topics[self._topic]
            except LIBRARY_ERRORS as error:
                consumer.poll(0)  # tells why
                user = self._settings.sasl_user
                doing = f"connecting to {self._settings.bootstrap_servers}" + (f" as {user}" if user else "")
                raise translated(doing, connection.why or error) from error
            if found.error is None and found.partitions:
                return
            missing = found.error is None or found.error.code() in _NOT_THERE
            if not missing or time.monotonic() > deadline:
                unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"topic {self._topic} does not exist")
                raise translated(f"looking for topic {self._topic}", unknown if missing else found.error or unknown)
            time.sleep(0.05)

    def _begin(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._membership = NOBODY
        self._owned: set[int] = set()
        self._paused: set[int] = set()
        self._fetching: set[int] = set()
        """Those that the library fetches: of the sought ones all but those of which enough is in hand."""
        self._positions: dict[int, int] = {}
        """What the caller would get next, of each partition that was sought."""
        self._held: dict[int, list[InputRecord]] = {}
        """Read, and not yet given to the caller."""
        self._passed: dict[int, int] = {}
        """Where the library stands at the end of a partition, markers passed over."""
        consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign([])  # without this the binding starts them all, at the committed offsets
        new = {each.partition for each in partitions}
        self._owned |= new
        self._assigned |= new

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        if consumer is not self._consumer:  # one that `rejoin` left behind, and that leaves late
            return
        gone = {each.partition for each in partitions}
        consumer.incremental_unassign([self._of(each) for each in sorted(gone & self._fetching)])
        self._forget(gone)
        self._owned -= gone
        self._assigned -= gone
        self._revoked |= gone

    def _forget(self, partitions: set[int]) -> None:
        self._fetching -= partitions
        self._paused -= partitions
        for each in partitions:
            for table in (self._positions, self._held, self._passed):
                table.pop(each, None)

    def rejoin(self) -> None:
        """Leave the group and join it again with a new consumer; all that was ours is told as revoked.

        Raises `TransportError`, with the old consumer still in place, where no new one can be made.
        """
        new = self._made(self._settings.again())
        gone = set(self._owned)
        self.close()
        self._assigned.clear()
        self._revoked |= gone
        self._begin(new)

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[InputRecord]]:
        """Return new records by partition, in offset order; takes part in rebalances meanwhile.

        Raises `RetentionGap` when the wanted offset is gone, `TransportError` for the rest.
        """
        deadline = time.monotonic() + timeout_s
        try:
            if self._held and self._held.keys() <= self._paused:
                self._take(0.0, most=1)  # for the callbacks
                time.sleep(max(0.0, deadline - time.monotonic()))
            else:
                self._take(0.0 if self._in_hand() else timeout_s, most=self._tuning.max_poll_records)
            while not self._in_hand() and (left := deadline - time.monotonic()) > 0:
                self._take(left, most=self._tuning.max_poll_records)
            found = self._given()
            self._balance()
        except LIBRARY_ERRORS as error:
            raise translated(f"reading {self._topic}", error) from error
        finally:
            self._membership = membership_of(self._consumer.consumer_group_metadata(), frozenset(self._owned))
        return found

    def _take(self, timeout_s: float, *, most: int) -> None:
        """Take a batch into hand, after so many seconds at most. Raises `TransportError`, with the rest in hand."""
        # `consume` of many waits for as many until its timeout: one is waited for, and the rest taken as it is there.
        first = self._consumer.poll(timeout_s)
        if first is None:
            return
        messages = [first, *self._consumer.consume(most - 1, 0)] if most > 1 else [first]
        held, failed, make = self._held, None, tuple.__new__
        for message in messages:
            if message.error() is not None:
                failed = self._told(message) or failed
            elif (records := held.get(message.partition())) is not None:  # type: ignore[arg-type]  # None in errors alone
                columns = message.offset(), message.timestamp()[1], message.key(), message.value(), headers_of(message)
                records.append(make(InputRecord, columns))  # what the class's own __new__ does, at a third of its cost
        if failed is not None:
            raise failed

    def _in_hand(self) -> bool:
        return any(records for each, records in self._held.items() if each not in self._paused)

    def _given(self) -> dict[int, list[InputRecord]]:
        """Take out of hand what the caller may have, a batch at most."""
        given: dict[int, list[InputRecord]] = {}
        room = self._tuning.max_poll_records
        for partition, records in self._held.items():
            if partition in self._paused or not room:
                continue
            if records:
                given[partition], self._held[partition] = records[:room], records[room:]
                room -= len(given[partition])
                self._positions[partition] = given[partition][-1].offset + 1
            if not self._held[partition]:
                self._positions[partition] = max(self._positions[partition], self._passed.pop(partition, 0))
        return given

    def _balance(self) -> None:
        """Stop fetching what is paused with so much in hand as is fetched ahead, and go on where it flows again."""
        for partition, records in self._held.items():
            if partition in self._paused:
                if partition in self._fetching and len(records) > _AHEAD * self._tuning.max_poll_records:
                    self._stop(partition)
            elif partition not in self._fetching:
                self._start(partition, records[-1].offset + 1 if records else self._positions[partition])

    def _start(self, partition: int, offset: int) -> None:
        self._consumer.incremental_assign([self._of(partition, offset)])
        self._fetching.add(partition)

    def _stop(self, partition: int) -> None:
        if partition in self._fetching:
            self._consumer.incremental_unassign([self._of(partition)])
            self._fetching.discard(partition)

    def _told(self, message: Message) -> TransportError | None:
        """Return what is wrong, None where a message only tells how things stand."""
        error, partition = message.error(), message.partition()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:
            if partition in self._held:
                self._passed[partition] = message.offset()  # type: ignore[assignment]
            return None
        if error.code() in _OUT_OF_RANGE and partition in self._held:
            return self._out_of_range(partition)
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            log.warning("left the group, as a batch took too long: %s", error.str())
            return None
        if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL):
            return TransportError(
                f"another worker took the place of instance {self._instance} in the group: "
                f"give each worker a name of its own, or none ({error.str()})",
                retriable=False,
                fenced=True,
            )
        return translated(f"reading {self._topic}", error)

    def _out_of_range(self, partition: int) -> TransportError:
        records = self._held[partition]
        wanted = records[-1].offset + 1 if records else self._positions[partition]
        found = out_of_range(self._topic, partition, wanted, self.bounds(frozenset({partition}))[partition])
        self._stop(partition)  # as the library has; `_balance` goes on, if it is asked again
        return found

    def membership(self) -> Membership:
        """Return the snapshot taken by the last `poll`."""
        return self._membership

    def rebalanced(self) -> Rebalance:
        """Return and forget what the callbacks noted. A partition in both sets was taken and given back."""
        noted = Rebalance(frozenset(self._assigned), frozenset(self._revoked))
        self._assigned.clear()
        self._revoked.clear()
        return noted

    def committed(self, partitions: frozenset[int], timeout_s: float) -> dict[int, Committed | None]:
        """Return the stable committed offsets, None where there is none.

        Under read_committed the library asks for stable offsets, and repeats while a transaction is in doubt.
        Raises `TransportError` (retriable) when the answer does not come in time.
        """
        return self._committed.ask(partitions, timeout_s)

    def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on, and resume it.

        Without effect when the partition is no longer ours, or was taken and given back since the last
        `rebalanced`: what the caller knows of it is then out of date, and `rebalanced` will name it again.
        """
        if offset < 0:
            raise ValueError(f"offset {offset} of partition {partition} is negative")
        if partition in self._assigned or partition not in self._owned:
            return
        try:
            self._stop(partition)
            self._forget({partition})
            self._positions[partition], self._held[partition] = offset, []
            self._start(partition, offset)
        except LIBRARY_ERRORS as error:
            raise translated(f"seeking {self._topic}-{partition}", error) from error

    def pause(self, partitions: frozenset[int]) -> None:
        """Return no records of these partitions; what was fetched of them is kept, and not fetched twice."""
        self._paused |= partitions & self._held.keys()

    def resume(self, partitions: frozenset[int]) -> None:
        """Undo `pause`; a partition that waits for its first `seek` keeps waiting."""
        self._paused -= partitions

    def bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Return (earliest, end) offsets of any partitions of the topic."""
        first = self._offsets(partitions, OFFSET_BEGINNING, self._tuning.call_timeout_s)
        end = self._offsets(partitions, OFFSET_END, self._tuning.call_timeout_s)
        return {each: (first[each], end[each]) for each in sorted(partitions)}

    def ends(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the end offsets of any partitions of the topic, those of a read_committed reader."""
        return self._offsets(partitions, OFFSET_END, min(ENDS_S, self._tuning.call_timeout_s))

    def _offsets(self, partitions: frozenset[int], which: int, timeout_s: float) -> dict[int, int]:
        # The protocol's question takes the two ends of a log as negative times.
        asked = [self._of(each, which) for each in sorted(partitions)]
        doing = f"asking for the offsets of {self._topic}"
        try:
            found = self._consumer.offsets_for_times(asked, timeout=timeout_s)
        except LIBRARY_ERRORS as error:
            raise translated(doing, error) from error
        for each in found:
            if each.error is not None:
                raise translated(doing, each.error)
        return {each.partition: each.offset for each in found}

    def positions(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the offsets that would be read next, asking nobody; a partition that is not ours is left out."""
        return {each: self._positions[each] for each in partitions & self._positions.keys()}

    def lags(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return how many offsets lie between what would be read next and the end, as the last fetch told it."""
        try:
            ends = {
                p: self._consumer.get_watermark_offsets(self._of(p), cached=True) for p in partitions & self._fetching
            }
        except LIBRARY_ERRORS as error:
            raise translated(f"looking at the lag of {self._topic}", error) from error
        return {p: max(0, found[1] - self._positions[p]) for p, found in ends.items() if found[1] >= 0}

    def facts(self) -> TopicFacts | None:
        """Return the topic as it was told last; None from the embedded broker, which knows no ids."""
        return None if self._facts is None else self._facts.told()

    def close(self) -> None:
        """Leave the group; a broker that does not answer is given `LEAVE_S`: the process is about to end."""
        self._committed.close()
        # The library's own close has no timeout.
        leaving = threading.Thread(target=self._leave, args=(self._consumer,), daemon=True)
        leaving.start()
        leaving.join(min(LEAVE_S, self._tuning.call_timeout_s))
        if leaving.is_alive():
            log.warning("leaving the group failed: no answer")

    def _leave(self, consumer: Consumer) -> None:
        try:
            consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("leaving the group failed: %s", error)

    def _of(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._topic, partition, offset)


class _Facts:
    """Asks for a topic's id and partitions beside the reading, and never waits: group consumers tell no ids."""

    def __init__(self, settings: KafkaSettings, topic: str, age_s: float) -> None:
        self._admin = AdminClient(client(settings, Connection().note))
        self._topics, self._topic, self._age_s = TopicCollection([topic]), topic, age_s
        self._known: TopicFacts | None = None
        self._asked_at = -age_s
        self._answer: Future[Any] | None = None

    def told(self) -> TopicFacts | None:
        """Return the newest answer, None before there is one; no partitions and no id: there is no such topic."""
        if self._answer is not None and self._answer.done():
            self._known = self._read(self._answer)
            self._answer = None
        if self._answer is None and time.monotonic() > self._asked_at + self._age_s:
            self._asked_at = time.monotonic()
            self._answer = self._admin.describe_topics(self._topics, request_timeout=10)[self._topic]
        return self._known

    def _read(self, answer: Future[Any]) -> TopicFacts | None:
        try:
            found = answer.result()
        except KafkaException as error:
            told = kafka_error(error)
            return TopicFacts("", 0) if told is not None and told.code() in _NOT_THERE else self._known
        high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
        topic_id = uuid.UUID(int=(high % (1 << 64)) << 64 | low % (1 << 64))
        return TopicFacts(str(topic_id), len(found.partitions))
