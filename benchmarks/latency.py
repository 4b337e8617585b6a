"""How long from a purchase to the segment that it makes? Open loop, beside a bare echo, and during a sweep.

    python -m benchmarks.latency [--client both] [--seconds 30] [--rate 2000] [--customers 1000000] [--json FILE]

    a process sends event n at start + n / rate, whatever becomes of the others   (no coordinated omission)
    this one reads the output, read_committed: latency = receipt - the moment for which event n was scheduled

Every fourth event is a new customer's first purchase, which always puts out a record with his id: these are measured.
The others are purchases of those who are known, whose states are read and written as well. The echo puts out each
event; the same fourth is measured of it. One broker, store, reader and rate for all:

    echo     once before and once after the product
    quiet    one worker, nothing but events
    swept    the same, counted only while it sweeps everybody: by the wall clock, and each time that a sweep has ended a
             model is put in charge under a new number

The first seconds of a phase are not counted, and the broker is warmed by an echo that nobody counts.

At the end `segmenter verify` recomputes everything. The last line is JSON, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.crowd import PARTITIONS, Crowd, write_history
from benchmarks.echo import CLIENTS
from consumer.partition import PartitionState
from tests.harness.broker import find_broker, make_broker
from tests.harness.store import find_store, make_store

MEASURED = 4
"""Every so many-th event is a new customer's."""
WARM_UP_S = 5.0
PATIENCE_S = 60.0
"""So long after the last event its record is still waited for."""


@dataclass(frozen=True, slots=True)
class Load:
    """Events a second for so many seconds, after the warm-up."""

    rate: int
    seconds: float

    @property
    def events(self) -> int:
        return int(self.rate * (self.seconds + WARM_UP_S))


class Receipts(NamedTuple):
    """When measured events were scheduled, and when their records arrived: monotonic seconds, sorted by the first."""

    scheduled: list[float]
    received: list[float]

    def between(self, spans: Sequence[tuple[float, float]]) -> Receipts:
        """Return those scheduled within one of some spans of time."""
        pairs = zip(self.scheduled, self.received, strict=True)
        chosen = [(at, then) for at, then in pairs if any(start <= at <= end for start, end in spans)]
        return Receipts([at for at, _ in chosen], [then for _, then in chosen])

    def told(self) -> dict[str, float]:
        """Return percentiles in milliseconds."""
        ms = (np.array(self.received) - np.array(self.scheduled)) * 1e3
        found = {f"p{q}": round(float(np.percentile(ms, q)), 1) for q in (50, 90, 99)}
        return found | {"max": round(float(ms.max()), 1), "events": len(ms)}


