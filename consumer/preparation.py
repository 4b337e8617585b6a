"""From a unit to a prepared commit: gather what the pure decisions need, ask them, lay the answer out for the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import msgspec

from consumer import erasure, sweep
from consumer.erasure import keyed_hash
from consumer.lane import Events, Lane, Prepared, Sweeping, Unit
from consumer.messages import encode_outbox
from consumer.partition import encode_state
from consumer.plan import Parts, Plan
from consumer.step import Context, Decision, Mark, Task, step, wanted
from consumer.stored import read_json
from consumer.traceparent import traced
from features.store import Commit, DailyRow, InvalidKey, Snapshot, Store
from features.transaction import Control
from models.population import StatisticsError
from models.population import encode as encode_statistics

TOGETHER = 2_000
"""So many lines at most are decided in one go: above, what a decision costs whatever its size matters little, and the
commit of one partition is better written while the next one is decided."""

Group = list[tuple[Lane, Unit]]
"""Partitions that are decided in one go, each with what it does next."""


class Decider:
    """Decides units; beside the customers' states it reads erasure marks and, for an erasure, learning rows."""

    def __init__(self, parts: Parts, plan: Plan) -> None:
        self._parts, self._plan = parts, plan

    def decide(self, group: Group, blobs: Mapping[int, Sequence[bytes | None]]) -> list[Decision]:
        """Decide the units of a group; blobs: by partition, the states of those whom `concerned` names.

        Raises `InvalidState` or `InvalidKey` where one of them cannot be decided.
        """
        tasks = []
        for lane, unit in group:
            if not _is_plain(unit):
                assert len(group) == 1
                return [self._alone(lane, unit, blobs[lane.partition])]
            lane.swept_last = False
            tasks.append(Task(self._context(lane), unit.piece, blobs[lane.partition], self._marks(lane, unit)))
        return step(tasks)

    def groups(self, units: Iterable[tuple[Lane, Unit]]) -> list[Group]:
        """Put partitions together that are decided in one go: small batches of one day under the same models."""
        groups: list[Group] = []
        alone: list[Group] = []
        room, context = 0, None
        for lane, unit in units:
            if lane.apart or not _is_plain(unit):
                alone.append([(lane, unit)])
                continue
            own, lines = self._context(lane), len(unit.piece.now.lines)
            if context is None or lines > room or not own.goes_with(context):
                groups.append([])
                room, context = TOGETHER, own
            groups[-1].append((lane, unit))
            room -= lines
        return groups + alone

    def _alone(self, lane: Lane, unit: Unit, blobs: Sequence[bytes | None]) -> Decision:
        context = self._context(lane)
        if isinstance(unit, Sweeping):
            lane.swept_last = True
            part = unit.chunk
            return sweep.chunk(context, part.ids, part.positions, blobs, unit.last)
        lane.swept_last = False
        piece = unit.piece
        assert piece.control is not None
        if piece.control.kind == "erase":
            return self._erase(lane, context, unit, piece.control, blobs[0])
        counters = lane.state.counted({"lines": 1, "ticks": 1})
        after = msgspec.structs.replace(lane.state, applied=piece.now.stop, counters=counters)
        return Decision(after, lane.statistics)

    def _context(self, lane: Lane) -> Context:
        assert lane.bundle is not None
        return Context(
            state=lane.state,
            statistics=lane.statistics,
            bundle=lane.bundle,
            previous=lane.previous,
            rules=self._plan.rules,
            history=self._plan.history,
            wants_touched=self._parts.learner.needs_touched,
        )

    def _marks(self, lane: Lane, unit: Events) -> dict[str, Mark]:
        if not lane.state.erased:
            return {}
        names = concerned(unit)
        hashes = [keyed_hash(self._plan.erasure_key, name) for name in names]
        found = self._parts.store.marks(lane.partition, hashes)
        try:
            return {name: read_json(mark, Mark) for name, mark in zip(names, found, strict=True) if mark is not None}
        except msgspec.MsgspecError as error:
            raise InvalidKey(self._parts.store.key(lane.partition, "erased"), f"a mark is none: {error}") from error

    def _erase(self, lane: Lane, context: Context, unit: Events, control: Control, blob: bytes | None) -> Decision:
        rows = learning_rows(self._parts.store, lane.partition, lane.state.sweep.number)
        earlier = self._marks(lane, unit).get(control.customer)
        control = erasure.dated(control, self._plan.rules.clock, lane.state.watermark, self._plan.zone)
        try:
            return erasure.erase(context, control, blob, earlier, self._plan.erasure_key, rows)
        except StatisticsError as error:
            raise InvalidKey(self._parts.store.key(lane.partition, "sample"), str(error)) from error


def concerned(unit: Unit) -> list[str]:
    """Return the customers whose states a unit decides."""
    if isinstance(unit, Sweeping):
        return unit.chunk.ids
    control = unit.piece.control
    if control is not None:
        return [control.customer] if control.kind == "erase" else []
    return wanted(unit.piece.now)


def _is_plain(unit: Unit) -> TypeGuard[Events]:
    return isinstance(unit, Events) and unit.piece.control is None


def learning_rows(store: Store, partition: int, sweep: int) -> dict[str, bytes]:
    """Read the rows that are still kept for learning, by the names under which a commit replaces them."""
    return {
        f"{name}:{n}": store.rows(partition, name, n)
        for name, oldest in (("sample", sweep - 1), ("touched", sweep - 2))
        for n in range(max(oldest, 0), sweep + 1)
    }


def as_commit(lane: Lane, unit: Unit, decision: Decision, history_days: int) -> Prepared:
    """Return the commit that writes a decision, on top of the one that Kafka is known to have.

    history_days: for how many days rows of the daily table are kept.
    """
    decision = replace(decision, outbox=traced(decision.outbox, lane.raw))
    number = decision.state.sweep.number
    snapshot, row = decision.snapshot, decision.row
    commit = Commit(
        epoch=lane.epoch,
        owner=lane.owner,
        parent=lane.last,
        id=lane.next_id,
        state=encode_state(decision.state),
        outbox=encode_outbox(decision.outbox),
        sweep=number,
        states=decision.states,
        created=decision.created,
        deleted=decision.deleted,
        statistics=encode_statistics(decision.statistics),
        day_entry=None if decision.day_entry is None else msgspec.json.encode(decision.day_entry),
        begins=decision.begins,
        sample=decision.sample,
        touched=decision.touched,
        snapshot=None if snapshot is None else Snapshot(snapshot.number, msgspec.msgpack.encode(snapshot)),
        row=None if row is None else DailyRow(row.day, msgspec.json.encode(row), row.day - history_days),
        marks=decision.marks,
        replaced=decision.replaced,
    )
    dead = {refusal.offset: lane.raw[refusal.offset] for refusal in decision.outbox.dead}
    return Prepared(decision, commit, dead, unit.piece if isinstance(unit, Events) else None)
