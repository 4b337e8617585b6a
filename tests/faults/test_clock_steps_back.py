"""The host's clock steps back: no deadline waits for it, the day stays, nothing becomes negative (FAULTS 30)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from consumer.observer import Silence, Turn
from consumer.partition import Rules
from consumer.ports import TransportError
from consumer.worker import ALARM_RETRY_S, RETRY_S, Worker
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import SAMPLE, Served
from tests.harness.world import FIRST_DAY, World, day_number, line

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
WALL = Rules(horizon_days=60, clock="wall")


class Durations(Silence):
    """Remembers how long publishing took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def turned(self, turn: Turn) -> None:
        self.seconds.append(turn.publishing)


def store_away(world: World, _: Worker, __: pytest.MonkeyPatch) -> float:
    world.store.unavailable = 1
    return RETRY_S


def producer_refused(_: World, worker: Worker, patch: pytest.MonkeyPatch) -> float:
    """The producer has to be opened again, and the first attempt fails."""
    sink = worker._parts.sink
    open_again = sink.open

    def refuse() -> None:
        patch.setattr(sink, "open", open_again)
        raise TransportError("no broker", retriable=True)

    patch.setattr(sink, "open", refuse)
    sink.close()
    return RETRY_S


def state_damaged(world: World, _: Worker, __: pytest.MonkeyPatch) -> float:
    """A customer's state cannot be trusted: his partition waits; it is mended when the clock has stepped back."""
    part = world.store.parts[0]
    part.states["a"] = part.states["a"][:-1] + bytes([part.states["a"][-1] ^ 1])
    return ALARM_RETRY_S


@pytest.mark.fault(30)
@pytest.mark.parametrize("fails", [store_away, producer_refused, state_damaged])
def test_what_is_tried_again_does_not_wait_for_a_clock_that_stepped_back(
    fails: Callable[[World, Worker, pytest.MonkeyPatch], float], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(partitions=1, rules=WALL)
    world.clock.seconds = (day_number(FIRST_DAY) + 0.5) * DAY_S
    world.publish(line("a", FIRST_DAY))
    worker, heard = world.worker(), Durations()
    worker._observer = heard
    world.settle(worker)
    whole = dict(world.store.parts[0].states)
    wait_s = fails(world, worker, monkeypatch)
    world.publish(line("a", FIRST_DAY, invoice_no="2"))
    failures: list[str] = []
    monkeypatch.setattr(heard, "trouble", lambda what, _error: failures.append(what))
    monkeypatch.setattr(heard, "paused", lambda _partition, reason: failures.append(reason))
    for _ in range(200):
        worker.turn()
        if failures:
            break
    assert failures
    world.store.parts[0].states |= whole
    fault.inject()
    world.clock.step(-HOUR_S)
    stepped_at = world.clock.elapsed()
    world.settle(worker)
    assert world.clock.elapsed() - stepped_at < 2 * wait_s + 2.0
    assert world.counters()["applied"] == 2
    assert min(heard.seconds) >= 0.0
    fault.fired()
    fault.recovered()
    fault.unstreamed("a world in memory; each line is counted once")


@pytest.mark.fault(30)
def test_a_day_that_has_begun_stays_and_takes_its_own_orders_in(fault: Fault) -> None:
    """The clock steps back by four days, and the producers' clocks do not."""
    world = World(partitions=1, rules=WALL)
    today = FIRST_DAY + timedelta(days=10)
    world.clock.seconds = (day_number(today) + 0.5) * DAY_S
    worker = world.settle()
    fault.inject()
    world.clock.step(-4 * DAY_S)
    world.publish(line("a", today), line("b", today + timedelta(days=1)), line("c", today + timedelta(days=2)))
    world.settle(worker)
    again = world.worker()
    world.lose(worker)
    world.publish(line("a", today, invoice_no="2"))
    world.settle(again)
    assert world.states()[0].day == day_number(today)
    assert (world.counters()["applied"], [reason for reason, _ in world.dead()]) == (3, ["future"])
    fault.fired()
    fault.unstreamed("a world in memory; each line is counted once, the one of the future is a dead letter")


@pytest.mark.fault(30)
def test_a_running_workers_clock_steps_back_and_nobody_waits_an_hour(lives: Callable[..., Live], fault: Fault) -> None:
    """The clock steps back by four days while a partition waits to be tried again."""
    live = lives(partitions=2, clock="wall")
    today = datetime.now(UTC).date()
    clock = live.directory / "clock"
    live.given["CLOCK_FILE"] = str(clock)
    clock.write_text("0", "utf-8")
    shoppers = [f"s{n}" for n in range(12)]
    live.bootstrap([line(name, today - timedelta(days=n + 1), unit_price=1.0 + n) for n, name in enumerate(shoppers)])
    worker = Served(live, ("never", 1, "kill"))
    worker.await_takeover(after=1)
    live.settle()
    live.publish([line(name, today, invoice_no="1") for name in shoppers])
    live.settle()
    key = next(each for p in range(2) if live.client.exists(each := live.store().keys.customer(p, "s0")))
    kept = live.client.dump(key)
    live.client.delete(key)
    live.client.rpush(key, "ours?")
    live.publish([line(name, today, invoice_no="2") for name in shoppers])
    wait_until(lambda: bool(worker.ready().paused), "a partition that waits")
    fault.inject()
    clock.write_text(str(-4 * DAY_S), "utf-8")
    live.client.delete(key)
    live.client.restore(key, 0, kept)  # type: ignore[arg-type]
    live.settle(60)
    live.publish([line(name, today, invoice_no="3") for name in shoppers])
    live.settle(60)
    fault.recovered()
    assert live.counted("applied") == 3 * len(shoppers)
    assert min(state.day for state in live.states().values()) >= day_number(today)
    samples = [found for each in worker.metrics().splitlines() if (found := SAMPLE.match(each))]
    assert samples
    assert not [found[0] for found in samples if float(found["value"]) < 0]
    stamps = [datetime.fromisoformat(event["timestamp"]) for event in worker.log()]
    assert max(stamps) >= min(stamps) > datetime.now(UTC) - timedelta(days=1)
    assert not re.search(r'": -\d', worker.output())
    assert clock.with_suffix(".read").read_text("utf-8") == str(-4 * DAY_S)
    fault.fired()
    live.end()
    fault.judge(live.verdict())
