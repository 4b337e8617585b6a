"""Kafka in memory: the three ports over one object, for tests of logic. It passes the contract of the real one.

What it models: logs with transaction markers, read_committed and its last stable offset; transactional ids with their
epochs; a group with generations and cooperative rebalancing, in which each member takes part by its own `poll`;
offsets with metadata, unstable while their transaction is open; retention; members that are evicted and do not know.

What it leaves out: time, batches, compaction. Nothing here waits: where the real one would, this answers at once.

Faults are planned and counted (Flink's rule: one that never fired is a failed test):

    kafka.plan("mid_transaction", Crash())          the process dies there, its transaction stays open
    kafka.plan("before_transaction", TransportError("…", retriable=True))
    kafka.plan("after_commit", TransportError("…", retriable=True))    committed, but the answer was lost
    assert not kafka.planned
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from consumer.ports import (
    Committed,
    InputRecord,
    LogCutShort,
    Membership,
    OutputRecord,
    Rebalance,
    RetentionGap,
    TopicFacts,
    TransportError,
)
from consumer.transport.kafka_transaction import as_written, refuse_unfenced

Point = Literal["before_transaction", "mid_transaction", "after_commit"]
State = Literal["open", "committed", "aborted"]
NOBODY = Membership(-1, "", None, frozenset())


class Crash(BaseException):
    """The process dies here; nobody may catch this but the test."""


@dataclass(slots=True)
class Transaction:
    """One transaction: what it wrote, and the offsets that it would commit."""

    state: State = "open"
    marked: bool = True
    """Its markers are in the logs: until then committed readers do not see it, though the offsets tell of it."""
    partitions: set[tuple[str, int]] = field(default_factory=set)
    offsets: dict[tuple[str, str, int], Committed] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One offset of a log. A marker ends a transaction: it takes an offset and is never read."""

    record: InputRecord
    transaction: Transaction | None
    marker: bool = False

    def readable(self) -> bool:
        return not self.marker and (self.transaction is None or self.transaction.state == "committed")

    def unstable(self) -> bool:
        return self.transaction is not None and (self.transaction.state == "open" or not self.transaction.marked)


@dataclass(slots=True)
class Log:
    """One partition: what was written, from `earliest` on."""

    entries: list[Entry] = field(default_factory=list)
    earliest: int = 0

    def append(self, record: InputRecord, transaction: Transaction | None = None, *, marker: bool = False) -> None:
        self.entries.append(Entry(record._replace(offset=len(self.entries)), transaction, marker))

    def stable_end(self) -> int:
        return next((e.record.offset for e in self.entries if e.unstable()), len(self.entries))

    def read(self, start: int, stop: int) -> list[InputRecord]:
        return [e.record for e in self.entries[start : min(stop, self.stable_end())] if e.readable()]

    def check(self, name: str, partition: int, wanted: int) -> None:
        if wanted < self.earliest:
            raise RetentionGap(partition, wanted, self.earliest)
        if wanted > len(self.entries):
            raise LogCutShort(name, partition, wanted, len(self.entries))


@dataclass(slots=True)
class Topic:
    """A topic; made again under the same name it has another id."""

    topic_id: str
    logs: list[Log]


@dataclass(slots=True)
class Group:
    """A consumer group: who is in it, who owns what, and who has joined the round that is on."""

    generation: int = 0
    owned: dict[str, set[int]] = field(default_factory=dict)
    joined: set[str] | None = None
    offsets: dict[tuple[str, int], Committed] = field(default_factory=dict)

    def begin_round(self) -> None:
        self.joined = set()

    def leave(self, member: str) -> None:
        if self.owned.pop(member, None) is not None:
            self.begin_round()

    def join(self, member: str, partitions: int) -> None:
        """Join the round; the last one to join ends it."""
        if self.joined is None:
            return
        self.joined.add(member)
        if self.joined >= self.owned.keys():
            self._assign(partitions)

    def _assign(self, partitions: int) -> None:
        # Cooperative: who has too much gives up first; what was given up finds its owner in the round after.
        self.generation += 1
        self.joined = None
        before, target = self.owned, _fair(self.owned, partitions)
        taken = set().union(*before.values())
        self.owned = {each: (mine & target[each]) | (target[each] - taken) for each, mine in before.items()}
        if self.owned != target:
            self.begin_round()


