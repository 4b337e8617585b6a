"""kill -9 of a real worker on a real broker and a real store: each record once, each label right (FAULTS 1-5).

The oracle is `reports.verify`, which recomputes everything from the history file and the topics alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.world import FIRST_DAY, shopping

LIVES = Callable[..., Live]


def stream(live: Live, days: int = 14) -> None:
    """Bootstrap on the first days of a seeded shop and publish the rest, with a closing tick."""
    lines = list(shopping(7, customers=60, days=days + 10, per_day=30))
    cut = f"{FIRST_DAY + timedelta(days=10)}"
    live.bootstrap([x for x in lines if x["invoice_date"] < cut])
    live.publish(x for x in lines if x["invoice_date"] >= cut)
    live.tick(FIRST_DAY + timedelta(days=days + 20))


def dies_at(live: Live, point: str, times: int) -> None:
    """Run a worker until it kills itself there."""
    victim = live.start(point, times)
    wait_until(lambda: victim.poll() is not None, f"the kill at {point}")
    assert victim.returncode == -signal.SIGKILL
    assert live.crash_file.exists(), "a fault that never landed proves nothing"


def is_killed_and_recovers(live: Live, fault: Fault, point: str, times: int) -> None:
    """A worker dies in the middle of a stream; the next one ends it, and nothing is lost or doubled."""
    stream(live)
    fault.inject()
    dies_at(live, point, times)
    fault.fired()
    fault.ended()
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())


@pytest.mark.parametrize(
    ("point", "times"),
    [
        pytest.param("after_load", 4, marks=pytest.mark.fault(1)),
        pytest.param("after_commit", 3, marks=pytest.mark.fault(2)),
        pytest.param("mid_transaction", 5, marks=pytest.mark.fault(3)),
        pytest.param("mid_sweep", 4, marks=pytest.mark.fault(2)),
        pytest.param("after_publish", 6, marks=pytest.mark.fault(4)),
    ],
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(lives: LIVES, fault: Fault, point: str, times: int) -> None:
    is_killed_and_recovers(lives(), fault, point, times)


@pytest.mark.fault(5)
def test_a_recovery_that_is_killed_twice_changes_nothing(lives: LIVES, fault: Fault) -> None:
    live = lives()
    stream(live)
    for point, times in (("after_commit", 3), ("during_recovery", 2), ("during_recovery", 1)):
        fault.inject()
        dies_at(live, point, times)
        fault.fired()
    fault.ended()
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(2)
def test_of_two_workers_one_is_killed_halfway(lives: LIVES, fault: Fault) -> None:
    live = lives()
    stream(live, days=30)
    first = live.start()
    live.start()
    total = live.ends()
    wait_until(lambda: live.applied() * 2 > total, "half of the input applied")
    fault.inject()
    first.kill()
    assert first.wait() == -signal.SIGKILL
    fault.fired()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())
