"""`run --dry-run`: read and decide as a worker does, write nothing anywhere.

Store      an overlay: reads the state, keeps every write in memory and reads it back from there
Registry   the same for models
Sink       counts records instead of publishing them
Source     a real one in a random group that never commits an offset
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from consumer import service
from consumer.exits import ExitCode, Stop
from consumer.leader import Registry
from consumer.observer import Silence
from consumer.partition import PartitionState, decode_state, iso
from consumer.plan import Parts, Plan
from consumer.ports import Committed, InputRecord, Membership, OutputRecord, Rebalance, Source
from consumer.settings import Settings
from consumer.step import Decision
from consumer.worker import Worker
from features.redis_generation import read_binding
from features.store import Chunk, Commit, Fence, Store
from models.bundle import Bundle

QUIET_TURNS = 10
"""Idle turns, a quarter of a second each, after which nothing waits: an event-clock partition follows others later."""


class Outcome(msgspec.Struct, frozen=True):
    """What the waiting records would do: sums over the partitions, and records by topic."""

    read: int
    counters: dict[str, int]
    records: dict[str, int]
    days: dict[int, str]


@dataclass(slots=True)
class _Written:
    """What one partition's dry commits left."""

    fence: Fence | None = None
    states: dict[str, bytes | None] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    statistics: bytes | None = None
    outbox: bytes | None = None
    snapshots: dict[int, bytes] = field(default_factory=dict)
    rows: dict[tuple[str, int], bytes] = field(default_factory=dict)
    days: list[bytes] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)


class OverlayStore:
    """A `features.store.Store` that reads another one and keeps all writes to itself."""

    def __init__(self, under: Store) -> None:
        self._under = under
        self._written: dict[int, _Written] = {}

    def _of(self, partition: int) -> _Written:
        return self._written.setdefault(partition, _Written())

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        """Return the fences as first read, then as written here: the state's own worker may go on meanwhile."""
        unread = [p for p in partitions if self._of(p).fence is None]
        for partition, found in (self._under.fences(unread) if unread else {}).items():
            self._of(partition).fence = found
        return {p: fence for p in partitions if (fence := self._of(p).fence) is not None}

    def raise_epoch(self, partition: int, epoch: int) -> None:
        """Note the epoch here."""
        self._of(partition).fence = replace(self.fences([partition])[partition], epoch=epoch)

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        """Return states, those written here first."""
        missing = {p: [c for c in ids if c not in self._of(p).states] for p, ids in wanted.items()}
        below = self._under.load(missing)
        found = {p: dict(zip(ids, below.get(p, []), strict=True)) for p, ids in missing.items()}
        return {p: [(self._of(p).states | found[p])[c] for c in ids] for p, ids in wanted.items()}

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Return marks, those written here first."""
        below = self._under.marks(partition, hashes)
        ours = self._of(partition).marks
        return [ours.get(hashed, mark) for hashed, mark in zip(hashes, below, strict=True)]

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        """Return the next customers of both; goes on where customers ended here left less than `limit`."""
        ids: list[str] = []
        positions: list[int] = []
        blobs: list[bytes | None] = []
        more = True
        while more and len(ids) < limit:
            below = self._under.chunk(partition, after, limit)
            more = len(below.ids) >= limit
            part = self._merged(partition, after, below, below.positions[-1] if more else None)
            ids, positions, blobs = ids + part.ids, positions + part.positions, blobs + part.blobs
            after = below.positions[-1] if more else after
        return Chunk(ids, positions, blobs)

    def _merged(self, partition: int, after: int, below: Chunk, last: int | None) -> Chunk:
        """Put the customers written here among those below, up to the position `last`."""
        written = self._of(partition)
        found = {c: (p, blob) for c, p, blob in zip(below.ids, below.positions, below.blobs, strict=True)}
        for customer, position in written.positions.items():
            if position > after and (last is None or position <= last):
                found[customer] = position, None
        for customer in found.keys() & written.states.keys():
            found[customer] = found[customer][0], written.states[customer]
        ended = {customer for customer, blob in written.states.items() if blob is None}
        order = sorted((position, customer) for customer, (position, _) in found.items() if customer not in ended)
        ids = [customer for _, customer in order]
        return Chunk(ids, [position for position, _ in order], [found[customer][1] for customer in ids])

    def statistics(self, partition: int) -> bytes | None:
        """Return the newest statistics."""
        return self._of(partition).statistics or self._under.statistics(partition)

    def outbox(self, partition: int) -> bytes:
        """Return the newest outbox."""
        ours = self._of(partition).outbox
        return self._under.outbox(partition) if ours is None else ours

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        """Return a finished sweep's statistics."""
        return self._of(partition).snapshots.get(sweep) or self._under.snapshot(partition, sweep)

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        """Return rows below with those added here."""
        ours = self._of(partition).rows
        if f"={name}" in {key for key, number in ours if number == sweep}:
            return ours[f"={name}", sweep]
        return self._under.rows(partition, name, sweep) + ours.get((name, sweep), b"")

    def day_log(self, partition: int) -> list[bytes]:
        """Return the day log with the entries added here."""
        return self._under.day_log(partition) + self._of(partition).days

    def commit(self, partition: int, commit: Commit) -> None:
        """Keep a commit here."""
        written = self._of(partition)
        written.fence = Fence(commit.epoch, commit.id, commit.follows or commit.parent, commit.state)
        written.states |= commit.states
        written.states |= dict.fromkeys(commit.deleted)
        written.positions |= commit.created
        written.outbox, written.statistics = commit.outbox, commit.statistics or written.statistics
        written.marks |= commit.marks
        for name, more in (("sample", commit.sample), ("touched", commit.touched)):
            written.rows[name, commit.sweep] = written.rows.get((name, commit.sweep), b"") + more
        for name, left in commit.replaced.items():
            kind, _, number = name.partition(":")
            written.rows[f"={kind}", int(number)] = left
        if commit.day_entry is not None:
            written.days.append(commit.day_entry)
        if commit.snapshot is not None:
            written.snapshots[commit.snapshot.sweep] = commit.snapshot.statistics


