"""The same guarantees where a worker speaks through librdkafka: kill -9, and a group that changes its client.

The points are those of test_kill9.py, whose records stand for both clients.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.test_kill9 import dies_at, stream
from tests.harness.live import Live, wait_until

LIVES = Callable[..., Live]
OURS, OTHER = "librdkafka", "kafka-python"


def settles_right(live: Live) -> None:
    """Everything is applied, no record is lost or doubled, and each label is the one recomputed."""
    live.settle()
    live.end()
    outcome = live.verdict()
    assert outcome.ok, outcome


@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("after_commit", 3),
        pytest.param("after_load", 4, marks=pytest.mark.long),
        pytest.param("mid_transaction", 5, marks=pytest.mark.long),
        pytest.param("mid_sweep", 4, marks=pytest.mark.long),
        pytest.param("after_publish", 6, marks=pytest.mark.long),
    ],
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(lives: LIVES, point: str, times: int) -> None:
    live = lives(kafka_client=OURS)
    stream(live)
    dies_at(live, point, times)
    live.start()
    settles_right(live)


@pytest.mark.long
def test_a_recovery_that_is_killed_twice_changes_nothing(lives: LIVES) -> None:
    live = lives(kafka_client=OURS)
    stream(live)
    for point, times in (("after_commit", 3), ("during_recovery", 2), ("during_recovery", 1)):
        dies_at(live, point, times)
    live.start()
    settles_right(live)


@pytest.mark.long
@pytest.mark.parametrize(("first", "then"), [(OTHER, OURS), (OURS, OTHER)])
def test_a_group_changes_its_client_worker_by_worker(lives: LIVES, first: str, then: str) -> None:
    live = lives()
    stream(live, days=30)
    leaving = live.start(SEGMENTER_KAFKA_CLIENT=first)
    live.await_progress(100)
    live.start(SEGMENTER_KAFKA_CLIENT=then)
    live.await_progress(200)
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(30) == 0
    settles_right(live)


@pytest.mark.long
def test_of_two_workers_with_a_client_each_one_is_killed_halfway(lives: LIVES) -> None:
    live = lives()
    stream(live, days=30)
    first = live.start(SEGMENTER_KAFKA_CLIENT=OURS)
    live.start(SEGMENTER_KAFKA_CLIENT=OTHER)
    wait_until(lambda: live.applied() * 2 > live.ends(), "half of the input applied")
    first.kill()
    assert first.wait() == -signal.SIGKILL
    settles_right(live)