def send(bootstrap: str, topic: str, name: str, load: Load, customers: int) -> None:
    """Send a phase's events, each at its moment; print the start first. name: the phase's, in new customers' ids."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0})
    producer.list_topics(topic, timeout=30)
    known = np.random.default_rng(2).integers(0, customers, load.events).tolist()
    start = time.monotonic() + 1
    print(start, flush=True)
    for n in range(load.events):
        ahead = start + n / load.rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        who = f"{name}-{n}" if n % MEASURED == 0 else str(known[n])
        event = {
            "event_id": f"{name}-{n}",
            "invoice_no": f"{name}-{n}",
            "stock_code": "85123A",
            "quantity": 1 + n % 9,
            "unit_price": 2.55,
            "invoice_date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "customer_id": who,
            "country": "United Kingdom",
        }
        producer.produce(topic, json.dumps(event).encode(), who.encode())
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the events could not be sent")


class Bench:
    """A broker, a namespace with everybody in it, and what sends and reads."""

    def __init__(self, kafka: str, crowd: Crowd, customers: int) -> None:
        self.crowd = crowd
        self._kafka, self._customers = kafka, customers

    def echo(self, client: str, load: Load) -> Receipts:
        """Return the receipts of a bare echo."""
        name = f"echo-{uuid.uuid4().hex[:6]}"
        topics = [f"{name}-in", f"{name}-out"]
        new = [NewTopic(each, PARTITIONS, 1) for each in topics]
        admin = AdminClient({"bootstrap.servers": self._kafka})
        for future in admin.create_topics(new, operation_timeout=30).values():
            future.result(timeout=60)
        command = [sys.executable, "-m", "benchmarks.echo", client, self._kafka, *topics, name]
        process = subprocess.Popen(command)
        try:
            return self._receipts(topics[0], topics[1], load)
        finally:
            process.terminate()
            process.wait(30)

    def ours(self, load: Load) -> Receipts:
        """Return the receipts of the worker that runs."""
        return self._receipts(self.crowd.input, self.crowd.output, load)

    def swept(self, load: Load) -> Receipts:
        """Return the receipts of the worker that runs, of the events of while it was sweeping."""
        done = threading.Event()
        spans: list[tuple[float, float]] = []
        watching = threading.Thread(target=self._sweep_on, args=(done, spans))
        watching.start()
        try:
            found = self.ours(load)
        finally:
            done.set()
            watching.join()
        chosen = found.between(spans)
        print(f"{len(spans)} sweeps of {', '.join(f'{end - start:.1f}' for start, end in spans)} s", flush=True)
        return chosen

    def _sweep_on(self, done: threading.Event, spans: list[tuple[float, float]]) -> None:
        """Sweep everybody again and again; note from when to when."""
        number = max(state.sweep.number for state in self.crowd.states())
        while not done.wait(2):
            self.crowd.promote()
            number += 1
            self._await(done, lambda state: state.sweep.number >= number, any)  # noqa: B023 -- called at once
            start = time.monotonic()
            self._await(done, lambda state: state.sweep.number >= number and state.sweep.ended, all)  # noqa: B023
            spans.append((start, time.monotonic()))

    def _await(
        self, done: threading.Event, so: Callable[[PartitionState], bool], of: Callable[[Iterable[bool]], bool]
    ) -> None:
        """Return when something is so of any or all partitions, or when all is done."""
        while not of(so(state) for state in self.crowd.states()):
            if done.wait(0.05):
                return

    def _receipts(self, source: str, output: str, load: Load) -> Receipts:
        name = f"n{uuid.uuid4().hex[:6]}"
        reader = self._reader(output)
        words = [source, name, str(load.rate), str(load.seconds), str(self._customers)]
        command = [sys.executable, "-m", "benchmarks.latency", "--send", self._kafka, *words]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert sender.stdout is not None
        start = float(sender.stdout.readline())
        prefix = f"{name}-".encode()
        received: dict[int, float] = {}
        expected = len(range(0, load.events, MEASURED))
        end = start + load.seconds + WARM_UP_S + PATIENCE_S
        while len(received) < expected:
            first = reader.poll(0.1)
            if first is None:
                if time.monotonic() > end:
                    raise RuntimeError(f"{expected - len(received)} of {expected} records have not come")
                continue
            messages = [first, *reader.consume(10_000, timeout=0)]
            now = time.monotonic()
            for each in messages:
                key = each.key() or b""
                if key.startswith(prefix):
                    received.setdefault(int(key[len(prefix) :]), now)
        reader.close()
        if sender.wait(30):
            raise RuntimeError("the sender failed")
        measured = sorted(n for n in received if n >= load.rate * WARM_UP_S)
        return Receipts([start + n / load.rate for n in measured], [received[n] for n in measured])

    def _reader(self, topic: str) -> Consumer:
        """Return a reader of what is yet to come."""
        reader = Consumer(
            {
                "bootstrap.servers": self._kafka,
                "group.id": f"{topic}-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "log_level": 2,
            }
        )
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        for each in partitions:
            each.offset = _end(reader, each)
        reader.assign(partitions)
        return reader


def _end(reader: Consumer, partition: TopicPartition) -> int:
    """Return where a log ends; a topic made just now has no leader at first."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return int(reader.get_watermark_offsets(partition, timeout=30)[1])
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def measure(bench: Bench, client: str, load: Load) -> dict[str, object]:
    """Return what one client costs: echo, quiet, swept, and the ratios of their p99."""
    first = bench.echo(client, load)
    with bench.crowd.worker(SEGMENTER_KAFKA_CLIENT=client) as worker:
        bench.crowd.await_rest(worker)
        quiet = bench.ours(load).told()
        print(f"{client:13} quiet {quiet}", flush=True)
        swept = bench.swept(load).told()
        print(f"{client:13} swept {swept}", flush=True)
    last = bench.echo(client, load)
    echo = Receipts(first.scheduled + last.scheduled, first.received + last.received).told()
    print(f"{client:13} echo  {echo}", flush=True)
    ratios: dict[str, object] = {
        "p50_over_echo": round(quiet["p50"] / echo["p50"], 2),
        "p99_over_echo": round(quiet["p99"] / echo["p99"], 2),
        "p99_swept_over_quiet": round(swept["p99"] / quiet["p99"], 2),
    }
    return {"echo": echo, "quiet": quiet, "swept": swept} | ratios


def main() -> None:
    """Print each phase as it ends, and JSON at last."""
    if sys.argv[1:2] == ["--send"]:
        bootstrap, topic, name, rate, seconds, customers = sys.argv[2:]
        send(bootstrap, topic, name, Load(int(rate), float(seconds)), int(customers))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=(*CLIENTS, "both"), default="both")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    load = Load(given.rate, given.seconds)
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    with (
        tempfile.TemporaryDirectory(prefix="segmenter-latency-") as directory,
        make_broker(find_broker(own)) as broker,
        make_store(find_store(own)) as store,
    ):
        there = Path(directory)
        write_history(there / "history.csv", given.customers, datetime.now(UTC).date())
        crowd = Crowd(broker.bootstrap, store.url, there, {"SEGMENTER_CLOCK": "wall"})
        crowd.bootstrap("history.csv")
        bench = Bench(broker.bootstrap, crowd, given.customers)
        bench.echo("librdkafka", load)
        clients = list(CLIENTS) if given.client == "both" else [given.client]
        found: dict[str, object] = {client: measure(bench, client, load) for client in clients}
        crowd.check("history.csv")
    settings = {"rate": given.rate, "seconds": given.seconds, "customers": given.customers}
    text = json.dumps(settings | {"load": round(os.getloadavg()[0], 1)} | found)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