class OverlayRegistry:
    """A registry of models that keeps what is published to itself."""

    def __init__(self, under: Registry) -> None:
        self._under = under
        self._made: dict[int, Bundle] = {}

    def current(self) -> int | None:
        """Return the live version."""
        return max(self._made) if self._made else self._under.current()

    def load(self, version: int) -> Bundle | None:
        """Return a version."""
        return self._made.get(version) or self._under.load(version)

    def publish(self, bundle: Bundle, expected: int | None) -> bool:
        """Keep a version here."""
        if self.current() != expected:
            return False
        self._made[bundle.version] = bundle
        return True


class CountingSink:
    """A `Sink` that counts by topic and publishes nothing."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()

    def open(self) -> None:
        """Do nothing."""

    def publish(
        self, records: Sequence[OutputRecord], offsets: Mapping[int, Committed], membership: Membership
    ) -> None:
        """Count."""
        del offsets, membership
        self.records.update(record.topic for record in records)

    def close(self) -> None:
        """Do nothing."""


class DrySource:
    """A `Source` whose committed offsets are those that the state was left at: its group has none of its own."""

    def __init__(self, source: Source, store: OverlayStore) -> None:
        self._source, self._store = source, store
        self.read = 0

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[InputRecord]]:
        """Read on, and count."""
        found = self._source.poll(timeout_s)
        self.read += sum(map(len, found.values()))
        return found

    def membership(self) -> Membership:
        """Return the real membership."""
        return self._source.membership()

    def rebalanced(self) -> Rebalance:
        """Return what the group noted."""
        return self._source.rebalanced()

    def committed(self, partitions: frozenset[int], timeout_s: float) -> dict[int, Committed | None]:
        """Return what the state says was committed."""
        del timeout_s
        fences = self._store.fences(sorted(partitions))
        return {p: Committed(decode_state(f.state).applied, f.last) for p, f in fences.items()}

    def seek(self, partition: int, offset: int) -> None:
        """Seek the real source."""
        self._source.seek(partition, offset)

    def pause(self, partitions: frozenset[int]) -> None:
        """Pause the real source."""
        self._source.pause(partitions)

    def resume(self, partitions: frozenset[int]) -> None:
        """Resume the real source."""
        self._source.resume(partitions)

    def bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Ask the real source."""
        return self._source.bounds(partitions)

    def ends(self, partitions: frozenset[int]) -> dict[int, int]:
        """Ask the real source."""
        return self._source.ends(partitions)

    def close(self) -> None:
        """Leave the random group."""
        self._source.close()


