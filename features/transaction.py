"""The input contract: bytes of Kafka records become columns of accepted lines, or refusals with a reason.

A record is one line of an order, `{"type":"erase","customer_id"}` or `{"type":"tick","at"}`; docs/topics.md
has the fields. Nothing here looks at state: what depends on a partition's day or a customer's history is
decided later, in the step.

    values --decode--> Batch(lines | refused | guests | controls) --split at a day's turn--> step
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.ledger import MONEY, Ints, Lines
from features.vector import Flags

DAY_SECONDS = 86_400
EPOCH_ORDINAL = 719_163
"""`date.toordinal()` of 1970-01-01."""

SCHEMA_MAJOR = 1
MAX_VALUE_BYTES = 1_000_000
"""A larger record is refused unread: no honest order line comes near it, and decoding it costs memory."""
MAX_INVOICE_BYTES = 256
MAX_EVENT_ID_BYTES = 512
MAX_QUANTITY = 1_000_000_000
MAX_UNIT_PRICE = 10_000_000
MAX_AMOUNT = 1_000_000_000 * MONEY
"""In 1/10,000: 900,000 lines of it fit into the ledger's int64."""


class Reason(StrEnum):
    """Why a record is not applied; the value stands in dead-letter headers and counters."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    SCHEMA = "schema"
    SCHEMA_VERSION = "schema_version"
    UNKNOWN_TYPE = "unknown_type"
    CUSTOMER_ID = "customer_id"
    INVOICE_NO = "invoice_no"
    EVENT_ID = "event_id"
    QUANTITY = "quantity"
    PRICE = "price"
    AMOUNT = "amount"
    CURRENCY = "currency"
    FUTURE = "future"
    AHEAD = "ahead"
    TOO_LATE = "too_late"
    BEFORE_CUTOFF = "before_cutoff"
    ERASED = "erased"
    KEY_MISSING = "key_missing"
    KEY_MISMATCH = "key_mismatch"
    FOREIGN_PARTITION = "foreign_partition"


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """A refused record: its offset, the reason and, where it helps, what was wrong (never a value)."""

    offset: int
    reason: Reason
    detail: str = ""


class Control(msgspec.Struct, frozen=True):
    """An erasure or a tick: `at` is local seconds, None where an erasure does not say."""

    offset: int
    kind: str
    customer: str
    at: int | None
    published_ms: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded records of one partition, in offset order.

    lines: the accepted lines, n of them, with owners into `customers`; offset, time (local seconds since
    1970), of_history (the event id is of the history's scheme): arrays of shape (n,); keys: the records'
    keys, n of them. start, stop: the offsets that the batch covers, stop excluded.
    """

    customers: list[str]
    lines: Lines
    offset: Ints
    time: Ints
    of_history: Flags
    keys: list[bytes | None]
    refused: tuple[Refusal, ...]
    guests: tuple[int, ...]
    controls: tuple[Control, ...]
    records: int
    start: int
    stop: int
    published_ms: int

    def split(self, offset: int) -> tuple[Batch, Batch]:
        """Return the part before `offset` and the part from it on; both keep the list of customers."""
        first = int(np.searchsorted(self.offset, offset))
        parts = []
        for rows, low, high in ((slice(0, first), self.start, offset), (slice(first, None), offset, self.stop)):
            refused = tuple(r for r in self.refused if low <= r.offset < high)
            guests = tuple(g for g in self.guests if low <= g < high)
            controls = tuple(c for c in self.controls if low <= c.offset < high)
            offsets = self.offset[rows]
            parts.append(
                replace(
                    self,
                    lines=self.lines.take(rows),
                    offset=offsets,
                    time=self.time[rows],
                    of_history=self.of_history[rows],
                    keys=self.keys[rows],
                    refused=refused,
                    guests=guests,
                    controls=controls,
                    records=len(offsets) + len(refused) + len(guests) + len(controls),
                    start=low,
                    stop=high,
                )
            )
        return parts[0], parts[1]


def date_of(day: int) -> date:
    """Return the date of a day since 1970-01-01."""
    return date.fromordinal(day + EPOCH_ORDINAL)


def day_of(text: str) -> int:
    """Return the day since 1970-01-01 of a date in ISO 8601. Raises ValueError."""
    return date.fromisoformat(text).toordinal() - EPOCH_ORDINAL


def local_seconds(moment: datetime, zone: ZoneInfo) -> int:
    """Return seconds since 1970-01-01 of the wall clock in `zone`; a naive time is already in it."""
    local = moment if moment.tzinfo is None else moment.astimezone(zone)
    return (local.toordinal() - EPOCH_ORDINAL) * DAY_SECONDS + local.hour * 3600 + local.minute * 60 + local.second


def today_in(zone: ZoneInfo, now_s: float) -> int:
    """Return the day of a POSIX time in `zone`."""
    return local_seconds(datetime.fromtimestamp(now_s, UTC), zone) // DAY_SECONDS
