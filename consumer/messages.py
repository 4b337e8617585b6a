"""The output contract: segment records, tombstones, erasure marks, and the outbox that holds them.

docs/topics.md describes every field for readers of the topics.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from consumer.stored import read_msgpack
from features.transaction import Refusal
from models.bundle import Segment

Cause = Literal["bootstrap", "purchase", "return", "late", "silence", "model"]


class Runner(msgspec.Struct, frozen=True):
    """The nearest segment other than the published one, and the distance to it in standard deviations of log units."""

    id: int
    name: str
    distance: float


class SegmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One value of `customer-segments`. held: records of before there was the field have none."""

    customer_id: str
    segment: Segment
    previous: Segment | None
    cause: Cause
    revision: int
    as_of: str
    entered_on: str
    margin: float | None
    second: Runner | None
    held: bool = False
    features: dict[str, float | None]
    model_version: int


class Emission(msgspec.Struct, frozen=True, array_like=True):
    """One record to publish beside dead letters: `to` names the topic's role, not the topic."""

    to: Literal["segments", "erasures"]
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Outbox(msgspec.Struct, frozen=True, array_like=True):
    """What a commit publishes. Dead letters are offsets: their bytes are in the input (PROTOCOL A5)."""

    emissions: tuple[Emission, ...] = ()
    dead: tuple[Refusal, ...] = ()


def encode_outbox(outbox: Outbox) -> bytes:
    """Return an outbox as the commit keeps it."""
    return msgspec.msgpack.encode(outbox)


def decode_outbox(data: bytes) -> Outbox:
    """Return a kept outbox; no bytes (before the first commit) are an empty one."""
    return read_msgpack(data, Outbox) if data else Outbox()


OFFSET = "offset"
"""Header: which input record caused it."""


def event_headers(offset: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a record that an input record caused; epoch and sequence are added at the commit."""
    return ((OFFSET, b"%d" % offset),)


def turn_headers(day: str, version: int, sweep: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a record that a turn of the day caused."""
    return (("day", day.encode()), ("model", b"%d" % version), ("sweep", b"%d" % sweep))
