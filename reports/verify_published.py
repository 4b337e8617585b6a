"""The output of a partition as its readers see it: parsed, ordered, and checked for what readers rely on.

    log order      revisions 1, 2, 3 ..., `previous` = the segment before, `entered_on`    -> Chain
    by position    the sweep or the input offset that a record stands for                  -> verify_customer

A recovery may publish a stretch again (PROTOCOL B4): records of an older epoch at or after the place
where a newer epoch began again are superseded: their revisions count, the newer ones' contents do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from reports.verify_input import Completeness, OutputRecord


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
    superseded: bool = False

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


def mark_superseded(records: Sequence[Published], first_offsets: Mapping[int, int]) -> None:
    """Mark what newer epochs published again; first_offsets: sweep number -> the input offset that it began before.

    Seen from the end of the log: `least_at` and `least_sweep` are where newer epochs are known to have been.
    """
    newest: int | None = None
    least_at, least_sweep = inf, inf
    here_at, here_sweep = inf, inf
    for record in reversed(records):
        if newest is None or record.epoch < newest:
            least_at, least_sweep = min(least_at, here_at), min(least_sweep, here_sweep)
            here_at, here_sweep, newest = inf, inf, record.epoch
        began = first_offsets.get(record.sweep or 0, inf)
        if record.at is not None:
            record.superseded = least_at <= record.at or _after(first_offsets, least_sweep, record.at)
            here_at = min(here_at, record.at)
        elif record.sweep is not None:
            record.superseded = least_sweep < record.sweep or least_at < began
            here_sweep = min(here_sweep, record.sweep)


def _after(first_offsets: Mapping[int, int], least_sweep: float, at: int) -> bool:
    """Whether a later sweep than `least_sweep` had begun at an input offset: then that one was done again."""
    following = first_offsets.get(int(least_sweep) + 1) if least_sweep != inf else None
    return following is not None and at >= following


@dataclass(slots=True)
class Chain:
    """What one customer's records say in the log's order.

    revision: the last one (None: not known); segment, previous: the last two segments of the present life;
    entered: when the last began; mark: the revision at his last erasure; unseen: the first revisions are gone;
    reopened: the revision of a life whose end was superseded, so that it may go on.
    """

    revision: int | None
    segment: int = 0
    previous: int = 0
    entered: str | None = None
    mark: int = 0
    unseen: bool = False
    reopened: int = 0


def follow(
    records: Sequence[Published], completeness: Completeness, marked: int, emit: str
) -> tuple[Chain, list[tuple[str, Any, Any]]]:
    """Walk one customer's records; return where they end, and (kind, expected, found) of what breaks the rules.

    marked: the revision on the mark of an erasure before all of this, 0 without one.
    """
    chain = Chain(revision=marked if completeness == "whole" else None, mark=marked)
    wrong: list[tuple[str, Any, Any]] = []
    for record in records:
        if record.value is None:
            chain.reopened = (chain.revision or 0) if record.superseded else 0
            _end_life(chain, erased=record.at is not None)
            continue
        wrong += _link(chain, record.value, record.segment, whole=completeness == "whole", emit=emit)
    return chain, wrong


def _end_life(chain: Chain, *, erased: bool) -> None:
    if erased and chain.revision is not None:
        chain.mark = max(chain.mark, chain.revision)
    if chain.revision is not None:
        chain.revision = chain.mark
    chain.segment, chain.previous, chain.entered = 0, 0, None


def _link(chain: Chain, value: dict[str, Any], segment: int, *, whole: bool, emit: str) -> list[tuple[str, Any, Any]]:
    """Check one record against the one before it, and step on."""
    wrong: list[tuple[str, Any, Any]] = []
    revision, previous = value["revision"], (value.get("previous") or {}).get("id", 0)
    known = chain.revision is not None
    if chain.reopened and revision <= chain.reopened + 1:
        # The end of this life was published, then lost from the store: the life is replayed from before it.
        chain.revision, known = None, False
    chain.reopened = 0
    if not whole and previous == 0 and known and revision in (1, (chain.revision or 0) + 1):
        # Compaction took the tombstone between two lives.
        chain.revision, chain.segment, chain.previous, chain.entered = revision - 1, 0, 0, None
    # With a mark from before, the log may hold the life that ended with it: then the first revision is 1.
    anew = chain.segment == 0 and chain.revision == chain.mark and revision == 1
    if chain.revision is not None and revision != chain.revision + 1 and not anew:
        wrong.append(("revision", chain.revision + 1, revision))
    if not known:
        chain.unseen |= revision > 1 and not whole
        chain.previous = previous
    else:
        before = chain.segment
        expected = chain.previous if segment == before else before
        if previous != expected:
            wrong.append(("previous", expected, previous))
        if segment == before and emit == "changes":
            wrong.append(("no change", f"another segment than {before}", segment))
        entered = value["as_of"] if segment != before else chain.entered
        if value["entered_on"] != entered:
            wrong.append(("entered_on", entered, value["entered_on"]))
        chain.previous = previous
    chain.revision, chain.segment, chain.entered = revision, segment, value["entered_on"]
    return wrong
