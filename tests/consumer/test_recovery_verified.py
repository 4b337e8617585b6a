"""Whatever dies or is lost, the verdict stays without a difference; and a fault hidden behind a recovery is found."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from consumer.partition import Rules
from reports.verify import verify
from reports.verify_input import History, OutputRecord, Partition
from tests.harness.evidence import evidence
from tests.harness.shop import RULES, stream
from tests.harness.world import FIRST_DAY, World, day_number, line, shopping

LAST_DAY = FIRST_DAY + timedelta(days=62)


def shop_world(seed: int = 1, **options: object) -> World:
    world = World(rules=RULES, **options)  # type: ignore[arg-type]
    world.publish(*stream(seed))
    world.tick(LAST_DAY)
    return world


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("after_load", 9),
        ("after_commit", 0),
        ("after_commit", 17),
        ("mid_transaction", 3),
        ("mid_transaction", 21),
        ("after_publish", 11),
        ("during_recovery", 0),
        ("mid_sweep", 5),
        ("mid_sweep", 30),
        ("mid_model_publish", 4),
    ],
)
def test_after_a_crash_everything_is_as_recomputed(point: str, nth: int) -> None:
    world = shop_world()
    world.crash.point, world.crash.nth = point, nth
    world.settle()
    assert world.crash.fired, "a fault that never landed proves nothing"
    assert verify(*evidence(world)).differences == ()


def lossy_world(seed: int, lost_after: int, turns: int) -> World:
    """Run a world whose store is set back by some turns."""
    world = shop_world(seed, max_poll_records=20)
    worker = world.worker()
    for _ in range(lost_after):
        worker.turn()
    backup = copy.deepcopy(world.store.parts)
    for _ in range(turns):
        worker.turn()
    world.store.parts = backup
    assert world.settle(worker, turns=20_000) is worker
    return world


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("lost_after", [3, 20, 60, 80])
@pytest.mark.parametrize("turns", [3, 12, 40])
def test_a_store_that_lost_writes_is_replayed_to_what_it_would_have_been(
    seed: int, lost_after: int, turns: int
) -> None:
    world = lossy_world(seed, lost_after, turns)
    assert verify(*evidence(world)).differences == ()


def test_a_store_that_loses_writes_twice_is_replayed_twice() -> None:
    world = lossy_world(1, 40, 12)
    before = copy.deepcopy(world.store.parts)
    world.publish(*(line(f"c{n}", LAST_DAY, invoice_no=f"x{n}") for n in range(30)))
    worker = world.settle(world.workers[0])
    world.store.parts = before
    world.publish(*(line(f"c{n}", LAST_DAY + timedelta(days=1), invoice_no=f"y{n}") for n in range(30)))
    world.settle(worker)
    facts, history, models, parts = evidence(world)
    assert max(len(part.standing.rewinds) for part in parts) >= 2
    verdict = verify(facts, history, models, parts)
    assert verdict.differences == ()
    assert verdict.replayed > 0


def test_a_state_rebuilt_from_the_beginning_of_the_input_is_verified() -> None:
    world = shop_world()
    world.lose(world.settle())
    world.begin_generation({})
    world.settle(turns=20_000)
    verdict = verify(*evidence(world))
    assert verdict.differences == ()
    assert verdict.replayed > 20


def test_a_new_generation_is_verified_by_its_own_history() -> None:
    world = World(rules=RULES)
    before = [event | {"event_id": None} for event in shopping(4, days=10)]
    world.publish(*before)
    world.lose(world.settle())
    world.begin_generation(dict(world.customers()))
    world.publish(*(line(f"c{n}", FIRST_DAY + timedelta(days=12), invoice_no=f"x{n}") for n in range(20)))
    world.tick(LAST_DAY)
    world.settle()
    facts, _, models, parts = evidence(world)
    times = [datetime.fromisoformat(f"{event['invoice_date']}+00:00") for event in before]
    seconds = [int(time.timestamp()) for time in times]
    units = [event["quantity"] for event in before]
    history = History(
        [event["customer_id"] for event in before],
        [event["invoice_no"] for event in before],
        seconds,
        [round(event["unit_price"] * 10_000) * n for event, n in zip(before, units, strict=True)],
        units,
        [""] * len(before),
    )
    verdict = verify(replace(facts, cutoff=max(seconds)), history, models, parts)
    assert verdict.differences == ()
    assert verdict.replayed > 0
    assert min(part.start for part in parts) > 0


def replayed_part(world: World) -> tuple[Partition, list[Partition]]:
    parts = evidence(world)[3]
    chosen = max(parts, key=lambda part: sum(record.headers["epoch"] != b"1" for record in part.output))
    return chosen, [part for part in parts if part is not chosen]


def test_what_was_published_twice_is_explained_only_by_the_recovery_that_the_state_tells_of() -> None:
    world = lossy_world(1, 40, 12)
    facts, history, models, _ = evidence(world)
    part, others = replayed_part(world)
    silent = replace(part, standing=part.standing._replace(rewinds=()))
    assert not verify(facts, history, models, [silent, *others]).ok


@pytest.mark.parametrize("fault", ["cause", "segment", "revision"])
def test_a_wrong_record_of_a_replay_is_found(fault: str) -> None:
    world = lossy_world(1, 40, 12)
    facts, history, models, _ = evidence(world)
    part, others = replayed_part(world)
    at = max(i for i, record in enumerate(part.output) if record.headers["epoch"] != b"1" and record.value)
    wrong = {"cause": "bootstrap", "segment": {"id": 2, "name": "No net purchases"}, "revision": 99}[fault]
    output = [with_field(record, fault, wrong) if i == at else record for i, record in enumerate(part.output)]
    assert not verify(facts, history, models, [replace(part, output=output), *others]).ok


def with_field(record: OutputRecord, name: str, value: object) -> OutputRecord:
    return record._replace(value=json.dumps(json.loads(record.value or b"") | {name: value}).encode())


def test_events_between_the_chunks_of_a_wall_clock_sweep_are_as_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.planner.CHUNK_SIZE", 3)
    world = World(partitions=2, rules=Rules(horizon_days=30, clock="wall", forget_after_days=33), max_poll_records=5)
    worker = world.worker()
    for day in range(0, 44, 4):
        world.clock.seconds = (day_number(FIRST_DAY) + day + 0.5) * 86_400
        today = FIRST_DAY + timedelta(days=day)
        for event in shopping(day, customers=40, days=2, per_day=30):
            if day < 9 or event["customer_id"] < "c2":
                hour = event["invoice_date"][11:]
                number = f"{day}-{event['invoice_no']}"
                world.publish(event | {"invoice_date": f"{today}T{hour}", "event_id": number, "invoice_no": number})
        if day == 8:
            world.publish({"type": "erase", "customer_id": "c3", "at": f"{today}T12:00:00"})
        worker = world.settle(worker, turns=20_000)
    verdict = verify(*evidence(world))
    assert verdict.differences == ()
    assert world.counters()["forgotten"] > 0
    assert {record["cause"] for record in world.output() if "cause" in record} >= {"purchase", "silence", "model"}


def test_no_event_comes_between_a_sweeps_beginning_and_its_first_chunk() -> None:
    """A state that cannot be read stops the first chunk; events must not run under a sweep that is not in the log."""
    world = World(partitions=1, rules=Rules(horizon_days=30, clock="wall"))
    world.clock.seconds = (day_number(FIRST_DAY) + 0.5) * 86_400
    world.publish(*(line(f"a{n}", FIRST_DAY) for n in range(6)))
    worker = world.settle()
    part = world.store.parts[0]
    whole = part.states["a3"]
    part.states["a3"] = whole[:-1] + b"?"
    world.clock.seconds += 86_400
    world.publish(line("a1", FIRST_DAY + timedelta(days=1), invoice_no="x"))
    for _ in range(2_000):
        worker.turn()
    part.states["a3"] = whole
    world.settle(worker, turns=20_000)
    assert verify(*evidence(world)).differences == ()
