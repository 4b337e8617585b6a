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
from dataclasses import replace

import msgspec

from consumer import service
from consumer.commands.overlay import OverlayRegistry, OverlayStore
from consumer.exits import ExitCode, Stop
from consumer.observer import Silence
from consumer.partition import PartitionState, decode_state, iso
from consumer.plan import Parts, Plan
from consumer.ports import Committed, InputRecord, Membership, OutputRecord, Rebalance, Source, TopicFacts
from consumer.settings import Settings
from consumer.step import Decision
from consumer.worker import Worker
from features.redis_generation import read_binding

QUIET_TURNS = 10
"""Idle turns, a quarter of a second each, after which nothing waits: an event-clock partition follows others later."""


class Outcome(msgspec.Struct, frozen=True):
    """What the waiting records would do: sums over the partitions, and records by topic."""

    read: int
    counters: dict[str, int]
    records: dict[str, int]
    days: dict[int, str]


class CountingSink:
    """A `Sink` that counts by topic and publishes nothing."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()

    opened = True

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

    def positions(self, partitions: frozenset[int]) -> dict[int, int]:
        """Look at the real source."""
        return self._source.positions(partitions)

    def lags(self, partitions: frozenset[int]) -> dict[int, int]:
        """Look at the real source."""
        return self._source.lags(partitions)

    def rejoin(self) -> None:
        """Join the random group anew."""
        self._source.rejoin()

    def facts(self) -> TopicFacts | None:
        """Ask the real source."""
        return self._source.facts()

    def close(self) -> None:
        """Leave the random group."""
        self._source.close()


class _Watch(Silence):
    """Remembers where each partition stands."""

    def __init__(self) -> None:
        self.commits = 0
        self.decisions: dict[int, Decision] = {}

    def committed(self, partition: int, decision: Decision) -> None:
        """Note it."""
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
