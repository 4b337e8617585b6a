"""Moves spread to listeners, over a topic in memory."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from consumer.ports import InputRecord, TransportError
from consumer.serving.feed import BACKLOG, LISTENERS, Feed
from consumer.serving.problem import Refused
from consumer.transport.kafka_tail import Arrived


class MemoryTail:
    """Hands out what is put; an exception is raised instead."""

    def __init__(self) -> None:
        self.written: queue.Queue[list[Arrived] | TransportError] = queue.Queue()
        self.opened = self.closed = 0

    def __call__(self) -> MemoryTail:
        self.opened += 1
        return self

    def poll(self, timeout_s: float) -> list[Arrived]:
        del timeout_s
        try:
            found = self.written.get(timeout=0.01)
        except queue.Empty:
            return []
        if isinstance(found, TransportError):
            raise found
        return found

    def close(self) -> None:
        self.closed += 1


def arrived(offset: int, value: bytes | None) -> Arrived:
    return Arrived(2, InputRecord(offset, 0, b"12748", value))


async def begun(feed: Feed) -> AsyncIterator[bytes]:
    stream = await feed.listen()
    assert b"moves from here on" in await anext(stream)
    return stream


def run(scene: Callable[[Feed, MemoryTail], Any]) -> MemoryTail:
    """Play a scene to its end; afterwards nobody reads the topic any more."""
    tail = MemoryTail()

    async def play() -> None:
        feed = Feed(tail)  # type: ignore[arg-type]  # as the feed uses it
        async with asyncio.timeout(10):
            await scene(feed, tail)
            feed.close()
            while tail.closed < tail.opened:
                await asyncio.sleep(0.01)

    asyncio.run(play())
    return tail


def test_each_record_goes_to_every_listener_as_it_was_published() -> None:
    async def scene(feed: Feed, tail: MemoryTail) -> None:
        one, other = await begun(feed), await begun(feed)
        tail.written.put([arrived(7, b'{"revision":2}'), arrived(8, None)])
        for stream in (one, other):
            assert await anext(stream) == b'id: 2:7\nevent: move\ndata: {"revision":2}\n\n'
            assert await anext(stream) == b'id: 2:8\nevent: erased\ndata: {"customer_id":"12748"}\n\n'

    assert run(scene).opened == 1


def test_the_topic_is_read_only_while_somebody_listens() -> None:
    async def scene(feed: Feed, tail: MemoryTail) -> None:
        await (await begun(feed)).aclose()  # type: ignore[attr-defined]  # it is a generator
        while not tail.closed:
            await asyncio.sleep(0.01)
        again = await begun(feed)
        tail.written.put([arrived(9, b"{}")])
        assert b"2:9" in await anext(again)

    assert run(scene).opened == 2


def test_where_kafka_goes_away_every_stream_ends_and_the_next_listener_connects_anew() -> None:
    async def scene(feed: Feed, tail: MemoryTail) -> None:
        stream = await begun(feed)
        tail.written.put(TransportError("gone", retriable=True))
        assert [event async for event in stream] == []
        await begun(feed)

    assert run(scene).opened == 2


def test_who_reads_too_slowly_is_cut_off_and_holds_up_nobody() -> None:
    async def scene(feed: Feed, tail: MemoryTail) -> None:
        slow, quick = await begun(feed), await begun(feed)
        for i in range(BACKLOG + 1):
            tail.written.put([arrived(i, b"{}")])
            assert b"id: 2:%d\n" % i in await anext(quick)
        got = [event async for event in slow]
        assert len(got) == BACKLOG - 1
        assert b"id: 2:1\n" in got[0]

    run(scene)


def test_there_are_so_many_streams_and_no_more() -> None:
    async def scene(feed: Feed, _: MemoryTail) -> None:
        streams = [await begun(feed) for _ in range(LISTENERS)]
        with pytest.raises(Refused, match="streams are open"):
            await feed.listen()
        await streams[0].aclose()  # type: ignore[attr-defined]  # it is a generator
        await begun(feed)

    run(scene)
