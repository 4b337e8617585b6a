"""Chaos: workers that die at random points, servers that come and go, and the verdict at the end.

    python -m tests.faults.chaos --seed 1 --minutes 5

A seed decides what is published, who dies where, and which fault comes next; how far each worker gets until
then is up to the machine. Between two faults of the servers stands a progress gate: so many more records applied.
Every death is a SIGKILL that a worker process sends itself at a crash point of the code. A result is one line of
tests/faults/results/chaos.json; docs/reliability.md is made of them (tests/faults/table.py).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import redis
from kafka.errors import KafkaError

from consumer.ports import TransportError
from features.store import StoreError
from tests.faults.table import CHAOS, ChaosRecord, read_chaos
from tests.harness.broker import Broker, find_broker, make_broker
from tests.harness.forked import REPOSITORY, Forked, fork
from tests.harness.live import Live, wait_until
from tests.harness.shop import as_event, past, stream
from tests.harness.store import OwnStore, find_store, make_store

POINTS = ("after_load", "after_commit", "mid_transaction", "after_publish", "during_recovery", "mid_sweep")
LEADERS_POINT = "mid_model_publish"
RARE = {"during_recovery": 2, "mid_sweep": 3}
"""Points that are met less often than once a batch: dying at the nth time means at one of the first here."""
PARTITIONS = 6
GATE = 60
"""Records applied between two faults of the servers."""
BEHIND = 120
"""Input is published while no more than so many records wait."""
PATIENCE_S = 10.0
"""A worker that has not reached its point for so long is killed wherever it is."""
CRASHES_BETWEEN = 9
"""Deaths of workers between two faults of the servers, about."""


class Slot:
    """One worker's place: when one dies, the next one takes it, with a death of its own."""

    def __init__(self, live: Live, rng: random.Random, name: str | None) -> None:
        self.live, self.rng, self.name = live, rng, name
        self.fired = live.directory / f"fired-{uuid.uuid4().hex[:8]}"
        self.process: Forked | None = None
        self.point, self.since = "", 0.0

    def start(self, *, dies: bool = True) -> None:
        """Start a worker that dies at a random point, or lives."""
        # The leader's point comes once a day and once a day only in one worker.
        self.point = self.rng.choice((*POINTS, *POINTS, LEADERS_POINT)) if dies else "never"
        times = 1 if self.point == LEADERS_POINT else self.rng.randrange(1, RARE.get(self.point, 5))
        settings = self.live.environment() | ({"SEGMENTER_INSTANCE": self.name} if self.name else {})
        self.fired.unlink(missing_ok=True)
        environment = {**os.environ, **settings, "CRASH_FILE": str(self.fired)}
        log = self.fired.with_suffix(".log")
        self.process = fork("tests.harness.crashing_worker", [self.point, str(times)], environment, REPOSITORY, log)
        self.since = time.monotonic()

    @property
    def dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: int) -> None:
        """Send its worker a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Return the exit code of a worker that ended."""
        assert self.process is not None
        return self.process.wait(30)

    def kill(self) -> None:
        """End the worker wherever it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


class Chaos:
    """One run: a world, its slots, and what befell it."""

    def __init__(self, seed: int, broker: Broker, store: OwnStore, directory: Path, *, workers: int) -> None:
        self.rng = random.Random(seed)
        self.seed, self.broker, self.store = seed, broker, store
        rules: dict[str, Any] = {"horizon_days": 40, "dedupe_days": 5, "forget_after_days": 55}
        named = self.rng.random() < 0.5
        self.live = Live(
            broker.bootstrap,
            store.url,
            f"chaos-{seed}-{uuid.uuid4().hex[:6]}",
            directory,
            partitions=PARTITIONS,
            **(rules | {"max_poll_records": self.rng.choice([5, 20, 100])}),
        )
        names = [f"w{n}" if named else None for n in range(workers)]
        self.slots = [Slot(self.live, self.rng, name) for name in names]
        self.crashes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.applied_at_fault = 0
        self.crashes_at_fault = 0
        self.days = self._days()

    def _days(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the stream, a few days at a time."""
        slab: list[dict[str, Any]] = []
        for event in stream(self.seed, days=100_000, customers=80):
            slab.append(event)
            if len(slab) >= 40:
                yield slab
                slab = []

    def prepare(self) -> None:
        """Bootstrap on a history, and start the workers."""
        self.live.bootstrap([as_event(row) for row in past(self.seed, customers=60)])
        for slot in self.slots:
            slot.start()

    def publish(self) -> None:
        """Publish the next slab where little waits."""
        try:
            waits = self.live.ends() - self.applied()
        except (TransportError, KafkaError, StoreError):
            return
        if waits < BEHIND:
            for event in next(self.days):
                customer = event.get("customer_id")
                key = customer.encode() if isinstance(customer, str) else None
                nowhere = self.rng.randrange(PARTITIONS) if key is None else None
                self.live.writer.send(key, json.dumps(event).encode(), partition=nowhere)
            self.live.writer.flush()

    def applied(self) -> int:
        return sum(state.applied for state in self.live.states().values())

    def turn(self) -> None:
        """Look after every slot; publish; break something when it is time."""
        for slot in self.slots:
            self._look_after(slot)
        self.publish()
        crashes = self.crashes.total()
        if crashes - self.crashes_at_fault < CRASHES_BETWEEN:
            return
        try:
            applied = self.applied()
        except StoreError:
            return
        if applied - self.applied_at_fault >= GATE:
            name, breaks = self.rng.choice(FAULTS)
            breaks(self)
            self.faults[name] += 1
            self.applied_at_fault, self.crashes_at_fault = applied, crashes

    def _look_after(self, slot: Slot) -> None:
        if slot.dead:
            code = slot.ended()
            if code == -signal.SIGKILL and slot.fired.exists():
                self.crashes[slot.point] += 1
            elif code not in (0, 70):  # 70: a server was away when it started; a supervisor starts it again
                said = slot.fired.with_suffix(".log").read_text("utf-8", "replace")[-4000:]
                raise AssertionError(f"a worker ended with {code} before its point {slot.point}:\n{said}")
            slot.start()
        elif time.monotonic() - slot.since > PATIENCE_S:
            slot.kill()
            self.crashes["anywhere"] += 1
            slot.start()

    def settle(self) -> None:
        """Let workers that live bring everything to its end."""
        for slot in self.slots:
            slot.kill()
            slot.start(dies=False)
        self.live.tick_at(max(state.day for state in self.live.states().values()) + 3)
        self.live.settle(seconds=180)
        for slot in self.slots:
            slot.signal(signal.SIGTERM)
        assert [slot.ended() for slot in self.slots] == [0] * len(self.slots)

    def close(self) -> None:
        """End what was started."""
        for slot in self.slots:
            slot.kill()
        self.live.close()

    # Faults of the servers and of whole workers ---------------------------------------------------------------

    def store_killed(self) -> None:
        """A kill -9 of the store; the append-only file has everything but what it had not read (FAULTS 8)."""
        self.store.kill()
        self.store.start()

    def store_loses_writes(self) -> None:
        """The store comes back without what it wrote in its last moments (FAULTS 8, 10)."""
        kept = self.store.aof_size()
        before = self.applied()
        wait_until(lambda: self._progressed(before + 10), "records applied, to be lost")
        self.store.kill()
        self.store.truncate_aof(kept)
        self.store.start()

    def _progressed(self, applied: int) -> bool:
        for slot in self.slots:
            self._look_after(slot)
        self.publish()
        try:
            return self.applied() >= applied
        except StoreError:
            return False

    def connections_cut(self) -> None:
        """All connections to the store are closed under the workers' hands (FAULTS 11)."""
        with redis.Redis.from_url(self.store.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def broker_killed(self) -> None:
        """A kill -9 of the broker, and its return (FAULTS 14)."""
        self.broker.kill()
        self.broker.start()

    def broker_restarted(self) -> None:
        """A clean restart of the broker (FAULTS 14)."""
        self.broker.stop()
        self.broker.start()

    def frozen(self) -> None:
        """A worker sleeps past its session, and wakes up among its successors (FAULTS 6)."""
        slot = self.rng.choice(self.slots)
        if not slot.dead:
            slot.signal(signal.SIGSTOP)
            before = self.live.ends()
            time.sleep(2 * self.live.settings.session_timeout_s)  # the fault itself lasts that long
            assert before <= self.live.ends()
            slot.signal(signal.SIGCONT)

    def left(self) -> None:
        """A worker is asked to end (FAULTS 29); the next one comes."""
        slot = self.rng.choice(self.slots)
        if not slot.dead:
            slot.signal(signal.SIGTERM)
            assert slot.ended() in (0, -signal.SIGKILL)


FAULTS: list[tuple[str, Callable[[Chaos], None]]] = [
    ("store killed", Chaos.store_killed),
    ("store lost writes", Chaos.store_loses_writes),
    ("store lost writes", Chaos.store_loses_writes),
    ("connections to the store cut", Chaos.connections_cut),
    ("broker killed", Chaos.broker_killed),
    ("broker restarted", Chaos.broker_restarted),
    ("worker frozen", Chaos.frozen),
    ("worker asked to end", Chaos.left),
]


def run(seed: int, minutes: float, directory: Path) -> ChaosRecord:
    """Run one seed and pronounce the verdict."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    workers = 2 + seed % 2
    store = make_store(find_store(own))
    assert isinstance(store, OwnStore)
    with make_broker(find_broker(own)) as broker, store:
        chaos = Chaos(seed, broker, store, directory, workers=workers)
        began = time.monotonic()
        try:
            chaos.prepare()
            shown = began
            while (now := time.monotonic()) - began < minutes * 60:
                chaos.turn()
                if now - shown > 10:
                    shown = now
                    print(f"{now - began:5.0f} s  {dict(chaos.crashes)}  {dict(chaos.faults)}", flush=True)  # noqa: T201
                time.sleep(0.05)
            chaos.settle()
            outcome = chaos.live.verdict()
        finally:
            chaos.close()
    if not outcome.ok:
        print(*outcome.differences, sep="\n")  # noqa: T201
    return ChaosRecord(
        seed=seed,
        minutes=round((time.monotonic() - began) / 60, 1),
        workers=workers,
        named=chaos.slots[0].name is not None,
        crashes=dict(sorted(chaos.crashes.items())),
        faults=dict(sorted(chaos.faults.items())),
        events=outcome.events,
        customers=outcome.customers,
        records=outcome.records,
        replayed=outcome.replayed,
        lost=outcome.lost,
        doubled=outcome.doubled,
        wrong=outcome.wrong,
    )


def main() -> None:
    """Run a seed, print its result, keep it among the others; exit with 1 unless nothing was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segmenter-chaos-") as directory:
        record = run(given.seed, given.minutes, Path(directory))
    print(msgspec.json.encode(record).decode())  # noqa: T201
    if record.lost or record.doubled or record.wrong:
        raise SystemExit(1)
    records = [old for old in read_chaos() if old.seed != record.seed] + [record]
    lines = [msgspec.json.encode(each).decode() for each in sorted(records, key=lambda each: each.seed)]
    CHAOS.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
