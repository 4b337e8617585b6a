"""Steady load for long: memory, descriptors and threads of a worker stay what they were (FAULTS 32).

A day of orders a second, by customers who were all seen before and with a horizon that is full after a minute: what the
worker holds has every reason to stay as it is.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.harness.fault import Fault
from tests.harness.footprint import Footprint, footprint, slope
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, between, line

LIVES = Callable[..., Live]
MIB = 1 << 20
HISTORY_DAYS = 10
BEHIND = 300
"""Records that may wait for the worker: it is kept busy, not buried."""


class Load:
    """Sells a day at a time, as fast as asked or as the worker can."""

    def __init__(self, live: Live, *, days: int, customers: int, per_day: int) -> None:
        self._live, self._lines = live, list(shop(customers, HISTORY_DAYS + days, per_day))
        self._days, self._sold = days, 0
        live.bootstrap(between(self._lines, 0, HISTORY_DAYS))

    def run(self, worker: Served, days: int, every_s: float) -> list[Footprint]:
        """Sell so many days; return a look at the worker after each."""
        seen = []
        for _ in range(days):
            due = time.monotonic() + every_s
            self._sell()
            wait_until(lambda: self._live.applied() + BEHIND >= self._published, "a worker that keeps up")
            threading.Event().wait(max(0.0, due - time.monotonic()))
            seen.append(footprint(worker.process.pid))
        return seen

    def _sell(self) -> None:
        day = HISTORY_DAYS + self._sold
        self._live.publish(between(self._lines, day, day + 1))
        self._live.tick(FIRST_DAY + timedelta(days=day + 1))
        self._sold += 1

    @property
    def _published(self) -> int:
        return self._live.ends()


def shop(customers: int, days: int, per_day: int) -> Iterator[dict[str, Any]]:
    """Yield the same number of orders each day; everybody buys within the first ten."""
    dice = random.Random(32)
    for number in range(days * per_day):
        customer = number if number < customers else dice.randrange(customers)
        day = FIRST_DAY + timedelta(days=number // per_day)
        paid = {"quantity": dice.randrange(1, 9), "unit_price": dice.choice([0.85, 2.55, 12.75])}
        yield line(f"c{customer}", day, invoice_no=f"i{number}", event_id=f"e{number}", **paid)


def flat(counts: Sequence[int]) -> bool:
    """Say whether a count stays: its usual value does not rise, and nothing is far from it for a moment."""
    third = len(counts) // 3
    return median(counts[-third:]) <= median(counts[:third]) and max(counts) <= max(counts[:third]) + 2


def soak(lives: LIVES, fault: Fault, *, warm_up: int, days: int, every_s: float, customers: int) -> list[Footprint]:
    """Load a worker; nothing is lost or doubled, and descriptors and threads stay. Return the looks after warm-up."""
    live = lives(horizon_days=60, partitions=4)
    load = Load(live, days=warm_up + days, customers=customers, per_day=60)
    worker = Served(live)
    worker.await_takeover()
    load.run(worker, warm_up, every_s)
    fault.inject()
    seen = load.run(worker, days, every_s)
    (live.directory / "footprints.json").write_text(json.dumps(seen))
    live.settle()
    assert worker.metric("segmenter_records_total", outcome="applied") > 0
    fault.fired()
    assert flat([each.files for each in seen]), [each.files for each in seen]
    assert flat([each.threads for each in seen]), [each.threads for each in seen]
    assert not worker.log("trouble"), worker.log("trouble")
    live.end()
    fault.judge(live.verdict())
    return seen


@pytest.mark.fault(32)
def test_a_busy_worker_opens_nothing_more(lives: LIVES, fault: Fault) -> None:
    soak(lives, fault, warm_up=4, days=16, every_s=0.25, customers=40)


@pytest.mark.long
@pytest.mark.fault(32)
@pytest.mark.timeout(2_400)
def test_ten_minutes_of_load_leave_memory_flat(lives: LIVES, fault: Fault) -> None:
    seen = soak(lives, fault, warm_up=120, days=600, every_s=1.0, customers=300)
    grown = slope([each.at for each in seen], [each.rss for each in seen]) * 600
    assert grown < MIB, f"{grown / MIB:.2f} MiB in ten minutes"


# --- the estimators ---------------------------------------------------------------------------------------------------


def _growth() -> tuple[int, int, int, int]:
    """Return by how much files, threads and memory grow by one file, a thread and 64 MiB; and how far off it is."""
    before, ended = footprint(os.getpid()), threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    block = b"x" * (64 * MIB)
    with Path("/proc/self/status").open() as status:
        after = footprint(os.getpid())
        told = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))
    ended.set()
    thread.join()
    assert len(block) == 64 * MIB
    return after.files - before.files, after.threads - before.threads, after.rss - before.rss, after.rss - told


def test_a_footprint_is_that_of_the_process() -> None:
    with get_context("spawn").Pool(1) as one:  # here threads of other tests may end at any moment
        files, threads, grown, off = one.apply(_growth)
    assert (files, threads) == (1, 1)
    assert grown >= 60 * MIB
    assert abs(off) < 4 * MIB


def test_slope_is_that_of_a_line() -> None:
    assert slope([0, 1, 2, 5], [7, 10, 13, 22]) == 3


@pytest.mark.parametrize("leak", [0.0, 512.0, 4_096.0])
def test_slope_finds_a_leak_under_noise_steps_and_peaks(leak: float) -> None:
    dice, times = random.Random(1), range(600)
    values = [100 * MIB + leak * t + dice.gauss(0, 256 << 10) + (MIB if t > 450 else 0) for t in times]
    for at in range(0, 600, 60):
        values[at] += 8 * MIB
    found = slope(times, values)
    assert found * 600 == pytest.approx(leak * 600, abs=MIB)


def test_slope_tells_a_leak_of_two_mebibytes_from_none() -> None:
    dice = random.Random(2)
    for leak, leaks in ((0.0, False), (2 * MIB / 600, True)):
        values = [leak * t + dice.gauss(0, 512 << 10) for t in range(600)]
        assert (slope(range(600), values) * 600 > MIB) == leaks


def test_counts_that_rise_are_not_flat() -> None:
    assert flat([9, 9, 10, 9, 9, 9])
    assert flat([10, 11, 10, 9, 9, 9])
    assert not flat([9, 9, 9, 10, 10, 10])
    assert not flat([9, 9, 9, 9, 14, 9, 9, 9, 9])
