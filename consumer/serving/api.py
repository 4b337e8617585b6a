r"""The look-up API: paths, who may ask, what is refused. docs/api.md tells of it as its users see it.

    request --Guard--> route --token: role?--> Queries, in a thread --msgspec--> JSON
                         \--/v1/customers/{id}--> Together: who comes at the same time is read at once

The structs of `queries` are the one definition of what is answered: OpenAPI's schemas are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException

from consumer.commands.promotion import Unpromotable
from consumer.commands.versions import UnknownModel
from consumer.serving import examples
from consumer.serving.feed import Feed
from consumer.serving.guard import Guard
from consumer.serving.messages import IDS, Alive, Found, Ready, Wanted
from consumer.serving.openapi import Says, document
from consumer.serving.problem import Refused, refusal_of, told
from consumer.serving.queries import BadCursor, Queries
from consumer.serving.together import Together
from consumer.serving.tokens import SETTING, Role, Tokens
from features.identity import MAX_ID_BYTES, canonical_id

MAX_BODY = 2 << 20
"""Bytes: more than `IDS` ids can be, every character escaped."""
PAGE, LONGEST_PAGE = 100, 1_000
_PORT = re.compile(r":\d+$")
THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "[::1]"})


class _CustomerInPath(StringConvertor):
    """An id may hold a slash; one that ends like a verb (`x:erase`) is asked for by customers:lookup."""

    regex = r"(?s:.+?)(?<!:explain)(?<!:erase)"


register_url_convertor("id", _CustomerInPath())


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API is made of. tokens: None where no file names any: then one id at a time, from this machine."""

    queries: Queries
    feed: Feed
    tokens: Tokens | None


def make_app(parts: Parts) -> Guard:
    """Return the application. A second one in the same process shares nothing with it."""
    app = FastAPI(
        title="Segmenter",
        version="1",
        description="Customers' segments as the stream has made them. Errors are RFC 9457 problems.",
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    Api(parts).add_to(app)
    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refuse)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    return Guard(app)


class Api:
    """The handlers. Each takes what HTTP gives and returns what `Queries` answers."""

    def __init__(self, parts: Parts) -> None:
        self._queries, self._feed, self._tokens = parts.queries, parts.feed, parts.tokens
        self._together = Together(parts.queries.customers)

    def add_to(self, app: FastAPI) -> None:
        """Add every route."""
        read, erase, promote, one = self._role("read"), self._role("erase"), self._role("promote"), self._one
        for path, answer, asks, says in (
            ("/v1/customers/{customer_id:id}:explain", self.explain, one, Says(examples.EXPLANATION, (404,))),
            (
                "/v1/customers/{customer_id:id}:erase",
                self.erase,
                erase,
                Says(examples.ERASURE, method="POST", status=202),
            ),
            ("/v1/customers/{customer_id:id}", self.customer, one, Says(examples.CUSTOMER, (404,))),
            ("/v1/customers:lookup", self.lookup, read, Says(examples.FOUND, (413,), "POST", body=examples.WANTED)),
            ("/v1/segments", self.segments, read, Says(examples.SEGMENTS)),
            ("/v1/segments/{segment_id}/customers", self.members, read, Says(examples.PAGE, (404,))),
            ("/v1/model", self.model, read, Says(examples.MODEL)),
            (
                "/v1/model/{version}:promote",
                self.promote,
                promote,
                Says(examples.PROMOTION, (404, 409), method="POST"),
            ),
            ("/v1/moves", self.moves, read, Says(examples.MOVES)),
            ("/livez", self.livez, None, Says(examples.ALIVE)),
            ("/readyz", self.readyz, None, Says(examples.READY, also={503: examples.NOT_READY})),
        ):
            app.add_api_route(
                path,
                answer,
                methods=[says.method],
                status_code=says.status,
                response_class=Response,
                dependencies=[Depends(asks)] if asks else [],
                responses=says.responses(guarded=asks is not None),
                openapi_extra=says.extra(guarded=asks is not None),
            )

    async def customer(self, customer_id: str) -> Response:
        """A customer: segment, features, next move in silence, and the age of what is said."""
        found = await self._together.get(_canonical(customer_id))
        return _json(_known(found, customer_id))

    async def explain(self, customer_id: str) -> Response:
        """Why a customer is where he is, what changed since his last move, and the least that would move him."""
        return _json(_known(await run_in_threadpool(self._queries.explanation, _canonical(customer_id)), customer_id))

    async def erase(self, customer_id: str) -> Response:
        """Publish the erasure of a customer. It is applied by a worker; `segmenter erase` also gives a receipt."""
        return _json(await run_in_threadpool(self._queries.erase, _canonical(customer_id)), 202)

    async def lookup(self, request: Request) -> Response:
        """Several customers at once."""
        wanted = _decoded(await _body(request))
        ids = list(dict.fromkeys(map(_canonical, wanted.ids)))
        found = await run_in_threadpool(self._queries.customers, ids)
        known = [each for each in found.values() if each is not None]
        return _json(Found(known, [name for name, each in found.items() if each is None]))

    async def segments(self) -> Response:
        """The segments in figures: customers, shares of customers and revenue, medians."""
        return _json(await run_in_threadpool(self._queries.segments))

    async def members(
        self,
        segment_id: int,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
        cursor: str | None = None,
    ) -> Response:
        """A segment's customers, a page at a time: the next one by the cursor in `next`, until that is null."""
        try:
            page = await run_in_threadpool(self._queries.members, segment_id, limit, cursor)
        except BadCursor as error:
            raise Refused(400, "cursor", f"{error}: begin again without one") from None
        if page is None:
            raise Refused(404, "unknown-segment", f"no segment has the id {segment_id}: /v1/segments lists them")
        return _json(page)

    async def model(self) -> Response:
        """The live model: version, centroids, segments, and the leader's last checkup."""
        return _json(await run_in_threadpool(self._queries.model))

    async def promote(self, version: str, preview: Literal["true", "false"] = "false") -> Response:
        """Make a version such as 17, or a candidate such as c3, the live model; the workers sweep everybody under it.

        With `preview=true` nothing is published: the answer tells who would move.
        """
        try:
            done = await run_in_threadpool(self._queries.promote, version, preview=preview == "true")
        except UnknownModel as error:
            raise Refused(404, "unknown-model", str(error)) from None
        except Unpromotable as error:
            raise Refused(409, "not-promotable", str(error)) from None
        return _json(done)

    async def moves(self) -> Response:
        """Server-sent events: each record of the output topic from now on, and erasures."""
        return StreamingResponse(await self._feed.listen(), media_type="text/event-stream")

    async def livez(self) -> Response:
        """Whether the process answers. It asks neither Redis nor Kafka."""
        return _json(Alive(True))

    async def readyz(self) -> Response:
        """Whether a look-up would be answered."""
        try:
            await run_in_threadpool(self._queries.check)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the answer is no
            return _json(Ready(False, str(refusal_of(error))), 503)
        return _json(Ready(True, None))

    async def _one(self, request: Request) -> None:
        """Let through who may ask for one customer."""
        if self._tokens is not None:
            _authorise(self._tokens, request, "read")
        elif _PORT.sub("", request.headers.get("host", "")) not in THIS_MACHINE:
            # A page in a browser may have a name of its own made out to 127.0.0.1.
            raise Refused(403, "host", f"without {SETTING} only http://127.0.0.1 and http://localhost are answered")

    def _role(self, role: Role) -> Callable[[Request], Awaitable[None]]:
        async def asked(request: Request) -> None:
            if self._tokens is None:
                raise Refused(403, "no-tokens", f"without {SETTING} one customer at a time may be looked up, no more")
            _authorise(self._tokens, request, role)

        return asked


