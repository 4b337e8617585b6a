"""Redis is killed and comes back without its last writes: found by the sequence, read again, equal (FAULTS 8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from features.redis_store import connect
from tests.harness.aof import AppendOnlyFile
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.store import Store
from tests.harness.world import between, shopping

LIVES = Callable[..., Live]


def crash(store: Store, end: int) -> None:
    """Kill the server and start it again without what it wrote behind `end`."""
    with connect(store.url) as client:
        file = AppendOnlyFile(client)
    store.kill()
    assert file.lose_after(end) > 0
    store.start()


def test_what_is_cut_off_is_lost_and_the_rest_stays(own_redis: Store) -> None:
    with connect(own_redis.url) as client:
        client.set("before", 1)
        end = AppendOnlyFile(client).end()
        client.eval("redis.call('SET', 'after', 1) redis.call('SET', 'after too', 1)", 0)
    crash(own_redis, end + 40)  # in the midst of the script's writes
    with connect(own_redis.url) as client:
        assert client.keys() == [b"before"]


def idle_round(live: Live, fault: Fault, store: Store, workers: list[Served], lines: list[dict[str, Any]]) -> None:
    """Lose some days that were done, while nobody has anything to do."""
    kept = AppendOnlyFile(live.client).end()
    seen = sum(w.found("diverged") for w in workers)
    publish(live, lines)
    live.settle()
    fault.inject()
    crash(store, kept)
    fault.ended()
    wait_until(lambda: sum(w.found("diverged") for w in workers) > seen, "a partition whose writes were lost", 30)
    fault.fired()
    live.settle()
    fault.recovered()


def publish(live: Live, lines: list[dict[str, Any]]) -> None:
    live.publish(lines)
    live.tick(date.fromisoformat(lines[-1]["invoice_date"][:10]) + timedelta(days=1))


def busy_round(live: Live, fault: Fault, store: Store, workers: list[Served], lines: list[dict[str, Any]]) -> None:
    """Publish some days, lose what the workers commit between a third and two thirds of them, and settle again."""
    before, seen = live.applied(), sum(w.found("diverged") for w in workers)
    publish(live, lines)
    wait_until(lambda: live.applied() >= before + len(lines) // 3, "a third applied")
    kept = AppendOnlyFile(live.client).end()
    wait_until(lambda: live.applied() >= before + len(lines) * 2 // 3, "two thirds applied")
    fault.inject()
    crash(store, kept)
    fault.ended()
    wait_until(lambda: sum(w.found("diverged") for w in workers) > seen, "a partition whose writes were lost")
    fault.fired()
    live.settle()
    fault.recovered()


@pytest.mark.fault(8)
def test_workers_find_what_redis_lost_and_do_it_again(lives: LIVES, fault: Fault, own_redis: Store) -> None:
    live = lives(redis=own_redis.url, max_poll_records=10)
    lines = list(shopping(8, customers=50, days=24, per_day=40))
    live.bootstrap(between(lines, 0, 6))
    workers = [Served(live), Served(live)]
    busy_round(live, fault, own_redis, workers, between(lines, 6, 12))
    idle_round(live, fault, own_redis, workers, between(lines, 12, 14))
    busy_round(live, fault, own_redis, workers, between(lines, 14, 20))
    live.end()
    fault.judge(live.verdict())
