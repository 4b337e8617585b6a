"""A whole small world in memory: Kafka, store, registry, a clock; workers come, crash and go in it.

world = World(partitions=2); world.publish(line(...)); world.settle(); world.labels()
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, TypeVar
from zlib import crc32
from zoneinfo import ZoneInfo

import numpy as np

from consumer.leader import Renewal
from consumer.observer import Observer, Silence
from consumer.partition import History, PartitionState, Rules, Sweep, decode_state, encode_state
from consumer.plan import Parts, Plan
from consumer.ports import Sink
from consumer.publication import Topics
from consumer.tally import Tally
from consumer.worker import Worker
from features.codec import SCHEMA_OF_MOVES, decode_states, encode_states
from features.identity import position
from features.moves import no_moves
from features.transaction import EPOCH_ORDINAL
from models.bundle import Bundle, Segment, content_hash
from models.candidate import Candidate, pending
from models.checkup import Checkup
from models.learner import Learner, learner_named
from tests.harness.memory_kafka import Crash, MemoryKafka
from tests.harness.memory_producer import MemoryCluster
from tests.harness.memory_store import Journal, MemoryStore

T = TypeVar("T")
TOPICS = Topics("transactions", "customer-segments", "transactions-dead-letters", "customer-erasures")
GROUP = "g"
FIRST_DAY = date(2024, 3, 1)
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""A traceparent."""


def day_number(day: date) -> int:
    return day.toordinal() - EPOCH_ORDINAL


def line(customer: str | None, day: date, **more: Any) -> dict[str, Any]:
    """Return one order line; `hour`, `invoice_no`, `quantity`, `unit_price`, `event_id` may be given."""
    hour = more.pop("hour", 12)
    found = {
        "invoice_no": f"{customer}-{day}",
        "quantity": 2,
        "unit_price": 10.0,
        "invoice_date": f"{day.isoformat()}T{hour:02d}:00:00",
        "customer_id": customer,
    }
    return found | more


def first_model() -> Bundle:
    """Return a model of two clusters: recent and large, long ago and small."""
    return Bundle(
        version=1,
        parent=None,
        day=day_number(FIRST_DAY),
        learner="population",
        features=("recency", "frequency", "monetary"),
        horizon_days=60,
        margin=0.95,
        scale=(1.0, 0.5, 1.0),
        centroids=((0.5, 1.2, 4.5), (2.8, 0.7, 3.0)),
        segments=(Segment(11, "Active"), Segment(12, "Dormant")),
        created_by="bootstrap",
        sizes=(1, 1),
    )


class MemoryRegistry:
    """Implements `consumer.leader.Registry`."""

    def __init__(self, *bundles: Bundle, journal: Journal | None = None) -> None:
        self.versions = {bundle.version: bundle for bundle in bundles}
        self.candidates: dict[int, Candidate] = {}
        self.promoted: int | None = None
        self.checked: dict[int, Checkup] = {}
        self._journal = journal

    def current(self) -> int | None:
        return max(self.versions)

    def load(self, version: int) -> Bundle | None:
        return self.versions.get(version)

    def publish(self, bundle: Bundle, expected: int | None) -> bool:
        if self.current() != expected:
            return False
        self._write(bundle)
        return True

    def keep(self, bundle: Bundle) -> bool:
        if bundle.version not in self.versions:
            self._write(bundle)
        return self.versions[bundle.version] == bundle

    def propose(self, candidate: Candidate) -> int:
        name = len(self.candidates) + 1
        self.candidates[name] = candidate
        return name

    def pending(self) -> dict[int, Candidate]:
        return pending(self.candidates, self.promoted)

    def note(self, checkup: Checkup) -> None:
        self.checked[checkup.version] = checkup

    def checkups(self) -> dict[int, Checkup]:
        return self.checked

    def _write(self, bundle: Bundle) -> None:
        if self._journal is not None:
            self._journal.note(partial(self.versions.__delitem__, bundle.version))
        self.versions[bundle.version] = bundle


