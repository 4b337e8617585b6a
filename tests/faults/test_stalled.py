"""A consumer that stands still below the end of its log is set right by the watchdog, and only such a one (FAULTS 31).

The client fetches on and gives nothing of it, first until it is sought, then for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, between, shopping

LIVES = Callable[..., Live]
LINES = list(shopping(31, customers=30, days=15, per_day=16))


def remedies(worker: Served) -> list[str]:
    """Return what the watchdog tried, in order."""
    return [each["remedy"] for each in worker.log("consumer stalled")]


def sell(live: Live, first: int, last: int) -> None:
    live.publish(between(LINES, first, last))
    live.tick(FIRST_DAY + timedelta(days=last))


@pytest.mark.fault(31)
@pytest.mark.parametrize("patience_s", [2.0, pytest.param(20.0, marks=pytest.mark.long)])
def test_a_stalled_consumer_is_sought_and_then_joins_anew(lives: LIVES, fault: Fault, patience_s: float) -> None:
    live = lives(partitions=2)
    live.bootstrap(between(LINES, 0, 6))
    begins = live.directory / "stalls"
    live.given = {"STALLING": str(begins), "STALLED_S": str(patience_s)}
    worker = Served(live, ("never", 1, "kill"))
    sell(live, 6, 9)
    live.settle()
    for cure, tried in (("seek", {"seek"}), ("rejoin", {"seek", "rejoin"})):
        before, takeovers = len(remedies(worker)), worker.takeovers
        fault.inject()
        begins.write_text(cure, "utf-8")
        wait_until(lambda: not begins.exists(), "a consumer that gives nothing more")
        sell(live, 9 if cure == "seek" else 12, 12 if cure == "seek" else 15)
        live.settle()
        fault.recovered()
        assert set(remedies(worker)[before:]) == tried
        assert (worker.takeovers > takeovers) == (cure == "rejoin")
        fault.fired()
    for remedy in ("seek", "rejoin"):
        assert worker.metric("segmenter_stalls_total", remedy=remedy) == remedies(worker).count(remedy)
    assert worker.process.poll() is None
    live.end()
    fault.judge(live.verdict())