def _authorise(tokens: Tokens, request: Request, role: Role) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    grant = tokens.grant_of(token.strip()) if scheme.lower() == "bearer" else None
    if grant is None:
        how = "send `Authorization: Bearer TOKEN` with a token that the server's file knows"
        raise Refused(401, "token", how, {"www-authenticate": "Bearer"})
    if role not in grant.roles:
        raise Refused(403, "role", f"this token has not the role {role}: its line in the server's file gives roles")


def _canonical(text: str) -> str:
    try:
        customer = canonical_id(text)
        size = len(customer.encode())
    except UnicodeEncodeError:
        raise Refused(400, "id", "an id is Unicode text; this one has half a surrogate pair") from None
    if not 1 <= size <= MAX_ID_BYTES:
        raise Refused(400, "id", f"an id has 1 to {MAX_ID_BYTES} bytes in UTF-8, this one has {size}")
    return customer


def _known(found: Any, text: str) -> Any:
    if found is None:
        raise Refused(404, "unknown-customer", f"unknown id {canonical_id(text)!r}: no order of his was applied")
    return found


async def _body(request: Request) -> bytes:
    """Return a request's body, or stop reading where it is too long."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            raise Refused(413, "too-large", f"a body has at most {MAX_BODY:,} bytes: ask for fewer ids at a time")
    return b"".join(parts)


def _decoded(body: bytes) -> Wanted:
    try:
        return msgspec.json.decode(body, type=Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "body", f'{error}; send {{"ids": ["12748", ...]}} with 1 to {IDS} ids') from None


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer what FastAPI itself refuses, and what a handler does."""
    if isinstance(error, RequestValidationError):
        wrong = error.errors()[0]
        error = Refused(400, "parameter", f"{wrong['loc'][-1]}: {wrong['msg']}; /openapi.json has what is allowed")
    elif isinstance(error, HTTPException):
        kind, what = ("method", "this address takes another method") if error.status_code == 405 else ("address", "")
        what = what or "there is nothing at this address; /openapi.json has all there are"
        error = Refused(error.status_code, kind, what, {k.lower(): v for k, v in (error.headers or {}).items()})
    answer = told(refusal_of(error))
    return Response(answer.body, answer.status, answer.headers)
