"""Errors over HTTP, as RFC 9457 has them: what is wrong, with which, and what to do.

Refused                  as it says
StoreUnavailable, Stop   503, try again later
NewerSchema              503, until this process is of the newer version too
GenerationGone           503: a new state is being flipped in
TransportError           503: Kafka
any other                500, without a trace: an exception's text may hold a customer's id
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from consumer.exits import Stop
from consumer.ports import TransportError
from features.codec import InvalidState, NewerSchema
from features.store import GenerationGone, StoreError, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
AGAIN_S = 1
"""After so many seconds a part that was away is asked again."""


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused (RFC 9457). type: names the kind of problem; detail: what, which, and what to do."""

    type: str
    title: str
    status: int
    detail: str


class Refused(Exception):
    """A request that is not answered. kind: the end of the problem's type; headers: beside it."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})


class Told(NamedTuple):
    """What goes over the line."""

    status: int
    body: bytes
    headers: dict[str, str]


def told(refused: Refused) -> Told:
    """Return a refusal as an answer."""
    problem = Problem(
        type=f"urn:segmenter:problem:{refused.kind}",
        title=HTTPStatus(refused.status).phrase,
        status=refused.status,
        detail=str(refused),
    )
    return Told(refused.status, msgspec.json.encode(problem), {"content-type": MEDIA_TYPE, **refused.headers})


def refusal_of(error: Exception) -> Refused:
    """Return what an error means to who asked."""
    match error:
        case Refused():
            return error
        case GenerationGone():
            return away("a new state takes the place of the old one just now; ask again in a moment")
        case StoreUnavailable():
            return away("Redis cannot be asked now; `segmenter doctor` says why")
        case Stop() | NewerSchema():
            return away(str(error))
        case TransportError():
            return away("Kafka cannot be asked now; `segmenter doctor` says why")
        case InvalidState():
            return Refused(500, "damaged-state", "the stored state cannot be trusted: put it back from a backup")
        case StoreError():
            return Refused(500, "store", "Redis refused a command; `segmenter doctor` says why")
        case _:
            return Refused(500, "internal", f"{type(error).__name__}: unexpected; the server's log names the address")


def away(detail: str) -> Refused:
    """Return the refusal of a request that may succeed later."""
    return Refused(503, "unavailable", detail, {"retry-after": str(AGAIN_S)})
