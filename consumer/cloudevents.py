"""Segment records as CloudEvents 1.0: headers of Kafka's binary mode, beside the record and not in it.

    ce_specversion 1.0    ce_type what    ce_source whose    ce_id which, for ever    ce_subject who    ce_time as_of

https://github.com/cloudevents/spec, v1.0.2: spec.md, and bindings/kafka-protocol-binding.md section 3.2.

Guarantee: they follow from the record and its commit alone. So the outbox holds none of them, a record that is
published again after a crash has the same ones, and whoever passes over a `ce_id` that he has seen loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

Headers = tuple[tuple[str, bytes], ...]

SEGMENTED = "segmenter.customer.segmented"
"""Type of a record with a value."""
GONE = "segmenter.customer.gone"
"""Type of a tombstone."""

_PREFIX = "ce_"
_CONTENT_TYPE = ("content-type", b"application/json")

_NOT_IN_A_STRING = re.compile(
    "[%\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0, 0x110000, 0x10000))
    + "]"
)
"""What the specification keeps out of a String, control characters and noncharacters, and the sign that encodes."""


class _Told(msgspec.Struct):
    revision: int
    as_of: str


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """How this namespace's events are named. source: a URI reference; zone: whose calendar `as_of` counts in."""

    source: str
    zone: ZoneInfo

    def headers(self, key: bytes, value: bytes | None, record: Headers) -> Headers:
        """Return the headers that make an output record an event. record: its own, with the commit's.

        `customer:revision` alone would come again in the next life of a customer who was forgotten; with the day it
        does not. A tombstone has no revision, and is the only one of its customer in a commit.
        """
        subject = _NOT_IN_A_STRING.sub(lambda found: quote(found[0], safe=""), key.decode())
        if value is None:
            own = {name: data.decode() for name, data in record}
            kind, which, day = GONE, f"gone:{own['epoch']}:{own['sequence']}", own.get("day")
        else:
            told = msgspec.json.decode(value, type=_Told)
            kind, which, day = SEGMENTED, f"{told.revision}:{told.as_of}", told.as_of
        attributes = {"specversion": "1.0", "type": kind, "source": self.source, "id": f"{subject}:{which}"}
        attributes["subject"] = subject
        if day is not None:
            attributes["time"] = self._begin_of(day)
        found = tuple((_PREFIX + name, text.encode()) for name, text in attributes.items())
        return found if value is None else (*found, _CONTENT_TYPE)

    def _begin_of(self, day: str) -> str:
        begin = date.fromisoformat(day)
        return datetime(begin.year, begin.month, begin.day, tzinfo=self.zone).isoformat()


def carried(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """Return those of a record's headers that a copy of it carries on: the copy is the same event."""
    return tuple(each for each in headers if each[0].startswith(_PREFIX) or each == _CONTENT_TYPE)
