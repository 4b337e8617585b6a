"""The OpenAPI document: FastAPI's of paths and parameters, msgspec's schemas of what goes over the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from consumer.commands.cli_model import Report
from consumer.commands.explain import Explanation
from consumer.commands.promotion import Promotion
from consumer.serving.messages import Alive, Found, Ready, Wanted
from consumer.serving.problem import MEDIA_TYPE, Problem
from consumer.serving.queries import Erasure, KnownCustomer, Page, Segments

MESSAGES = (
    KnownCustomer,
    Explanation,
    Erasure,
    Wanted,
    Found,
    Segments,
    Page,
    Report,
    Promotion,
    Alive,
    Ready,
    Problem,
)
REFUSED = (400, 401, 403, 429, 500, 503)
"""What any route behind a token may refuse with."""
JSON = "application/json"
_AT = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Says:
    """What the document tells of a route. example: a whole answer, a text for a stream; refused: beside `REFUSED`."""

    example: msgspec.Struct | str
    refused: tuple[int, ...] = ()
    method: str = "GET"
    status: int = 200
    body: msgspec.Struct | None = None
    also: Mapping[int, msgspec.Struct] | None = None

    def responses(self, *, guarded: bool) -> dict[int | str, dict[str, Any]]:
        """Return every answer by its status. guarded: the route asks for a token."""
        problem = {MEDIA_TYPE: {"schema": {"$ref": _AT.format(name=Problem.__name__)}}}
        found = dict.fromkeys((*(REFUSED if guarded else ()), *self.refused), problem)
        found |= {status: _content(example) for status, example in (self.also or {}).items()}
        found[self.status] = _content(self.example)
        return {status: {"description": HTTPStatus(status).phrase, "content": what} for status, what in found.items()}

    def extra(self, *, guarded: bool) -> dict[str, Any]:
        """Return what FastAPI cannot know: the body, and that probes ask for no token."""
        body = {} if self.body is None else {"requestBody": {"required": True, "content": _content(self.body)}}
        return body | ({} if guarded else {"security": []})


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application whose routes say what they answer."""
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # what FastAPI would refuse so is a problem with status 400
    _, schemas = msgspec.json.schema_components(MESSAGES, ref_template=_AT)
    found["components"] = {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    found["security"] = [{"token": []}]
    return found


def _content(example: msgspec.Struct | str) -> dict[str, Any]:
    if isinstance(example, str):
        return {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    schema = {"$ref": _AT.format(name=type(example).__name__)}
    return {JSON: {"schema": schema, "example": msgspec.to_builtins(example, str_keys=True)}}