@dataclass
class Clock:
    """A wall clock that a test moves, and the time that passes; each look costs 10 ms, so that nothing waits for ever.

    Whoever sets `seconds` lets time pass; `step` sets the host's clock, and no time passes.
    """

    seconds: float
    stepped: float = 0.0

    def __call__(self) -> float:
        self.seconds += 0.01
        return self.seconds

    def elapsed(self) -> float:
        """Return the time that has passed, whatever the host's clock was set to."""
        return self() - self.stepped

    def step(self, seconds: float) -> None:
        """Set the host's clock forward, or back."""
        self.seconds += seconds
        self.stepped += seconds


@dataclass
class CrashPlan:
    """Dies at the nth time a point is reached; `fired` says whether it did."""

    point: str = ""
    nth: int = 0
    fired: bool = False
    seen: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        self.seen.append(point)
        if point == self.point and not self.fired:
            self.nth -= 1
            if self.nth < 0:
                self.fired = True
                raise Crash(point)


class InOrder(Executor):
    """Makes each call at once and in the caller's thread, so that a schedule repeats."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Return what became of the call."""
        made: Future[T] = Future()
        try:
            made.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- whoever asks for the result is told
            made.set_exception(error)
        return made


class World:
    """Everything but the workers outlives a crash."""

    def __init__(
        self,
        *,
        partitions: int = 2,
        rules: Rules | None = None,
        history: History | None = None,
        max_poll_records: int = 5_000,
        forgets_commits: bool = False,
        learner: str | Learner = "population",
        instance: str | None = None,
        renewal: Renewal = "off",
        topics: Topics = TOPICS,
    ) -> None:
        names = (TOPICS.input, TOPICS.output, TOPICS.dead_letters, TOPICS.erasures)
        self.kafka = MemoryKafka(dict.fromkeys(names, partitions), forgets_commits=forgets_commits)
        self.journal: Journal | None = None
        """What the store can lose again, in a world that was forked."""
        self.cluster: MemoryCluster | None = None
        """Where the real sink writes, inside `producers_in_memory`; None: the fake sink does."""
        self.store = MemoryStore()
        bundle = first_model()
        self.registry = MemoryRegistry(bundle)
        self.partitions, self.max_poll_records, self.learner = partitions, max_poll_records, learner
        self.instance, self.renewal, self.topics = instance, renewal, topics
        self.rules = rules or Rules(horizon_days=60, clock="event")
        self.history = history or History()
        self.clock = Clock((FIRST_DAY - date(1970, 1, 1)).days * 86_400.0 + 400 * 86_400)
        self.crash = CrashPlan()
        self.workers: list[Worker] = []
        self.observer: Observer = Silence()
        self.begin_generation({})

    def fork(self) -> World:
        """Return a world that stands where this one does, without workers, and goes its own way.

        Its store can lose its last writes, and the real sink writes to its cluster.
        """
        other = copy(self)
        other.kafka, other.journal, other.workers = self.kafka.fork(), Journal(), []
        other.cluster = MemoryCluster.of(other.kafka)
        other.store = MemoryStore(other.journal)
        other.store.parts = {partition: part.copy() for partition, part in self.store.parts.items()}
        other.registry = MemoryRegistry(*self.registry.versions.values(), journal=other.journal)
        other.clock, other.crash = Clock(self.clock.seconds), CrashPlan()
        return other

    def begin_generation(self, states: dict[str, bytes]) -> None:
        """Start anew as a bootstrap does: unlabelled states, commit 0:0, the input from its beginning."""
        first = day_number(FIRST_DAY)
        bundle = self.registry.versions[1]
        for partition in range(self.partitions):
            sweep = Sweep(0, first, 1, content_hash(bundle), None)
            end = len(self.kafka.log(TOPICS.input, partition).entries) if states else 0
            tally = Tally() if self.rules.schema >= SCHEMA_OF_MOVES else None
            self.store.begin(partition, encode_state(PartitionState(end, sweep, first * 86_400, tally=tally)))
        decoded = replace(decode_states(list(states.values())), moves=no_moves())
        for name in ("schema", "segment", "previous", "anchor", "revision", "sweep", "entered_day"):
            decoded.heads[name] = 0
        blobs = encode_states(decoded, np.arange(len(states)), self.rules.schema)
        for customer, blob in zip(states, blobs, strict=True):
            self.store.put(self.home(customer), customer, position(customer), blob)

    def home(self, customer: str) -> int:
        """Return a customer's partition; any fixed rule will do where no Kafka client partitions."""
        return crc32(customer.encode()) % self.partitions

    def publish(self, *lines: dict[str, Any]) -> None:
        """Write order lines (or erasures) to their customers' partitions."""
        for each in lines:
            customer = each.get("customer_id") or ""
            self.write(self.home(customer), customer.encode() or None, json.dumps(each).encode())

    def write(
        self, partition: int, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> int:
        now = int(self.clock.seconds * 1000)
        return self.kafka.write(TOPICS.input, partition, key, value, timestamp=now, headers=headers)

    def tick(self, day: date) -> None:
        """Turn the day of every partition."""
        value = json.dumps({"type": "tick", "at": f"{day.isoformat()}T00:00:00"}).encode()
        for partition in range(self.partitions):
            self.write(partition, None, value)

    def worker(self, crash_point: Callable[[str], None] | None = None) -> Worker:
        """Start a worker; it takes part at its first turn."""
        number, point = len(self.workers), crash_point or self.crash
        self.store.between = lambda: point("mid_trip")
        parts = Parts(
            source=self.kafka.source(TOPICS.input, GROUP, max_poll_records=self.max_poll_records),
            sink=self._sink(f"w{number}", lambda: point("mid_transaction")),
            reader=self.kafka.reader(),
            store=self.store,
            registry=self.registry,
            learner=learner_named(self.learner) if isinstance(self.learner, str) else self.learner,
            observer=self.observer,
        )
        plan = Plan(
            topics=self.topics,
            rules=self.rules,
            history=self.history,
            zone=ZoneInfo("UTC"),
            currency="GBP",
            partitions=self.partitions,
            partitions_of=lambda customers: np.array([self.home(each) for each in customers], np.int64),
            erasure_key=b"key",
            instance=self.instance,
            renewal=self.renewal,
        )
        made = Worker(parts, plan, now=self.clock, elapsed=self.clock.elapsed, crash_point=point, background=InOrder())
        self.workers.append(made)
        return made

    def _sink(self, name: str, before_commit: Callable[[], None]) -> Sink:
        if self.cluster is not None:
            return self.cluster.sink(name, GROUP, TOPICS.input, before_commit)
        return self.kafka.sink(name, GROUP, TOPICS.input, before_commit=before_commit)

    def lose(self, worker: Worker) -> None:
        """Let a worker's session time out; its open transaction is aborted by the coordinator."""
        self.kafka.evict(GROUP, worker._parts.source._member)  # type: ignore[attr-defined]
        self.kafka.expire_transactions()

    def settle(self, worker: Worker | None = None, *, turns: int = 4_000) -> Worker:
        """Run until everything published is applied and every day is swept; a crash brings a new worker."""
        worker = worker or self.worker()
        for _ in range(turns):
            try:
                worker.turn()
            except Crash:
                self.lose(worker)
                worker = self.worker()
                continue
            if self.settled(worker):
                return worker
        raise AssertionError(f"not settled after {turns} turns: {self.states()}")

    def settled(self, worker: Worker) -> bool:
        return self.settled_by(worker)

    def settled_by(self, *workers: Worker) -> bool:
        """Say whether nothing is left to do, and these workers own everything between them."""
        states = self.states()
        at_end = all(state.applied >= len(self.kafka.log(TOPICS.input, p).entries) for p, state in states.items())
        swept = all(state.sweep.ended and state.sweep.number for state in states.values())
        same_day = len({state.day for state in states.values()}) == 1
        committed = {p: self.kafka.committed(GROUP, TOPICS.input, p) for p in states}
        fences = self.store.fences(range(self.partitions))
        published = self.kafka.forgets_commits or all(
            c is not None and c.metadata == fences[p].last for p, c in committed.items()
        )
        owned = frozenset().union(*(worker.assigned for worker in workers))
        return owned == frozenset(range(self.partitions)) and at_end and swept and same_day and published

    def states(self) -> dict[int, PartitionState]:
        return {p: decode_state(self.store.parts[p].fence.state) for p in range(self.partitions)}

    def customers(self) -> dict[str, bytes]:
        return {c: blob for part in self.store.parts.values() for c, blob in part.states.items()}

    def heads(self) -> dict[str, dict[str, int]]:
        """Return each customer's head as a dict."""
        found = self.customers()
        heads = decode_states(list(found.values())).heads
        return {
            c: {name: int(head[name]) for name in heads.dtype.names or ()} for c, head in zip(found, heads, strict=True)
        }

    def labels(self) -> dict[str, int]:
        return {customer: head["segment"] for customer, head in self.heads().items()}

    def ledgers(self) -> dict[str, list[tuple[int, ...]]]:
        """Return each customer's records within the horizon as (order, day, net, units, lines)."""
        found = self.customers()
        ledger = decode_states(list(found.values())).ledger
        first = max(state.day for state in self.states().values()) - self.rules.horizon_days
        names = list(found)
        rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
        columns = zip(ledger.owner, ledger.order, ledger.day, ledger.net, ledger.units, ledger.lines, strict=True)
        for owner, *record in columns:
            if record[1] >= first:
                rows[names[owner]].append(tuple(int(value) for value in record))
        return rows

    def output(self) -> list[dict[str, Any]]:
        """Return every segment record, partition by partition, with its headers under `headers`."""
        found = []
        for partition in range(self.partitions):
            log = self.kafka.log(TOPICS.output, partition)
            for record in log.read(0, len(log.entries)):
                value = (
                    {"tombstone": (record.key or b"").decode()} if record.value is None else json.loads(record.value)
                )
                found.append(value | {"headers": dict(record.headers), "partition": partition})
        return found

    def dead(self) -> list[tuple[str, bytes | None]]:
        """Return (reason, original value) of each dead letter."""
        found = []
        for partition in range(self.partitions):
            log = self.kafka.log(TOPICS.dead_letters, partition)
            found += [(dict(r.headers)["reason"].decode(), r.value) for r in log.read(0, len(log.entries))]
        return found

    def counters(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for state in self.states().values():
            for name, n in state.counters.items():
                total[name] = total.get(name, 0) + n
        return total


def between(lines: Iterable[dict[str, Any]], begin: int, end: int) -> list[dict[str, Any]]:
    """Return the lines of the days from `begin` to before `end`, counted from the first."""
    first, last = (f"{FIRST_DAY + timedelta(days=n)}" for n in (begin, end))
    return [each for each in lines if first <= each["invoice_date"] < last]


def shopping(seed: int, customers: int = 30, days: int = 25, per_day: int = 12) -> Iterable[dict[str, Any]]:
    """Yield a seeded stream of orders and returns in time order."""
    rng = random.Random(seed)
    for n in range(days):
        day = FIRST_DAY + timedelta(days=n)
        for order in range(rng.randrange(per_day // 2, per_day)):
            customer = f"c{min(rng.randrange(customers), rng.randrange(customers))}"
            back = rng.random() < 0.1
            for item in range(rng.randrange(1, 4)):
                quantity = -1 if back else rng.randrange(1, 9)
                yield line(
                    customer,
                    day,
                    hour=8 + order % 12,
                    invoice_no=f"{'C' if back else ''}{n}-{order}",
                    quantity=quantity,
                    unit_price=rng.choice([0.85, 2.55, 12.75]),
                    event_id=f"{n}-{order}-{item}",
                )
