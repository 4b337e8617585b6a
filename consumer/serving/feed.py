r"""Moves as they are published, for many listeners: one reader of the output topic, in a thread of its own.

    output topic --read_committed, from the end--> thread --> a queue for each listener --> server-sent events

The thread is there while anybody listens. Who takes too long to read is cut off rather than waited for: he comes back,
and knows by the revision whether he missed anything.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import msgspec

from consumer.ports import TransportError
from consumer.serving.problem import Refused
from consumer.transport.kafka_tail import Arrived, KafkaTail

LISTENERS = 32
BACKLOG = 1_000
"""Events that may wait for a listener."""
BEAT_S = 15.0
"""A line of nothing so often keeps proxies from closing a silent stream."""
LOOK_S = 0.5

_ENDED = b""


class Feed:
    """Spreads the records of a tail. open_tail: connects, and stands at the end."""

    def __init__(self, open_tail: Callable[[], KafkaTail]) -> None:
        self._open_tail = open_tail
        self._listeners: set[asyncio.Queue[bytes]] = set()
        self._reader: asyncio.Future[None] | None = None
        self._ending = threading.Event()
        self._joining = asyncio.Lock()

    async def listen(self) -> AsyncIterator[bytes]:
        """Begin to listen, and return the stream. Raises `Refused`, `TransportError`."""
        if len(self._listeners) >= LISTENERS:
            raise Refused(
                429,
                "too-many-listeners",
                f"{LISTENERS} streams are open, all there are; try again later",
                {"retry-after": "5"},
            )
        async with self._joining:
            if self._reader is None or self._ending.is_set() or self._reader.done():
                if self._reader is not None:
                    await self._reader
                tail = await asyncio.to_thread(self._open_tail)
                self._ending.clear()
                self._reader = asyncio.ensure_future(asyncio.to_thread(self._read, tail, asyncio.get_running_loop()))
        return self._stream()

    def close(self) -> None:
        """End every stream."""
        self._ending.set()

    async def _stream(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        self._listeners.add(queue)
        try:
            yield b"retry: 1000\n: moves from here on\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), BEAT_S)
                except TimeoutError:
                    event = b": still here\n\n"
                if event == _ENDED:
                    return
                yield event
        finally:
            self._leave(queue)

    def _leave(self, queue: asyncio.Queue[bytes]) -> None:
        self._listeners.discard(queue)
        if not self._listeners:
            self._ending.set()

    def _read(self, tail: KafkaTail, loop: asyncio.AbstractEventLoop) -> None:
        """Run in the thread, until nobody listens or Kafka fails; then every stream ends, and who wants comes back."""
        try:
            while not self._ending.is_set():
                events = [event_of(arrived) for arrived in tail.poll(LOOK_S)]
                if events:
                    loop.call_soon_threadsafe(self._spread, events)
        except TransportError:
            pass
        finally:
            tail.close()
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._spread, [_ENDED])

    def _spread(self, events: Sequence[bytes]) -> None:
        for queue in tuple(self._listeners):
            for event in events:
                if queue.full():  # he reads too slowly: make room for the word that it is over
                    self._listeners.discard(queue)
                    queue.get_nowait()
                    queue.put_nowait(_ENDED)
                    break
                queue.put_nowait(event)


class Erased(msgspec.Struct, frozen=True):
    """A customer is erased, or gone since long."""

    customer_id: str


def event_of(arrived: Arrived) -> bytes:
    """Return a record of the output as a server-sent event: `move` with the record, or `erased`."""
    record = arrived.record
    name, data = b"move", record.value
    if data is None:
        name, data = b"erased", msgspec.json.encode(Erased((record.key or b"").decode("utf-8", "replace")))
    return b"id: %d:%d\nevent: %b\ndata: %b\n\n" % (arrived.partition, record.offset, name, data)
