"""SIGTERM to `segmenter run`, in a batch, twice, and while what it waits for hangs (FAULTS 29)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.harness.broker import Broker
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.store import Store
from tests.harness.traffic import Traffic

LIVES = Callable[..., Live]
WITHIN_S = 25.0
SESSION_S = 20.0
AT_ONCE_S = 8.0


def verdicts(worker: Served, partitions: int) -> set[str]:
    """Return how a worker found its partitions, once it has taken all of them over."""
    worker.await_takeover(after=partitions - 1)
    return {each["verdict"] for each in worker.log("partition taken over")}


def exits(worker: Served) -> float:
    """Await exit code 0; return the seconds since the worker's own signal."""
    assert worker.process.wait(60) == 0, worker.output()
    return time.time() - worker.crash_file.stat().st_mtime


@pytest.mark.fault(29)
def test_a_worker_told_to_end_in_a_batch_finishes_it_and_leaves_the_group(lives: LIVES, fault: Fault) -> None:
    live = lives(session_timeout_s=SESSION_S)
    traffic = Traffic(live)
    traffic.sell(days=6)
    for point in ("mid_transaction", "after_commit"):
        fault.inject()
        worker = Served(live, (point, 9, "term"))
        assert exits(worker) < WITHIN_S
        left_at = time.monotonic()
        live.await_empty_group(SESSION_S)
        assert time.monotonic() - left_at < AT_ONCE_S, "a worker that left is no member until its session ends"
        fault.fired()
    fault.ended()
    assert verdicts(Served(live), live.partitions) == {"in step"}
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(29)
def test_a_second_signal_ends_a_worker_at_once(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live)
    traffic.sell(days=4)
    fault.inject()
    assert exits(Served(live, ("after_commit", 9, "twice"))) < AT_ONCE_S
    fault.fired()
    fault.ended()
    assert "republish" in verdicts(Served(live), live.partitions)  # the batch was cut off where it was
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())


def ends_in_time(
    live: Live, fault: Fault, breaks: Callable[[], None], mends: Callable[[], None], wait_s: float
) -> None:
    """Break a server under a busy worker, and `wait_s` after it has noticed tell it to end."""
    worker = Served(live)
    worker.await_takeover()
    live.await_progress(20)
    fault.inject()
    breaks()
    try:
        wait_until(lambda: worker.ready().status == 503, "a worker that is not ready")
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(wait_s)
        assert worker.process.returncode is None, worker.output()
        assert worker.end(60) < WITHIN_S
    finally:
        mends()
    fault.fired()
    fault.ended()
    Served(live).await_takeover()
    live.settle()
    fault.recovered()
    live.end()


@pytest.mark.long
@pytest.mark.fault(29)
def test_a_worker_ends_in_time_though_kafka_or_redis_hangs(
    lives: LIVES, fault: Fault, breakable_kafka: Broker, breakable_redis: Store
) -> None:
    live = lives(kafka=breakable_kafka.bootstrap, redis=breakable_redis.url)
    traffic = Traffic(live)
    for server in (breakable_redis, breakable_kafka):
        traffic.sell(days=6)
        ends_in_time(live, fault, server.freeze, server.thaw, 0.0)
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(29)
@pytest.mark.parametrize("wait_s", [9.0, 40.0])
def test_a_worker_ends_in_time_at_every_stage_of_an_outage(
    lives: LIVES, fault: Fault, breakable_kafka: Broker, wait_s: float
) -> None:
    """A publish that waits, a producer that is opened, a takeover that asks: wherever the signal meets it."""
    live = lives(kafka=breakable_kafka.bootstrap)
    traffic = Traffic(live)
    for breaks, mends in (
        (breakable_kafka.freeze, breakable_kafka.thaw),
        (breakable_kafka.kill, breakable_kafka.start),
    ):
        traffic.sell(days=6)
        ends_in_time(live, fault, breaks, mends, wait_s)
    fault.judge(live.verdict())
