"""So many requests at a time, and probes whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from consumer.serving.guard import Guard


def test_beyond_the_limit_a_request_is_turned_away_but_for_the_probes() -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/model":
            held.set()
            await go.wait()
        await Response("done")(scope, receive, send)

    async def ask() -> tuple[Any, ...]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(Guard(slow, limit=1)), base_url="http://localhost"
        ) as client:
            first = asyncio.create_task(client.get("/v1/model"))
            await held.wait()
            refused, alive = await client.get("/v1/segments"), await client.get("/livez")
            go.set()
            return await first, refused, alive, await client.get("/v1/segments")

    first, refused, alive, after = asyncio.run(ask())
    assert (first.status_code, alive.status_code, after.status_code) == (200, 200, 200)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["type"] == "urn:segmenter:problem:too-many-requests"
    assert first.headers["cache-control"] == "no-store"