class MemoryKafka:
    """The cluster."""

    def __init__(self, topics: Mapping[str, int] | None = None, *, forgets_commits: bool = False) -> None:
        """topics: partitions by name. forgets_commits: as the embedded broker, `committed` stays None (PROTOCOL B3)."""
        self.forgets_commits = forgets_commits
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._planned: dict[Point, deque[BaseException]] = {}
        self._now_ms = 0
        self.hold_markers = False
        """The coordinator is slow: a transaction's offsets take effect, its markers wait for `write_markers`."""
        self._unmarked: list[Transaction] = []
        for name, partitions in (topics or {}).items():
            self.create(name, partitions)

    # --- what a test does to it -----------------------------------------------------------------------------------

    def fork(self) -> MemoryKafka:
        """Return a cluster that holds the same and goes its own way; nobody is in a group and nothing is open here."""
        assert not self._open
        assert not self._unmarked
        assert not any(group.owned for group in self._groups.values())
        other = MemoryKafka(forgets_commits=self.forgets_commits)
        for name, topic in self._topics.items():
            other._topics[name] = Topic(topic.topic_id, [Log(log.entries.copy(), log.earliest) for log in topic.logs])
        other._groups = {n: Group(g.generation, {}, None, g.offsets.copy()) for n, g in self._groups.items()}
        other._epochs, other._now_ms = self._epochs.copy(), self._now_ms
        return other

    def create(self, name: str, partitions: int) -> None:
        """Make a topic, or make it again, empty and with another id."""
        self._topics[name] = Topic(str(uuid.uuid4()), [Log() for _ in range(partitions)])

    def write(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: tuple[tuple[str, bytes], ...] = (),
        timestamp: int | None = None,
    ) -> int:
        """Append one record outside any transaction and return its offset; without a timestamp a clock ticks 1 ms."""
        self._now_ms = self._now_ms + 1 if timestamp is None else timestamp
        log = self.log(topic, partition)
        log.append(InputRecord(0, self._now_ms, key, value, headers))
        return len(log.entries) - 1

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention take what is older."""
        self.log(topic, partition).earliest = offset

    def lose_offsets(self, group: str) -> None:
        """Let the group's committed offsets expire."""
        self.group(group).offsets.clear()

    def evict(self, group: str, member: str) -> None:
        """Let a member's session time out. It learns of that at its next poll; until then it is a zombie."""
        self.group(group).leave(member)

    def expire_transactions(self) -> None:
        """Let the coordinator abort what is open; it bumps the epoch, so the producer is fenced."""
        for transactional_id in list(self._open):
            self._begin_epoch(transactional_id)

    def write_markers(self) -> int:
        """Let the markers that were held reach the logs; return how many transactions they end."""
        self.hold_markers = False
        unmarked, self._unmarked = self._unmarked, []
        for transaction in unmarked:
            self._mark(transaction)
        return len(unmarked)

    def plan(self, point: Point, error: BaseException) -> None:
        """Raise `error` at the next publish that reaches `point`."""
        self._planned.setdefault(point, deque()).append(error)

    @property
    def planned(self) -> tuple[Point, ...]:
        """The faults that have not fired yet."""
        return tuple(point for point, errors in self._planned.items() for _ in errors)

    def values(self, topic: str, partition: int) -> list[bytes | None]:
        """Return what a read_committed reader gets."""
        log = self.log(topic, partition)
        return [record.value for record in log.read(log.earliest, len(log.entries))]

    def committed(self, group: str, topic: str, partition: int) -> Committed | None:
        """Return the group's committed offset, stable or not."""
        return self.group(group).offsets.get((topic, partition))

    # --- the ports ------------------------------------------------------------------------------------------------

    def source(
        self, topic: str, group: str, *, instance: str | None = None, max_poll_records: int = 5_000
    ) -> MemorySource:
        return MemorySource(self, topic, group, instance, max_poll_records)

    def sink(
        self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None] | None = None
    ) -> MemorySink:
        return MemorySink(self, transactional_id, group, topic, before_commit or (lambda: None))

    def reader(self) -> MemoryReader:
        return MemoryReader(self)

    # --- inside ---------------------------------------------------------------------------------------------------

    def topic(self, name: str) -> Topic:
        if name not in self._topics:
            raise TransportError(f"topic {name} does not exist", retriable=False)
        return self._topics[name]

    def log(self, topic: str, partition: int) -> Log:
        logs = self.topic(topic).logs
        if partition >= len(logs):
            raise TransportError(f"{topic} has no partition {partition}", retriable=False)
        return logs[partition]

    def group(self, name: str) -> Group:
        return self._groups.setdefault(name, Group())

    def unstable(self, group: str, topic: str, partition: int) -> bool:
        return any((group, topic, partition) in each.offsets for each in self._open.values())

    def fire(self, point: Point) -> None:
        errors = self._planned.get(point)
        if errors:
            raise errors.popleft()

    def open_producer(self, transactional_id: str) -> int:
        """`init_transactions`: fence the producer before, abort what it left open, return the new epoch."""
        self._begin_epoch(transactional_id)
        return self._epochs[transactional_id]

    def epoch_of(self, transactional_id: str) -> int:
        """Return the epoch of the newest producer of an id, -1 where there was none."""
        return self._epochs.get(transactional_id, -1)

    def begin(self, transactional_id: str, epoch: int) -> Transaction:
        if self._epochs.get(transactional_id) != epoch:
            raise TransportError(f"{transactional_id} was opened by another producer", retriable=True, fenced=True)
        self._open[transactional_id] = Transaction()
        return self._open[transactional_id]

    def append_in(self, transaction: Transaction, record: OutputRecord) -> None:
        value, headers = as_written(record)
        self._now_ms += 1
        log = self.log(record.topic, record.partition)
        log.append(InputRecord(0, self._now_ms, record.key, value, headers), transaction)
        transaction.partitions.add((record.topic, record.partition))

    def end(self, transactional_id: str, state: State) -> None:
        """Commit or abort: a marker in each partition, and the offsets take effect or do not."""
        transaction = self._open.pop(transactional_id)
        transaction.state = state
        if self.hold_markers:
            transaction.marked = False
            self._unmarked.append(transaction)
        else:
            self._mark(transaction)
        if state == "committed" and not self.forgets_commits:
            for (group, topic, partition), at in transaction.offsets.items():
                self.group(group).offsets[topic, partition] = at

    def _mark(self, transaction: Transaction) -> None:
        transaction.marked = True
        for topic, partition in sorted(transaction.partitions):
            self.log(topic, partition).append(InputRecord(0, self._now_ms, None, None), transaction, marker=True)

    def _begin_epoch(self, transactional_id: str) -> None:
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        if transactional_id in self._open:
            self.end(transactional_id, "aborted")


