"""Where the contest is held: a broker, a store, the topics with the events, and one clock for everybody.

    this process, broker, store: the last core        the peer: core 0

    input  -----> peer ----> output ----> the reader here notes when each start mark and each end mark arrives, and the
                                          CPU seconds of the peer's process tree and of the store at these moments

A run lasts from the mean of the start marks' moments to the last end mark's. The mean, because peers read partitions by
turns, megabytes at a time: when the first start mark is out, no other partition has come so far, and when the last is
out, all others are beyond theirs. At the mean as much is done too early as is still to do.

A peer reads from the beginning: history, warm-up, start marks, measured lines, end marks. Ours has the history from a
bootstrap and reads the topic without it. The topics are filled once for all runs.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import redis
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.stream import PARTITIONS, Line, Stream, marks
from tests.harness.footprint import cpu_s

PEER_CORE = "0"
SILENCE_S = 1.5
"""So long after the end marks the output is read on: nothing more comes when all is well, and what does is a fault."""

Record = tuple[bytes, bytes]
Cause = tuple[int, int, int]
"""Partition, sequence of the commit, input offset: of a record of ours that an event caused."""


class ContestError(RuntimeError):
    """A peer that ended, or did not arrive; the message names its log."""


@dataclass(frozen=True, slots=True)
class Content:
    """Topics of one stream. whole: with the history, for peers; live: without, for ours."""

    stream: Stream
    whole: str
    live: str


@dataclass(frozen=True, slots=True)
class Lap:
    """One measured run. seconds: between the marks; cpu_s, store_cpu_s: of the peer's tree and of the store meanwhile;
    load: of the host, over a minute, at the end; records: the output, a partition's in order; causes: of ours alone.
    """

    seconds: float
    cpu_s: float
    store_cpu_s: float
    load: float
    records: list[Record] = field(repr=False)
    causes: list[Cause] = field(repr=False)


class Look(NamedTuple):
    """One moment: monotonic seconds, and CPU seconds so far."""

    at: float
    cpu_s: float
    store_cpu_s: float


class Arena:
    """A running broker and store, and what is in them."""

    def __init__(self, kafka: str, store: str) -> None:
        self.kafka, self.store = kafka, store
        self.admin = AdminClient({"bootstrap.servers": kafka, "log_level": 2})
        self._store = redis.Redis.from_url(store)
        self._contents: dict[Stream, Content] = {}

    def content(self, stream: Stream) -> Content:
        """Return the topics of a stream, filled at its first use."""
        if stream not in self._contents:
            name = f"contest-{uuid.uuid4().hex[:6]}"
            content = Content(stream, f"{name}-whole", f"{name}-live")
            self._create(content.whole, content.live)
            self._fill(content.whole, stream.history())
            self._fill(content.whole, stream.lines())
            self._fill(content.live, stream.lines())
            self._contents[stream] = content
        return self._contents[stream]

    def topic(self) -> str:
        """Create a topic for one run's output and return its name."""
        name = f"contest-{uuid.uuid4().hex[:6]}-out"
        self._create(name)
        return name

    def clear(self) -> None:
        """Delete every topic and group that is no content's: what runs left behind, and an empty store."""
        kept = {topic for content in self._contents.values() for topic in (content.whole, content.live)}
        topics = [each for each in self.admin.list_topics(timeout=30).topics if each not in kept and each[:2] != "__"]
        groups = [each.group_id for each in self.admin.list_consumer_groups().result().valid]
        waiting = [*self.admin.delete_topics(topics, operation_timeout=30).values()] if topics else []
        for group in groups:  # one by one: the client's answer for several at once is broken
            waiting += self.admin.delete_consumer_groups([group]).values()
        for future in waiting:
            future.exception(timeout=30)  # what cannot be deleted is no harm to the next run, whose names are new
        self._store.flushall()

    def lap(self, command: list[str], environment: Mapping[str, str], output: str, log: Path, patience_s: float) -> Lap:
        """Run a peer on its core until its end marks are out. Raises `ContestError`."""
        with log.open("wb") as file:
            peer = subprocess.Popen(
                ["taskset", "-c", PEER_CORE, *command],
                env=dict(environment),
                cwd=log.parent,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return self._measure(peer, output, log, time.monotonic() + patience_s)
        finally:
            _end(peer)

    def _measure(self, peer: subprocess.Popen[bytes], output: str, log: Path, deadline: float) -> Lap:
        waiting = {name.encode(): which for which in ("start", "end") for name in marks(which)}
        seen: dict[str, list[Look]] = {"start": [], "end": []}
        records: list[Record] = []
        causes: list[Cause] = []
        last = 0.0
        consumer = self._reader(output)
        try:
            while waiting or time.monotonic() - last < SILENCE_S:
                messages = consumer.consume(10_000, timeout=0.05)
                if peer.poll() is not None or time.monotonic() > deadline:
                    raise ContestError(f"the peer ended ({peer.poll()}) or took too long: see {log}\n{_tail(log)}")
                found = [_record(each) for each in messages]
                if found:
                    last = time.monotonic()
                records += found
                causes += (cause for each in messages if (cause := _cause(each)))
                if marked := [waiting.pop(key) for key, _ in found if key in waiting]:
                    look = Look(last, tree_cpu_s(peer.pid), self._store_cpu_s())
                    for which in marked:
                        seen[which].append(look)
        finally:
            consumer.close()
        began = Look(*(statistics.fmean(each) for each in zip(*seen["start"], strict=True)))
        ended = seen["end"][-1]
        seconds, cpu, store = (end - start for start, end in zip(began, ended, strict=True))
        return Lap(seconds, cpu, store, os.getloadavg()[0], records, causes)

    def _reader(self, topic: str) -> Consumer:
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": f"{topic}-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "log_level": 2,
            }
        )
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        return consumer

    def _store_cpu_s(self) -> float:
        return cpu_s(int(self._store.info("server")["process_id"]))

    def _create(self, *names: str) -> None:
        new = self.admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names], operation_timeout=30)
        for future in new.values():
            future.result(timeout=60)

    def _fill(self, topic: str, lines: Iterable[Line]) -> None:
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        producer = Producer(
            {
                "bootstrap.servers": self.kafka,
                "partitioner": "murmur2_random",
                "linger.ms": 50,
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
                "log_level": 2,
            }
        )
        for line in lines:
            key, value = line.customer.encode(), line.event()
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(120) or failed:
            raise ContestError(f"{topic} could not be filled: {failed[:1]}")


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all its living descendants."""
    seconds, waiting = 0.0, [pid]
    while waiting:
        each = waiting.pop()
        seconds += cpu_s(each)
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except FileNotFoundError:  # a thread that ended just now
                continue
    return seconds


def _record(message: Message) -> Record:
    if message.error() is not None:
        raise ContestError(f"the output cannot be read: {message.error()}")
    return message.key() or b"", message.value() or b""


def _cause(message: Message) -> Cause | None:
    headers = dict(message.headers() or ())
    if not headers.keys() >= {"sequence", "offset"}:
        return None
    return message.partition() or 0, int(headers["sequence"] or 0), int(headers["offset"] or 0)


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-3_000:]


def _end(peer: subprocess.Popen[bytes]) -> None:
    """End a peer in good order, and what it leaves of its process group."""
    if peer.poll() is None:
        peer.send_signal(signal.SIGTERM)
        try:
            peer.wait(30)
        except subprocess.TimeoutExpired:
            peer.kill()
            peer.wait()
    try:
        os.killpg(peer.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
