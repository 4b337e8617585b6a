"""The pure half of the service over lists of events: no Kafka, no Redis, one process, everything to be looked at.

    run = PureRun(rules=..., history=rows, first=day); run.publish(line(...)); run.settle(); verify(*run.evidence())

It does what the worker does between its ports: decode, cut, step, sweep, erase, lead; a store is a dict.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from consumer import erasure, sweep
from consumer.clock import Cut, cut
from consumer.messages import Emission
from consumer.partition import START, DayEntry, PartitionState, Rules, Sweep, iso
from consumer.partition import History as HistoryRules
from consumer.scoring import within_horizon
from consumer.step import Context, Decision, Mark, Task, read_rows, refuse_foreign, step, wanted
from consumer.tally import Row as DailyRow
from consumer.tally import Tally
from features.codec import SCHEMA_OF_MOVES, Seen, States, blank_heads, decode_states, encode_states
from features.decoding import decode
from features.identity import hash64, position
from features.ledger import Lines, fold, from_lines
from features.transaction import DAY_SECONDS
from models.bundle import Bundle, Segment, content_hash
from models.bundle import encode as encode_bundle
from models.learner import Evidence, Learner
from models.population import Statistics
from models.population import encode as encode_statistics
from reports import verify_input
from reports.verify_events import murmur2

FIRST = 19_783
"""2024-03-01."""
KEY = b"a key"
FAR = 40_000
"""A wall clock's day that no event of these tests lies beyond."""


class Row(NamedTuple):
    """A history row; amount in 1/10,000; time in local seconds."""

    customer: str
    invoice: str
    time: int
    amount: int
    units: int
    event_id: str = ""


def model(**changes: Any) -> Bundle:
    """Return a first model of three clusters: champions, occasional, gone quiet."""
    bundle = Bundle(
        version=1,
        parent=None,
        day=FIRST,
        learner="population",
        features=("recency", "frequency", "monetary"),
        horizon_days=60,
        margin=0.95,
        scale=(1.0, 0.5, 1.0),
        centroids=((0.7, 1.6, 5.2), (2.2, 0.9, 3.8), (3.5, 0.7, 3.0)),
        segments=(Segment(11, "Champions"), Segment(12, "Occasional"), Segment(13, "Quiet")),
        created_by="bootstrap",
        sizes=(1, 1, 1),
    )
    return msgspec.structs.replace(bundle, **changes)


def line(customer: str | None, day: int, **more: Any) -> dict[str, Any]:
    """Return an order line; `hour` and any field may be given."""
    hour = more.pop("hour", 12)
    found = {
        "invoice_no": f"i-{customer}-{day}",  # not the id alone: one that begins with C would be a cancellation
        "quantity": 2,
        "unit_price": 10.0,
        "invoice_date": f"{iso(day)}T{hour:02d}:00:00",
        "customer_id": customer,
    }
    return found | more


@dataclass
class Part:
    """One partition: its log, its store, and what it published."""

    number: int
    state: PartitionState
    statistics: Statistics
    bundle: Bundle
    previous: Bundle | None = None
    log: list[verify_input.InputRecord] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)
    index: list[tuple[int, str]] = field(default_factory=list)
    output: list[verify_input.OutputRecord] = field(default_factory=list)
    erasures: list[Emission] = field(default_factory=list)
    days: list[DayEntry] = field(default_factory=list)
    dead: dict[int, str] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, bytes] = field(default_factory=dict)
    snapshots: dict[int, Statistics] = field(default_factory=dict)
    daily: list[DailyRow] = field(default_factory=list)
    sequence: int = 0

    def commit(self, decision: Decision) -> None:
        """Write what commit.lua writes, publish what the worker publishes."""
        self.sequence += 1
        number = decision.state.sweep.number
        self.state, self.statistics = decision.state, decision.statistics
        if decision.begins:
            for name in (f"sample:{number}", f"touched:{number}", f"sample:{number - 2}", f"touched:{number - 3}"):
                self.rows.pop(name, None)
        self.states |= decision.states
        for customer, place in decision.created.items():
            insort(self.index, (place, customer))
        for customer in decision.deleted:
            del self.states[customer]
            self.index.remove((position(customer), customer))
        if decision.day_entry is not None:
            self.days.append(decision.day_entry)
        for name, data in (("sample", decision.sample), ("touched", decision.touched)):
            self.rows[f"{name}:{number}"] = self.rows.get(f"{name}:{number}", b"") + data
        self.rows |= decision.replaced
        self.marks |= decision.marks
        if decision.snapshot is not None:
            self.snapshots[decision.snapshot.day] = decision.statistics
        if decision.row is not None:
            self.daily.append(decision.row)
        self._publish(decision)

    def _publish(self, decision: Decision) -> None:
        stamp = {"epoch": b"1", "sequence": b"%d" % self.sequence}
        for emission in decision.outbox.emissions:
            if emission.to == "erasures":
                self.erasures.append(emission)
                continue
            headers = stamp | dict(emission.headers)
            self.output.append(verify_input.OutputRecord(len(self.output), emission.key, emission.value, headers))
        self.dead |= {refusal.offset: refusal.reason.value for refusal in decision.outbox.dead}

    def lead_rows(self, name: str, number: int, d: int) -> np.ndarray:
        return read_rows(self.rows.get(f"{name}:{number}", b""), d)[1]


