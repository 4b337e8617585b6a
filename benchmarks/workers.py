"""One, two and four workers on eight partitions, and what a rebalance costs.

    python -m benchmarks.workers [--client kafka-python] [--events 400000] [--customers 100000] [--json FILE]

Rates: the stream of the contest, filled beforehand; the workers begin together and are counted from a tenth of the
events to the last. CPU is that of all workers by an event. The share of a worker is that of the events in the
partitions that the group gave him. On two cores four workers, a broker and a store share what one worker has to itself:
it is the CPU by an event that tells whether workers cost each other anything, not the rate.

Pauses: events at a steady rate; a second worker joins, is ended (SIGTERM), and one more joins and is killed (-9), whose
partitions wait for the session timeout. A pause is the longest time without an applied event of any partition, those
that moved and those that stayed, looked at every 20 ms. `segmenter verify` ends each part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from confluent_kafka import Producer

from benchmarks.arena import Arena, Content
from benchmarks.ours import Namespace
from benchmarks.stream import PARTITIONS, Stream
from tests.harness.broker import find_broker, make_broker
from tests.harness.footprint import cpu_s
from tests.harness.store import find_store, make_store

NUMBERS = (1, 2, 4)
RATE = 2_000
LOOK_S = 0.02
STEADY_S = 4.0
"""So long nothing is changed before a rebalance, and so long it is watched afterwards."""
PATIENCE_S = 300.0

Row = dict[str, Any]


class Group:
    """The workers of one namespace."""

    def __init__(self, arena: Arena, content: Content, directory: Path, client: str) -> None:
        self.namespace = Namespace(arena, content, directory, client)
        self.namespace.bootstrap()
        self._arena, self._directory = arena, directory
        self._redis = redis.Redis.from_url(arena.store)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        with (self._directory / "workers.log").open("ab") as log:
            command = [sys.executable, "-m", "consumer.cli", "run"]
            worker = subprocess.Popen(
                command, cwd=self._directory, env=self.namespace.environment, stdout=log, stderr=log
            )
        self.workers.append(worker)
        return worker

    def applied(self) -> list[int]:
        """Return each partition's first offset that is not applied."""
        name = self.namespace.environment["SEGMENTER_NAMESPACE"]
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hget(f"{{{name}:{partition}}}:1:fence", "state")
        return [json.loads(state)["applied"] for state in pipe.execute()]

    def owners(self) -> dict[int, str]:
        """Return which member of the group has each partition."""
        name = self.namespace.environment["SEGMENTER_NAMESPACE"]
        found = self._arena.admin.describe_consumer_groups([name])[name].result(timeout=10)
        return {each.partition: m.member_id for m in found.members for each in m.assignment.topic_partitions}

    def sizes(self) -> list[int]:
        """Return how many partitions each member has, the fewest first."""
        return sorted(Counter(self.owners().values()).values())

    def wait(self, done: Callable[[], bool]) -> None:
        """Return when something is so. Raises RuntimeError where a worker ended, or it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            ended = [worker.returncode for worker in self.workers if worker.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"workers ended ({ended}) or are stuck: see {self._directory}/workers.log")
            time.sleep(LOOK_S)

    def end(self) -> None:
        """End all workers in good order."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.wait(60)
        self.workers.clear()

    def check(self) -> None:
        """Recompute everything. Raises RuntimeError where anything differs."""
        if wrong := self.namespace.verify():
            raise RuntimeError(f"the run is void: {wrong}")


@contextmanager
def group(arena: Arena, content: Content, directory: Path, client: str) -> Iterator[Group]:
    """Yield a namespace's workers; they are ended and its keys and topics removed in any case."""
    made = Group(arena, content, directory, client)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.kill()
            worker.wait()
        arena.clear()