class _Watch(Silence):
    """Remembers where each partition stands."""

    def __init__(self) -> None:
        self.commits = 0
        self.decisions: dict[int, Decision] = {}

    def committed(self, partition: int, decision: Decision, seconds: float) -> None:
        """Note it."""
        del seconds
        self.commits += 1
        self.decisions[partition] = decision


def dry_parts(parts: Parts) -> tuple[Parts, DrySource, CountingSink]:
    """Return parts that write nothing, over real ones."""
    store = OverlayStore(parts.store)
    source, sink = DrySource(parts.source, store), CountingSink()
    parts.sink.close()
    return replace(parts, store=store, registry=OverlayRegistry(parts.registry), source=source, sink=sink), source, sink


def dry_run(
    settings: Settings,
    *,
    embedded: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.time,
) -> Outcome:
    """Apply what waits now to an overlay and return what came of it."""
    settings = settings.model_copy(update={"group": f"{settings.group_id}-dry-{uuid.uuid4().hex}", "instance": None})
    client = service.connect_redis(settings)
    binding = read_binding(client, settings.namespace)
    if binding is None:
        raise Stop(ExitCode.USAGE, f"namespace {settings.namespace} holds no state yet: `segmenter bootstrap` first")
    parts, plan = service.open_parts(settings, Silence(), binding, client, embedded=embedded)
    return rehearse(parts, plan, stopping=stopping, now=now)


def rehearse(
    parts: Parts, plan: Plan, *, stopping: Callable[[], bool] = lambda: False, now: Callable[[], float] = time.time
) -> Outcome:
    """Let a worker work on parts that write nothing, until nothing waits."""
    watch = _Watch()
    dry, source, sink = dry_parts(replace(parts, observer=watch))
    before = {p: decode_state(f.state) for p, f in dry.store.fences(range(plan.partitions)).items()}
    worker = Worker(dry, plan, now=now)
    try:
        _until_done(worker, watch, before, dry.source.ends(frozenset(before)), stopping)
    finally:
        worker.close()
    counters: Counter[str] = Counter()
    for partition, decision in watch.decisions.items():
        counters.update(decision.state.counters)
        counters.subtract(before[partition].counters)
    days = {p: iso(decision.state.day) for p, decision in sorted(watch.decisions.items())}
    return Outcome(source.read, {name: n for name, n in counters.items() if n}, dict(sink.records), days)


def _until_done(
    worker: Worker,
    watch: _Watch,
    before: Mapping[int, PartitionState],
    ends: Mapping[int, int],
    stopping: Callable[[], bool],
) -> None:
    """Turn until every partition has applied what was there at the start and has swept its day, or is blocked."""
    quiet = 0
    while quiet < QUIET_TURNS and not stopping():
        commits = watch.commits
        worker.turn()
        states = {p: watch.decisions[p].state if p in watch.decisions else state for p, state in before.items()}
        done = {p for p, s in states.items() if s.applied >= ends[p] and s.sweep.ended and s.sweep.number}
        settled = before.keys() <= (worker.assigned & done) | worker.blocked().keys()
        quiet = quiet + 1 if settled and watch.commits == commits else 0