class PureRun:
    """Partitions, a model registry and a leader in one process; see the module's text."""

    def __init__(
        self,
        *,
        partitions: int = 2,
        rules: Rules | None = None,
        bundle: Bundle | None = None,
        history: Sequence[Row] = (),
        has_ids: bool = False,
        first: int = FIRST,
        learner: Learner | None = None,
        refine_every: int = 7,
        chunk: int = 7,
        zone: str = "UTC",
        partition_of: Callable[[str], int] | None = None,
    ) -> None:
        self.rules = rules or Rules(horizon_days=60, clock="event")
        bundle = bundle or model(horizon_days=self.rules.horizon_days)
        self.models = {bundle.version: bundle}
        self.learner, self.refine_every, self.chunk, self.first = learner, refine_every, chunk, first
        self.partitions, self.zone, self.home = partitions, ZoneInfo(zone), partition_of or self._murmur
        self.rows = list(history)
        cutoff = max((row.time for row in history), default=None)
        self.history = HistoryRules(cutoff, has_ids)
        none = Sweep(0, first, bundle.version, content_hash(bundle), cursor=None)
        start = PartitionState(0, none, first * DAY_SECONDS if cutoff is None else cutoff, tally=Tally())
        shape = bundle.k, len(bundle.features)
        self.parts = [Part(number, start, Statistics.zeros(*shape), bundle) for number in range(partitions)]
        if history:
            self.load(*fold_rows(history, self.rules, first))

    def _murmur(self, customer: str) -> int:
        return murmur2(customer.encode()) % self.partitions

    def load(self, customers: Sequence[str], states: States) -> None:
        """Take over the states of a history."""
        blobs = encode_states(states, np.arange(len(customers)), self.rules.schema)
        for customer, blob in zip(customers, blobs, strict=True):
            part = self.parts[self.home(customer)]
            part.states[customer] = blob
            part.index.append((position(customer), customer))
        for part in self.parts:
            part.index.sort()

    # Input --------------------------------------------------------------------------------------------------

    def publish(self, *events: dict[str, Any]) -> None:
        """Write order lines or erasures to their customers' partitions."""
        for event in events:
            customer = event.get("customer_id") or ""
            self.write(self.home(customer), customer.encode() or None, json.dumps(event).encode())

    def tick(self, day: int) -> None:
        """Turn every partition's day."""
        for number in range(self.partitions):
            self.write(number, None, json.dumps({"type": "tick", "at": f"{iso(day)}T00:00:00"}).encode())

    def write(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        log = self.parts[partition].log
        log.append(verify_input.InputRecord(len(log), 1_700_000_000_000 + len(log), key, value))

    # The event clock ----------------------------------------------------------------------------------------

    def settle(self, sizes: Iterable[int] = repeat(5)) -> None:
        """Apply everything under the event clock, in batches of these sizes; all partitions keep to one day."""
        size = iter(sizes)
        for part in self.parts:
            if part.state.sweep.number == 0:
                self.turn(part, self.first)
        while True:
            wants = {part.number: self._until_turn(part, size) for part in self.parts}
            day = max(part.state.day for part in self.parts)
            behind = [part for part in self.parts if part.state.day < day]
            if not behind:
                goals = [goal for goal in wants.values() if goal is not None]
                if not goals:
                    return
                self._lead(day)
                day, behind = day + 1, self.parts
            for part in behind:
                self.turn(part, part.state.day + 1)

    def _until_turn(self, part: Part, sizes: Iterator[int]) -> int | None:
        """Apply batches until the partition must turn its day (return the day wanted) or has no more."""
        while part.state.applied < len(part.log):
            turn_to = self.apply(part, next(sizes))
            if turn_to is not None:
                return turn_to
        return None

    def apply(self, part: Part, size: int) -> int | None:
        """Apply the next `size` records, or as far as the day goes; return the day to turn to before the rest."""
        start = part.state.applied
        records = part.log[start : start + size]
        if not records:
            return None
        batch = decode(
            [record.offset for record in records],
            [record.key for record in records],
            [record.value for record in records],
            [record.timestamp for record in records],
            zone=self.zone,
            currency="GBP",
            today=FAR,
        )
        homes = np.array([self.home(customer) for customer in batch.customers], np.int64)
        rest = refuse_foreign(batch, part.number, homes)
        while True:
            piece = cut(rest, part.state, self.rules)
            if piece.now.records:
                part.commit(self.decide(part, piece))
            if piece.turn_to is not None or piece.rest is None:
                return piece.turn_to
            rest = piece.rest

    def decide(self, part: Part, piece: Cut) -> Decision:
        """Decide one piece of a batch as the worker would."""
        control = piece.control
        if control is None:
            return step([self.task(part, piece)])[0]
        context = self.context(part)
        if control.kind == "tick":
            counters = part.state.counted({"lines": 1, "ticks": 1})
            after = msgspec.structs.replace(part.state, applied=piece.now.stop, counters=counters)
            return Decision(after, part.statistics)
        control = erasure.dated(control, self.rules.clock, part.state.watermark, self.zone)
        mark = part.marks.get(erasure.keyed_hash(KEY, control.customer))
        earlier = None if mark is None else msgspec.json.decode(mark, type=Mark)
        return erasure.erase(context, control, part.states.get(control.customer), earlier, KEY, dict(part.rows))

    def task(self, part: Part, piece: Cut) -> Task:
        """Return what a partition has to decide of some lines."""
        names = wanted(piece.now)
        found = {name: part.marks.get(erasure.keyed_hash(KEY, name)) for name in names}
        marks = {name: msgspec.json.decode(mark, type=Mark) for name, mark in found.items() if mark is not None}
        return Task(self.context(part), piece, [part.states.get(name) for name in names], marks)

    def context(self, part: Part) -> Context:
        touched = self.learner is not None and self.learner.needs_touched
        return Context(part.state, part.statistics, part.bundle, part.previous, self.rules, self.history, touched)

    # Sweeps and models --------------------------------------------------------------------------------------

    def turn(self, part: Part, day: int) -> None:
        """Sweep a partition as of a day under the newest model, to the end."""
        self.begin(part, day)
        while not part.state.sweep.ended:
            self.sweep_on(part)

    def begin(self, part: Part, day: int) -> None:
        """Begin a sweep; its first chunk commits it."""
        bundle = self.models[max(self.models)]
        part.previous = part.bundle if bundle.version != part.bundle.version else None
        part.state = sweep.begin(part.state, day, bundle, content_hash(bundle), part.statistics.total)
        part.bundle = bundle
        if part.state.sweep.cursor == START:
            self.sweep_on(part)

    def sweep_on(self, part: Part) -> None:
        """Re-score the next chunk."""
        cursor = part.state.sweep.cursor
        assert cursor is not None
        after = [(place, customer) for place, customer in part.index if place > cursor]
        found, last = after[: self.chunk], len(after) <= self.chunk
        names = [customer for _, customer in found]
        blobs = [part.states[name] for name in names]
        part.commit(sweep.chunk(self.context(part), names, [place for place, _ in found], blobs, last))

    def _lead(self, day: int) -> None:
        """Make the model of a day from all partitions' snapshots of it."""
        if self.learner is None or any(day not in part.snapshots for part in self.parts):
            return
        current = self.models[max(self.models)]
        total = Statistics.zeros(current.k, len(current.features))
        for part in self.parts:
            total = total + part.snapshots[day]
        d, refine = len(current.features), day > self.first and (day - self.first) % self.refine_every == 0
        numbers = {part.number: part.state.sweep.number for part in self.parts}
        sample = np.concatenate([part.lead_rows("sample", numbers[part.number], d) for part in self.parts])
        touched = np.concatenate([part.lead_rows("touched", numbers[part.number] - 1, d) for part in self.parts])
        made = self.learner.update(current, Evidence(day, total, sample, touched, refine))
        self.models[made.version] = made

    # What came of it ----------------------------------------------------------------------------------------

    def heads(self) -> dict[str, dict[str, int]]:
        """Return each customer's head as a dict."""
        found = {customer: blob for part in self.parts for customer, blob in part.states.items()}
        heads = decode_states(list(found.values())).heads
        names = heads.dtype.names or ()
        return {c: {name: int(head[name]) for name in names} for c, head in zip(found, heads, strict=True)}

    def labels(self) -> dict[str, int]:
        return {customer: head["segment"] for customer, head in self.heads().items()}

    def values(self) -> list[dict[str, Any]]:
        """Return what was published, tombstones as {"tombstone": customer}, with `headers`."""
        found = []
        for part in self.parts:
            for record in part.output:
                ended = {"tombstone": (record.key or b"").decode()}
                found.append((json.loads(record.value) if record.value else ended) | {"headers": record.headers})
        return found

    def counters(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in self.parts:
            for name, n in part.state.counters.items():
                total[name] = total.get(name, 0) + n
        return total

    def ledgers(self) -> dict[str, list[tuple[int, ...]]]:
        """Return each customer's records within the horizon of the last day: (order, day, net, units, lines)."""
        first = max(part.state.day for part in self.parts) - self.rules.horizon_days
        found = {customer: blob for part in self.parts for customer, blob in part.states.items()}
        ledger = decode_states(list(found.values())).ledger
        rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in found}
        names = list(found)
        columns = zip(ledger.owner, ledger.order, ledger.day, ledger.net, ledger.units, ledger.lines, strict=True)
        for owner, *record in columns:
            if record[1] >= first:
                rows[names[owner]].append(tuple(int(value) for value in record))
        return rows

    def evidence(
        self,
    ) -> tuple[verify_input.Facts, verify_input.History, dict[int, bytes], list[verify_input.Partition]]:
        """Return what `verify` takes."""
        rules = self.rules
        facts = verify_input.Facts(
            partitions=self.partitions,
            timezone=self.zone.key,
            currency="GBP",
            clock=rules.clock,
            first_day=self.first,
            today=FAR,
            cutoff=self.history.cutoff,
            has_ids=self.history.has_ids,
            horizon_days=rules.horizon_days,
            dedupe_days=rules.dedupe_days,
            forget_after_days=rules.forget_after_days,
            ahead_days=rules.ahead_days,
            ahead_events=rules.ahead_events,
            ahead_customers=rules.ahead_customers,
            emit=rules.emit,
            partition_of=self.home,
            erasure_key=KEY,
            keeps_moves=rules.schema >= SCHEMA_OF_MOVES,
        )
        columns = list(zip(*self.rows, strict=True)) or [()] * len(Row._fields)
        models = {version: encode_bundle(bundle) for version, bundle in self.models.items()}
        return facts, verify_input.History(*columns), models, [_as_partition(part) for part in self.parts]


def _as_partition(part: Part) -> verify_input.Partition:
    state = part.state
    now = state.sweep
    return verify_input.Partition(
        number=part.number,
        start=0,
        committed=state.applied,
        input_from=0,
        input=tuple(part.log),
        output=tuple(part.output),
        days=[verify_input.DayEntry(*msgspec.structs.astuple(entry)) for entry in part.days],
        states=dict(part.states),
        standing=verify_input.Standing(
            state.applied,
            now.number,
            now.day,
            now.version,
            now.cursor,
            state.counters,
            totals=None if state.tally is None else [msgspec.structs.astuple(total) for total in state.tally.totals],
        ),
        statistics=encode_statistics(part.statistics),
        marks=dict(part.marks),
        dead=dict(part.dead),
    )


def fold_rows(rows: Sequence[Row], rules: Rules, day: int) -> tuple[list[str], States]:
    """Return the customers of a history and their unlabelled states, as a bootstrap loads them."""
    customers = sorted({row.customer for row in rows})
    number = {customer: i for i, customer in enumerate(customers)}
    owner = np.array([number[row.customer] for row in rows], np.int64)
    days = np.array([row.time // DAY_SECONDS for row in rows], np.int64)
    last = int(days.max())
    lines = Lines(
        owner,
        np.array([hash64(row.invoice) for row in rows], np.uint64),
        days,
        np.array([row.amount for row in rows], np.int64),
        np.array([row.units for row in rows], np.int64),
        np.array([hash64(row.event_id) if row.event_id else 0 for row in rows], np.uint64),
    )
    heads = blank_heads(len(customers))
    np.minimum.at(heads["first_day"], owner, days.astype(np.int32))
    np.maximum.at(heads["last_day"], owner, days.astype(np.int32))
    kept = lines.take((days >= last - rules.dedupe_days) & (lines.event_id != 0))
    order = np.lexsort((kept.event_id, kept.owner))
    seen = Seen(kept.owner[order], kept.event_id[order], np.full(len(order), last))
    states = States(heads, from_lines(lines), seen)
    return customers, replace(states, ledger=fold(within_horizon(states, day - rules.horizon_days)))
