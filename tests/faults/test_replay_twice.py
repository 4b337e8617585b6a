"""The same topic twice, in other batches and by more workers: equal ledgers, and equal labels at each day's end.

In memory with every combination, and once on a real broker and a real store. The model is fixed; what may differ is
what PROTOCOL C3 names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.harness.days import labels_by_day, ledger_bytes
from tests.harness.fixed_learner import FixedLearner
from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, World, shopping

DAYS = 12


def settled(world: World, workers: int) -> World:
    at_work = [world.worker() for _ in range(workers)]
    for _ in range(20_000):
        for worker in at_work:
            worker.turn()
        if world.settled_by(*at_work):
            return world
    raise AssertionError(f"not settled: {world.states()}")


def replayed(max_poll_records: int, workers: int) -> World:
    world = World(partitions=3, max_poll_records=max_poll_records, learner=FixedLearner())
    world.publish(*shopping(11, days=DAYS))
    world.tick(FIRST_DAY + timedelta(days=DAYS + 15))
    return settled(world, workers)


def of(world: World) -> tuple[dict[str, bytes], dict[str, list[tuple[str, int]]]]:
    day = max(state.day for state in world.states().values())
    states = dict(sorted(world.customers().items()))
    return ledger_bytes(states, day - world.rules.horizon_days), labels_by_day(world.output())


@pytest.fixture(scope="module")
def one_by_one() -> World:
    return replayed(1, 1)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("max_poll_records", [1, 7, 200, 5_000])
def test_ledgers_and_labels_do_not_depend_on_batches_or_workers(
    one_by_one: World, max_poll_records: int, workers: int
) -> None:
    world = replayed(max_poll_records, workers)
    assert of(world) == of(one_by_one)
    assert len({worker.assigned for worker in world.workers}) == workers


def test_batches_do_change_what_is_published_within_a_day(one_by_one: World) -> None:
    """So the comparison above compares runs that differ."""
    whole = replayed(5_000, 1)
    assert len(whole.output()) < len(one_by_one.output())
    assert labels_by_day(whole.output()) == labels_by_day(one_by_one.output())


def test_the_same_topic_twice_on_a_real_broker(lives: Callable[..., Live]) -> None:
    lines = list(shopping(11, customers=40, days=16, per_day=20))
    cut = f"{FIRST_DAY + timedelta(days=10)}"
    found: list[tuple[Any, Any]] = []
    for max_poll_records, workers in ((5_000, 1), (7, 2)):
        live = lives(max_poll_records=max_poll_records)
        live.bootstrap([line for line in lines if line["invoice_date"] < cut])
        live.publish(line for line in lines if line["invoice_date"] >= cut)
        live.tick(FIRST_DAY + timedelta(days=24))
        for _ in range(workers):
            live.start(FIXED_MODEL="yes")
        live.settle()
        live.end()
        day = max(state.day for state in live.states().values())
        records = [json.loads(record.value) for record in live.output() if record.value]
        found.append((ledger_bytes(live.customers(), day - live.settings.horizon_days), labels_by_day(records)))
        assert live.verdict().ok
    assert found[0] == found[1]
    assert found[0][0]