class MemorySource:
    """`Source` over `MemoryKafka`."""

    def __init__(self, kafka: MemoryKafka, topic: str, group: str, instance: str | None, max_poll_records: int) -> None:
        self._kafka, self._topic, self._group_name, self._instance = kafka, topic, group, instance
        self._max_poll_records = max_poll_records
        self._member = ""
        self._membership = NOBODY
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._parked: set[int] = set()
        self._assigned: set[int] = set()
        self._revoked: set[int] = set()

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[InputRecord]]:  # noqa: ARG002 -- nothing waits here
        self._take_part()
        room = self._max_poll_records
        found: dict[int, list[InputRecord]] = {}
        for partition in sorted(self._positions.keys() - self._paused - self._parked):
            records = self._next(partition, room)
            if records:
                found[partition] = records
                room -= len(records)
        return found

    def membership(self) -> Membership:
        return self._membership

    def rebalanced(self) -> Rebalance:
        noted = Rebalance(frozenset(self._assigned), frozenset(self._revoked))
        self._assigned.clear()
        self._revoked.clear()
        return noted

    def committed(
        self,
        partitions: frozenset[int],
        timeout_s: float,  # noqa: ARG002 -- nothing waits here
    ) -> dict[int, Committed | None]:
        for each in partitions:
            if self._kafka.unstable(self._group_name, self._topic, each):
                raise TransportError(f"the offset of {self._topic}-{each} is in doubt", retriable=True)
        return {each: self._kafka.committed(self._group_name, self._topic, each) for each in partitions}

    def seek(self, partition: int, offset: int) -> None:
        if offset < 0:
            raise ValueError(f"offset {offset} of partition {partition} is negative")
        if partition in self._positions and partition not in self._assigned:
            self._positions[partition] = offset
            self._paused.discard(partition)
            self._parked.discard(partition)

    def pause(self, partitions: frozenset[int]) -> None:
        self._paused |= partitions & self._positions.keys()

    def resume(self, partitions: frozenset[int]) -> None:
        self._paused -= partitions

    def ends(self, partitions: frozenset[int]) -> dict[int, int]:
        return {each: end for each, (_, end) in self.bounds(partitions).items()}

    def bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        return {each: self._kafka.reader().bounds(self._topic, each) for each in partitions}

    def positions(self, partitions: frozenset[int]) -> dict[int, int]:
        return {each: self._positions[each] for each in partitions & self._positions.keys()}

    def lags(self, partitions: frozenset[int]) -> dict[int, int]:
        logs = self._kafka.topic(self._topic).logs
        return {each: len(logs[each].entries) - at for each, at in self.positions(partitions).items()}

    def rejoin(self) -> None:
        self._group().leave(self._member)
        self._apply(set())

    def facts(self) -> TopicFacts | None:
        return self._kafka.reader().facts(self._topic)

    def close(self) -> None:
        self._group().leave(self._member)

    def _group(self) -> Group:
        return self._kafka.group(self._group_name)

    def _next(self, partition: int, room: int) -> list[InputRecord]:
        log, start = self._kafka.log(self._topic, partition), self._positions[partition]
        log.check(self._topic, partition, start)
        records = log.read(start, len(log.entries))[:room]
        reached = log.stable_end() if len(records) < room else records[-1].offset + 1 if records else start
        self._positions[partition] = max(start, reached)
        return records

    def _take_part(self) -> None:
        group, partitions = self._group(), len(self._kafka.topic(self._topic).logs)
        if self._member not in group.owned:
            self._apply(set())
            self._member = str(uuid.uuid4())
            group.owned[self._member] = set()
            group.begin_round()
        for _ in range(2):  # the second round of a cooperative rebalance follows at once
            group.join(self._member, partitions)
            self._apply(group.owned[self._member])
        self._membership = Membership(
            group.generation, self._member, self._instance, frozenset(group.owned[self._member])
        )

    def _apply(self, owned: set[int]) -> None:
        gone, new = self._positions.keys() - owned, owned - self._positions.keys()
        for each in gone:
            del self._positions[each]
        self._positions |= dict.fromkeys(new, 0)
        self._paused -= gone
        self._parked = (self._parked - gone) | new
        self._assigned = (self._assigned - gone) | new
        self._revoked |= gone


