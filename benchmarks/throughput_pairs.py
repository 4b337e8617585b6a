"""Did a change cost throughput? Interleaved pairs of runs, this checkout and another commit, on one broker and store.

    python -m benchmarks.throughput_pairs COMMIT [--pairs 7] [--events 40000]

Each run is a namespace of its own: a bootstrap, a topic filled beforehand, one `segmenter run`, timed from the first
applied record to the last, sweeps of its days included. Which of the two begins alternates. What counts is the median
of the pairs' ratios: these machines are noisy, and a pair's two runs are neighbours. The worker's CPU seconds are less
so (Linux alone has them), and are printed beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import redis

from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_writer import EventWriter
from tests.harness.broker import find_broker, make_broker
from tests.harness.footprint import cpu_s
from tests.harness.store import find_store, make_store

HERE = Path(__file__).resolve().parents[1]
FIRST_DAY = date(2024, 3, 1)
CUSTOMERS, PARTITIONS = 5_000, 4
EVENTS_A_DAY = 5_000


def history(path: Path) -> None:
    """Write a history file in which everybody bought once or more."""
    rng = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"])
        for n in range(2 * CUSTOMERS):
            day = FIRST_DAY - timedelta(days=rng.randrange(1, 200))
            table.writerow(
                [f"h{n}", "S", rng.randrange(1, 9), f"{day} 10:00:00", rng.choice([0.85, 12.75]), n % CUSTOMERS]
            )


def events(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the stream, in time order."""
    rng = random.Random(2)
    for n in range(count):
        customer = str(min(rng.randrange(CUSTOMERS), rng.randrange(CUSTOMERS)))
        yield (
            customer.encode(),
            json.dumps(
                {
                    "customer_id": customer,
                    "invoice_no": f"i{n // 3}",
                    "invoice_date": f"{FIRST_DAY + timedelta(days=n // EVENTS_A_DAY)}T12:00:00Z",
                    "quantity": rng.randrange(1, 9),
                    "unit_price": rng.choice([0.85, 2.55, 12.75]),
                    "event_id": f"e{n}",
                }
            ).encode(),
        )


class Run:
    """One namespace, filled and worked through by the code of one checkout."""

    def __init__(self, tree: Path, kafka: str, store: str, directory: Path) -> None:
        self.tree, self.kafka, self.directory = tree, kafka, directory
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.redis = redis.Redis.from_url(store)
        topics = ("transactions", "segments", "dead_letters", "erasures")
        given = {f"SEGMENTER_{each.upper()}_TOPIC": f"{self.name}-{each}" for each in topics}
        given |= {"SEGMENTER_KAFKA_BOOTSTRAP": kafka, "SEGMENTER_REDIS_URL": store, "SEGMENTER_CLOCK": "event"}
        self.environment = {**os.environ, **given, "SEGMENTER_NAMESPACE": self.name, "PYTHONPATH": str(tree)}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "consumer.cli", *words]

    def prepare(self, count: int) -> None:
        """Bootstrap, and fill the input."""
        for words in (
            ("topics", "create", "--partitions", str(PARTITIONS)),
            ("bootstrap", "history.csv", "--k", "4"),
        ):
            subprocess.run(
                self.command(*words), cwd=self.directory, env=self.environment, check=True, capture_output=True
            )
        with EventWriter(KafkaSettings(self.kafka), f"{self.name}-transactions") as writer:
            for key, value in events(count):
                writer.send(key, value)

    def applied(self) -> int:
        keys = [f"{{{self.name}:{p}}}:1:fence" for p in range(PARTITIONS)]
        states = [self.redis.hget(key, "state") for key in keys]
        return sum(json.loads(state)["applied"] for state in states if isinstance(state, bytes))

    def rate(self, count: int) -> tuple[float, float]:
        """Return events a second, and events a CPU second of the worker."""
        self.prepare(count)
        worker = subprocess.Popen(
            self.command("run"),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        began = busy = 0.0
        deadline = time.monotonic() + 300
        while (done := self.applied()) < count:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker of {self.tree} applied {done} of {count} events")
            if done and not began:
                began, busy = time.monotonic(), cpu_s(worker.pid)
            time.sleep(0.02)
        seconds, busy = time.monotonic() - began, cpu_s(worker.pid) - busy
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        return count / seconds, count / busy


def main() -> None:
    """Print each pair, and the median of their ratios; exit with 1 where it is below 0.95."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--events", type=int, default=40_000)
    given = parser.parse_args()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    with (
        tempfile.TemporaryDirectory(prefix="segmenter-pairs-") as directory,
        make_broker(find_broker(own)) as broker,
        make_store(find_store(own)) as store,
    ):
        there = Path(directory)
        history(there / "history.csv")
        other = there / "other"
        subprocess.run(["git", "worktree", "add", "--detach", str(other), given.commit], cwd=HERE, check=True)
        try:
            ratios = []
            for n in range(given.pairs):
                rates = {}
                for tree in (HERE, other) if n % 2 else (other, HERE):
                    rates[tree] = Run(tree, broker.bootstrap, store.url, there).rate(given.events)
                (before, before_busy), (now, now_busy) = rates[other], rates[HERE]
                ratios.append((now / before, now_busy / before_busy))
                print(
                    f"{before:8.0f} events/s before {now:8.0f} now   ratio {ratios[-1][0]:.3f}   "
                    f"by CPU seconds {ratios[-1][1]:.3f}",
                    flush=True,
                )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=HERE, check=True)
    median, by_cpu = (statistics.median(each) for each in zip(*ratios, strict=True))
    print(f"median of {len(ratios)} pairs: {median:.3f}, by CPU seconds {by_cpu:.3f}")
    sys.exit(median < 0.95)


if __name__ == "__main__":
    main()
