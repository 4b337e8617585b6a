"""The input topic through kafka-python's group consumer (PROTOCOL A1, B1).

Two threads meet here. The caller polls; the library's IO thread speaks to the broker, sends heartbeats and calls
the rebalance listener. A partition goes through

    assigned (IO thread) --rebalanced()--> told to the caller --seek()--> flowing --> revoked or lost (IO thread)

and gives records only while it flows: the listener pauses it and parks its position before anything can be fetched,
and `poll` drops what belongs to a partition that does not flow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)

from consumer.ports import (
    Committed,
    InputRecord,
    LogCutShort,
    Membership,
    Rebalance,
    RetentionGap,
    TopicFacts,
    TransportError,
)
from consumer.transport.kafka_committed import committed_by_group
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_rebalance import RebalanceListener
from consumer.transport.kafka_settings import KafkaSettings

log = logging.getLogger(__name__)

ENDS_S = 3.0
"""Asked often, and soon again: a worker that is told to end does not wait longer for a silent broker."""
LEAVE_S = 5.0

NOBODY = Membership(-1, "", None, frozenset())
"""What a consumer outside the group is; nothing may be published in its name."""


@dataclass(frozen=True, slots=True)
class SourceTuning:
    """How much is read at once, and when a member counts as dead.

    max_poll_records: too low and each commit carries few events; too high and a batch outlasts `max_poll_interval_s`.
    max_partition_fetch_bytes: memory is this times the partitions; too low and each poll waits for the broker.
    fetch_wait_s: so long a broker may hold back a fetch that finds nothing, and whatever is asked of it waits behind
        that fetch; too low and an idle worker does nothing but ask.
    session_timeout_s: too low and a pause of the process costs its partitions; too high and they wait for a dead one.
    max_poll_interval_s: how long one batch may take before the member leaves the group by itself.
    rebalance_wait_s: how much longer than asked a poll may last while the group is being rearranged.
    call_timeout_s: for questions to the broker (offsets, leaving the group).
    metadata_age_s: so often the topic's id and partitions are asked for; how long a topic made anew may go unnoticed.
    """

    max_poll_records: int = 20_000
    max_partition_fetch_bytes: int = 4 << 20
    fetch_max_bytes: int = 32 << 20
    fetch_wait_s: float = 0.1
    session_timeout_s: float = 20.0
    max_poll_interval_s: float = 120.0
    rebalance_wait_s: float = 5.0
    call_timeout_s: float = 10.0
    metadata_age_s: float = 3.0


class KafkaSource:
    """Our share of one topic. Single-threaded, as the library's consumer is."""

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
        self._tuning = tuning or SourceTuning()
        self._settings, self._group, self._instance = settings, group, instance
        self._topic, self._embedded = topic, settings.embedded
        self._membership = NOBODY
        self._consumer = self._make(settings)
        self._listener = self._subscribe()
        self._await_metadata()

    def _make(self, settings: KafkaSettings) -> Any:
        return build(
            KafkaConsumer,
            **settings.reading(),
            group_id=self._group,
            group_instance_id=self._instance,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            max_poll_records=self._tuning.max_poll_records,
            max_partition_fetch_bytes=self._tuning.max_partition_fetch_bytes,
            fetch_max_bytes=self._tuning.fetch_max_bytes,
            fetch_max_wait_ms=int(self._tuning.fetch_wait_s * 1000),
            session_timeout_ms=int(self._tuning.session_timeout_s * 1000),
            heartbeat_interval_ms=int(min(1.0, self._tuning.session_timeout_s / 3) * 1000),  # by it a rebalance is seen
            max_poll_interval_ms=int(self._tuning.max_poll_interval_s * 1000),
            metadata_max_age_ms=int(self._tuning.metadata_age_s * 1000),
        )

    def _subscribe(self) -> RebalanceListener:
        listener = RebalanceListener(self._consumer)
        self._consumer.subscribe([self._topic], listener=listener)
        return listener

    def _await_metadata(self) -> None:
        # A leader that joins before it knows the topic assigns nothing, and joins again once it does: a second lost,
        # and on the embedded broker a whole session timeout.
        deadline = time.monotonic() + self._tuning.call_timeout_s
        try:
            while not self._consumer.partitions_for_topic(self._topic):
                if time.monotonic() > deadline:
                    raise UnknownTopicOrPartitionError(f"topic {self._topic} does not exist")
                time.sleep(0.05)
        except LIBRARY_ERRORS as error:
            self.close()
            raise transport_error(f"looking for topic {self._topic}", error) from error

    def lags(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return how many offsets lie between what would be read next and the end, as the last fetch told it."""
        found = {each: self._consumer._subscription.assignment.get(self._of(each)) for each in partitions}  # noqa: SLF001
        return {
            each: max(0, state.highwater - state.position.offset)
            for each, state in found.items()
            if state is not None and state.position is not None and state.highwater is not None
        }

    def rejoin(self) -> None:
        """Leave the group and join it again with a new consumer; all that was ours is told as revoked.

        Raises `TransportError`, with the old consumer still in place, where no new one can be made.
        """
        new, gone = self._make(self._settings.again()), {each.partition for each in self._consumer.assignment()}
        self.close()
        revoked = gone | self._listener.revoked
        self._consumer, self._membership = new, NOBODY
        self._listener = self._subscribe()
        with self._listener.lock:
            self._listener.revoked |= revoked

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[InputRecord]]:
        """Return new records by partition, in offset order; takes part in rebalances meanwhile.

        Raises `RetentionGap` when the wanted offset is gone, `TransportError` for the rest.
        """
        fetched: Mapping[Any, Sequence[Any]] = {}
        try:
            fetched = self._fetch(timeout_s)
        except NoOffsetForPartitionError as error:
            self._listener.repark(error.args[0])
        except OffsetOutOfRangeError as error:
            raise self._out_of_range(error) from error
        except FencedInstanceIdError as error:
            raise TransportError(
                f"another worker took the place of instance {self._instance} in the group: "
                "give each worker a name of its own, or none",
                retriable=False,
                fenced=True,
            ) from error
        except LIBRARY_ERRORS as error:
            raise transport_error(f"reading {self._topic}", error) from error
        finally:
            self._membership = self._snapshot()
        return {
            each.partition: [
                InputRecord(r.offset, r.timestamp, r.key, r.value, headers_of(r) if r.headers else ()) for r in records
            ]
            for each, records in fetched.items()
            if each.partition in self._membership.partitions and each.partition not in self._listener.parked
        }

    def _fetch(self, timeout_s: float) -> Mapping[Any, Sequence[Any]]:
        _unblock_resumed(self._consumer)
        self._join()
        fetched: Mapping[Any, Sequence[Any]] = self._consumer.poll(timeout_ms=max(1, int(timeout_s * 1000)))
        self._join()
        return fetched

    def _join(self) -> None:
        """Take part in a rebalance to its end, within `rebalance_wait_s`.

        A poll of kafka-python that ends while its JoinGroup is in flight drops the answer that comes between two
        polls, and joins once more: another rebalance for all, on the embedded broker a session timeout. A leader that
        joined because the topic changed does not even join again: no partitions, no heartbeats, for ever. And nothing
        that is published meanwhile would be accepted, once the others have joined.

        A named member whose name another took meets that by its heartbeat, which then falls silent and tells nobody:
        it would read on for ever. It joins again instead, and hears that it is fenced.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 -- guarded by tests/consumer/transport/test_kafka_python_defects.py
        if self._instance is not None and coordinator.stable() and not coordinator._heartbeat_enabled:  # noqa: SLF001
            coordinator.request_rejoin()
        if coordinator.rebalance_in_progress():
            coordinator.request_rejoin()  # takes up the JoinGroup in flight
        if coordinator.need_rejoin():
            coordinator.poll(timeout_ms=int(self._tuning.rebalance_wait_s * 1000))

    def membership(self) -> Membership:
        """Return the snapshot taken by the last `poll`."""
        return self._membership

    def _snapshot(self) -> Membership:
        # Generation and assignment are two questions, and the IO thread may change both in between.
        for _ in range(10):
            before = self._consumer.group_metadata()
            partitions = frozenset(each.partition for each in self._consumer.assignment())
            if before == self._consumer.group_metadata():
                return Membership(before.generation_id, before.member_id, before.group_instance_id, partitions)
        return NOBODY

    def rebalanced(self) -> Rebalance:
        """Return and forget what the listener noted. A partition in both sets was taken and given back."""
        return self._listener.take()

    def committed(self, partitions: frozenset[int], timeout_s: float) -> dict[int, Committed | None]:
        """Return the stable committed offsets, None where there is none.

        Under read_committed the library asks for stable offsets, and repeats while a transaction is in doubt.
        Raises `TransportError` (retriable) when the answer does not come in time.
        """
        return committed_by_group(self._consumer, self._topic, partitions, timeout_s)

    def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on, and resume it.

        Without effect when the partition is no longer ours, or was taken and given back since the last
        `rebalanced`: what the caller knows of it is then out of date, and `rebalanced` will name it again.
        """
        if offset < 0:
            raise ValueError(f"offset {offset} of partition {partition} is negative")
        with self._listener.lock, suppress(KeyError, ValueError):
            if partition in self._listener.assigned:
                return
            self._consumer.seek(self._of(partition), offset)
            self._consumer.resume(self._of(partition))
            self._listener.parked.discard(partition)

    def pause(self, partitions: frozenset[int]) -> None:
        """Return no records of these partitions; what was fetched of them is kept, and not fetched twice."""
        for each in partitions:
            with suppress(KeyError):  # no longer ours
                self._consumer.pause(self._of(each))

    def resume(self, partitions: frozenset[int]) -> None:
        """Undo `pause`; a partition that waits for its first `seek` keeps waiting."""
        with self._listener.lock:
            for each in partitions - self._listener.parked:
                with suppress(KeyError):
                    self._consumer.resume(self._of(each))

    def bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Return (earliest, end) offsets of any partitions of the topic."""
        asked = [self._of(each) for each in partitions]
        timeout_ms = int(self._tuning.call_timeout_s * 1000)
        try:
            first = self._consumer.beginning_offsets(asked, timeout_ms=timeout_ms)
            end = self._consumer.end_offsets(asked, timeout_ms=timeout_ms)
        except LIBRARY_ERRORS as error:
            raise transport_error(f"asking for the bounds of {self._topic}", error) from error
        return {each.partition: (first[each], end[each]) for each in asked}

    def ends(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the end offsets of any partitions of the topic, those of a read_committed reader."""
        timeout_ms = int(min(ENDS_S, self._tuning.call_timeout_s) * 1000)
        try:
            found = self._consumer.end_offsets([self._of(each) for each in partitions], timeout_ms=timeout_ms)
        except LIBRARY_ERRORS as error:
            raise transport_error(f"asking for the ends of {self._topic}", error) from error
        return {each.partition: end for each, end in found.items()}

    def positions(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the offsets that would be read next, asking nobody; a partition that is not ours is left out."""
        # The library's own `position` may ask the broker first.
        found = {each: self._consumer._subscription.assignment.get(self._of(each)) for each in partitions}  # noqa: SLF001
        at = {each: state.position for each, state in found.items() if state is not None}
        return {each: position.offset for each, position in at.items() if position is not None}

    def facts(self) -> TopicFacts | None:
        """Return the topic as the client's metadata has it; None from the embedded broker, which knows no ids."""
        if self._embedded:
            return None
        cluster = self._consumer._client.cluster  # noqa: SLF001 -- the consumer itself tells partitions, but no id
        partitions, topic_id = cluster.partitions_for_topic(self._topic), cluster.topic_id(self._topic)
        if not partitions:
            return TopicFacts("", 0)
        return None if topic_id is None else TopicFacts(str(topic_id), len(partitions))

    def close(self) -> None:
        """Leave the group; a broker that does not answer is given `LEAVE_S`: the process is about to end."""
        try:
            timeout_s = min(LEAVE_S, self._tuning.call_timeout_s)
            self._consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            log.warning("leaving the group failed: %s", error)

    def _of(self, partition: int) -> Any:
        return TopicPartition(self._topic, partition)

    def _out_of_range(self, error: OffsetOutOfRangeError) -> TransportError:
        each, wanted = next(iter(error.args[0].items()))
        earliest, end = self.bounds(frozenset({each.partition}))[each.partition]
        return out_of_range(self._topic, each.partition, wanted, (earliest, end))


def headers_of(record: Any) -> tuple[tuple[str, bytes], ...]:
    """Return a record's headers; one without a value, which any producer may write, has an empty one."""
    headers = tuple(record.headers)
    for _, value in headers:
        if value is None:
            return tuple((name, value or b"") for name, value in headers)
    return headers


def _unblock_resumed(consumer: Any) -> None:
    """Let records that were parked by a pause flow again after their resume.

    kafka-python 3.0.12 restores them only when it holds no records of another partition in hand, and takes a drained
    set for one in hand: the resumed partition would then be neither read nor fetched, for ever.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 -- see above; guarded by tests/consumer/transport/test_kafka_python_defects.py
    if not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def out_of_range(topic: str, partition: int, wanted: int, bounds: tuple[int, int]) -> TransportError:
    """Tell an offset that retention took from one that the log never reached."""
    earliest, end = bounds
    if wanted < earliest:
        return RetentionGap(partition, wanted, earliest)
    if wanted > end:
        return LogCutShort(topic, partition, wanted, end)
    return TransportError(f"{topic}-{partition}: the log moved while its bounds were asked for", retriable=True)
