"""A namespace with so many customers, for the benchmarks of latency and growth: its history, its worker, its states.

Everybody has one to three orders in the year before `until`; the customers are called 0, 1, 2, ...
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import redis

from consumer.partition import PartitionState, decode_state
from models.bundle import successor
from models.redis_registry import RedisRegistry
from tests.harness.broker import REPOSITORY

PARTITIONS = 8
GENERATION = "1"
COMES_S = 600.0
"""A state that is waited for comes within so long, or the worker is stuck."""


def write_history(path: Path, customers: int, until: date) -> None:
    """Write the file that `segmenter bootstrap` reads; the last order is of the day before `until`."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(customers), rng.integers(1, 4, customers))
    days = [f"{until - timedelta(days=n)} 10:00:00" for n in range(365)]
    ago, quantity = rng.integers(1, 365, len(owner)), rng.integers(1, 40, len(owner))
    price = rng.choice(["0.85", "2.55", "12.75"], len(owner))
    columns = zip(owner.tolist(), ago.tolist(), quantity.tolist(), price.tolist(), strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"])
        table.writerows((f"h{n}", "S", q, days[back], p, who) for n, (who, back, q, p) in enumerate(columns))


class Loaded(NamedTuple):
    """What a bootstrap took: bytes by which the store grew; seconds from the command's start to its end."""

    store_bytes: int
    seconds: float


class Crowd:
    """One namespace: topics and keys of its own."""

    def __init__(self, kafka: str, store: str, directory: Path, settings: Mapping[str, str]) -> None:
        """directory: where commands run and the worker's log goes. settings: beside the addresses, full names."""
        self.name = f"crowd-{uuid.uuid4().hex[:6]}"
        self.redis = redis.Redis.from_url(store)
        self._directory = directory
        topics = ("transactions", "segments", "dead_letters", "erasures")
        given = {f"SEGMENTER_{each.upper()}_TOPIC": f"{self.name}-{each.replace('_', '-')}" for each in topics}
        given |= {"SEGMENTER_KAFKA_BOOTSTRAP": kafka, "SEGMENTER_REDIS_URL": store, "SEGMENTER_NAMESPACE": self.name}
        plain = {each: value for each, value in os.environ.items() if not each.startswith("SEGMENTER_")}
        self.environment = plain | given | {"PYTHONPATH": str(REPOSITORY)} | dict(settings)
        self.input, self.output = f"{self.name}-transactions", f"{self.name}-segments"

    def segmenter(self, *words: str) -> str:
        """Run a command and return what it prints. Raises RuntimeError where it fails."""
        command = [sys.executable, "-m", "consumer.cli", *words]
        done = subprocess.run(
            command, cwd=self._directory, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"segmenter {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def bootstrap(self, history: str) -> Loaded:
        """Make topics, states and the first model."""
        self.segmenter("topics", "create", "--partitions", str(PARTITIONS))
        before, began = self._used(), time.monotonic()
        self.segmenter("bootstrap", history, "--k", "4")
        return Loaded(self._used() - before, time.monotonic() - began)

    def check(self, history: str) -> None:
        """Let `segmenter verify` recompute every state and record; the worker must be down. Raises RuntimeError."""
        self.segmenter("verify", history)

    @contextmanager
    def worker(self, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run one worker; settings: of this one alone, full names."""
        with (self._directory / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "consumer.cli", "run"],
                cwd=self._directory,
                env=self.environment | settings,
                stdout=log,
                stderr=log,
            )
            try:
                yield worker
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait(60)

    def states(self) -> list[PartitionState]:
        """Return the partitions' states."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hget(f"{{{self.name}:{partition}}}:{GENERATION}:fence", "state")
        return [decode_state(found) for found in pipe.execute()]

    def await_rest(self, worker: subprocess.Popen[bytes], sweep: int = 1) -> None:
        """Return when every partition has ended its sweep of that number. Raises RuntimeError."""
        deadline = time.monotonic() + COMES_S
        while not all(state.sweep.ended and state.sweep.number >= sweep for state in self.states()):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker ended ({worker.poll()}) or is stuck: see {self._directory}/worker.log")
            time.sleep(0.1)

    def promote(self) -> None:
        """Put the live model in charge under a new number: everybody is swept at once, and hardly anybody moves."""
        registry = RedisRegistry(self.redis, self.name, GENERATION)
        number = registry.current()
        bundle = None if number is None else registry.load(number)
        assert bundle is not None
        made = successor(bundle, day=bundle.day, created_by="promote")
        if not registry.publish(made, expected=number, promoted=True):
            raise RuntimeError("another model was made meanwhile")

    def server_pid(self) -> int:
        """Return the store's process."""
        return int(self.redis.info("server")["process_id"])

    def _used(self) -> int:
        return int(self.redis.info("memory")["used_memory"])