def rates(arena: Arena, content: Content, directory: Path, client: str, count: int) -> Row:
    """Let `count` workers work the stream off."""
    total = content.stream.warm_up + content.stream.events
    with group(arena, content, directory, client) as workers:
        for _ in range(count):
            workers.start()
        workers.wait(lambda: sum(workers.applied()) >= total // 10)
        began, before = time.monotonic(), workers.applied()
        busy = [cpu_s(worker.pid) for worker in workers.workers]
        workers.wait(lambda: sum(workers.applied()) >= total)
        seconds, owners, applied = time.monotonic() - began, workers.owners(), workers.applied()
        done = sum(applied) - sum(before)
        spent = [cpu_s(worker.pid) - was for worker, was in zip(workers.workers, busy, strict=True)]
        workers.end()
        workers.check()
    return {
        "workers": count,
        "events_s": round(done / seconds),
        "cpu_us": round(1e6 * sum(spent) / done, 2),
        "shares": sorted(
            round(sum(n for p, n in enumerate(applied) if owners.get(p) == member) / sum(applied), 3)
            for member in set(owners.values())
        ),
    }


class Watch:
    """Notes when each partition's applied offset grew, until it is closed."""

    def __init__(self, workers: Group) -> None:
        self._workers, self._ends = workers, threading.Event()
        self._grown: list[list[float]] = [[] for _ in range(PARTITIONS)]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        before = self._workers.applied()
        while not self._ends.wait(LOOK_S):
            now = self._workers.applied()
            for times, old, new in zip(self._grown, before, now, strict=True):
                if new > old:
                    times.append(time.monotonic())
            before = now

    def close(self) -> None:
        self._ends.set()
        self._thread.join()

    def pause(self, partitions: set[int], since: float) -> float:
        """Return the longest time without an applied event of any of these partitions, in seconds."""
        gaps = [
            later - earlier
            for partition in partitions
            for earlier, later in pairwise(
                [since, *(at for at in self._grown[partition] if at > since), time.monotonic()]
            )
        ]
        return round(max(gaps, default=0.0), 2)


@contextmanager
def sending(arena: Arena, content: Content) -> Iterator[None]:
    """Send lines of the stream's last day, `RATE` a second, each when it is due."""
    ends = threading.Event()

    def send() -> None:
        producer = Producer({"bootstrap.servers": arena.kafka, "partitioner": "murmur2_random", "linger.ms": 0})
        began = time.monotonic()
        for n, line in enumerate(Stream(200_000, 0, content.stream.customers, seed=9).lines()):
            if ends.wait(max(0.0, began + n / RATE - time.monotonic())):
                break
            fresh = line._replace(number=f"s{n}", invoice=f"s{n}", at=line.at % 3_600 + LAST_HOUR)
            producer.produce(content.live, fresh.event(), fresh.customer.encode())
            producer.poll(0)
        producer.flush(30)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


LAST_HOUR = 1_709_420_400
"""23:00 of the stream's second day."""


def pauses(arena: Arena, content: Content, directory: Path, client: str) -> Row:
    """Let a worker join, one leave, and one die, while events come."""
    found: Row = {"rate": RATE}
    with group(arena, content, directory, client) as workers:
        with sending(arena, content):
            workers.start()
            workers.wait(lambda: workers.sizes() == [PARTITIONS])
            total = content.stream.warm_up + content.stream.events  # with it the day has turned, and all are swept
            workers.wait(lambda: sum(workers.applied()) > total + RATE)
            for what, change in (("join", _join), ("leave", _leave), ("join_again", _join), ("kill", _kill)):
                time.sleep(STEADY_S)
                found[what] = _watched(workers, change)
        workers.end()
        workers.check()
    return found


def _watched(workers: Group, change: Callable[[Group], None]) -> Row:
    """Return the longest pause about a change of the group, of the partitions that moved and of those that stayed."""
    watch = Watch(workers)
    try:
        time.sleep(STEADY_S / 4)
        before, since = workers.owners(), time.monotonic()
        change(workers)
        time.sleep(STEADY_S)
        after = workers.owners()
    finally:
        watch.close()
    moved = {partition for partition in range(PARTITIONS) if before.get(partition) != after.get(partition)}
    stayed = set(range(PARTITIONS)) - moved
    return {"moved": len(moved), "moved_s": watch.pause(moved, since), "stayed_s": watch.pause(stayed, since)}


def _join(workers: Group) -> None:
    count = len(workers.workers) + 1
    workers.start()
    workers.wait(lambda: workers.sizes() == [PARTITIONS // count] * count)


def _leave(workers: Group) -> None:
    worker = workers.workers.pop()
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    workers.wait(lambda: workers.sizes() == [PARTITIONS])


def _kill(workers: Group) -> None:
    worker = workers.workers.pop()
    worker.kill()
    worker.wait()
    workers.wait(lambda: workers.sizes() == [PARTITIONS])


def main() -> None:
    """Print each part as it ends, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=("kafka-python", "librdkafka"), default="kafka-python")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    found: Row = {"client": given.client, "events": given.events, "customers": given.customers, "numbers": []}
    with (
        tempfile.TemporaryDirectory(prefix="segmenter-workers-") as directory,
        make_broker(find_broker(own)) as broker,
        make_store(find_store(own)) as store,
    ):
        arena, there = Arena(broker.bootstrap, store.url), Path(directory)
        stream = Stream(given.events, given.events // 10, given.customers)
        stream.write_history(there / "history.csv")
        content = arena.content(stream)
        for count in NUMBERS:
            row = rates(arena, content, there, given.client, count)
            found["numbers"].append(row)
            print(row, flush=True)
        found["pauses"] = pauses(arena, arena.content(Stream(8_000, 800, given.customers)), there, given.client)
        print(found["pauses"], flush=True)
    costs = [row["cpu_us"] for row in found["numbers"]]
    found |= {"cpu_max_over_min": round(max(costs) / min(costs), 3), "load": round(os.getloadavg()[0], 1)}
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
