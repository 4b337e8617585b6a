"""`forecast`: who leaves which segment by silence alone, and the revenue at stake; read from the state as it runs.

each partition: its day and model, then its customers in chunks --> next moves --> flows, and the dearest leavers
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import msgspec
import numpy as np

from consumer.commands.cli_output import Output, Tell, cell, plain, table
from consumer.commands.customers import everybody
from consumer.commands.place import Place
from consumer.commands.population import readable
from consumer.commands.versions import Flow
from consumer.outlook import next_moves
from consumer.partition import PartitionState, decode_state, iso
from consumer.scoring import named_segment, within_horizon
from consumer.service import open_state
from consumer.settings import Settings
from features.codec import States
from features.ledger import MONEY
from models.bundle import Bundle, Segment
from models.redis_registry import RedisRegistry
from reports.first_move import NEVER


class Leaver(msgspec.Struct, frozen=True):
    """One of them: on which day he goes, and his net in the horizon, in currency units."""

    customer_id: str
    on: str
    source: Segment
    target: Segment
    revenue: float


class Forecast(msgspec.Struct, frozen=True):
    """The first moves in `days` days of silence. as_of: the latest partition's day; leavers: those with the greatest
    revenue, at most as many as asked for.
    """

    as_of: str
    days: int
    customers: int
    leaving: int
    revenue: float
    currency: str
    flows: list[Flow]
    leavers: list[Leaver]
    model_versions: list[int]
    seconds: float


def show_forecast(place: Place, days: int, limit: int, output: Output) -> None:
    """Print who would leave."""
    with output.progress() as progress:
        found = forecast(place.settings, days, limit, progress)
    flows = [(flow.source.name, flow.target.name, flow.customers, flow.revenue) for flow in found.flows]
    people = [
        (plain(each.customer_id), each.on, each.source.name, each.target.name, each.revenue) for each in found.leavers
    ]
    output.result(
        found,
        f"[bold]{found.leaving:,}[/bold] of {found.customers:,} customers leave their segment within {days} days of "
        f"silence after {found.as_of}; their orders in the horizon: {cell(found.revenue)} {plain(found.currency)}",
        "",
        table(None, ["from", "to", "customers>", "revenue>"], flows),
        "",
        table(None, ["customer", "day", "from", "to", "revenue>"], people),
        f"... and {found.leaving - len(people):,} more: --limit" if found.leaving > len(people) else "",
    )


def forecast(settings: Settings, days: int, limit: int, progress: Tell) -> Forecast:
    """Foretell everybody, each from his partition's day. Raises `Stop`, `StoreError`."""
    began = time.monotonic()
    client, binding, store = open_state(settings)
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    states = {p: decode_state(fence.state) for p, fence in store.fences(range(binding.partitions)).items()}
    versions = sorted({state.sweep.version for state in states.values()})
    models = {version: readable(registry.load(version), version) for version in versions}
    tally = _Tally(limit)
    for state, ids, known in everybody(settings, store, states, "foretelling", progress):
        tally.add(ids, known, state, models[state.sweep.version], days)
    return Forecast(
        as_of=iso(max(state.day for state in states.values())),
        days=days,
        customers=tally.customers,
        leaving=sum(tally.count.values()),
        revenue=sum(tally.net.values()) / MONEY,
        currency=binding.currency,
        flows=tally.flows(),
        leavers=[leaver for _, leaver in tally.dearest],
        model_versions=versions,
        seconds=round(time.monotonic() - began, 2),
    )


class _Tally:
    """Flows as exact sums (net in 1/10,000), and the dearest leavers so far."""

    def __init__(self, limit: int) -> None:
        self.limit, self.customers = limit, 0
        self.count: Counter[tuple[Segment, Segment]] = Counter()
        self.net: defaultdict[tuple[Segment, Segment], int] = defaultdict(int)
        self.dearest: list[tuple[int, Leaver]] = []

    def add(self, ids: list[str], states: States, state: PartitionState, bundle: Bundle, days: int) -> None:
        """Foretell a chunk of a partition's customers."""
        moves = next_moves(ids, states, state, bundle, days)
        ledger = within_horizon(states, state.day - bundle.horizon_days)
        net = np.zeros(len(ids), np.int64)
        np.add.at(net, ledger.owner, ledger.net)
        self.customers += len(ids)
        for row in np.flatnonzero(moves.step != NEVER).tolist():
            source = named_segment(bundle, int(states.heads["segment"][row]))
            target = named_segment(bundle, int(moves.segment[row]))
            worth = int(net[row])
            self.count[source, target] += 1
            self.net[source, target] += worth
            self.dearest.append((worth, Leaver(ids[row], iso(int(moves.step[row])), source, target, worth / MONEY)))
        self.dearest = sorted(self.dearest, key=lambda pair: (-pair[0], pair[1].customer_id))[: self.limit]

    def flows(self) -> list[Flow]:
        """Return the flows, the greatest revenue first."""
        return sorted(
            (Flow(*pair, n, self.net[pair] / MONEY) for pair, n in self.count.items()),
            key=lambda flow: (-flow.revenue, flow.source.id, flow.target.id),
        )
