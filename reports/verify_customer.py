"""One customer, recomputed line by line and day by day, beside what was published of him.

    turn of the day    old orders expire, the label is decided anew      <- records that name a sweep
    line               accepted or refused, merged into its order        <- records that name an input offset
    end of the day     the label must be the last one published
    rewind             a recovery took the last published label over and went on from here (PROTOCOL B4)

A batch may skip the labels between its lines, so a record is judged where it stands, and the day at its end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from reports.verify_events import DAY, Erase, Line
from reports.verify_input import Completeness, Facts, Rewind
from reports.verify_life import Life, Turn, iso
from reports.verify_published import Places, Published
from reports.verify_record import wrong_fields
from reports.verify_scoring import Model

Complain = Callable[[str, Any, Any], None]
"""Told (kind, expected, found) of a wrong record."""


@dataclass(slots=True)
class Past:
    """What a customer brings from before the stream: a life from the history, the mark of an erasure."""

    life: Life | None = None
    erased_at: float = -inf
    erased_revision: int = 0


class Customer:
    """Recomputes one customer: `run`, then read what it found."""

    def __init__(self, facts: Facts, past: Past, position: int, complain: Complain) -> None:
        self._facts, self._position, self._complain = facts, position, complain
        self._places = Places()
        self.life = past.life
        self.counters: Counter[str] = Counter()
        self.erased_at = past.erased_at
        self.label = 0
        """The label at the end of the last day."""
        self.turned = False
        """Whether the last sweep has reached him."""
        self.unsure = False
        """A recovery took over a label that compaction has removed since: until the next record it is not known."""
        self.counted: set[tuple[int, int]] = set()
        """The lines of this life, by how many partitions he was in before, and their input offset."""
        self.history_from = past.erased_at
        self.of_history = past.life is not None
        """Whether this life is the one that the history began."""
        self._anchor = 0
        self._shown = 0
        self._moves: list[tuple[int, bool, int, int]] = []
        """(model version, by his own orders?, from, to), at each turn and at the end of each day with orders."""
        self._touched = self._silent = self._blind = False
        self._items: Sequence[Line | Erase] = ()
        self._at = 0
        self._chapter = -1

    def run(
        self,
        turns: Sequence[Turn],
        items: Sequence[Line | Erase],
        rewinds: Sequence[Rewind],
        completeness: Completeness,
        places: Places,
    ) -> None:
        """Recompute all of one partition; items: his lines and erasures, by offset; turns: every turn of it.

        Called again for the partition that he moved to when some were added: his life goes on there.
        """
        self._places, self._at, self._chapter = places, 0, self._chapter + 1
        # What compaction took, a whole life perhaps, cannot be missed: only what follows the first record left.
        self._blind = completeness != "whole"
        self._items = items
        back = defaultdict[int, list[Rewind]](list)
        for rewind in sorted(rewinds, key=lambda rewind: rewind.epoch):
            back[rewind.sweep].append(rewind)
        for turn in turns:
            self._day(turn, back.get(turn.number, ()))
        for record in self._places.left():
            self._extra(record)
        if self._blind and completeness == "compacted" and self.life is not None and self.label and not self.unsure:
            self._complain("missing record", f"segment {self.label}: compaction keeps the last one", "none")

    def _day(self, turn: Turn, back: Sequence[Rewind]) -> None:
        """Go through one turn and what he did under it; back: the recoveries that went back to it, in their order.

        Of two of them the later one went back less far: what the earlier one repeated before that place stands.
        """
        self._anchor = self.label
        self.turned = False
        for rewind in back:
            if rewind.cursor is None or self._position <= rewind.cursor:
                self._reach(turn)
            self._until(turn, rewind.applied)
            if not self.turned:  # neither the sweep nor an event of his own had turned his day before the recovery
                self._places.supersede(turn.number, rewind.epoch)
            self._go_back(turn, rewind)
        self._reach(turn)
        self._until(turn, turn.until)
        if self._touched:
            self._settle(turn)

    def _reach(self, turn: Turn) -> None:
        """Let the sweep come to him, if it has come so far and he has not turned his day before."""
        come = turn.number and (turn.cursor is None or self._position <= turn.cursor)
        if come and self.life is not None and not self.turned:
            self._turn(turn, self.life)

    def _until(self, turn: Turn, stop: float) -> None:
        """Do what he did before an offset."""
        while self._at < len(self._items) and self._items[self._at].offset < stop:
            item = self._items[self._at]
            self._at += 1
            if isinstance(item, Line):
                self._line(turn, item)
            else:
                self._erase(turn, item)

    # The turn of the day ------------------------------------------------------------------------------------

    def _turn(self, turn: Turn, life: Life) -> None:
        self.turned = True
        life.expire(turn.day - self._facts.horizon_days)
        record = self._take(self._places.turns, turn.number)
        if turn.model is None:
            # The model is gone from the registry: what was published cannot be judged, only followed.
            self.label = self.label if record is None else record.segment
        else:
            self._decide(turn, life, turn.model, record)
        self._anchor = self.label
        if life.orders.lapsed and life.last_day < turn.day - self._facts.forget_after_days:
            self._forget(turn)

    def _decide(self, turn: Turn, life: Life, model: Model, record: Published | None) -> None:
        before = self.label
        self.label = life.label(model, turn.day, self._held(turn, model))
        if self.label != before:
            self._moves.append((model.version, False, before, self.label))
        if record is None:
            if (self.label != before or self._facts.emit == "all") and not self._ends_first(turn):
                self._miss(f"segment {self.label} at the turn to {iso(turn.day)}")
            self._shown = self.label
            return
        causes = {_turn_cause(turn, life, model, before, self.label)}
        if self._may_be(record, life, model, turn.day):
            self.label, causes = record.segment, {"silence", "model"}
        self._judge(record, turn, life, self.label, causes)
        if (record.day, record.model) != (iso(turn.day), model.version):
            self._complain("headers", (iso(turn.day), model.version), (record.day, record.model))

    def _held(self, turn: Turn, model: Model) -> int:
        """Return the label that holds him at the turn: the present one; after a rollback the one it brings back."""
        if model.replaced is None or turn.before is None or turn.before.version >= model.replaced[1]:
            return self.label
        since = [move for move in self._moves if move[0] >= model.replaced[0]]
        if not since or since[0][2] == 0:
            return self.label
        # Days with orders that follow each other without a turn that moved him count together: what they came to.
        together: list[list[int]] = []
        for at, (_, own, start, end) in enumerate(since):
            if own and at and since[at - 1][1]:
                together[-1][1] = end
            elif own:
                together.append([start, end])
        changed = any(start != end for start, end in together)
        return self.label if changed else since[0][2]

    def _ends_first(self, turn: Turn) -> bool:
        """Say whether an erasure may have come before the sweep reached him, as the wall clock lets it."""
        coming = (item for item in self._items[self._at :] if item.offset < turn.until)
        return self._facts.clock == "wall" and any(isinstance(item, Erase) for item in coming)

    def _may_be(self, record: Published, life: Life, model: Model, day: int) -> bool:
        """Say whether a record ends the uncertainty about a label: it does if the label could stand."""
        sure, self.unsure = not self.unsure, False
        return not sure and life.label(model, day, record.segment) == record.segment

    def _forget(self, turn: Turn) -> None:
        """End what has long been over. With the wall clock an event may come before the sweep and save it."""
        found = self._take(self._places.turns, turn.number, tombstone=True)
        coming = self._items[self._at].offset if self._at < len(self._items) else inf
        if found is None and self._facts.clock == "wall" and coming < turn.until:
            return
        if found is None:
            self._miss(f"a tombstone on {iso(turn.day)}: forgotten")
        self.counters["forgotten"] += 1
        self._end()

    # Lines, erasures, recoveries ----------------------------------------------------------------------------

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
        self.counted.add((self._chapter, line.offset))
        if line.event:
            life.remember(line.event, turn.day, turn.day - self._facts.dedupe_days)
        life.add(line.order, line.time // DAY, line.amount, line.units)
        life.fold()
        record = self._take(self._places.offsets, line.offset)
        if record is not None:
            self._silent = False
            self._judge_event(record, turn, life, line)

    def _judge_event(self, record: Published, turn: Turn, life: Life, line: Line) -> None:
        if turn.model is None:
            self._anchor = record.segment
            return
        if self._may_be(record, life, turn.model, turn.day):
            self._anchor = record.segment
        cause = "late" if line.time // DAY < turn.day else "return" if line.amount < 0 else "purchase"
        self._judge(record, turn, life, life.label(turn.model, turn.day, self._anchor), {cause})

    def _settle(self, turn: Turn) -> None:
        """Compare the label after all that he did under a turn with the last one published."""
        self._touched = False
        if turn.model is None or self.life is None:
            self.label = self._shown
            return
        self.label = self.life.label(turn.model, turn.day, self._anchor)
        if self.label != self._anchor:
            self._moves.append((turn.model.version, True, self._anchor, self.label))
        if self._shown != self.label or (self._silent and self._facts.emit == "all"):
            self._miss(f"segment {self.label} after the events of {iso(turn.day)}")
        self._shown = self.label

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
        self.life, self._touched, self.unsure = None, False, False
        self.counted, self.of_history, self._moves = set(), False, []
        self.label = self._anchor = self._shown = 0

    def _go_back(self, turn: Turn, back: Rewind) -> None:
        """Take over what was published; an erasure that the replay will come to again is done at once."""
        if self._touched:
            self._settle(turn)
        done = {record.at for record in self._places.superseded if record.value is None and record.epoch < back.epoch}
        again = [item for item in self._items[self._at :] if isinstance(item, Erase) and item.offset in done]
        if again:
            self.erased_at = max(self.erased_at, *(item.at for item in again if item.at is not None))
            self.counters["erased_customers"] += self.life is not None
            self._end()
        last = self._places.last_before.get(back.epoch)
        taken_over = back.sweep > 0  # a new generation has segments of its own: of the old one only revisions go on
        if self.life is not None and taken_over and last in self._places.superseded and last.value is not None:
            self.label = self._shown = last.segment
        self.unsure = self._blind and self.life is not None

    # Records ------------------------------------------------------------------------------------------------

    def _take(self, where: dict[int, list[Published]], key: int, *, tombstone: bool = False) -> Published | None:
        record = self._places.take(where, key, tombstone=tombstone) if where else None
        if record is not None:
            self._blind = False
            self._shown = record.segment
        return record

    def _judge(self, record: Published, turn: Turn, life: Life, segment: int, causes: set[str]) -> None:
        if life.blurred or record.value is None:
            return
        try:
            wrong = wrong_fields(record.value, life, turn, segment, causes)
        except (KeyError, TypeError) as error:
            self._complain(f"record at {_where(record)}", "every field", f"{type(error).__name__} {error}")
            return
        if wrong:
            expected, found = ({name: pair[side] for name, pair in wrong.items()} for side in (0, 1))
            self._complain(f"record at {_where(record)}", expected, found)

    def _miss(self, expected: str) -> None:
        """Complain of a record that is not there, unless it may have been removed or is not recomputed."""
        if not self._blind and not self.unsure and not (self.life is not None and self.life.blurred):
            self._complain("missing record", expected, f"segment {self._shown}")

    def _extra(self, record: Published) -> None:
        if not (self.life is not None and self.life.blurred):
            found = "a tombstone" if record.value is None else f"segment {record.segment}"
            self._complain("extra record", f"none at {_where(record)}", found)


def _turn_cause(turn: Turn, life: Life, model: Model, old: int, new: int) -> str:
    """Say whether the day alone would have moved him from `old` to `new`."""
    if old == 0:
        return "bootstrap"
    before = turn.before
    if old == new or before is None or not life.orders.clustered:
        return "silence"
    space = (before.features, before.recency_offset) == (model.features, model.recency_offset)
    same = space and life.label(before, turn.day, old) == new
    return "silence" if same else "model"


def _where(record: Published) -> str:
    return f"offset {record.at}" if record.sweep is None else f"sweep {record.sweep} of {record.day}"
