"""The sweep: every customer re-scored as of a day under a model, a chunk at a time; pure (DESIGN D5, PROTOCOL C5).

    begin -> chunk -> chunk -> ... -> the last one leaves a snapshot
             each a commit of its own; statistics are rebuilt from zero on the way

Only customers whose segment changes are written. A customer is in the new statistics iff the cursor has
passed him or his head carries the sweep's number; the chunk skips the latter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from consumer.messages import Emission, Outbox, turn_headers
from consumer.partition import EVERYONE, START, DayEntry, PartitionState, SnapshotRecord, Sweep, iso
from consumer.scoring import anchors, within_horizon
from consumer.step import Context, Decision, by_cause, sample_rows, turned
from consumer.tally import NOBODY, Flows, Row, Tally, Total, totals_of
from features.codec import SCHEMA_OF_MOVES, InvalidState, decode_states, encode_states
from features.ledger import Ints, Ledger
from features.moves import joined
from models.bundle import Bundle
from models.daily_inputs import Packed, daily_inputs, packed, unpacked
from models.population import Statistics
from models.population import encode as encode_statistics
from models.scoring import score

SAMPLE_SIZE = 20_000
"""Customers a partition leaves for the refinement; everyone while they fit."""


def begin(state: PartitionState, day: int, bundle: Bundle, model_hash: str, population: int) -> PartitionState:
    """Return the state with a new sweep of (day, bundle); `population` is how many the last one counted.

    Raises ValueError where the last one has not ended or the day would run backwards.
    """
    if not state.sweep.ended or day < state.day:
        raise ValueError(f"sweep {state.sweep.number} of day {iso(state.day)} must end before one of {iso(day)} begins")
    sweep = Sweep(
        number=state.sweep.number + 1,
        day=day,
        version=bundle.version,
        model_hash=model_hash,
        cursor=START,
        sample_below=EVERYONE if population <= SAMPLE_SIZE else EVERYONE * SAMPLE_SIZE // population,
        previous_version=state.sweep.version if state.sweep.version != bundle.version else None,
    )
    return msgspec.structs.replace(state, sweep=sweep)


def chunk(
    context: Context, ids: Sequence[str], positions: Sequence[int], blobs: Sequence[bytes | None], last: bool
) -> Decision:
    """Re-score one chunk of customers, in the order of their positions; `last`: none come after it.

    `context.state` may hold a sweep that only just began: then its day entry is written along.
    Raises `features.codec.InvalidState`.
    """
    state, rules, bundle = context.state, context.rules, context.bundle
    sweep, begins = state.sweep, state.sweep.cursor == START
    for index, blob in enumerate(blobs):
        if blob is None:  # a lost or foreign key: scored as blank, he would be published as Lapsed
            raise InvalidState(index, "the index names a customer without a state")
    states = decode_states(blobs)
    heads = states.heads
    ledger = within_horizon(states, sweep.day - rules.horizon_days)
    scores = score(ledger, heads["first_day"], sweep.day, bundle)
    waiting = heads["sweep"] != sweep.number
    rows = np.flatnonzero(waiting)
    labels = scores.labels(anchors(states, sweep, bundle), bundle)
    before = heads["revision"].copy()
    records, moves = turned(context, ids, states, ledger, scores, rows, labels)
    base = Statistics.zeros(bundle.k, len(bundle.features)) if begins else context.statistics
    statistics = base + scores.statistics(waiting)
    gone = waiting & scores.vectors.lapsed & (heads["last_day"] < sweep.day - rules.forget_after_days)
    tombstones = [
        Emission("segments", ids[row].encode(), None, turn_headers(iso(sweep.day), sweep.version, sweep.number))
        for row in np.flatnonzero(gone).tolist()
    ]
    flows = moves.flows()
    counts = by_cause(flows) + Counter(forgotten=len(tombstones))
    for label, n in Counter(heads["segment"][gone].tolist()).items():
        flows[label, NOBODY, "forgotten"] += n
    tally = _tallied(context, begins, totals_of(heads["segment"].astype(np.int64), ledger, waiting & ~gone), flows)
    if tally is not None:
        tally = msgspec.structs.replace(tally, inputs=_inputs(tally, ledger, heads["first_day"], sweep.day - 1))
    written = np.flatnonzero((heads["revision"] != before) & ~gone)
    kept = replace(states, ledger=ledger, moves=joined(states.moves, [moves]))
    encoded = encode_states(kept, written, rules.schema)
    cursor = None if last else int(positions[-1])
    row = None
    if last and tally is not None:
        row = Row(sweep.number, sweep.day, sweep.version, tally.totals, tally.flows, tally.inputs)
        tally = Tally(tally.totals)
    after = msgspec.structs.replace(
        state, sweep=msgspec.structs.replace(sweep, cursor=cursor), counters=state.counted(counts), tally=tally
    )
    return Decision(
        state=after,
        statistics=statistics,
        outbox=Outbox((*records, *tombstones)),
        states={ids[row]: blob for row, blob in zip(written.tolist(), encoded, strict=True)},
        deleted=[ids[row] for row in np.flatnonzero(gone).tolist()],
        day_entry=_entry(state) if begins else None,
        begins=begins,
        sample=sample_rows(context, np.array(positions, np.int64), scores, rows),
        snapshot=_snapshot(sweep, statistics) if last and statistics.is_valid else None,
        row=row,
    )


def _tallied(context: Context, begins: bool, totals: tuple[Total, ...], flows: Flows) -> Tally | None:
    """Count a chunk in; a sweep's totals begin at zero. Before the upgrade to a schema with moves there are none."""
    tally = context.state.tally
    if begins:
        if tally is not None:
            tally = Tally((), tally.flows)
        elif context.rules.schema >= SCHEMA_OF_MOVES:
            tally = Tally((), None)
    return None if tally is None else tally.changed((), totals, flows)


def _inputs(tally: Tally, ledger: Ledger, first_day: Ints, day: int) -> Packed:
    """Count the orders of a day, those whose customers the chunk has: all, swept or waiting, since each comes once."""
    more = daily_inputs(ledger, first_day.astype(np.int64), day, day + 1)
    return packed(unpacked(tally.inputs) + more.counts.sum(axis=0))


def _entry(state: PartitionState) -> DayEntry:
    sweep = state.sweep
    return DayEntry(sweep.number, sweep.day, sweep.version, sweep.model_hash, state.applied)


def _snapshot(sweep: Sweep, statistics: Statistics) -> SnapshotRecord:
    share = sweep.sample_below / EVERYONE
    return SnapshotRecord(sweep.number, sweep.day, sweep.version, encode_statistics(statistics), share)
