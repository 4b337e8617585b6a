"""One customer, recomputed line by line and day by day, beside what was published of him.

    turn of the day    old orders expire, the label is decided anew      <- records that name a sweep
    line               accepted or refused, merged into its order        <- records that name an input offset
    end of the day     the label must be the last one published

A batch may skip the labels between its lines, so a record is judged where it stands, and the day at its end.
Where a recovery published a stretch again (PROTOCOL B4) it went on from labels of days still to come: until
the recomputation has passed them, any of these labels may be the one that a decision started from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from reports.verify_events import DAY, Erase, Line
from reports.verify_input import Completeness, Facts
from reports.verify_life import Life, Turn, iso
from reports.verify_published import Published
from reports.verify_record import one, wrong_fields
from reports.verify_scoring import Model

Complain = Callable[[str, Any, Any], None]
"""Told (kind, expected, found) of a wrong record."""


@dataclass(slots=True)
class Past:
    """What a customer brings from before the stream: a life from the history, the mark of an erasure."""

    life: Life | None = None
    erased_at: float = -inf
    erased_revision: int = 0


@dataclass(slots=True)
class Places:
    """A customer's records by where they stand. ahead: labels published from days that a recovery went back behind."""

    turns: dict[int, list[Published]] = field(default_factory=dict)
    offsets: dict[int, list[Published]] = field(default_factory=dict)
    ahead: set[int] = field(default_factory=set)
    ahead_until: float = -inf
    """The last sweep of such a day."""

    @classmethod
    def of(cls, records: Sequence[Published], turns: Sequence[Turn]) -> Places:
        """Sort a customer's records."""
        places = cls()
        for record in records:
            if record.superseded:
                places.ahead.add(record.segment)
                places.ahead_until = max(places.ahead_until, _number_of(record, turns))
            elif record.sweep is not None:
                places.turns.setdefault(record.sweep, []).append(record)
            elif record.at is not None:
                places.offsets.setdefault(record.at, []).append(record)
        return places

    def take(self, record_of: dict[int, list[Published]], key: int, *, tombstone: bool) -> Published | None:
        """Return and forget the first record at a place that is a tombstone, or is none."""
        found = record_of.get(key, [])
        record = next((record for record in found if (record.value is None) == tombstone), None)
        if record is not None:
            found.remove(record)
        return record

    def left(self) -> list[Published]:
        """Return what was never taken: nothing happened at its place."""
        return [record for found in (*self.turns.values(), *self.offsets.values()) for record in found]


def _number_of(record: Published, turns: Sequence[Turn]) -> float:
    """Return the sweep under which a record stands; beyond the last one it may be any."""
    if record.sweep is not None:
        return record.sweep
    assert record.at is not None
    return max((turn.number for turn in turns if turn.applied <= record.at), default=inf)


