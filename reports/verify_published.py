"""The output of a partition as its readers see it: parsed, ordered, and checked for what readers rely on.

    log order      revisions 1, 2, 3 ..., `previous` = the segment before, `entered_on`    -> Chain
    by position    the sweep or the input offset that a record stands for                  -> verify_customer

A recovery that went back publishes a stretch again (PROTOCOL B4): records of older epochs behind the place
to which it went back are superseded: their revisions count, the newer ones' contents do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.verify_input import Completeness, OutputRecord, Rewind
from reports.verify_life import day_of
from reports.verify_states import Move


@dataclass(slots=True)
class Published:
    """One output record. at: the input offset, or sweep, day and model in the headers; value None: a tombstone."""

    offset: int
    customer: str
    epoch: int
    sequence: int
    at: int | None
    sweep: int | None
    day: str | None
    model: int | None
    value: dict[str, Any] | None

    @property
    def segment(self) -> int:
        """Return the segment's id, 0 of a tombstone."""
        return 0 if self.value is None else int(self.value["segment"]["id"])


def parse(record: OutputRecord) -> Published | str:
    """Return a record, or what is wrong with its form."""
    headers = record.headers
    try:
        at, sweep = _number(headers, "offset"), _number(headers, "sweep")
        value = None if record.value is None else json.loads(record.value)
        if (at is None) == (sweep is None):
            return "its headers name neither an input offset nor a sweep, or both"
        if value is not None:
            int(value["segment"]["id"]), int(value["revision"]), value["entered_on"], value["as_of"]
        return Published(
            offset=record.offset,
            customer=(record.key or b"").decode(),
            epoch=int(headers["epoch"]),
            sequence=int(headers["sequence"]),
            at=at,
            sweep=sweep,
            day=headers["day"].decode() if "day" in headers else None,
            model=_number(headers, "model"),
            value=value,
        )
    except (ValueError, KeyError, TypeError) as error:
        return f"it cannot be read: {type(error).__name__} {error}"


def _number(headers: Mapping[str, bytes], name: str) -> int | None:
    return int(headers[name]) if name in headers else None


@dataclass(slots=True)
class Places:
    """A customer's records that stand, by where; and by each recovery that went back, the last one before it."""

    turns: dict[int, list[Published]] = field(default_factory=dict)
    offsets: dict[int, list[Published]] = field(default_factory=dict)
    superseded: list[Published] = field(default_factory=list)
    last_before: dict[int, Published] = field(default_factory=dict)
    """Epoch of a recovery -> the customer's last record of older epochs, in the log's order."""

    @classmethod
    def of(cls, records: Sequence[Published], rewinds: Sequence[Rewind]) -> Places:
        """Sort a customer's records."""
        places = cls()
        for record in records:
            for rewind in rewinds:
                if record.epoch < rewind.epoch:
                    places.last_before[rewind.epoch] = record
            if rewinds and any(_is_behind(record, rewind) for rewind in rewinds):
                places.superseded.append(record)
            elif record.sweep is not None:
                places.turns.setdefault(record.sweep, []).append(record)
            elif record.at is not None:
                places.offsets.setdefault(record.at, []).append(record)
        return places

    def take(self, places: dict[int, list[Published]], key: int, *, tombstone: bool) -> Published | None:
        """Return and forget the first record at a place that is a tombstone, or is none."""
        found = places.get(key)
        if not found:
            return None
        record = next((record for record in found if (record.value is None) == tombstone), None)
        if record is not None:
            found.remove(record)
        return record

    def supersede(self, sweep: int, epoch: int) -> None:
        """Take back what older epochs published of a sweep that a recovery found not to have come to him yet."""
        found = self.turns.get(sweep, [])
        self.superseded += [record for record in found if record.epoch < epoch]
        self.turns[sweep] = [record for record in found if record.epoch >= epoch]

    def left(self) -> list[Published]:
        """Return what was never taken: nothing happened at its place."""
        return [record for found in (*self.turns.values(), *self.offsets.values()) for record in found]


def _is_behind(record: Published, rewind: Rewind) -> bool:
    """Say whether a recovery went back to before a record; of the sweep that it found under way, `supersede` tells."""
    if record.epoch >= rewind.epoch:
        return False
    if rewind.sweep == 0:  # a new generation: offsets and sweeps of the old one mean nothing in it
        return True
    if record.at is not None:
        return record.at >= rewind.applied
    assert record.sweep is not None
    return record.sweep > rewind.sweep


def _may_be_behind(record: Published, rewind: Rewind) -> bool:
    """Say whether a recovery went back to before a record, or may have: of a sweep under way that is not known here."""
    under_way = record.sweep == rewind.sweep and rewind.cursor is not None and record.epoch < rewind.epoch
    return under_way or _is_behind(record, rewind)


