"""The day clock: where a batch is split, and when a partition may turn its day (DESIGN D5, PROTOCOL C5, C6).

event clock   |- lines of day D -|-cut-|- first line of D+1 ...   sweep D+1 ends before that line
wall clock    days turn between batches; nobody waits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from consumer.partition import Ahead, PartitionState, Rules
from features.identity import hash64
from features.transaction import DAY_SECONDS, Batch, Control, Reason, Refusal


@dataclass(frozen=True, slots=True)
class Cut:
    """The first part of a batch that belongs to the present day, and what comes after it.

    now: what can be applied at once (may be empty); rest: what follows, None where nothing does;
    turn_to: the day that `rest` begins with and the partition must turn to first; control: an erasure or
    tick that stands alone, as the whole of `now`.
    """

    now: Batch
    rest: Batch | None
    turn_to: int | None
    control: Control | None
    ahead: Ahead


def cut(batch: Batch, state: PartitionState, rules: Rules) -> Cut:
    """Decide how far a batch may be applied under the partition's present day."""
    control = batch.controls[0] if batch.controls else None
    head, after = batch.split(control.offset) if control else (batch, None)
    if rules.clock == "event":
        refused, turn_at, ahead = _scan(head, state, rules)
        turn_offset = None if turn_at is None else int(head.offset[turn_at])
        head = _refuse_ahead(head, refused)
        if turn_offset is not None:
            now, rest = head.split(turn_offset)
            whole = rest if after is None else _join(rest, batch)
            day = int(rest.lines.day[0])
            return Cut(now, whole, day, None, ahead)
    else:
        ahead = state.ahead
    if control is None or after is None:
        return Cut(head, None, None, None, ahead)
    if head.records:
        return Cut(head, after, None, None, ahead)
    day = 0 if control.at is None else control.at // DAY_SECONDS
    if rules.clock == "event" and control.kind == "tick" and day > state.day:
        return Cut(head, after, day, None, ahead)
    alone, rest = after.split(control.offset + 1)
    return Cut(alone, rest if rest.records else None, None, control, ahead)


def _join(rest: Batch, batch: Batch) -> Batch:
    """Return the original batch from where `rest` begins, so that what follows a control stays behind it."""
    return batch.split(rest.start)[1]


def _scan(batch: Batch, state: PartitionState, rules: Rules) -> tuple[list[int], int | None, Ahead]:
    """Return (rows refused as ahead, the row that turns the day, the run of events ahead after it)."""
    later = np.flatnonzero(batch.lines.day > state.day)
    if not len(later):
        return [], None, Ahead() if len(batch.lines) else state.ahead
    run = state.ahead if later[0] == 0 else Ahead()
    refused: list[int] = []
    for row in range(int(later[0]), len(batch.lines)):
        day = int(batch.lines.day[row])
        if day <= state.day:
            run = Ahead()
            continue
        if day <= state.day + rules.ahead_days:
            return refused, row, run if not refused else Ahead()
        longer = _longer(run, batch.customers[int(batch.lines.owner[row])], rules)
        if longer.count >= rules.ahead_events and len(longer.customers) >= rules.ahead_customers:
            return refused, row, run
        run = longer
        refused.append(row)
    return refused, None, run


def _longer(run: Ahead, customer: str, rules: Rules) -> Ahead:
    known = run.customers
    hashed = hash64(customer)
    if hashed not in known and len(known) < rules.ahead_customers:
        known = (*known, hashed)
    return Ahead(run.count + 1, known)


def _refuse_ahead(batch: Batch, rows: list[int]) -> Batch:
    if not rows:
        return batch
    keep = np.ones(len(batch.lines), np.bool_)
    keep[rows] = False
    refusals = [Refusal(int(batch.offset[row]), Reason.AHEAD, "far ahead of the partition's day") for row in rows]
    return without(batch, keep, refusals)


def without(batch: Batch, keep: np.ndarray, refusals: list[Refusal]) -> Batch:
    """Return a batch in which some lines are refusals; `keep` is bool (n,)."""
    return replace(
        batch,
        lines=batch.lines.take(keep),
        offset=batch.offset[keep],
        time=batch.time[keep],
        of_history=batch.of_history[keep],
        keys=[key for key, kept in zip(batch.keys, keep, strict=True) if kept],
        refused=tuple(sorted((*batch.refused, *refusals), key=lambda refusal: refusal.offset)),
    )


class Standing(msgspec.Struct, frozen=True):
    """What one partition's turn needs to know of another: its day, and whether its log holds more."""

    day: int
    lagging: bool


def target_day(state: PartitionState, wanted: int | None, others: Mapping[int, Standing], lagging: bool) -> int | None:
    """Return the day an event-clock partition may turn to next, or None to stay (PROTOCOL C6).

    wanted: the day of its next event or tick, if that is later than its day. Days turn one at a time, so
    that every partition leaves a snapshot of each. A partition without lag follows the greatest day of
    the others; one more than a day ahead of the slowest lagging one waits.
    """
    goal = wanted
    if goal is None and not lagging:
        goal = max((other.day for other in others.values()), default=state.day)
    if goal is None or goal <= state.day:
        return None
    step = state.day + 1
    slowest = min((other.day for other in others.values() if other.lagging), default=step)
    return step if slowest >= step - 1 else None
