"""Workers join and leave every few seconds, in good order and by kill -9, under traffic (FAULTS 7).

What a worker has in hand when partitions are taken from it is published or abandoned within a budget: the group waits
for its slowest member, so the time that it spends rearranging itself is measured from outside.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pytest
from kafka import KafkaAdminClient

from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.traffic import Traffic

LIVES = Callable[..., Live]
BUDGET_S = 10.0
"""For a group of workers that all live to hand partitions over, on two shared cores; one turn takes well under 1 s."""
EVERY_S = 5.0
CHANGES = 36
AT_LEAST = 5
"""Records applied between two changes."""


class Rebalances:
    """How long the group was at it, each time: asked of its coordinator ten times a second."""

    def __init__(self, live: Live) -> None:
        self.seconds: list[float] = []
        self._group = live.settings.group_id
        self._client = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rebalances")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()

    def _watch(self) -> None:
        began: float | None = None
        while not self._ended.wait(0.1):
            state = self._client.describe_groups([self._group])[self._group]["group_state"]
            if "Rebalance" in state:  # PreparingRebalance, CompletingRebalance
                began = began or time.monotonic()
            elif began is not None:
                self.seconds.append(time.monotonic() - began)
                began = None


class Crew:
    """The workers of a world, who come and go."""

    def __init__(self, live: Live, fault: Fault) -> None:
        self._live, self._fault = live, fault
        self.workers: list[Served] = []

    def join(self, *, counts: bool = True) -> None:
        """Let one more in; it lands when it holds a partition."""
        if counts:
            self._fault.inject()
        self.workers.append(Served(self._live))
        self.workers[-1].await_takeover()
        if counts:
            self._fault.fired()

    def leave(self) -> None:
        """Tell the oldest to go; it lands when it has gone in good order."""
        self._fault.inject()
        self.workers.pop(0).end()
        self._fault.fired()

    def die(self) -> None:
        """Kill the oldest; it lands when another has a partition of its."""
        self._fault.inject()
        before = sum(worker.takeovers for worker in self.workers[1:])
        victim = self.workers.pop(0).process
        victim.kill()
        assert victim.wait() == -signal.SIGKILL
        wait_until(lambda: sum(worker.takeovers for worker in self.workers) > before, "its partitions taken over")
        self._fault.fired()


def ends_well(live: Live, fault: Fault, watch: Rebalances) -> None:
    """Await quiet; what the churn cost stays within the budget, and nothing is lost or doubled."""
    fault.ended()
    live.settle()
    fault.recovered()
    assert watch.seconds, "no rebalance was seen"
    assert max(watch.seconds) < BUDGET_S, watch.seconds
    live.end()
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(7)
def test_workers_that_come_go_and_die_hand_over_what_they_have_in_hand(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live)
    with Rebalances(live) as watch:
        crew = Crew(live, fault)
        traffic.sell(days=3)
        crew.join(counts=False)
        for change in (crew.join, crew.leave, crew.join, crew.die):
            traffic.sell(days=3)
            live.await_progress(AT_LEAST)
            change()
        ends_well(live, fault, watch)


@pytest.mark.long
@pytest.mark.fault(7)
@pytest.mark.timeout(1_800)
def test_somebody_joins_or_leaves_every_five_seconds_for_three_minutes(lives: LIVES, fault: Fault) -> None:
    live = lives()
    traffic = Traffic(live, days=120)
    dice = random.Random(7)
    with Rebalances(live) as watch:
        crew = Crew(live, fault)
        crew.join(counts=False)
        for _ in range(CHANGES):
            due = time.monotonic() + EVERY_S
            traffic.sell(days=2)
            live.await_progress(AT_LEAST)
            few, many = len(crew.workers) < 2, len(crew.workers) > 2
            change = crew.join if few else dice.choice([crew.leave, crew.die] if many else [crew.join, crew.die])
            change()
            threading.Event().wait(max(0.0, due - time.monotonic()))
        ends_well(live, fault, watch)
