"""What an operator asks of all workers: stand still, and know the schema of the state; read once a second."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from consumer.exits import ExitCode
from consumer.partition import Rules
from consumer.service import explain
from features import codec
from features.codec import NARROW_BIT, SCHEMA, SCHEMA_OF_NARROW, NewerSchema
from features.store import Orders, StoreUnavailable
from reports.verify import verify
from tests.consumer.test_worker_outages import listened, turns
from tests.harness.evidence import evidence
from tests.harness.world import FIRST_DAY, World, between, shopping

STILL = Orders("paused by an operator", SCHEMA)
GO = Orders(None, SCHEMA)
LINES = list(shopping(3, days=12))


def shop() -> World:
    world = World(max_poll_records=20)
    world.publish(*between(LINES, 0, 6))
    world.tick(FIRST_DAY + timedelta(days=7))
    return world


def test_a_paused_worker_writes_nothing_keeps_its_partitions_and_loses_nothing() -> None:
    world = shop()
    worker, heard = listened(world)
    turns(worker, 40)
    world.store.ordered = STILL
    turns(worker, 20)  # more than a second
    before = {p: part.fence for p, part in world.store.parts.items()}
    outputs = len(world.output())
    world.publish(*between(LINES, 6, 12))
    turns(worker, 200)
    assert {p: part.fence for p, part in world.store.parts.items()} == before
    assert len(world.output()) == outputs
    assert worker.assigned == frozenset(range(world.partitions))
    world.store.ordered = GO
    world.tick(FIRST_DAY + timedelta(days=13))
    assert world.settle(worker) is worker
    assert heard.told == [("paused", -1), ("resumed", -1)]
    assert verify(*evidence(world)).differences == ()


def test_a_worker_that_starts_paused_takes_nothing_over() -> None:
    world = shop()
    world.store.ordered = STILL
    worker, heard = listened(world)
    turns(worker, 100)
    assert worker.assigned == frozenset()
    assert all(part.fence.epoch == 0 for part in world.store.parts.values())
    assert heard.told == [("paused", -1)]


def test_while_the_store_is_away_the_last_order_stands() -> None:
    world = shop()
    world.store.ordered = STILL
    worker, heard = listened(world)
    turns(worker, 20)
    world.store.unavailable = 5
    turns(worker, 60)
    assert StoreUnavailable in heard.kinds()
    assert worker.assigned == frozenset()


def test_a_generation_of_a_newer_schema_ends_a_running_worker() -> None:
    world = shop()
    worker = world.settle()
    world.store.ordered = Orders(None, SCHEMA + 1)
    with pytest.raises(
        NewerSchema, match=f"has schema {SCHEMA + 1}, this version knows schemas up to {SCHEMA}"
    ) as found:
        turns(worker, 100)
    code, sentence = explain(found.value)
    assert code is ExitCode.INCOMPATIBLE
    assert "docs/operations.md" in sentence


def test_a_state_of_a_newer_schema_ends_the_worker_and_pauses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The binding is read once a second: a state may be met before it."""
    world = shop()
    world.lose(world.settle())
    world.rules = replace(world.rules, schema=SCHEMA + 1)
    world.publish(*between(LINES, 6, 9))
    with monkeypatch.context() as newer:
        newer.setattr(codec, "SCHEMA", SCHEMA + 1)
        worker = world.worker()
        turns(worker, 60)
        world.lose(worker)
    older, heard = listened(world)
    world.publish(*between(LINES, 9, 12))
    with pytest.raises(NewerSchema):
        turns(older, 500)
    assert heard.told == []


def test_an_upgrade_writes_states_anew_as_customers_come_by_and_those_beside_them_are_read_as_they_are() -> None:
    world = World(max_poll_records=20, rules=Rules(horizon_days=60, clock="event", schema=SCHEMA_OF_NARROW - 1))
    world.publish(*between(LINES, 0, 6))
    worker = world.settle()
    assert {blob[0] for blob in world.customers().values()} == {SCHEMA_OF_NARROW - 1}
    world.lose(worker)
    world.rules = replace(world.rules, schema=SCHEMA_OF_NARROW)
    world.publish(*between(LINES, 6, 7))
    worker = world.settle()
    forms = {(blob[0], bool(blob[1] & NARROW_BIT)) for blob in world.customers().values()}
    assert forms == {(SCHEMA_OF_NARROW - 1, False), (SCHEMA_OF_NARROW, True)}
    world.publish(*between(LINES, 7, 12))
    world.settle(worker)
    assert verify(*evidence(world)).ok
