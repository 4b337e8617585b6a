"""Decide everything about one batch of events, touch nothing: data in, a decision out (DESIGN D3).

accept      lines -> applied | repeated | refused with a reason
turn        a customer whom the running sweep has not reached does his own day's turn first (PROTOCOL C5)
contribute  - his old vector, + his new one, at the nearest centroid, never the label (PROTOCOL C3)
label       margin against the label at the start of his day
emit        a record for each change, with its cause
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec
import numpy as np

from consumer.clock import Cut, without
from consumer.messages import Cause, Emission, Outbox, event_headers, turn_headers
from consumer.partition import DayEntry, History, PartitionState, Rules, SnapshotRecord, iso
from consumer.scoring import anchors, emissions, first_days, move, republish, within_horizon
from consumer.stored import Count, Seconds
from consumer.tally import Flows, Row, Total, totals_of
from features.codec import MAX_SEEN, Seen, States, decode_states, encode_states
from features.identity import position, positions
from features.ledger import Hashes, Ints, Ledger, Lines, fold, from_lines, merge
from features.moves import Moves, joined
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


def refuse_foreign(batch: Batch, partition: int, partitions_of: Callable[[Sequence[str]], Ints]) -> Batch:
    """Refuse the lines of customers whose key belongs to another partition: never two states of one customer.

    partitions_of: customers' ids -> int64 (n,), where each is at home.
    """
    home = partitions_of(batch.customers) == partition
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


def step(
    context: Context, piece: Cut, blobs: Sequence[bytes | None], marks: Mapping[str, Mark] | None = None
) -> Decision:
    """Apply the lines of `piece.now`; `blobs` are the states of `wanted(piece.now)`, None for new customers.

    Raises `features.codec.InvalidState` where a stored state cannot be trusted.
    """
    batch = _renumbered(piece.now)
    states = decode_states(blobs)
    known = np.array([blob is not None for blob in blobs], np.bool_)
    _begin_lives(states, known, batch.customers, marks or {})
    accepted, refused, repeated = _accept(context, batch, states, marks or {})
    applied = batch.lines.take(accepted)
    touched = np.zeros(len(blobs), np.bool_)
    touched[applied.owner] = True
    change = _Change(context, batch, states, known, touched)
    change.turn()
    change.apply(applied)
    change.relabel(accepted)
    seen, dropped = _remember(states.seen, applied, context)
    return change.decision(replace(states, seen=seen), piece, refused, int(accepted.sum()), repeated, dropped)


def _renumbered(batch: Batch) -> Batch:
    """Return the batch with owners 0 .. m-1, in the order of `wanted`."""
    owners = _mentioned(batch)
    compact = np.zeros(len(batch.customers), np.int64)
    compact[owners] = np.arange(len(owners))
    lines = replace(batch.lines, owner=compact[batch.lines.owner])
    return replace(batch, customers=[batch.customers[owner] for owner in owners.tolist()], lines=lines)


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
    context: Context, batch: Batch, states: States, marks: Mapping[str, Mark]
) -> tuple[Flags, list[Refusal], int]:
    """Return (lines that count, refusals, number of repeated lines)."""
    state, rules, history = context.state, context.rules, context.history
    lines = batch.lines
    tests: list[tuple[Reason, str, Flags]] = []
    if marks:
        erased_at = np.array([marks[c].at if c in marks else np.iinfo(np.int64).min for c in batch.customers])
        tests.append((Reason.ERASED, "dated at or before the customer's erasure", batch.time <= erased_at[lines.owner]))
    too_old = lines.day < state.day - rules.horizon_days
    tests.append((Reason.TOO_LATE, f"older than the horizon of {rules.horizon_days} days", too_old))
    if history.cutoff is not None:
        tests.append((Reason.BEFORE_CUTOFF, "the history may hold it already", _before_cutoff(context, batch)))
    good = np.ones(len(lines), np.bool_)
    refused: list[Refusal] = []
    for reason, detail, hit in tests:
        refused += [Refusal(int(batch.offset[row]), reason, detail) for row in np.flatnonzero(hit & good)]
        good &= ~hit
    repeated = _repeated(lines, good, _young(states.seen, state.day - rules.dedupe_days))
    return good & ~repeated, refused, int(repeated.sum())


def _before_cutoff(context: Context, batch: Batch) -> Flags:
    """Flag lines dated within the history that its ids cannot tell from the history's own (PROTOCOL H3).

    Ids are kept for the dedupe horizon, counted in the partition's days from the cutoff; before and
    after that span nothing tells a repeated line from a late one.
    """
    assert context.history.cutoff is not None
    cutoff_day = context.history.cutoff // DAY_SECONDS
    span = context.rules.dedupe_days
    comparable = batch.of_history | (context.history.has_ids & (batch.lines.event_id != 0))
    if context.state.day > cutoff_day + span:
        comparable = np.zeros(len(batch.lines), np.bool_)
    inside = comparable & (batch.lines.day >= cutoff_day - span)
    flagged: Flags = (batch.time <= context.history.cutoff) & ~inside
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


def _remember(seen: Seen, applied: Lines, context: Context) -> tuple[Seen, int]:
    """Add the accepted ids, drop those past the dedupe horizon and the oldest above the cap (PROTOCOL H3)."""
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
        return Seen(owner, event, day), 0
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < MAX_SEEN
    return Seen(owner[kept], event[kept], day[kept]), int((~kept).sum())


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
    """The customers of one batch between their old states and their new ones."""

    def __init__(self, context: Context, batch: Batch, states: States, known: Flags, touched: Flags) -> None:
        self.context, self.batch, self.states = context, batch, states
        self.day, self.sweep = context.state.day, context.state.sweep
        self.touched, self.known = touched, known
        cursor = self.sweep.cursor
        passed = np.ones(len(known), np.bool_) if cursor is None else self.positions <= cursor
        self.counted = known & (passed | (states.heads["sweep"] == self.sweep.number))
        self.ledger = within_horizon(states, self.day - context.rules.horizon_days)
        self.before = self._score()
        self.statistics = context.statistics - self.before.statistics(self.counted & touched)
        self.totals_before = self._totals(self.counted & touched)
        self.moves: list[Moves] = []
        self.emissions: list[Emission] = []
        self.counters: Counter[str] = Counter()
        self.sample = b""

    @cached_property
    def positions(self) -> Ints:
        """The customers' places in the sweep's order, int64 (n,): seldom asked for, and a hash each."""
        return positions(self.batch.customers)

    def turn(self) -> None:
        """Let the customers whom the sweep has not reached yet turn their day before their event."""
        heads = self.states.heads
        rows = np.flatnonzero(self.known & self.touched & ~self.counted)
        if len(rows):
            held = anchors(self.states, self.sweep, self.context.bundle)
            labels = self.before.labels(held, self.context.bundle)
            who = self.batch.customers
            records, moves = turned(self.context, who, self.states, self.ledger, self.before, rows, labels)
            self.emissions += records
            self.moves.append(moves)
            self.sample = sample_rows(self.context, self.positions, self.before, rows)
        new_day = self.touched & (heads["sweep"] != self.sweep.number)
        heads["anchor"][new_day] = heads["segment"][new_day]
        heads["sweep"][self.touched] = self.sweep.number

    def apply(self, applied: Lines) -> None:
        """Merge the accepted lines, and count the new vectors."""
        heads = self.states.heads
        np.minimum.at(heads["first_day"], applied.owner, applied.day.astype(np.int32))
        np.maximum.at(heads["last_day"], applied.owner, applied.day.astype(np.int32))
        self.ledger = fold(merge(self.ledger, from_lines(applied)))
        self.after = self._score()
        self.statistics = self.statistics + self.after.statistics(self.touched)

    def relabel(self, accepted: Flags) -> None:
        """Publish the labels that changed, each with the offset and the cause of the customer's last line."""
        heads, bundle = self.states.heads, self.context.bundle
        labels = self.after.labels(heads["anchor"].astype(np.int64), bundle)
        changed = self.touched & (labels != heads["segment"])
        shown = self.touched if self.context.rules.emit == "all" else changed
        rows, moved = np.flatnonzero(shown), np.flatnonzero(changed)
        last = np.zeros(len(heads), np.int64)
        index = np.flatnonzero(accepted)
        np.maximum.at(last, self.batch.lines.owner[index], index)
        causes = _causes(self.batch.lines, last[rows], self.day)
        of_moves = [cause for cause, moves in zip(causes, changed[rows].tolist(), strict=True) if moves]
        self.moves.append(move(self.states, moved, labels[moved], of_moves, self.day, bundle.version))
        republish(self.states, np.flatnonzero(shown & ~changed))
        offsets = self.batch.offset[last[rows]].tolist()
        why = [(cause, event_headers(offset)) for cause, offset in zip(causes, offsets, strict=True)]
        self.emissions += emissions(
            self.batch.customers, self.states, self.ledger, self.after, rows, why, self.day, bundle
        )

    def decision(
        self, states: States, piece: Cut, refused: list[Refusal], applied: int, repeated: int, dropped: int
    ) -> Decision:
        """Put the new states, statistics, outbox and counters together."""
        batch, state = self.batch, self.context.state
        rows = np.flatnonzero(self.touched)
        kept = replace(states, ledger=self.ledger, moves=joined(states.moves, self.moves))
        blobs = encode_states(kept, rows, self.context.rules.schema)
        names = [batch.customers[row] for row in rows.tolist()]
        dead = tuple(sorted((*batch.refused, *refused), key=_by_offset))
        self.counters.update(lines=batch.records, applied=applied, repeated=repeated, guests=len(batch.guests))
        self.counters.update(seen_dropped=dropped)
        flows = sum((moves.flows() for moves in self.moves), Counter[tuple[int, int, str]]())
        self.counters.update(by_cause(flows))
        tally = state.tally
        if tally is not None:
            tally = tally.changed(self.totals_before, self._totals(self.touched), flows)
        self.counters.update(f"refused.{refusal.reason.value}" for refusal in dead)
        newest = int(batch.time.max()) if len(batch.time) else state.watermark
        touched = b""
        if self.context.wants_touched:
            touched = rows_of(self.positions, self.after, np.flatnonzero(self.touched & self.after.vectors.clustered))
        return Decision(
            state=msgspec.structs.replace(
                state,
                applied=batch.stop,
                watermark=max(state.watermark, newest),
                ahead=piece.ahead,
                counters=state.counted(self.counters),
                tally=tally,
            ),
            statistics=self.statistics,
            outbox=Outbox(tuple(self.emissions), dead),
            states=dict(zip(names, blobs, strict=True)),
            created={batch.customers[row]: position(batch.customers[row]) for row in rows[~self.known[rows]].tolist()},
            sample=self.sample,
            touched=touched,
        )

    def _totals(self, rows: Flags) -> tuple[Total, ...]:
        return totals_of(self.states.heads["segment"].astype(np.int64), self.ledger, rows)

    def _score(self) -> Scores:
        return score(self.ledger, first_days(self.states, self.day), self.day, self.context.bundle)


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
