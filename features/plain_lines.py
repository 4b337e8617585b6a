"""Lines about which nothing is odd, read by columns: nearly all of an honest stream.

    values --typed decode--> fields --column by column--> Plain
       '--- odd: not of this form, or out of some bound ---> read one by one (features.decoding)

What is odd is not judged here: the reading one by one alone says what is accepted after all, and what a refusal is
called. Guarantee: of a plain line both readings give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.identity import HISTORY_SCHEME, MAX_ID_BYTES, canonical_id, hashes64
from features.ledger import Hashes, Ints
from features.transaction import MAX_EVENT_ID_BYTES, MAX_INVOICE_BYTES, MAX_VALUE_BYTES, local_seconds
from features.vector import Flags, Floats

_EXACT = float(1 << 53)
"""Beyond it a whole number is not exact as a double."""
_LATEST_S = 1 << 32
"""Times from 1970 to here, the year 2106, are whole seconds of a double's without doubt."""
_SPAN_S = 900
"""A zone's offset is asked at both ends of a quarter of an hour; where it changes within, the line is odd."""


class _Fields(msgspec.Struct, gc=False):
    """A line in its plain form; fields that are not named here are skipped."""

    customer_id: str | int
    invoice_no: str | int
    invoice_date: datetime
    quantity: float
    unit_price: float
    event_id: str | int = ""
    type: Literal["line"] = "line"
    schema_version: Literal[1, "1", "1.0"] = 1
    original_invoice_no: None = None
    currency: str | None = None
    at: None = None


_decoder = msgspec.json.Decoder(_Fields)


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain ones of a batch's records, m of them, as columns of shape (m,).

    row: int64, which records they are, rising; owner: int64, index into `owners`' order; order, event: uint64 hashes;
    time: int64, local seconds since 1970; cancelled: the invoice is a cancellation; of_history: the event id is of the
    history's scheme; quantity, price: float64, as they came. owners: the customers' ids, each with its index.
    """

    owners: dict[str, int]
    row: Ints
    owner: Ints
    order: Hashes
    time: Ints
    event: Hashes
    cancelled: Flags
    of_history: Flags
    quantity: Floats
    price: Floats


def plain_lines(values: Sequence[bytes | None], zone: ZoneInfo, currency: str, latest: int) -> Plain:
    """Read the plain ones among some records' values. latest: local seconds; a line from then on is odd."""
    row, found = _fields(values)
    owners, owner = _owners([each.customer_id for each in found])
    order, cancelled = _orders([each.invoice_no for each in found])
    event, of_history, long = _events([each.event_id for each in found])
    time = _local_seconds([each.invoice_date for each in found], zone)
    quantity = np.array([each.quantity for each in found], np.float64)
    price = np.array([each.unit_price for each in found], np.float64)
    known = np.array([each.currency is None or each.currency == currency for each in found], np.bool_)
    plain = known & ~long & (owner >= 0) & (order > 0) & (time >= 0) & (time < latest)
    plain &= (np.abs(quantity) < _EXACT) & (np.abs(price) < _EXACT)
    columns = (row, owner, order, time, event, cancelled, of_history, quantity, price)
    return Plain(owners, *(columns if plain.all() else (column[plain] for column in columns)))


def _fields(values: Sequence[bytes | None]) -> tuple[Ints, list[_Fields]]:
    """Return the records of the plain form: which they are, and their fields."""
    rows, found, decode_one = [], [], _decoder.decode
    for row, value in enumerate(values):
        if value is None or len(value) > MAX_VALUE_BYTES:
            continue
        try:
            fields = decode_one(value)
            if not value.isascii():
                value.decode()  # the decoder skips the fields that we ignore without reading them as text
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        rows.append(row)
        found.append(fields)
    return np.array(rows, np.int64), found


def _owners(raw: list[str | int]) -> tuple[dict[str, int], Ints]:
    """Return the customers, and whose each line is; -1: nobody's, or of an id that is too long."""
    owners: dict[str, int] = {}
    found = {}
    for each in dict.fromkeys(raw):
        customer = canonical_id(str(each))
        good = customer and len(customer.encode()) <= MAX_ID_BYTES
        found[each] = owners.setdefault(customer, len(owners)) if good else -1
    return owners, np.fromiter(map(found.__getitem__, raw), np.int64, len(raw))


def _orders(raw: list[str | int]) -> tuple[Hashes, Flags]:
    """Return the orders' hashes, 0 where the number cannot be one, and whether each is a cancellation."""
    distinct = {each: n for n, each in enumerate(dict.fromkeys(raw))}
    texts = [str(each).strip() for each in distinct]
    which = np.fromiter(map(distinct.__getitem__, raw), np.int64, len(raw))
    good = np.array([0 < len(text.encode()) <= MAX_INVOICE_BYTES for text in texts], np.bool_)
    cancelled = np.array([text[:1] in ("C", "c") for text in texts], np.bool_)
    return np.where(good, hashes64(texts), np.uint64(0))[which], cancelled[which]


def _events(raw: list[str | int]) -> tuple[Hashes, Flags, Flags]:
    """Return the event ids' hashes, 0 where there is none; which are of the history's scheme; which are too long."""
    texts = list(map(str, raw))
    hashed = hashes64(texts)
    if "" in texts:
        hashed[[not text for text in texts]] = 0
    of_history = np.array([text.startswith(HISTORY_SCHEME) for text in texts], np.bool_)
    return hashed, of_history, np.fromiter(map(len, texts), np.int64, len(texts)) > MAX_EVENT_ID_BYTES


def _local_seconds(moments: list[datetime], zone: ZoneInfo) -> Ints:
    """Return seconds since 1970-01-01 of the wall clock in `zone`, rounded down; -1 where it takes a closer look."""
    naive = np.array([moment.tzinfo is None for moment in moments], np.bool_)
    moments = moments if not naive.any() else [each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments]
    seconds = np.floor(np.array([moment.timestamp() for moment in moments], np.float64)).astype(np.int64)
    sound = (seconds >= 0) & (seconds < _LATEST_S)
    spans = np.where(naive | ~sound, -1, seconds // _SPAN_S).tolist()
    offset = {span: _offset(zone, span) if span >= 0 else 0 for span in set(spans)}
    offsets = np.fromiter(map(offset.__getitem__, spans), np.int64, len(spans))
    return np.where(sound, np.maximum(seconds + offsets, -1), -1)


def _offset(zone: ZoneInfo, span: int) -> int:
    """Return the seconds by which `zone` is ahead of UTC in a span; far behind where that changes within."""
    ends = (span * _SPAN_S, (span + 1) * _SPAN_S - 1)
    first, last = (local_seconds(datetime.fromtimestamp(at, UTC), zone) - at for at in ends)
    return first if first == last else -_LATEST_S