class Customer:
    """Recomputes one customer: `run`, then read what it found."""

    def __init__(self, facts: Facts, past: Past, places: Places, position: int, complain: Complain) -> None:
        self._facts, self._places, self._position, self._complain = facts, places, position, complain
        self.life = past.life
        self.counters: Counter[str] = Counter()
        self.erased_at = past.erased_at
        self.labels: tuple[int, ...] = (0,)
        """The possible labels at the end of the last day; one, unless a recovery went back."""
        self.turned = False
        """Whether the last sweep has reached him."""
        self._anchors: tuple[int, ...] = (0,)
        self._shown = 0
        self._touched = self._silent = self._blind = False
        self._next: float = inf

    @property
    def ahead(self) -> frozenset[int]:
        """Labels that a recovery may have taken over from days to come."""
        return frozenset(self._places.ahead)

    def run(self, turns: Sequence[Turn], items: Sequence[Line | Erase], completeness: Completeness) -> None:
        """Recompute everything; items: his lines and erasures, by offset; turns: every turn of the partition."""
        # What compaction took, a whole life perhaps, cannot be missed: only what follows the first record left.
        self._blind = completeness != "whole"
        at = 0
        for turn in turns:
            self._next = items[at].offset if at < len(items) else inf
            self._begin(turn)
            while self._next < turn.until:
                item = items[at]
                if isinstance(item, Line):
                    self._line(turn, item)
                else:
                    self._erase(turn, item)
                at += 1
                self._next = items[at].offset if at < len(items) else inf
            if self._touched:
                self._settle(turn)
        for record in self._places.left():
            self._extra(record)
        if self._blind and completeness == "compacted" and self.life is not None and self.labels != (0,):
            self._complain("missing record", f"segment {one(self.labels)}: compaction keeps the last one", "none")

    # The turn of the day ------------------------------------------------------------------------------------

    def _begin(self, turn: Turn) -> None:
        self._anchors = self.labels
        self.turned = False
        if turn.number > self._places.ahead_until:
            self._places.ahead.clear()
        if self.life is not None and turn.number and (turn.cursor is None or self._position <= turn.cursor):
            self._turn(turn, self.life)

    def _turn(self, turn: Turn, life: Life) -> None:
        self.turned = True
        life.expire(turn.day - self._facts.horizon_days)
        record = self._take(self._places.turns, turn.number)
        if turn.model is None:
            # The model is gone from the registry: what was published cannot be judged, only followed.
            self.labels = self.labels if record is None else (record.segment,)
        else:
            self._decide(turn, life, turn.model, record)
        self._anchors = self.labels
        if life.orders.lapsed and life.last_day < turn.day - self._facts.forget_after_days:
            self._forget(turn)

    def _decide(self, turn: Turn, life: Life, model: Model, record: Published | None) -> None:
        ahead = self._places.ahead
        before = {*self.labels, *ahead} if ahead else self.labels
        after = {label: life.label(model, turn.day, label) for label in before}
        if record is None:
            stays = tuple(label for label in after if after[label] == label)
            if not stays or self._facts.emit == "all":
                self._miss(f"segment {one(after.values())} at the turn to {iso(turn.day)}")
            self.labels = stays or tuple(set(after.values()))
            self._shown = self.labels[0]
            return
        causes = {_turn_cause(turn, life, model, old, new) for old, new in after.items() if new == record.segment}
        self._judge(record, turn, life, set(after.values()), causes or {"silence", "model", "bootstrap"})
        if (record.day, record.model) != (iso(turn.day), model.version):
            self._complain("headers", (iso(turn.day), model.version), (record.day, record.model))
        self.labels = (record.segment,) if record.segment in after.values() else tuple(set(after.values()))

    def _forget(self, turn: Turn) -> None:
        """End what has long been over. With the wall clock an event may come before the sweep and save it."""
        found = self._take(self._places.turns, turn.number, tombstone=True)
        if found is None and self._facts.clock == "wall" and self._next < turn.until:
            return
        if found is None:
            self._miss(f"a tombstone on {iso(turn.day)}: forgotten")
        self.counters["forgotten"] += 1
        self._end()

    # Lines and erasures -------------------------------------------------------------------------------------

    def _line(self, turn: Turn, line: Line) -> None:
        life = self.life or Life()
        reason = life.refusal(self._facts, turn, line, self.erased_at)
        self.counters[reason or "applied"] += 1
        if reason is not None:
            return
        if self.life is None:
            self.life, self.turned = life, True
        elif not self.turned and turn.number:
            self._turn(turn, life)
        self._touched = self._silent = True
        if line.event:
            life.remember(line.event, turn.day, turn.day - self._facts.dedupe_days)
        life.add(line.order, line.time // DAY, line.amount, line.units)
        record = self._take(self._places.offsets, line.offset)
        if record is not None:
            self._silent = False
            self._judge_event(record, turn, life, line)

    def _judge_event(self, record: Published, turn: Turn, life: Life, line: Line) -> None:
        if turn.model is None:
            self._anchors = (record.segment,)
            return
        cause = "late" if line.time // DAY < turn.day else "return" if line.amount < 0 else "purchase"
        after = {anchor: life.label(turn.model, turn.day, anchor) for anchor in self._anchors}
        self._judge(record, turn, life, set(after.values()), {cause})
        self._anchors = tuple(anchor for anchor in after if after[anchor] == record.segment) or self._anchors

    def _settle(self, turn: Turn) -> None:
        """Compare the label after all that he did under a turn with the last one published."""
        self._touched = False
        if turn.model is None or self.life is None:
            self.labels = (self._shown,)
            return
        after = {self.life.label(turn.model, turn.day, anchor) for anchor in self._anchors}
        wrong = self._shown not in after and not self._places.ahead
        if wrong or (self._silent and self._facts.emit == "all"):
            self._miss(f"segment {one(after)} after the events of {iso(turn.day)}")
        self.labels = (self._shown,) if self._shown in after else tuple(after)
        self._shown = self.labels[0]

    def _erase(self, turn: Turn, item: Erase) -> None:
        if self._touched:
            self._settle(turn)
        if self._take(self._places.offsets, item.offset, tombstone=True) is None:
            self._miss(f"a tombstone at offset {item.offset}: erased")
        assert item.at is not None
        self.erased_at = max(self.erased_at, item.at)
        self.counters["erased_customers"] += self.life is not None
        self._end()

    def _end(self) -> None:
        self.life, self._touched = None, False
        self.labels = self._anchors = (0,)
        self._shown = 0

    # Records ------------------------------------------------------------------------------------------------

    def _take(self, where: dict[int, list[Published]], key: int, *, tombstone: bool = False) -> Published | None:
        record = self._places.take(where, key, tombstone=tombstone) if where else None
        if record is not None:
            self._blind = False
            self._shown = record.segment
        return record

    def _judge(self, record: Published, turn: Turn, life: Life, segments: set[int], causes: set[str]) -> None:
        if life.folded or record.value is None:
            return
        try:
            wrong = wrong_fields(record.value, life, turn, segments, causes)
        except (KeyError, TypeError) as error:
            self._complain(f"record at {_where(record)}", "every field", f"{type(error).__name__} {error}")
            return
        if wrong:
            expected, found = ({name: pair[side] for name, pair in wrong.items()} for side in (0, 1))
            self._complain(f"record at {_where(record)}", expected, found)

    def _miss(self, expected: str) -> None:
        """Complain of a record that is not there, unless it may have been removed or is not recomputed."""
        if not self._blind and not (self.life is not None and self.life.folded):
            self._complain("missing record", expected, f"segment {self._shown}")

    def _extra(self, record: Published) -> None:
        if not (self.life is not None and self.life.folded):
            found = "a tombstone" if record.value is None else f"segment {record.segment}"
            self._complain("extra record", f"none at {_where(record)}", found)


def _turn_cause(turn: Turn, life: Life, model: Model, old: int, new: int) -> str:
    """Say whether the day alone would have moved him from `old` to `new`."""
    if old == 0:
        return "bootstrap"
    before = turn.before
    if old == new or before is None or not life.orders.clustered:
        return "silence"
    same = before.features == model.features and life.label(before, turn.day, old) == new
    return "silence" if same else "model"


def _where(record: Published) -> str:
    return f"offset {record.at}" if record.sweep is None else f"sweep {record.sweep} of {record.day}"