@dataclass(slots=True)
class Chain:
    """What one customer's records say in the log's order.

    revision: the last one (None: not known); segment, previous: the last two segments of the present life;
    entered: when the last began; mark: the revision at his last erasure; unseen: the first revisions are gone;
    highest: the greatest revision; back: a recovery went back since the last record; goes_on: the next record goes
    on from one that is not the last. moves: records since the last tombstone that are known to have changed the
    segment; begun: how many of them there were when the present life began.
    """

    revision: int | None
    segment: int = 0
    previous: int = 0
    entered: str | None = None
    mark: int = 0
    unseen: bool = False
    highest: int = 0
    back: bool = False
    goes_on: bool = False
    moves: list[Move] = field(default_factory=list)
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Following:
    """How a chain is read. rewinds: the recoveries that went back."""

    completeness: Completeness
    emit: str
    rewinds: Sequence[Rewind] = ()

    def went_back(self, epoch: int, record: Published) -> bool:
        """Say whether a recovery may have gone back between a record of an epoch and the one that follows it.

        One that was itself lost is told of nowhere; but then a later one went back behind what it published.
        """
        if not self.rewinds:
            return False
        told = any(epoch < rewind.epoch <= record.epoch for rewind in self.rewinds)
        return told or (0 < epoch < record.epoch and any(_may_be_behind(record, rewind) for rewind in self.rewinds))


def follow(records: Sequence[Published], marked: int, how: Following) -> tuple[Chain, list[tuple[str, Any, Any]]]:
    """Walk one customer's records; return where they end, and (kind, expected, found) of what breaks the rules.

    marked: the revision on the mark of an erasure before all of this, 0 without one.
    """
    chain = Chain(revision=marked if how.completeness == "whole" else None, mark=marked)
    wrong: list[tuple[str, Any, Any]] = []
    epoch = 0
    for record in records:
        chain.back |= how.went_back(epoch, record)
        epoch = record.epoch
        if record.value is None:
            _end_life(chain, erased=record.at is not None)
            continue
        if chain.back:
            _go_on(chain, record.value)
        wrong += _link(chain, record.value, record.segment, how)
    return chain, wrong


def _go_on(chain: Chain, value: dict[str, Any]) -> None:
    """Let the first record after a recovery go on from where the recovery found the customer.

    His life may have been lost as a whole (it begins anew, the revision goes on), or only its end (it goes on
    as if it had not ended, from an earlier revision).
    """
    chain.back = False
    if chain.revision is None:
        return
    if chain.segment == 0 and 1 <= value["revision"] <= chain.highest + 1:
        chain.revision, chain.goes_on = None, True
    elif not value.get("previous"):
        chain.segment, chain.previous, chain.entered = 0, 0, None


def _end_life(chain: Chain, *, erased: bool) -> None:
    if erased and chain.revision is not None:
        chain.mark = max(chain.mark, chain.revision)
    if chain.revision is not None:
        chain.revision = chain.mark
    chain.moves, chain.begun = [], 0
    chain.segment, chain.previous, chain.entered = 0, 0, None


def _link(chain: Chain, value: dict[str, Any], segment: int, how: Following) -> list[tuple[str, Any, Any]]:
    """Check one record against the one before it, and step on."""
    wrong: list[tuple[str, Any, Any]] = []
    revision, previous = value["revision"], (value.get("previous") or {}).get("id", 0)
    known = chain.revision is not None
    if how.completeness != "whole" and previous == 0 and known and revision in (1, (chain.revision or 0) + 1):
        # Compaction took the tombstone between two lives.
        chain.revision, chain.segment, chain.previous, chain.entered = revision - 1, 0, 0, None
    # With a mark from before, the log may hold the life that ended with it: then the first revision is 1.
    anew = chain.segment == 0 and chain.revision == chain.mark and revision == 1
    if chain.revision is not None and revision != chain.revision + 1 and not anew:
        wrong.append(("revision", chain.revision + 1, revision))
    if not known:
        chain.unseen |= revision > 1 and not chain.goes_on
        chain.previous, chain.goes_on = previous, False
    else:
        before = chain.segment
        expected = chain.previous if segment == before else before
        if previous != expected:
            wrong.append(("previous", expected, previous))
        if segment == before and how.emit == "changes":
            wrong.append(("no change", f"another segment than {before}", segment))
        entered = value["as_of"] if segment != before else chain.entered
        if value["entered_on"] != entered:
            wrong.append(("entered_on", entered, value["entered_on"]))
        chain.previous = previous
    if segment != chain.segment and (known or revision == 1):
        chain.begun = len(chain.moves) if previous == 0 else chain.begun
        day, model, cause = day_of(value["as_of"]), value.get("model_version"), value.get("cause")
        chain.moves.append(Move(revision, day, model, previous, segment, cause))
    chain.revision, chain.segment, chain.entered = revision, segment, value["entered_on"]
    chain.highest = max(chain.highest, revision)
    return wrong
