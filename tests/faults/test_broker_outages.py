"""The broker restarts, in good order and by kill -9, or is away for long (FAULTS 14, 15)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.harness.broker import Broker
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.traffic import Traffic

LIVES = Callable[..., Live]
AT_LEAST = 100
"""Records applied between two faults."""


def restarts(live: Live, broker: Broker, fault: Fault, kinds: list[str]) -> None:
    """Restart the broker under two workers at work, with a progress gate before each; neither worker restarts."""
    traffic = Traffic(live, days=80)
    workers = [Served(live), Served(live)]
    traffic.sell(days=6)
    for worker in workers:
        worker.await_takeover()
    for kind in kinds:
        traffic.sell(days=6)
        live.await_progress(AT_LEAST)
        fault.inject()
        broker.stop() if kind == "clean" else broker.kill()
        broker.start()
        fault.fired()
        fault.ended()
        live.settle()
        fault.recovered()
    assert all(worker.process.poll() is None for worker in workers)
    live.end()
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(14)
def test_a_broker_restarted_clean_and_by_kill(lives: LIVES, fault: Fault, breakable_kafka: Broker) -> None:
    restarts(lives(kafka=breakable_kafka.bootstrap), breakable_kafka, fault, ["clean", "kill"])


@pytest.mark.long
@pytest.mark.fault(14)
def test_a_broker_restarted_five_times_each_way(lives: LIVES, fault: Fault, breakable_kafka: Broker) -> None:
    restarts(lives(kafka=breakable_kafka.bootstrap), breakable_kafka, fault, ["clean", "kill"] * 5)


def stays_away(live: Live, broker: Broker, fault: Fault, *, frozen: bool, seconds: float) -> None:
    """Take the broker away under a busy worker: it lives, is not ready, and goes on by itself afterwards."""
    traffic = Traffic(live)
    worker = Served(live, max_poll_records="5")  # so that it is busy for long
    worker.await_takeover()
    traffic.sell(days=10)
    live.await_progress(20)
    done = live.applied()
    fault.inject()
    broker.freeze() if frozen else broker.kill()
    try:
        wait_until(lambda: worker.ready().status == 503, "a worker that is not ready")
        until, failures = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            threading.Event().wait(1.0)
            assert worker.alive(), worker.output()
            failures += worker.ready().status != 503
        assert not failures, f"ready {failures} times while no broker answered"
        assert live.applied() >= done
    finally:
        broker.thaw() if frozen else broker.start()
    assert worker.log("trouble"), "a deadline that fired says so"
    fault.fired()
    fault.ended()
    live.settle()
    fault.recovered()
    wait_until(lambda: worker.ready().status == 200, "a worker that is ready again")
    assert worker.process.poll() is None
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(15)
@pytest.mark.parametrize("frozen", [False, True], ids=["gone", "frozen"])
def test_a_broker_away_for_a_while(lives: LIVES, fault: Fault, breakable_kafka: Broker, *, frozen: bool) -> None:
    stays_away(
        lives(kafka=breakable_kafka.bootstrap), breakable_kafka, fault, frozen=frozen, seconds=10.0
    )  # a delivery has 8


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.fault(15)
@pytest.mark.parametrize("frozen", [False, True], ids=["gone", "frozen"])
def test_a_broker_away_for_three_minutes(lives: LIVES, fault: Fault, breakable_kafka: Broker, *, frozen: bool) -> None:
    stays_away(lives(kafka=breakable_kafka.bootstrap), breakable_kafka, fault, frozen=frozen, seconds=180.0)
