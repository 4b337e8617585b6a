"""The daily table: sizes are a recount of all states, and flows explain how they change, exactly (consumer.tally)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from consumer.partition import Rules, decode_state
from consumer.tally import Flow, Row, Tally, Total, by_day
from features.store import Commit
from reports.verify_states import State, read_state
from tests.harness.memory_store import MemoryStore, Part
from tests.harness.world import FIRST_DAY, World, day_number, line, shopping

Sizes = dict[int, tuple[int, int]]
"""Segment -> (customers, net in the horizon)."""


def recount(part: Part, horizon_days: int) -> Sizes:
    """Count every stored state of a partition by a reader that shares nothing with the service."""
    first = decode_state(part.fence.state).day - horizon_days
    customers: Counter[int] = Counter()
    net: Counter[int] = Counter()
    for blob in part.states.values():
        state = read_state(blob)
        assert isinstance(state, State)
        customers[state.segment] += 1
        net[state.segment] += sum(record.net for record in state.records if record.day >= first)
    return {segment: (customers[segment], net[segment]) for segment in customers}


class Recounting(MemoryStore):
    """Counts everybody at the end of each sweep."""

    horizon_days = 60

    def __init__(self) -> None:
        super().__init__()
        self.recounts: list[tuple[Row, Sizes]] = []

    def _write(self, part: Part, commit: Commit) -> None:
        super()._write(part, commit)
        if commit.row is not None:
            row = msgspec.json.decode(commit.row.data, type=Row)
            self.recounts.append((row, recount(part, self.horizon_days)))


def sizes(totals: Sequence[Total]) -> Sizes:
    return {total.segment: (total.customers, total.net) for total in totals}


def after(before: Counter[int], flows: Sequence[Flow]) -> Counter[int]:
    """Return customers by segment after some flows; none of them is below zero."""
    found = Counter(before)
    for flow in flows:
        found[flow.source] -= flow.customers
        found[flow.target] += flow.customers
    found.pop(0, None)
    return Counter({segment: n for segment, n in found.items() if n})


def rows(store: MemoryStore, partition: int) -> list[Row]:
    found = [msgspec.json.decode(data, type=Row) for data in store.daily(partition, 0)]
    return sorted(found, key=lambda row: row.number)


def adds_up(world: World) -> None:
    """Follow each partition's rows from nobody to the customers who are there now."""
    for partition, state in world.states().items():
        running: Counter[int] = Counter()
        for row in rows(world.store, partition):
            assert row.flows is not None
            running = after(running, row.flows)
            assert running == {total.segment: total.customers for total in row.totals}, row
        assert state.tally is not None
        now = {segment: n for segment, (n, _) in recount(world.store.parts[partition], 0).items()}
        assert after(running, state.tally.flows or ()) == now
        assert sizes(state.tally.totals) == recount(world.store.parts[partition], world.rules.horizon_days)


def counted_world(**options: object) -> World:
    world = World(**options)  # type: ignore[arg-type]
    store = Recounting()
    store.horizon_days = world.rules.horizon_days
    store.parts = world.store.parts
    world.store = store
    return world


def busy_world(**options: object) -> World:
    """Return a world with orders, returns, an erasure, silence, and customers who are forgotten."""
    rules = Rules(horizon_days=8, clock="event", forget_after_days=11)
    world = counted_world(rules=rules, **options)
    world.publish(*shopping(3, customers=30, days=7, per_day=14), {"type": "erase", "customer_id": "c1"})
    for n in range(7, 20, 3):
        world.publish(line("c2", FIRST_DAY + timedelta(days=n)))
    world.tick(FIRST_DAY + timedelta(days=20))
    return world


def recounted(world: World) -> list[tuple[Row, Sizes]]:
    assert isinstance(world.store, Recounting)
    return world.store.recounts


@pytest.mark.parametrize(("point", "nth"), [("", 0), ("after_commit", 17), ("mid_transaction", 21), ("mid_sweep", 20)])
def test_each_row_is_a_recount_and_flows_explain_it_whatever_dies(point: str, nth: int) -> None:
    world = busy_world(max_poll_records=25)
    world.crash.point, world.crash.nth = point, nth
    world.settle(turns=20_000)
    assert world.crash.fired == bool(point)
    assert len(recounted(world)) >= 2 * 21
    for row, found in recounted(world):
        assert sizes(row.totals) == found, row
    adds_up(world)
    every = [flow for p in world.states() for row in rows(world.store, p) for flow in row.flows or ()]
    pending = [flow for state in world.states().values() if state.tally for flow in state.tally.flows or ()]
    causes = Counter[str]()
    for flow in (*every, *pending):
        causes[flow.cause] += flow.customers
    counters = world.counters()
    moved = {name.removeprefix("moves."): n for name, n in counters.items() if name.startswith("moves.")}
    assert causes == moved | {"erasure": 1, "forgotten": counters["forgotten"]}
    assert {"purchase", "silence", "model", "forgotten", "erasure"} <= causes.keys()


