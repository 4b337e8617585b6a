"""What the API takes and answers beside what `queries` and the commands have."""

from __future__ import annotations

from typing import Annotated

import msgspec

from consumer.serving.queries import KnownCustomer

IDS = 500
"""So many customers at most in one request."""


class Wanted(msgspec.Struct, frozen=True):
    """Ids of customers; one that comes twice is answered once."""

    ids: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, pattern=r"\S")]], msgspec.Meta(min_length=1, max_length=IDS)
    ]


class Found(msgspec.Struct, frozen=True):
    """The customers who are known, in the order in which they were asked for, and the ids of the others."""

    customers: list[KnownCustomer]
    unknown: list[str]


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    alive: bool


class Ready(msgspec.Struct, frozen=True):
    """Whether a look-up would be answered, and if not, why."""

    ready: bool
    trouble: str | None
