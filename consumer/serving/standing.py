"""How the service stands, and how fast: what the dashboard shows beside the customers, as pure functions.

fences, Kafka's word --status_of--> Status      `segmenter status --json`
looks (moment, records) --rate-->   records a second
partitions' tallies --present-->    the moves since each partition's last finished sweep
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from consumer.commands.moves import Names
from consumer.commands.status import Status
from consumer.commands.trend import Day, DayFlow, named_flow
from consumer.partition import PartitionState
from consumer.tally import added
from models.bundle import Segment

RATE_S = 10.0
"""Records a second are a mean over this long, or over what there is of it."""
LEAST_S = 1.0
"""Two looks that are nearer to each other tell nothing of a rate."""


class Standing(msgspec.Struct, frozen=True):
    """How the service stands. read_at: RFC 3339; records_per_second: input decided, None before the second look.

    still_s: seconds since a record was last decided, as far as this process has seen; flows: the moves since each
    partition's last finished sweep, None where they were not counted whole.
    """

    read_at: str
    status: Status
    records_per_second: float | None
    still_s: float | None
    flows: list[DayFlow] | None


class Look(NamedTuple):
    """The records decided so far in all partitions, at a moment of a clock that only goes forward."""

    at: float
    records: int


class Movement(msgspec.Struct, frozen=True):
    """Who went where in some days: flows of customers, the greatest first; one who moved twice counts twice.

    since: the day after which the moves are counted, None where there is no row before; until: the newest day; days:
    how many have a row, 0: only what came after the last sweep.
    """

    since: str | None
    until: str | None
    days: int
    moves: int
    flows: list[DayFlow]


def remembered(looks: Sequence[Look], new: Look) -> tuple[Look, ...]:
    """Return the looks that a rate is made of: the new one, and those of the last `RATE_S` with one from before.

    Fewer records than before are another state: what went before is forgotten.
    """
    if looks and new.records < looks[-1].records:
        return (new,)
    kept = [*looks, new]
    while len(kept) > 2 and new.at - kept[1].at >= RATE_S:
        kept.pop(0)
    return tuple(kept)


def rate(looks: Sequence[Look]) -> float | None:
    """Return records a second between the first and the last look, None where they are too near to each other."""
    if len(looks) < 2 or looks[-1].at - looks[0].at < LEAST_S:
        return None
    return round((looks[-1].records - looks[0].records) / (looks[-1].at - looks[0].at), 1)


def present(states: Mapping[int, PartitionState], names: Names, version: int) -> list[DayFlow] | None:
    """Return the flows since each partition's last finished sweep. version: the live model's, which names segments."""
    tallies = [state.tally for state in states.values()]
    if any(tally is None or tally.flows is None for tally in tallies):
        return None
    flows = added((flow for tally in tallies if tally is not None for flow in tally.flows or ()), {})
    used = tuple(dict.fromkeys(state.sweep.version for state in states.values()))
    return [named_flow(flow, lambda segment: names.of(segment, version, *used)) for flow in flows]


def movement(days: Sequence[Day], now: Iterable[DayFlow], wanted: int) -> Movement:
    """Add up the flows of the newest `wanted` days and those since. days: the oldest first, one more where there is."""
    shown = days[-wanted:] if wanted else []
    before = days[-len(shown) - 1] if len(days) > len(shown) else None
    totals: dict[tuple[Segment | None, Segment | None, str], int] = {}
    for flow in (*(flow for day in shown for flow in day.flows or ()), *now):
        key = (flow.source, flow.target, flow.cause)
        totals[key] = totals.get(key, 0) + flow.customers
    flows = [DayFlow(*key, customers) for key, customers in totals.items()]
    flows.sort(key=lambda flow: (-flow.customers, flow.cause, _name(flow.source), _name(flow.target)))
    return Movement(
        since=None if before is None else before.day,
        until=days[-1].day if days else None,
        days=len(shown),
        moves=sum(flow.customers for flow in flows),
        flows=flows,
    )


def _name(segment: Segment | None) -> str:
    return "" if segment is None else segment.name
