"""The outermost layer of the API: so many requests at a time, and no stack trace whatever happens.

Guarantee: what is logged is the kind of an error and the route's template, never a path: a path holds a customer's id.
"""

from __future__ import annotations

from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumer.serving.problem import Refused, refusal_of, told

IN_FLIGHT = 256
"""Requests at a time. Beyond that an answer would come too late for whoever waits."""

UNCOUNTED = frozenset({"/livez", "/readyz", "/v1/moves"})
"""Probes must get through when nothing else does; streams have a limit of their own."""

HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Guard:
    """Wraps an application."""

    def __init__(self, app: ASGIApp, *, limit: int = IN_FLIGHT) -> None:
        self._app, self._limit = app, limit
        self._in_flight = 0
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counted = scope["path"] not in UNCOUNTED
        if counted and self._in_flight >= self._limit:
            busy = f"{self._limit} requests are being answered, all that may be at a time; ask again in a moment"
            await _say(Refused(429, "too-many-requests", busy, {"retry-after": "1"}), send)
            return
        self._in_flight += counted
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._in_flight -= counted

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:  # noqa: BLE001 -- the rim: whatever went wrong is said in a sentence
            refused = refusal_of(error)
            if refused.status == 500:  # 503 is what /readyz tells of, and would fill the log
                self._log.error("request failed", route=_template(scope), kind=type(error).__name__)
            if not begun:
                await _say(refused, sent)


def _template(scope: Scope) -> str:
    route: Any = scope.get("route")
    return str(getattr(route, "path_format", "none"))


async def _say(refused: Refused, send: Send) -> None:
    answer = told(refused)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
