"""A worker that stands still past its session wakes up as a zombie: what it holds is another's by then (FAULTS 6).

It is fenced in Redis by the epoch, in Kafka by the group's generation and by the producer's epoch; which of the three
meets it depends on where it froze. Without a name it joins again; whose name another worker has taken ends with 5.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from consumer.exits import ExitCode
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.traffic import Traffic

LIVES = Callable[..., Live]
FROZEN_AT = [
    ("after_load", 3, "Fenced"),  # the epoch in Redis
    ("after_commit", 2, "TransportError"),  # the generation in Kafka: its offsets are refused
    ("mid_transaction", 2, "TransportError"),  # the coordinator ended its transaction and raised its epoch
]


def holds(live: Live, worker: Served) -> bool:
    """Say whether a worker has taken every partition over."""
    return len(worker.ready().said.get("partitions", {})) == live.partitions


def await_fence(zombie: Served, kind: str, told: int) -> None:
    """Await that a zombie reports a failure of a kind, after those that it had told before."""

    def fenced() -> bool:
        return kind in {each["error"] for each in zombie.log("trouble")[told:]}

    wait_until(fenced, f"a zombie that meets {kind}")


@pytest.mark.fault(6)
def test_a_zombie_is_fenced_wherever_it_froze(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live)
    heir = Served(live)
    traffic.sell(days=2)
    live.settle()
    for point, times, fence in FROZEN_AT:
        zombie = Served(live, (point, times, "stop"))
        zombie.await_takeover()
        traffic.sell(days=3)
        fault.inject()
        zombie.await_frozen()
        fault.ended()  # from here on the other worker may take over
        live.settle()
        fault.recovered()
        assert holds(live, heir)
        told, taken = len(zombie.log("trouble")), zombie.takeovers
        zombie.thaw()
        await_fence(zombie, fence, told)
        fault.fired()
        zombie.await_takeover(after=taken)
        zombie.end()
    traffic.sell(days=1)
    live.settle()
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(6)
def test_a_named_zombie_whose_name_is_taken_ends(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live)
    traffic.sell(days=4)
    fault.inject()
    zombie = Served(live, ("mid_transaction", 6, "stop"), instance="till")
    zombie.await_frozen()
    fault.ended()
    rival = Served(live, instance="till")
    live.settle()
    fault.recovered()
    zombie.thaw()
    assert zombie.process.wait(30) == ExitCode.FENCED, zombie.output()
    assert "till" in zombie.output().splitlines()[-1]
    fault.fired()
    traffic.sell(days=1)
    live.settle()
    assert rival.process.poll() is None
    live.end()
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(6)
def test_a_zombie_wakes_while_its_heir_still_waits_for_its_transaction(lives: LIVES, fault: Fault) -> None:
    """Its commit may still succeed then: the heir finds it in step, or publishes again, never both."""
    live = lives()
    traffic = Traffic(live)
    traffic.sell(days=4)
    fault.inject()
    zombie = Served(live, ("mid_transaction", 6, "stop"))
    zombie.await_frozen()
    before = {p: fence.epoch for p, fence in live.store().fences(range(live.partitions)).items()}
    heir = Served(live)
    wait_until(
        lambda: any(fence.epoch > before[p] for p, fence in live.store().fences(range(live.partitions)).items()),
        "an heir that takes the first partition",
    )
    fault.ended()
    taken = zombie.takeovers
    zombie.thaw()
    zombie.await_takeover(after=taken)
    fault.fired()
    live.settle()
    fault.recovered()
    assert heir.takeovers
    live.end()
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(6)
def test_workers_freeze_at_random_busy_moments(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live, days=90)
    first, second = Served(live), Served(live)
    rng = random.Random(6)
    for _ in range(8):
        traffic.sell(days=8)
        live.await_progress(rng.randrange(20, 120))
        zombie, heir = (first, second) if rng.random() < 0.5 else (second, first)
        fault.inject()
        zombie.freeze()
        fault.ended()
        live.settle()
        fault.recovered()
        assert holds(live, heir)
        taken = zombie.takeovers
        zombie.thaw()
        zombie.await_takeover(after=taken)
        fault.fired()
    live.end()
    fault.judge(live.verdict())