def test_events_between_the_chunks_of_a_wall_clock_sweep_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.planner.CHUNK_SIZE", 3)
    rules = Rules(horizon_days=30, clock="wall", forget_after_days=33)
    world = counted_world(partitions=2, rules=rules, max_poll_records=5)
    worker = world.worker()
    for day in range(0, 44, 4):
        world.clock.seconds = (day_number(FIRST_DAY) + day + 0.5) * 86_400
        today = FIRST_DAY + timedelta(days=day)
        for event in shopping(day, customers=40, days=2, per_day=30):
            if day < 9 or event["customer_id"] < "c2":
                number = f"{day}-{event['invoice_no']}"
                at = f"{today}T{event['invoice_date'][11:]}"
                world.publish(event | {"invoice_date": at, "event_id": number, "invoice_no": number})
        if day == 8:
            world.publish({"type": "erase", "customer_id": "c3", "at": f"{today}T12:00:00"})
        worker = world.settle(worker, turns=20_000)
    for row, found in recounted(world):
        assert sizes(row.totals) == found, row
    adds_up(world)


@pytest.mark.parametrize("turns", [3, 40])
def test_a_store_that_lost_writes_has_a_table_that_adds_up(turns: int) -> None:
    world = busy_world(max_poll_records=20)
    worker = world.worker()
    for _ in range(25):
        worker.turn()
    backup = {p: part.copy() for p, part in world.store.parts.items()}
    for _ in range(turns):
        worker.turn()
    world.store.parts = backup
    recounted(world).clear()
    world.settle(worker, turns=20_000)
    for row, found in recounted(world):
        assert sizes(row.totals) == found, row
    adds_up(world)
    assert any(state.rewinds for state in world.states().values())


def test_rows_of_days_past_are_dropped_by_the_commit_that_adds_one() -> None:
    world = World(rules=Rules(horizon_days=60, clock="event", history_days=7))
    world.publish(*shopping(1, days=3))
    world.tick(FIRST_DAY + timedelta(days=12))
    world.settle()
    last = day_number(FIRST_DAY) + 12
    for partition in world.states():
        assert {row.day for row in rows(world.store, partition)} == set(range(last - 7, last + 1))


def test_before_the_upgrade_nothing_is_kept_and_after_it_the_first_sweep_begins_the_table() -> None:
    world = World(rules=Rules(horizon_days=60, clock="event", schema=1))
    world.publish(*shopping(1, days=6))
    worker = world.settle()
    assert {blob[0] for blob in world.customers().values()} == {1}
    assert all(state.tally is None for state in world.states().values())
    assert [rows(world.store, p) for p in world.states()] == [[], []]
    world.lose(worker)
    world.rules = msgspec.structs.replace(world.rules, schema=2)
    world.publish(*(line(f"c{n}", FIRST_DAY + timedelta(days=7), invoice_no=f"x{n}") for n in range(9)))
    world.tick(FIRST_DAY + timedelta(days=9))
    world.settle()
    assert {blob[0] for blob in world.customers().values()} == {1, 2}
    for partition, state in world.states().items():
        table = rows(world.store, partition)
        assert [row.flows is None for row in table] == [True, *[False] * (len(table) - 1)]
        assert len(table) > 1
        assert state.tally is not None
        assert sizes(state.tally.totals) == recount(world.store.parts[partition], 60)


def test_what_stands_outside_a_change_is_left_and_empty_segments_go() -> None:
    tally = Tally((Total(11, 3, 900), Total(12, 1, 50)), (Flow(0, 11, "purchase", 2),))
    changed = tally.changed((Total(12, 1, 50),), (Total(11, 1, 70),), {(12, 11, "purchase"): 1, (0, 11, "purchase"): 1})
    assert changed.totals == (Total(11, 4, 970),)
    assert changed.flows == (Flow(0, 11, "purchase", 3), Flow(12, 11, "purchase", 1))
    assert Tally((), None).changed((), (), {(0, 11, "purchase"): 1}).flows is None


def test_two_sweeps_of_a_day_are_one_row_of_the_last_sizes_and_all_flows() -> None:
    first = Row(4, 100, 2, (Total(11, 1, 5),), (Flow(0, 11, "purchase", 1),))
    again = Row(5, 100, 3, (Total(12, 1, 5),), (Flow(11, 12, "model", 1),))
    other = Row(3, 99, 2, (), None)
    assert by_day([again, other, first]) == [
        other,
        Row(5, 100, 3, (Total(12, 1, 5),), (Flow(0, 11, "purchase", 1), Flow(11, 12, "model", 1))),
    ]