class MemorySink:
    """`Sink` over `MemoryKafka`."""

    def __init__(
        self, kafka: MemoryKafka, transactional_id: str, group: str, topic: str, before_commit: Callable[[], None]
    ) -> None:
        self._kafka, self._id, self._group, self._topic = kafka, transactional_id, group, topic
        self._before_commit = before_commit
        self._epoch: int | None = None

    @property
    def opened(self) -> bool:
        return self._epoch is not None

    def open(self) -> None:
        self._epoch = self._kafka.open_producer(self._id)

    def publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership
    ) -> None:
        refuse_unfenced(offsets, membership)
        self._transact(records, offsets, membership)

    def write(self, records: Sequence[OutputRecord]) -> None:
        self._transact(records, {}, None)

    def _transact(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership | None
    ) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            raise TransportError("the producer must be opened before it publishes", retriable=True)
        self._kafka.fire("before_transaction")
        transaction = self._kafka.begin(self._id, epoch)
        for record in records:
            self._kafka.append_in(transaction, record)
        if membership is not None:
            self._refuse_stale(membership)
        transaction.offsets |= {(self._group, self._topic, each): at for each, at in offsets.items()}
        self._kafka.fire("mid_transaction")
        self._before_commit()
        self._kafka.end(self._id, "committed")
        self._kafka.fire("after_commit")
        self._epoch = epoch

    def close(self) -> None:
        self._epoch = None

    def _refuse_stale(self, membership: Membership) -> None:
        """What the group's coordinator does with the offsets of a member that it does not know (KIP-447)."""
        group = self._kafka.group(self._group)
        if membership.member_id not in group.owned or membership.generation != group.generation:
            raise TransportError("the group has moved on", retriable=True, fenced=True)


class MemoryReader:
    """`TopicReader` over `MemoryKafka`."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    def facts(self, topic: str) -> TopicFacts:
        found = self._kafka.topic(topic)
        return TopicFacts(found.topic_id, len(found.logs))

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        log = self._kafka.log(topic, partition)
        return log.earliest, log.stable_end()

    def high_watermark(self, topic: str, partition: int) -> int:
        return len(self._kafka.log(topic, partition).entries)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        entries = self._kafka.log(topic, partition).entries
        return next((e.record.offset for e in entries if e.record.timestamp >= timestamp_ms), None)

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[InputRecord]:
        log = self._kafka.log(topic, partition)
        log.check(topic, partition, start)
        yield from log.read(start, stop)
        if stop > log.stable_end():
            raise TransportError(f"{topic}-{partition} stays at offset {log.stable_end()} of {stop}", retriable=True)

    def close(self) -> None:
        pass


def _fair(owned: Mapping[str, set[int]], partitions: int) -> dict[str, set[int]]:
    """Give each member its share, moving as little as possible."""
    target = {member: set(sorted(mine)[: -(-partitions // len(owned))]) for member, mine in owned.items()}
    for partition in sorted(set(range(partitions)).difference(*target.values())):
        min(target.values(), key=len).add(partition)
    while max(map(len, target.values())) - min(map(len, target.values())) > 1:
        richest = max(target.values(), key=len)
        moved = max(richest)
        richest.remove(moved)
        min(target.values(), key=len).add(moved)
    return target
