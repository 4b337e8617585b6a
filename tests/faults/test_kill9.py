"""kill -9 of a real worker on a real broker and a real store: each record once, each label right (FAULTS 1-5).

The oracle is `reports.verify`, which recomputes everything from the history file and the topics alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.broker import Broker
from tests.harness.live import Live, wait_until
from tests.harness.world import FIRST_DAY, shopping

LIVES = Callable[..., Live]


@pytest.fixture
def lives(kafka: Broker, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[LIVES]:
    made: list[Live] = []

    def make(**options: object) -> Live:
        made.append(Live(kafka.bootstrap, redis_url, namespace, tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for live in made:
        live.close()


def stream(live: Live, days: int = 14) -> None:
    """Bootstrap on the first days of a seeded shop and publish the rest, with a closing tick."""
    lines = list(shopping(7, customers=60, days=days + 10, per_day=30))
    cut = f"{FIRST_DAY + timedelta(days=10)}"
    live.bootstrap([x for x in lines if x["invoice_date"] < cut])
    live.publish(x for x in lines if x["invoice_date"] >= cut)
    live.tick(FIRST_DAY + timedelta(days=days + 20))


@pytest.mark.parametrize(
    ("point", "times"),
    [("after_commit", 3), ("mid_transaction", 5), ("mid_sweep", 4), ("during_recovery", 2), ("after_publish", 6)],
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(lives: LIVES, point: str, times: int) -> None:
    live = lives()
    stream(live)
    victim = live.start(point, times)
    wait_until(lambda: victim.poll() is not None, f"the kill at {point}")
    assert victim.returncode == -signal.SIGKILL
    assert live.crash_file.exists(), "a fault that never landed proves nothing"
    live.start()
    live.settle()
    live.verify()


def test_of_two_workers_one_is_killed_halfway(lives: LIVES) -> None:
    live = lives()
    stream(live, days=30)
    first = live.start()
    live.start()
    total = live.ends()
    wait_until(lambda: live.applied() * 2 > total, "half of the input applied")
    first.kill()
    first.wait()
    live.settle()
    live.verify()
