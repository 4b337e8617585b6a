"""`trend`: the segments day by day, from the daily table that sweeps leave (consumer.tally)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from consumer.commands.cli_output import Output, table
from consumer.commands.lookup import Opened, opened
from consumer.commands.moves import Names, refuse_forgetful
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.partition import iso
from consumer.stored import FIRST_DAY, read_json
from consumer.tally import NOBODY, DaySum, Flow, Row, summed
from features.ledger import MONEY
from features.store import InvalidKey
from models.bundle import Segment

LEVELS = "▁▂▃▄▅▆▇█"
POINTS = 20
"""Days of a small picture; of more days each point is the last of several."""
BAR = 20
FLOWS = 8
ENDS = {"erasure": "(erased)", "forgotten": "(forgotten)"}


class SegmentDay(msgspec.Struct, frozen=True):
    """A segment on a day. revenue: net in the horizon, in the currency."""

    id: int
    name: str
    customers: int
    revenue: float


class DayFlow(msgspec.Struct, frozen=True, rename={"source": "from", "target": "to"}):
    """Customers who went from one segment to another; None: none yet, or none any more (erasure, forgotten)."""

    source: Segment | None
    target: Segment | None
    cause: str
    customers: int


class Day(msgspec.Struct, frozen=True):
    """One day of all partitions. swept: partitions whose sweep of the day has ended; the others stand as before it.

    flows: those since the day before; None on the first day after `upgrade`, where they were not counted whole.
    """

    day: str
    model_version: int
    swept: int
    segments: list[SegmentDay]
    flows: list[DayFlow] | None


class Trend(msgspec.Struct, frozen=True):
    """The newest days, the oldest first."""

    namespace: str
    currency: str
    horizon_days: int
    partitions: int
    days: list[Day]


def show_trend(place: Place, days: int, output: Output) -> None:
    """Print the newest days. Raises `Stop` where nothing is kept yet, `StoreError`."""
    found = trend_of(place, days)
    last = found.days[-1]
    customers = sum(each.customers for each in last.segments)
    revenue = sum(each.revenue for each in last.segments)
    output.result(
        found,
        f"[bold]{len(found.days)} days to {last.day}[/bold]  {customers:,} customers, {revenue:,.0f} {found.currency} "
        f"net in {found.horizon_days} days",
        "",
        table(
            None, ["segment", "customers, day by day", "first>", "now>", "change>", "revenue>"], _segments(found.days)
        ),
        "",
        table(None, ["from", "to", "moved>", "", "mostly"], _flows(found.days)),
    )


def trend_of(place: Place, days: int) -> Trend:
    """Read the newest `days` days of the table. Raises `Stop` where there is none yet, `StoreError`."""
    return trend_in(opened(place.settings), days)


def trend_in(state: Opened, days: int) -> Trend:
    """Read the newest days from a state that is open. Raises `Stop`, `StoreError`."""
    settings, binding, store = state.settings, state.binding, state.store
    refuse_forgetful(settings.namespace, binding)
    tables = {}
    for partition in range(binding.partitions):
        try:
            tables[partition] = [read_json(data, Row) for data in store.daily(partition, FIRST_DAY)]
        except msgspec.DecodeError as error:
            raise InvalidKey(store.key(partition, "daily"), f"a row is none: {error}") from error
    sums = summed(tables)[-days:]
    if not sums:
        raise Stop(ExitCode.USAGE, f"no sweep of {settings.namespace} has ended yet: a worker makes the first one")
    names = Names(state.registry)
    return Trend(
        settings.namespace,
        settings.currency,
        binding.horizon_days,
        binding.partitions,
        [_day(each, names, sums[-1].version) for each in sums],
    )


def _day(found: DaySum, names: Names, newest: int) -> Day:
    """Name a day's segments as the newest model does; one that it has not, as the day's own."""

    def named(segment: int) -> Segment:
        return names.of(segment, newest, found.version)

    flows = None if found.flows is None else [named_flow(flow, named) for flow in found.flows]
    segments = [
        SegmentDay(total.segment, named(total.segment).name, total.customers, total.net / MONEY)
        for total in found.totals
    ]
    return Day(iso(found.day), found.version, found.swept, segments, flows)


def named_flow(flow: Flow, named: Callable[[int], Segment]) -> DayFlow:
    """Return a counted flow with its segments' names."""
    source, target = (None if each == NOBODY else named(each) for each in (flow.source, flow.target))
    return DayFlow(source, target, flow.cause, flow.customers)


def _segments(days: Sequence[Day]) -> list[tuple[object, ...]]:
    """Return a line a segment, the best first and the fixed ones last, and one of everybody."""
    names = {each.id: each.name for day in days for each in day.segments}
    revenue = {each.id: each.revenue for each in days[-1].segments}
    lines: list[tuple[object, ...]] = []
    for number in sorted(names, key=lambda number: (number < 11, number)):
        sizes = [next((each.customers for each in day.segments if each.id == number), 0) for day in days]
        lines.append((names[number], *_course(sizes), f"{revenue.get(number, 0.0):,.0f}"))
    everybody = [sum(each.customers for each in day.segments) for day in days]
    return [*lines, ("all", *_course(everybody), f"{sum(revenue.values()):,.0f}")]


def _course(sizes: Sequence[int]) -> tuple[str, int, int, str]:
    return sparkline(sizes), sizes[0], sizes[-1], f"{sizes[-1] - sizes[0]:+,}"


def sparkline(values: Sequence[int]) -> str:
    """Return a small picture from the least to the greatest value, the newest at its end."""
    step = -(-len(values) // POINTS)
    shown = list(values[::-1][::step][::-1])
    low, span = min(shown), max(shown) - min(shown)
    return "".join(LEVELS[(value - low) * (len(LEVELS) - 1) // span if span else 0] for value in shown)


def _flows(days: Sequence[Day]) -> list[tuple[object, ...]]:
    """Return the greatest flows of these days but the first, whose flows led to where it stands."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for day in days[1:]:
        for flow in day.flows or ():
            target = flow.target.name if flow.target else ENDS.get(flow.cause, "")
            pair = flow.source.name if flow.source else "(new)", target
            found.setdefault(pair, Counter())[flow.cause] += flow.customers
    greatest = sorted(found.items(), key=lambda each: (-each[1].total(), each[0]))[:FLOWS]
    most = max((causes.total() for _, causes in greatest), default=1)
    return [
        (*pair, causes.total(), "█" * max(round(BAR * causes.total() / most), 1), causes.most_common(1)[0][0])
        for pair, causes in greatest
    ]
