"""Decide everything about the events of some partitions, touch nothing: data in, decisions out (DESIGN D3).

accept      lines -> applied | repeated | refused with a reason
turn        a customer whom the running sweep has not reached does his own day's turn first (PROTOCOL C5)
contribute  - his old vector, + his new one, at the nearest centroid, never the label (PROTOCOL C3)
label       margin against the label at the start of his day
emit        a record for each change, with its cause
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from consumer.clock import Cut, without
from consumer.messages import Cause, Emission, Outbox, event_headers, turn_headers
from consumer.partition import EVERYONE, DayEntry, History, PartitionState, Rules, SnapshotRecord, iso
from consumer.scoring import anchors, emissions, first_days, move, republish, within_horizon
from consumer.stored import Count, Seconds
from consumer.tally import Flows, Row, Total, totals_by
from features.codec import MAX_SEEN, Seen, States, decode_states, encode_states
from features.identity import position, positions
from features.ledger import Hashes, Ints, Ledger, Lines, fold, from_lines, merge
from features.moves import Moves, joined, no_moves
from features.transaction import DAY_SECONDS, Batch, Reason, Refusal
from features.vector import Flags
from models.bundle import Bundle, same_space
from models.centroids import Indices
from models.population import Statistics, StatisticsError
from models.scoring import Scores, rescored, score

SAMPLE_ROW = np.dtype("<i8")
"""Rows of samples and touched vectors: position, then d coordinates, all int64."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a partition's decisions rest on, beside the batch and the customers."""

    state: PartitionState
    statistics: Statistics
    bundle: Bundle
    previous: Bundle | None
    rules: Rules
    history: History
    wants_touched: bool = False

    def goes_with(self, other: Context) -> bool:
        """Say whether both stand on one day under the same models, so that one `step` can decide them."""
        return (
            self.state.day == other.state.day
            and self.state.sweep.previous_version == other.state.sweep.previous_version
            and self.bundle == other.bundle
            and self.previous == other.previous
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that one commit writes; the worker adds epoch and sequence."""

    state: PartitionState
    statistics: Statistics
    outbox: Outbox = Outbox()  # noqa: RUF009 -- frozen, so it can be shared
    states: Mapping[str, bytes] = field(default_factory=dict)
    created: Mapping[str, int] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    day_entry: DayEntry | None = None
    begins: bool = False
    sample: bytes = b""
    touched: bytes = b""
    snapshot: SnapshotRecord | None = None
    row: Row | None = None
    """Of the daily table, where a sweep ends."""
    marks: Mapping[str, bytes] = field(default_factory=dict)
    replaced: Mapping[str, bytes] = field(default_factory=dict)


class Mark(msgspec.Struct, frozen=True):
    """What stays of an erased customer, under his keyed hash: when (local seconds) and his last revision."""

    at: Seconds
    revision: Count


def refuse_foreign(batch: Batch, partition: int, homes: Ints) -> Batch:
    """Refuse the lines of customers whose key belongs to another partition: never two states of one customer.

    homes: int64, the partition in which each of the batch's customers is at home.
    """
    home = homes == partition
    if home.all():
        return batch
    controls = {c.customer for c in batch.controls if c.kind == "erase"}
    astray = {c for c, at_home in zip(batch.customers, home, strict=True) if not at_home}
    wrong_controls = [c for c in batch.controls if c.customer in astray & controls]
    if wrong_controls:
        detail = "an erasure for another partition"
        refusals = [Refusal(c.offset, Reason.FOREIGN_PARTITION, detail) for c in wrong_controls]
        kept = tuple(c for c in batch.controls if c not in wrong_controls)
        batch = replace(batch, controls=kept, refused=tuple(sorted((*batch.refused, *refusals), key=_by_offset)))
    keep = home[batch.lines.owner]
    if keep.all():
        return batch
    refusals = []
    for row in np.flatnonzero(~keep):
        key, customer = batch.keys[row], batch.customers[batch.lines.owner[row]]
        reason = Reason.KEY_MISSING if key is None else Reason.KEY_MISMATCH
        if key == customer.encode():
            reason = Reason.FOREIGN_PARTITION
        refusals.append(Refusal(int(batch.offset[row]), reason, "the key must be customer_id, partitioned by murmur2"))
    return without(batch, keep, refusals)


def wanted(batch: Batch) -> list[str]:
    """Return the customers whose states a batch needs, each once, in the order of their first mention."""
    return [batch.customers[owner] for owner in _mentioned(batch).tolist()]


class Task(NamedTuple):
    """What one partition decides: the lines of `piece.now`, on what its context says.

    blobs: the states of `wanted(piece.now)`, None for new customers. marks: what stays of those who were erased.
    """

    context: Context
    piece: Cut
    blobs: Sequence[bytes | None]
    marks: Mapping[str, Mark] = MappingProxyType({})


def step(tasks: Sequence[Task]) -> list[Decision]:
    """Apply the lines of partitions that go with each other; each one's decision is what it would be alone.

    They are looked at as one table, a partition behind the other: what a decision costs whatever its size is paid
    once. Raises `features.codec.InvalidState` where a stored state cannot be trusted.
    """
    table = _joined(tasks)
    blobs = [blob for task in tasks for blob in task.blobs]
    marks = {customer: mark for task in tasks for customer, mark in task.marks.items()}
    states = decode_states(blobs)
    known = np.array([blob is not None for blob in blobs], np.bool_)
    _begin_lives(states, known, table.customers, marks)
    accepted, refused, repeated = _accept(tasks[0].context, table, states, marks)
    applied = table.lines.take(accepted)
    touched = np.zeros(len(blobs), np.bool_)
    touched[applied.owner] = True
    change = _Change(tasks, table, states, known, touched)
    change.turn()
    change.apply(applied)
    change.relabel(accepted)
    seen, dropped = _remember(states.seen, applied, tasks[0].context)
    named = applied.owner, table.lines.owner[repeated], dropped
    counts = zip(*(table.by_partition(owners) for owners in named), strict=True)
    return change.decisions(replace(states, seen=seen), refused, list(counts))


@dataclass(frozen=True, slots=True)
class _Table:
    """The lines of some partitions, one behind the other, with owners into all their customers.

    rows: int64 (partitions + 1,), where each one's customers begin, and at last where they end.
    home: int64, of each customer, the place of his partition.
    """

    customers: list[str]
    lines: Lines
    offset: Ints
    time: Ints
    of_history: Flags
    rows: Ints
    home: Ints

    def by_partition(self, owners: Ints) -> list[int]:
        """Count some customers, each as often as he is named, by partition."""
        counts: list[int] = np.bincount(self.home[owners], minlength=len(self.rows) - 1).tolist()
        return counts

    def split(self, rows: Indices) -> list[Indices]:
        """Part the indices of customers (sorted) by partition."""
        return np.split(rows, np.searchsorted(rows, self.rows[1:-1]))


def _joined(tasks: Sequence[Task]) -> _Table:
    """Put the lines of partitions together; owners are 0 .. m-1, in the order of `wanted`."""
    batches = [task.piece.now for task in tasks]
    customers: list[str] = []
    owners, rows = [], [0]
    for batch in batches:
        mentioned = _mentioned(batch)
        compact = np.zeros(len(batch.customers), np.int64)
        compact[mentioned] = np.arange(rows[-1], rows[-1] + len(mentioned))
        owners.append(compact[batch.lines.owner])
        customers += [batch.customers[owner] for owner in mentioned.tolist()]
        rows.append(len(customers))
    lines = Lines(*map(np.concatenate, zip(*(batch.lines.columns() for batch in batches), strict=True)))
    return _Table(
        customers=customers,
        lines=replace(lines, owner=np.concatenate(owners)),
        offset=np.concatenate([batch.offset for batch in batches]),
        time=np.concatenate([batch.time for batch in batches]),
        of_history=np.concatenate([batch.of_history for batch in batches]),
        rows=np.array(rows),
        home=np.repeat(np.arange(len(tasks)), np.diff(rows)),
    )


def _mentioned(batch: Batch) -> Indices:
    """Return the owners of the batch's lines, sorted, each once."""
    return np.flatnonzero(np.bincount(batch.lines.owner, minlength=len(batch.customers)))


def _begin_lives(states: States, known: Flags, customers: Sequence[str], marks: Mapping[str, Mark]) -> None:
    """Let a new life after an erasure go on at the last revision (PROTOCOL H4)."""
    for row in np.flatnonzero(~known).tolist():
        mark = marks.get(customers[row])
        if mark is not None:
            states.heads["revision"][row] = mark.revision


def _accept(
    context: Context, table: _Table, states: States, marks: Mapping[str, Mark]
) -> tuple[Flags, list[list[Refusal]], Flags]:
    """Return (lines that count, the refusals of each partition, lines that are repeated)."""
    state, rules, history = context.state, context.rules, context.history
    lines = table.lines
    tests: list[tuple[Reason, str, Flags]] = []
    if marks:
        erased_at = np.array([marks[c].at if c in marks else np.iinfo(np.int64).min for c in table.customers])
        tests.append((Reason.ERASED, "dated at or before the customer's erasure", table.time <= erased_at[lines.owner]))
    too_old = lines.day < state.day - rules.horizon_days
    tests.append((Reason.TOO_LATE, f"older than the horizon of {rules.horizon_days} days", too_old))
    if history.cutoff is not None:
        tests.append((Reason.BEFORE_CUTOFF, "the history may hold it already", _before_cutoff(context, table)))
    good = np.ones(len(lines), np.bool_)
    refused: list[list[Refusal]] = [[] for _ in table.rows[1:]]
    for reason, detail, hit in tests:
        for row in np.flatnonzero(hit & good).tolist():
            refused[table.home[lines.owner[row]]].append(Refusal(int(table.offset[row]), reason, detail))
        good &= ~hit
    repeated = _repeated(lines, good, _young(states.seen, state.day - rules.dedupe_days))
    return good & ~repeated, refused, repeated


def _before_cutoff(context: Context, table: _Table) -> Flags:
    """Flag lines dated within the history that its ids cannot tell from the history's own (PROTOCOL H3).

    Ids are kept for the dedupe horizon, counted in the partition's days from the cutoff; before and
    after that span nothing tells a repeated line from a late one.
    """
    assert context.history.cutoff is not None
    cutoff_day = context.history.cutoff // DAY_SECONDS
    span = context.rules.dedupe_days
    comparable = table.of_history | (context.history.has_ids & (table.lines.event_id != 0))
    if context.state.day > cutoff_day + span:
        comparable = np.zeros(len(table.lines), np.bool_)
    inside = comparable & (table.lines.day >= cutoff_day - span)
    flagged: Flags = (table.time <= context.history.cutoff) & ~inside
    return flagged


def _young(seen: Seen, first_day: int) -> Seen:
    """Return the ids accepted from `first_day` on; older ones may still be stored, since only a write drops them."""
    young = seen.day >= first_day
    return Seen(seen.owner[young], seen.id[young], seen.day[young])


def _repeated(lines: Lines, good: Flags, seen: Seen) -> Flags:
    """Flag good lines whose (customer, event id) was accepted before, or earlier in this batch."""
    with_id = np.flatnonzero(good & (lines.event_id != 0))
    repeated = np.zeros(len(lines), np.bool_)
    if not len(with_id):
        return repeated
    owner = np.r_[seen.owner, lines.owner[with_id]]
    event = np.r_[seen.id, lines.event_id[with_id]]
    in_order = np.sort(event)
    if not (in_order[1:] == in_order[:-1]).any():
        return repeated
    # A stable sort keeps what was seen before the batch, and the batch's own order, in front.
    order = np.lexsort((np.arange(len(owner)), event, owner))
    again = np.zeros(len(owner), np.bool_)
    again[order[1:]] = (owner[order[1:]] == owner[order[:-1]]) & (event[order[1:]] == event[order[:-1]])
    repeated[with_id] = again[len(seen.owner) :]
    return repeated


def _remember(seen: Seen, applied: Lines, context: Context) -> tuple[Seen, Ints]:
    """Add the accepted ids, drop those past the dedupe horizon and the oldest above the cap (PROTOCOL H3).

    Returns also whose ids the cap dropped, one entry an id.
    """
    fresh = applied.event_id != 0
    owner = np.r_[seen.owner, applied.owner[fresh]]
    event = np.r_[seen.id, applied.event_id[fresh]]
    day = np.r_[seen.day, np.full(int(fresh.sum()), context.state.day)]
    young = day >= context.state.day - context.rules.dedupe_days
    owner, event, day = owner[young], event[young], day[young]
    order = _by_owner_newest_first(owner, day, event)
    owner, event, day = owner[order], event[order], day[order]
    counts = np.bincount(owner) if len(owner) else np.zeros(0, np.int64)
    if not len(counts) or counts.max() <= MAX_SEEN:
        return Seen(owner, event, day), np.empty(0, np.int64)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < MAX_SEEN
    return Seen(owner[kept], event[kept], day[kept]), owner[~kept]


def _by_owner_newest_first(owner: Ints, day: Ints, event: Hashes) -> Indices:
    """Return the order by owner, then day from the newest, then id."""
    age = day.max(initial=0) - day
    spans = int(age.max(initial=0)) + 1
    group = (owner * spans + age).astype(np.uint64)
    bits = 64 - int(group.max(initial=0)).bit_length()
    # One sort by the group and as much of the id as there is room for: nearly always all that it takes.
    key = (group << np.uint64(bits)) | (event >> np.uint64(64 - bits)) if bits < 64 else event
    order = np.argsort(key)
    key = key[order]
    return order if (key[1:] > key[:-1]).all() else np.lexsort((event, group))


class _Change:
    """The customers of some partitions' lines between their old states and their new ones."""

    def __init__(self, tasks: Sequence[Task], table: _Table, states: States, known: Flags, touched: Flags) -> None:
        self.tasks, self.table, self.states = tasks, table, states
        self.contexts = [task.context for task in tasks]
        first = self.contexts[0]
        self.day, self.bundle, self.rules = first.state.day, first.bundle, first.rules
        self.touched, self.known = touched, known
        self.sweep = np.array([context.state.sweep.number for context in self.contexts])[table.home]
        self.counted = known & (self._passed() | (states.heads["sweep"] == self.sweep))
        self.ledger = within_horizon(states, self.day - self.rules.horizon_days)
        self.before = self._score()
        self.statistics_before = self._statistics(self.before, self.counted & touched)
        self.totals_before = self._totals(self.counted & touched)
        self.turns: list[_Turn] = [_Turn() for _ in tasks]
        self.moves: list[Moves] = []

    @cached_property
    def positions(self) -> Ints:
        """The customers' places in the sweep's order, int64 (n,): seldom asked for, and a hash each."""
        return positions(self.table.customers)

    def _passed(self) -> Flags:
        """Flag the customers whom their partition's sweep has passed; where none runs, all."""
        cursors = [context.state.sweep.cursor for context in self.contexts]
        if all(cursor is None for cursor in cursors):
            return np.ones(len(self.known), np.bool_)
        ends = np.array([EVERYONE if cursor is None else cursor for cursor in cursors])
        passed: Flags = self.positions <= ends[self.table.home]
        return passed

    def turn(self) -> None:
        """Let the customers whom the sweep has not reached yet turn their day before their event."""
        heads = self.states.heads
        waiting = np.flatnonzero(self.known & self.touched & ~self.counted)
        for context, rows, turn in zip(self.contexts, self.table.split(waiting), self.turns, strict=True):
            if len(rows):
                labels = self.before.labels(anchors(self.states, context.state.sweep, self.bundle), self.bundle)
                who = self.table.customers
                turn.emissions, turn.moves = turned(context, who, self.states, self.ledger, self.before, rows, labels)
                turn.sample = sample_rows(context, self.positions, self.before, rows)
                self.moves.append(turn.moves)
        new_day = self.touched & (heads["sweep"] != self.sweep)
        heads["anchor"][new_day] = heads["segment"][new_day]
        heads["sweep"][self.touched] = self.sweep[self.touched]

    def apply(self, applied: Lines) -> None:
        """Merge the accepted lines, and count the new vectors."""
        heads = self.states.heads
        np.minimum.at(heads["first_day"], applied.owner, applied.day.astype(np.int32))
        np.maximum.at(heads["last_day"], applied.owner, applied.day.astype(np.int32))
        self.ledger = fold(merge(self.ledger, from_lines(applied)))
        self.after = self._score()
        self.statistics_after = self._statistics(self.after, self.touched)

    def relabel(self, accepted: Flags) -> None:
        """Publish the labels that changed, each with the offset and the cause of the customer's last line."""
        heads, bundle, table = self.states.heads, self.bundle, self.table
        labels = self.after.labels(heads["anchor"].astype(np.int64), bundle)
        changed = self.touched & (labels != heads["segment"])
        shown = self.touched if self.rules.emit == "all" else changed
        rows, moved = np.flatnonzero(shown), np.flatnonzero(changed)
        last = np.zeros(len(heads), np.int64)
        index = np.flatnonzero(accepted)
        np.maximum.at(last, table.lines.owner[index], index)
        causes = _causes(table.lines, last[rows], self.day)
        of_moves = [cause for cause, moves in zip(causes, changed[rows].tolist(), strict=True) if moves]
        self.moved = move(self.states, moved, labels[moved], of_moves, self.day, bundle.version)
        self.moves.append(self.moved)
        republish(self.states, np.flatnonzero(shown & ~changed))
        offsets = table.offset[last[rows]].tolist()
        why = [(cause, event_headers(offset)) for cause, offset in zip(causes, offsets, strict=True)]
        self.shown = rows
        self.emissions = emissions(table.customers, self.states, self.ledger, self.after, rows, why, self.day, bundle)

    def decisions(
        self, states: States, refused: Sequence[list[Refusal]], counts: Sequence[tuple[int, int, int]]
    ) -> list[Decision]:
        """Put new states, statistics, outboxes and counters together, partition by partition.

        counts: of each, the lines that were applied and those that were repeated, and ids that the cap dropped.
        """
        rows = np.flatnonzero(self.touched)
        kept = replace(states, ledger=self.ledger, moves=joined(states.moves, self.moves))
        blobs = encode_states(kept, rows, self.rules.schema)
        totals_after = self._totals(self.touched)
        ends = np.searchsorted(rows, self.table.rows).tolist()
        shown = np.searchsorted(self.shown, self.table.rows).tolist()
        moved = np.searchsorted(self.moved.owner, self.table.rows).tolist()
        found = []
        for n, (task, turn) in enumerate(zip(self.tasks, self.turns, strict=True)):
            moves = slice(moved[n], moved[n + 1])
            flows = turn.moves.flows() + Moves(self.moved.owner[moves], self.moved.records[moves]).flows()
            own = rows[ends[n] : ends[n + 1]]
            touched = b""
            if task.context.wants_touched:
                touched = rows_of(self.positions, self.after, own[self.after.vectors.clustered[own]])
            names = [self.table.customers[row] for row in own.tolist()]
            new = [self.table.customers[row] for row in own[~self.known[own]].tolist()]
            dead = tuple(sorted((*task.piece.now.refused, *refused[n]), key=_by_offset))
            state = self._state(task, dead, counts[n], flows, (self.totals_before[n], totals_after[n]))
            found.append(
                Decision(
                    state=state,
                    statistics=task.context.statistics - self.statistics_before[n] + self.statistics_after[n],
                    outbox=Outbox((*turn.emissions, *self.emissions[shown[n] : shown[n + 1]]), dead),
                    states=dict(zip(names, blobs[ends[n] : ends[n + 1]], strict=True)),
                    created={customer: position(customer) for customer in new},
                    sample=turn.sample,
                    touched=touched,
                )
            )
        return found

    def _state(
        self,
        task: Task,
        dead: Sequence[Refusal],
        counts: tuple[int, int, int],
        flows: Flows,
        totals: tuple[tuple[Total, ...], tuple[Total, ...]],
    ) -> PartitionState:
        """Return a partition's state after its lines. counts: as `decisions` takes them; totals: before, after."""
        batch, state = task.piece.now, task.context.state
        applied, repeated, dropped = counts
        counters = Counter(lines=batch.records, applied=applied, repeated=repeated, guests=len(batch.guests))
        counters.update(seen_dropped=dropped)
        counters.update(by_cause(flows))
        counters.update(f"refused.{refusal.reason.value}" for refusal in dead)
        newest = int(batch.time.max()) if len(batch.time) else state.watermark
        return msgspec.structs.replace(
            state,
            applied=batch.stop,
            watermark=max(state.watermark, newest),
            ahead=task.piece.ahead,
            counters=state.counted(counters),
            tally=None if state.tally is None else state.tally.changed(*totals, flows),
        )

    def _statistics(self, scores: Scores, rows: Flags) -> list[Statistics]:
        return scores.statistics_by(rows, self.table.home, len(self.tasks))

    def _totals(self, rows: Flags) -> list[tuple[Total, ...]]:
        labels = self.states.heads["segment"].astype(np.int64)
        return totals_by(labels, self.ledger, rows, self.table.home, len(self.tasks))

    def _score(self) -> Scores:
        return score(self.ledger, first_days(self.states, self.day), self.day, self.bundle)


@dataclass(slots=True)
class _Turn:
    """What the turn of the day of a partition's customers gives before their events."""

    emissions: Sequence[Emission] = ()
    moves: Moves = field(default_factory=no_moves)
    sample: bytes = b""


def turned(
    context: Context,
    customers: Sequence[str],
    states: States,
    ledger: Ledger,
    scores: Scores,
    rows: Indices,
    labels: Ints,
) -> tuple[list[Emission], Moves]:
    """Re-label `rows` as of the sweep's day, write the heads of those who move, return records and moves.

    The cause is silence where the model of the sweep before would move the customer as well, to the
    same segment; else it is the model.
    """
    heads, sweep, bundle = states.heads, context.state.sweep, context.bundle
    old = heads["segment"].astype(np.int64)
    changed = rows[labels[rows] != old[rows]]
    shown = rows if context.rules.emit == "all" else changed
    stays = by_silence = labels == old
    previous = context.previous
    if len(changed) and previous is not None and same_space(previous, bundle):
        # The vectors are the same under both models: only the distances differ.
        by_silence = stays | (rescored(scores, previous).labels(old, previous) == labels)
    elif previous is None:
        by_silence = np.ones(len(labels), np.bool_)
    causes: list[Cause] = [
        "bootstrap" if old[row] == 0 else "silence" if by_silence[row] else "model" for row in shown.tolist()
    ]
    moved = set(changed.tolist())
    of_moves = [cause for cause, row in zip(causes, shown.tolist(), strict=True) if row in moved]
    moves = move(states, changed, labels[changed], of_moves, sweep.day, bundle.version)
    republish(states, np.setdiff1d(shown, changed))
    header = turn_headers(iso(sweep.day), bundle.version, sweep.number)
    why = [(cause, header) for cause in causes]
    return emissions(customers, states, ledger, scores, shown, why, sweep.day, bundle), moves


def by_cause(flows: Flows) -> Counter[str]:
    """Return the partition's counters of moves."""
    counts: Counter[str] = Counter()
    for (_, _, cause), n in flows.items():
        counts[f"moves.{cause}"] += n
    return counts


def sample_rows(context: Context, positions: Ints, scores: Scores, rows: Indices) -> bytes:
    """Return the vectors that `rows` leave for the refinement: the clustered ones below the sample's limit."""
    chosen = (positions[rows] < context.state.sweep.sample_below) & scores.vectors.clustered[rows]
    return rows_of(positions, scores, rows[chosen])


def rows_of(positions: Ints, scores: Scores, rows: Indices) -> bytes:
    """Return rows of (position, coordinates) as bytes."""
    return np.column_stack([positions[rows], scores.coordinates[rows]]).astype(SAMPLE_ROW).tobytes()


def read_rows(data: bytes, d: int) -> tuple[Ints, Ints]:
    """Return (positions int64 (m,), coordinates int64 (m, d)) of `rows_of`'s bytes. Raises `StatisticsError`."""
    if len(data) % ((d + 1) * SAMPLE_ROW.itemsize):
        raise StatisticsError(f"{len(data)} bytes are no rows of {d} coordinates")
    table = np.frombuffer(data, SAMPLE_ROW).astype(np.int64).reshape(-1, d + 1)
    return table[:, 0], table[:, 1:]


def _causes(lines: Lines, rows: Indices, day: int) -> list[Cause]:
    """Return what each of these lines is as the cause of a change."""
    late, returned = (lines.day[rows] < day).tolist(), (lines.amount[rows] < 0).tolist()
    return ["late" if old else "return" if back else "purchase" for old, back in zip(late, returned, strict=True)]


def _by_offset(refusal: Refusal) -> int:
    return refusal.offset
