"""A TCP proxy on 127.0.0.1 that breaks what passes through it, on cue.

    client --> Proxy --> server          pass through, until a test says otherwise:
                                         cut          every connection is reset; with `down` new ones too
                                         black_hole   connections are accepted and kept, nothing is ever answered
                                         drop_reply   the Nth matching request reaches the server, its answer nobody
                                         delay        each piece waits, in both directions
                                         point_at     new connections go to another server (a failover's stable address)

One event loop in a thread of its own carries all connections; the test's thread only sets the rules and reads the
counters. Requests are cut out of the stream by a `frame` function, so that a rule sees whole ones: `redis_request`,
`kafka_request`, or none where the stream is not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from consumer.transport.child import free_port

T = TypeVar("T")

Frame = Callable[[bytes], int | None]
"""Returns the length of the first whole request in a buffer, None while it is not whole."""

Matches = Callable[[bytes], bool]
"""Says whether a request is one that a rule is for."""

PIECE = 1 << 16
CONTROL_S = 5.0


def redis_request(buffer: bytes) -> int | None:
    """Return the length of the first RESP command in a buffer: an array of bulk strings."""
    end = buffer.find(b"\r\n")
    if end < 0:
        return None
    if buffer[:1] != b"*":  # an inline command
        return end + 2
    at = end + 2
    for _ in range(int(buffer[1:end])):
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        at = end + 2 + int(buffer[at + 1 : end]) + 2
        if at > len(buffer):
            return None
    return at


def kafka_request(buffer: bytes) -> int | None:
    """Return the length of the first Kafka request in a buffer: four bytes of length, then so much."""
    if len(buffer) < 4:
        return None
    whole = 4 + int.from_bytes(buffer[:4], "big")
    return whole if len(buffer) >= whole else None


def anything(buffer: bytes) -> int | None:
    """Take a stream as it comes."""
    return len(buffer) or None


def holding(*parts: bytes) -> Matches:
    """Return a rule for requests that hold all these bytes."""
    return lambda request: all(part in request for part in parts)


@dataclass(slots=True)
class Dropping:
    """Drops the answers of the matching requests with these numbers, counted from 1."""

    matches: Matches
    at: frozenset[int]
    seen: int = 0
    fired: int = 0
    """So many requests reached the server, which answered; the answer was thrown away."""

    def hits(self, request: bytes) -> bool:
        """Count a request; say whether its answer is to be dropped."""
        if not self.matches(request):
            return False
        self.seen += 1
        return self.seen in self.at


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and ours to the server, None while there is none."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    dropping: Dropping | None = None
    """Whose answer comes next, and goes nowhere."""
    spoiled: bool = False
    """Something was swallowed: what follows would make no sense to either side."""

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is None or writer.transport.is_closing():
                continue
            found = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # the other side was faster
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """`with Proxy("127.0.0.1", 6379, frame=redis_request) as proxy: ...` at `proxy.host`:`proxy.port`."""

    host = "127.0.0.1"

    def __init__(self, host: str, port: int, *, frame: Frame = anything, certificate: Path | None = None) -> None:
        """certificate: key and certificate of a server; then clients must speak TLS, which ends here."""
        self._target = host, port
        self._tls = None
        if certificate is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificate)
        self._frame = frame
        self.port = free_port()
        self.connections = 0
        """Accepted."""
        self.cuts = 0
        """Connections reset by `cut`, by `down`, or because the server was not there."""
        self.swallowed = 0
        """Pieces that a black hole took."""
        self.delayed = 0
        self._rules: list[Dropping] = []
        self._links: set[_Link] = set()
        self._down = self._swallowing = False
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    @classmethod
    def to_redis(cls, url: str, *, certificate: Path | None = None) -> Self:
        """Return a proxy to the server of a redis:// address; `url_of` says the address to use instead."""
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 6379, frame=redis_request, certificate=certificate)

    def url_of(self, url: str) -> str:
        """Return an address with the proxy's place in it."""
        parts = urlsplit(url)._replace(netloc=f"{self.host}:{self.port}")
        return urlunsplit(parts if self._tls is None else parts._replace(scheme="rediss"))

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_S)
        self._loop.close()

    # What a test may ask for ----------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset every connection; return how many there were."""
        return self._do(self._cut())

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Reset every connection, and each new one at once, while the block runs."""
        self._down = True
        self.cut()
        try:
            yield
        finally:
            self._down = False

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Keep all connections, take new ones, and answer nothing while the block runs.

        At its end those that lost something are reset: their streams have a gap.
        """
        self._swallowing = True
        try:
            yield
        finally:
            self._swallowing = False
            self._do(self._cut(only_spoiled=True))

    def drop_reply(self, matches: Matches, at: Collection[int] = (1,)) -> Dropping:
        """Throw the answers of the matching requests with these numbers away, and close those connections."""
        rule = Dropping(matches, frozenset(at))
        self._rules.append(rule)
        return rule

    @contextlib.contextmanager
    def delay(self, seconds: float) -> Iterator[None]:
        """Let each piece wait while the block runs."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    def point_at(self, host: str, port: int) -> None:
        """Send new connections to another server, and reset those to the old one."""
        self._target = host, port
        self.cut()

    # The loop's thread ----------------------------------------------------------------------------------

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(CONTROL_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, limit=PIECE, ssl=self._tls)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self, *, only_spoiled: bool = False) -> int:
        chosen = [link for link in self._links if link.spoiled or not only_spoiled]
        for link in chosen:
            link.reset()
            self.cuts += 1
        return len(chosen)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(writer)
        self.connections += 1
        self._links.add(link)
        try:
            await self._carry(link, reader)
        except (OSError, asyncio.CancelledError):
            pass  # either side went away, or the proxy ends
        finally:
            link.reset()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _carry(self, link: _Link, reader: asyncio.StreamReader) -> None:
        if self._down:
            self.cuts += 1
            return
        if self._swallowing:
            await self._swallow(link, reader)
            return
        try:
            server, link.server = await asyncio.open_connection(*self._target, limit=PIECE)
        except OSError:
            self.cuts += 1
            return
        ways = [
            asyncio.ensure_future(self._upwards(link, reader)),
            asyncio.ensure_future(self._downwards(link, server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _swallow(self, link: _Link, reader: asyncio.StreamReader) -> None:
        link.spoiled = True
        while await reader.read(PIECE):
            self.swallowed += 1

    async def _upwards(self, link: _Link, reader: asyncio.StreamReader) -> None:
        assert link.server is not None
        buffer = b""
        while piece := await reader.read(PIECE):
            await self._wait()
            if self._swallowing:
                self.swallowed += 1
                link.spoiled = True
                continue
            buffer += piece
            while (length := self._frame(buffer)) is not None:
                request, buffer = buffer[:length], buffer[length:]
                link.dropping = next((rule for rule in self._rules if rule.hits(request)), link.dropping)
                link.server.write(request)
            await link.server.drain()

    async def _downwards(self, link: _Link, server: asyncio.StreamReader) -> None:
        while piece := await server.read(PIECE):
            await self._wait()
            if self._swallowing:
                self.swallowed += 1
                link.spoiled = True
                continue
            if link.dropping is not None:
                link.dropping.fired += 1
                return
            link.client.write(piece)
            await link.client.drain()

    async def _wait(self) -> None:
        if self._delay_s:
            self.delayed += 1
            await asyncio.sleep(self._delay_s)
