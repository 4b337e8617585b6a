"""A ledger that is not as recomputed, traced to the events: which one is missing, which one counted that should not.

    record (order, day): stored - recomputed = (net, units, lines)
    lines < 0: so many of the record's events are missing    lines > 0: so many of the order's events are too many

Which events these are follows from their amounts; where several would do, from the event ids that the state still
remembers; where that does not tell either, each of them is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, Final

from reports.verify_life import Life
from reports.verify_states import FOLDED, State

MISSING: Final = "event missing"
EXCESS: Final = "event in excess"
_MOST_NAMED: Final = 100
"""Differences a customer may have here, and events that would do equally well."""
_FEW: Final = 3
_MOST_TRIED: Final = 20_000
"""Combinations of events looked at before giving up."""

Sums = tuple[int, int, int]
"""Net in 1/10,000, units, lines."""
_NOTHING: Final[Sums] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a customer. hashed: of its event id, 0 where it has none; counted: whether it should be in the state;
    name: its event id and where it stands, for a person.
    """

    order: int
    day: int
    amount: int
    units: int
    hashed: int
    counted: bool
    name: str


def traced(
    life: Life | None, stored: State | None, events: Sequence[Event], first: int
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (kind, expected, found) of the events missing from a state, or in it though they should not be.

    life, stored: recomputed and stored, None where there is none; events: all that came of him, whatever became of
    them; first: the horizon's first day.
    """
    if life is not None and life.blurred:
        return  # into which record a line went is not known
    if stored is None and len(events) > _FEW:
        return  # a whole state is gone, and not for an event's sake
    in_horizon = list(_in_horizon(life, stored, events, first))
    if not in_horizon and life is not None and stored is not None:
        in_horizon = list(_before_it(life, stored, [event for event in events if event.day < first]))
    yield from in_horizon[:_MOST_NAMED]


def _in_horizon(
    life: Life | None, stored: State | None, events: Sequence[Event], first: int
) -> Iterator[tuple[str, Any, Any]]:
    mine, theirs = _recomputed(life), _stored(stored, first)
    remembered = None if stored is None else {event for event, _ in stored.seen}
    by_record = defaultdict[tuple[int, int], list[Event]](list)
    for event in events:
        by_record[event.order, event.day].append(event)
    for key in sorted(mine.keys() | theirs.keys(), key=lambda key: (key[1], key[0])):
        net, units, lines = (b - a for a, b in zip(mine.get(key, _NOTHING), theirs.get(key, _NOTHING), strict=True))
        counted = [event for event in by_record[key] if event.counted]
        if lines < 0:
            forgotten = [e for e in counted if e.hashed and remembered is not None and e.hashed not in remembered]
            yield from _missing(_which(counted, -lines, (-net, -units), forgotten), -lines, len(counted))
        elif lines > 0:
            # The ones that should not count at all are named before those that may have counted twice.
            every = [event for event in by_record[key] if not event.counted] + counted
            yield from _excess(_which(every, lines, (net, units)), (net, units, lines))


def _before_it(life: Life, stored: State, old: Sequence[Event]) -> Iterator[tuple[str, Any, Any]]:
    """Trace what has expired by the one sum that is left of it, the lifetime's net."""
    net = stored.past_net + sum(record.net for record in stored.records) - life.net
    if lost := [(event,) for event in old if event.counted and net and event.amount == -net]:
        yield from _missing(lost, 1, len(old))
    if more := [(event,) for event in old if net and event.amount == net]:
        yield from _excess(more, (net, 0, 1))


def _recomputed(life: Life | None) -> dict[tuple[int, int], Sums]:
    if life is None:
        return {}
    return {key: (net, units, lines) for key, (net, units, lines) in life.records.items()}


def _stored(state: State | None, first: int) -> dict[tuple[int, int], Sums]:
    if state is None:
        return {}
    kept = (record for record in state.records if record.day >= first and record.order != FOLDED)
    return {(record.order, record.day): (record.net, record.units, record.lines) for record in kept}


def _which(
    events: Sequence[Event], count: int, sums: tuple[int, int], likely: Sequence[Event] = ()
) -> list[tuple[Event, ...]]:
    """Return the ways to choose `count` events of these sums: among the likely ones if they leave just one way."""
    among_likely = _ways(likely, count, sums)
    return among_likely if len(among_likely) == 1 else _ways(events, count, sums)


def _ways(events: Sequence[Event], count: int, sums: tuple[int, int]) -> list[tuple[Event, ...]]:
    found: dict[tuple[int | str, ...], tuple[Event, ...]] = {}
    for way in islice(combinations(events, count), _MOST_TRIED):
        if _add_up(way) == sums:
            found.setdefault(tuple(event.hashed or event.name for event in way), way)  # one that came again is one
    return list(found.values())


def _add_up(events: Sequence[Event]) -> tuple[int, int]:
    return sum(event.amount for event in events), sum(event.units for event in events)


def _missing(ways: Sequence[Sequence[Event]], count: int, of: int) -> Iterator[tuple[str, Any, Any]]:
    if not ways:
        yield (MISSING, f"{of} events of an order", f"{of - count} of them: which are missing the amounts do not tell")
    elif len(ways) == 1:
        yield from ((MISSING, event.name, "not in the state") for event in ways[0])
    else:
        yield (MISSING, _one_of(ways), "not in the state")


def _excess(ways: Sequence[Sequence[Event]], sums: Sums) -> Iterator[tuple[str, Any, Any]]:
    if not ways:
        yield (EXCESS, "no such event", f"{sums[2]} more: net {sums[0]} in 1/10,000, units {sums[1]}")
    elif len(ways) == 1:
        for event in ways[0]:
            yield (EXCESS, "counted once" if event.counted else "not counted", event.name)
    else:
        yield (EXCESS, "counted once", _one_of(ways))


def _one_of(ways: Sequence[Sequence[Event]]) -> str:
    """Name each event that may be meant."""
    names = list(dict.fromkeys(event.name for way in ways for event in way))
    more = f" or {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return "one of: " + ", ".join(names[:_MOST_NAMED]) + more
