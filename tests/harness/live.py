"""A live world: a real broker, a real store, worker processes that may be killed; for the fault tests.

live = Live(bootstrap, redis_url, namespace, directory)
live.bootstrap(history lines); live.publish(lines); live.tick(day); w = live.start(); live.settle()
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from pydantic import SecretStr

from consumer.commands.verify_source import Where, reading_of, verified
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.partition import START, PartitionState, decode_state, iso
from consumer.ports import InputRecord
from consumer.service import begin_bootstrap, bootstrap, connect_redis
from consumer.settings import Settings
from consumer.transport.kafka_admin import admin, our_topics
from consumer.transport.kafka_python_transport import KafkaReader
from consumer.transport.kafka_writer import EventWriter
from features.redis_generation import read_binding
from features.redis_store import RedisStore
from features.store import StoreUnavailable
from features.transaction import EPOCH_ORDINAL
from tests.harness.commands import Inside, Shell
from tests.harness.forked import REPOSITORY, Forked, fork
from tests.harness.verdict import Outcome, judge

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Await a condition; looks every 50 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


class Live:
    """One namespace on the shared broker and store."""

    def __init__(
        self,
        kafka_bootstrap: str,
        redis_url: str,
        namespace: str,
        directory: Path,
        *,
        partitions: int = 4,
        with_topics: bool = True,
        **more: Any,
    ) -> None:
        """Make the topics and open what the tests read and write with; without topics `open` does that later."""
        options: dict[str, Any] = {"clock": "event", "max_poll_records": 200, "session_timeout_s": 2.0}
        self.settings = Settings(
            _env_file=None,
            kafka_bootstrap=kafka_bootstrap,
            redis_url=SecretStr(redis_url),
            namespace=namespace,
            transactions_topic=f"{namespace}-in",
            segments_topic=f"{namespace}-out",
            dead_letters_topic=f"{namespace}-dead",
            erasures_topic=f"{namespace}-erased",
            **(options | more),
        )
        self.partitions, self.directory = partitions, directory
        self.kafka = self.settings.kafka()
        self.history_file = directory / "history.csv"
        self.processes: list[Forked | subprocess.Popen[bytes]] = []
        self.given: dict[str, str] = {}
        """Variables that processes get beside the settings, and instead of them: other addresses, a user."""
        self.client = connect_redis(self.settings)
        self.reader = KafkaReader(self.kafka)
        if with_topics:
            topics = self.settings.topics
            with admin(self.kafka) as asked:
                asked.create(our_topics(topics.input, topics.output, topics.dead_letters, topics.erasures, partitions))
            self.open()

    def open(self) -> None:
        """Begin to write to the input, which is there by now."""
        self.writer = EventWriter(self.kafka, self.settings.transactions_topic)

    def bootstrap(self, lines: Sequence[Mapping[str, Any]], k: int = 3, *, replace: bool = False) -> None:
        """Write a history file and load it."""
        self.write_history(lines)
        start = begin_bootstrap(self.settings, self.kafka, self.client, replace=replace)
        history = read_history([self.history_file], CsvOptions())
        bootstrap(
            self.settings, self.kafka, self.client, history, start, k=k, progress=lambda *_: None, now=time.time()
        )

    def write_history(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write a history file."""
        with self.history_file.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(HEADER)
            for each in lines:
                moment = each["invoice_date"].replace("T", " ")
                price, who = each["unit_price"], each["customer_id"]
                table.writerow([each["invoice_no"], "S", "D", each["quantity"], moment, price, who, "UK"])

    def publish(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for each in lines:
            self.writer.send(each["customer_id"].encode(), json.dumps(each).encode())
        self.writer.flush()

    def tick(self, day: date) -> None:
        """Turn the day of every partition."""
        self.tick_at(day.toordinal() - EPOCH_ORDINAL)

    def tick_at(self, day: int) -> None:
        """Turn the day of every partition; day: since 1970-01-01."""
        value = json.dumps({"type": "tick", "at": f"{iso(day)}T00:00:00"}).encode()
        for partition in range(self.partitions):
            self.writer.send(None, value, partition=partition)
        self.writer.flush()

    def start(self, point: str = "never", times: int = 1, **more: str) -> Forked:
        """Start a worker process; it kills itself at the Nth time it reaches the point. more: of its environment."""
        self.crash_file.unlink(missing_ok=True)
        environ = {**os.environ, **self.environment(), "CRASH_FILE": str(self.crash_file), **more}
        log = self.directory / f"worker-{len(self.processes)}.log"
        process = fork("tests.harness.crashing_worker", [point, str(times)], environ, REPOSITORY, log)
        self.processes.append(process)
        return process

    @property
    def crash_file(self) -> Path:
        return self.directory / "fired"

    def environment(self) -> dict[str, str]:
        """Return the settings as a user would give them."""
        found = {}
        for name in self.settings.model_fields_set:
            value = getattr(self.settings, name)
            found[f"SEGMENTER_{name.upper()}"] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
        return found | self.given

    def shell(self, **more: str) -> Shell:
        """Return where `segmenter` commands run with this world's settings."""
        variables = self.environment() | more
        return (Shell if "CLI_MODULE" in variables else Inside)(self.directory, variables)

    def states(self) -> dict[int, PartitionState]:
        return {p: decode_state(fence.state) for p, fence in self.store().fences(range(self.partitions)).items()}

    def store(self) -> RedisStore:
        binding = read_binding(self.client, self.settings.namespace)
        assert binding is not None
        return RedisStore(self.client, self.settings.namespace, binding.generation)

    def customers(self) -> dict[str, bytes]:
        """Return everybody's stored state."""
        store = self.store()
        found: dict[str, bytes] = {}
        for partition in range(self.partitions):
            chunk = store.chunk(partition, START, 1 << 20)
            found |= {name: blob for name, blob in zip(chunk.ids, chunk.blobs, strict=True) if blob is not None}
        return dict(sorted(found.items()))

    def counted(self, name: str) -> int:
        """Return a counter, over all partitions."""
        return sum(state.counters.get(name, 0) for state in self.states().values())

    def applied(self) -> int:
        return sum(state.applied for state in self.states().values())

    def await_progress(self, records: int) -> None:
        """Wait until so many more records of the input are applied: a gate between two faults."""
        done = self.applied()
        wait_until(lambda: self.applied() >= done + records, f"{records} more records applied")

    def settled(self) -> bool:
        """Say whether all input is applied, all days are swept and Kafka has Redis' last commit."""
        try:
            fences = self.store().fences(range(self.partitions))
        except StoreUnavailable:  # a cluster that comes back is at first not there for good
            return False
        with admin(self.kafka) as asked:
            committed = asked.group_offsets(self.settings.group_id, self.settings.transactions_topic)
        days = set()
        for partition, fence in fences.items():
            state = decode_state(fence.state)
            days.add(state.day)
            _, end = self.reader.bounds(self.settings.transactions_topic, partition)
            known = committed.get(partition)
            if state.applied < end or not state.sweep.ended or not state.sweep.number:
                return False
            if known is None or known.metadata != fence.last:
                return False
        return len(days) == 1 and not self.hanging()

    def hanging(self) -> bool:
        """Say whether a dead worker's transaction still hides the end of an output partition from committed readers."""
        topic = self.settings.segments_topic
        with KafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap) as everything:
            ends = everything.end_offsets([TopicPartition(topic, p) for p in range(self.partitions)])
        return any(self.reader.bounds(topic, each.partition)[1] < end for each, end in ends.items())

    def await_empty_group(self, seconds: float = 60.0) -> None:
        """Wait until the workers that ended, or whose session did, are members no more."""
        with admin(self.kafka) as asked:
            wait_until(lambda: not asked.group_members(self.settings.group_id), "a group without members", seconds)

    def end(self, seconds: float = 30.0) -> None:
        """Ask every worker that still runs to end, with SIGTERM: each leaves with exit code 0."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            assert process.wait(seconds) == 0

    def verdict(self) -> Outcome:
        """Pronounce the end-to-end verdict (FAULTS) once all workers have ended; the output is closed by markers."""
        return judge(self)

    def ends(self) -> int:
        """Return how many records the input holds."""
        topic = self.settings.transactions_topic
        return sum(self.reader.bounds(topic, p)[1] for p in range(self.partitions))

    def verify(self) -> None:
        """Recompute everything from the history file and the topics, as `segmenter verify` does: nothing differs."""
        with admin(self.kafka) as asked:
            committed = asked.group_offsets(self.settings.group_id, self.settings.transactions_topic)
        offsets = {partition: at.offset for partition, at in committed.items()}
        where = Where(self.settings, self.client, self.reader, offsets, "whole")
        verdict = verified(where, [self.history_file], reading_of(self.settings), time.time())
        assert verdict.ok, verdict.differences
        assert verdict.customers > 0
        assert verdict.events == self.ends()

    def settle(self, seconds: float = 120.0) -> None:
        wait_until(self.settled, "everything applied, swept and published", seconds)

    def output(self) -> list[InputRecord]:
        """Return the committed output of all partitions."""
        topic = self.settings.segments_topic
        return [record for partition in range(self.partitions) for record in self.records(topic, partition)]

    def records(self, topic: str, partition: int) -> list[InputRecord]:
        """Return the committed records of a partition."""
        first, end = self.reader.bounds(topic, partition)
        return list(self.reader.read(topic, partition, first, end)) if first < end else []

    def close_workers(self) -> None:
        """Kill every worker that still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End what was started, by its id."""
        self.close_workers()
        if hasattr(self, "writer"):
            self.writer.__exit__(None, None, None)
        self.reader.close()
        self.client.close()
