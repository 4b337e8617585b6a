"""The input contract: bytes of Kafka records become columns of accepted lines, or refusals with a reason.

A record is one line of an order, `{"type":"erase","customer_id"}` or `{"type":"tick","at"}`; docs/topics.md
has the fields. Nothing here looks at state: what depends on a partition's day or a customer's history is
decided later, in the step.

    values --decode--> Batch(lines | refused | guests | controls) --split at a day's turn--> step
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.identity import HISTORY_SCHEME, MAX_ID_BYTES, canonical_id, hash64
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


class _Message(msgspec.Struct):
    type: str = "line"
    schema_version: str | int | float = SCHEMA_MAJOR
    event_id: str | int | None = None
    invoice_no: str | int | None = None
    original_invoice_no: str | int | None = None
    quantity: int | float | str | None = None
    unit_price: int | float | str | None = None
    invoice_date: datetime | None = None
    customer_id: str | int | float | None = None
    currency: str | None = None
    at: datetime | None = None


_decoder = msgspec.json.Decoder(_Message)
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")


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


def decode(
    offsets: Sequence[int],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    timestamps_ms: Sequence[int],
    *,
    zone: ZoneInfo,
    currency: str,
    today: int,
) -> Batch:
    """Decode one partition's records; `today` is the wall clock's day, for `future`."""
    return _Decoding(zone, currency, today).run(offsets, keys, values, timestamps_ms)


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class _Decoding:
    """Collects the columns of one batch."""

    def __init__(self, zone: ZoneInfo, currency: str, today: int) -> None:
        self.zone, self.currency, self.latest = zone, currency, (today + 2) * DAY_SECONDS
        self.customers: dict[str, int] = {}
        self.invoices: dict[str, int] = {}
        self.columns: list[tuple[int, int, int, int, int, int, bool, float, float]] = []
        self.keys: list[bytes | None] = []
        self.refused: list[Refusal] = []
        self.guests: list[int] = []
        self.controls: list[Control] = []

    def run(
        self,
        offsets: Sequence[int],
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int],
    ) -> Batch:
        for offset, key, value, published in zip(offsets, keys, values, timestamps_ms, strict=True):
            try:
                self._one(offset, key, _parse(value), published)
            except _Refused as refused:
                self.refused.append(Refusal(offset, refused.reason, refused.detail))
        return self._batch(offsets, timestamps_ms)

    def _one(self, offset: int, key: bytes | None, message: _Message, published: int) -> None:
        if message.type != "line":
            self._control(offset, message, published)
            return
        raw = message.customer_id
        customer = canonical_id(str(raw)) if raw is not None else ""
        if not customer:
            self.guests.append(offset)
            return
        owner = self._owner(customer)
        order, cancelled = self._order(message.invoice_no, "")
        if message.currency is not None and message.currency != self.currency:
            raise _Refused(Reason.CURRENCY, f"only {self.currency} is accepted")
        if message.invoice_date is None:
            raise _Refused(Reason.SCHEMA, "invoice_date is missing")
        time = self._time(message.invoice_date)
        if time >= self.latest:
            raise _Refused(Reason.FUTURE, "invoice_date is more than a day ahead of the clock")
        event, of_history = _event(message.event_id)
        quantity = _number(message.quantity, Reason.QUANTITY)
        price = _number(message.unit_price, Reason.PRICE)
        if message.original_invoice_no is not None and (cancelled or quantity < 0):
            # The return is booked on the order that it takes back, where it names one.
            original = str(message.original_invoice_no).strip()
            order = self._order(original, "original_")[0] if original else order
        self.columns.append((offset, owner, order, time, event, cancelled, of_history, quantity, price))
        self.keys.append(key)

    def _control(self, offset: int, message: _Message, published: int) -> None:
        at = None if message.at is None else self._time(message.at)
        if message.type == "tick":
            if at is None:
                raise _Refused(Reason.SCHEMA, "a tick needs `at`")
            if at >= self.latest:
                raise _Refused(Reason.FUTURE, "a tick is more than a day ahead of the clock")
            self.controls.append(Control(offset, "tick", "", at, published))
        elif message.type == "erase":
            customer = canonical_id(str(message.customer_id)) if message.customer_id is not None else ""
            if not customer:
                raise _Refused(Reason.CUSTOMER_ID, "an erasure needs `customer_id`")
            self._owner(customer)
            self.controls.append(Control(offset, "erase", customer, at, published))
        else:
            raise _Refused(Reason.UNKNOWN_TYPE, "`type` is none of line, erase, tick")

    def _time(self, moment: datetime) -> int:
        try:
            return local_seconds(moment, self.zone)
        except OverflowError:  # year 1 or 9999 with an offset that leads out of the calendar
            raise _Refused(Reason.SCHEMA, "a time outside the calendar") from None

    def _owner(self, customer: str) -> int:
        owner = self.customers.get(customer)
        if owner is None:
            if len(customer.encode()) > MAX_ID_BYTES:
                raise _Refused(Reason.CUSTOMER_ID, f"longer than {MAX_ID_BYTES} bytes")
            owner = self.customers[customer] = len(self.customers)
        return owner

    def _order(self, invoice_no: str | int | None, which: str) -> tuple[int, bool]:
        """Return an order's hash and whether its number is a cancellation's; which: the field's prefix."""
        invoice = "" if invoice_no is None else str(invoice_no).strip()
        order = self.invoices.get(invoice)
        if order is None:
            if not invoice or len(invoice.encode()) > MAX_INVOICE_BYTES:
                raise _Refused(
                    Reason.INVOICE_NO, f"{which}invoice_no is missing, or longer than {MAX_INVOICE_BYTES} bytes"
                )
            order = self.invoices[invoice] = hash64(invoice)
        return order, invoice[0] in "Cc"

    def _batch(self, offsets: Sequence[int], timestamps_ms: Sequence[int]) -> Batch:
        table = list(zip(*self.columns, strict=True)) or [()] * 9
        offset, owner, time = (np.array(table[i], np.int64) for i in (0, 1, 3))
        order, event = (np.array(table[i], np.uint64) for i in (2, 4))
        cancelled, of_history = np.array(table[5], np.bool_), np.array(table[6], np.bool_)
        amount, units, wrong = amounts(np.array(table[8], np.float64), np.array(table[7], np.float64), cancelled)
        good = wrong == 0
        for row in np.flatnonzero(~good):
            self.refused.append(Refusal(int(offset[row]), _VALUE_REASONS[wrong[row]], _VALUE_DETAILS[wrong[row]]))
        lines = Lines(owner, order, time // DAY_SECONDS, amount, units, event)
        every = bool(good.all())
        return Batch(
            customers=list(self.customers),
            lines=lines if every else lines.take(good),
            offset=offset[good],
            time=time[good],
            of_history=of_history[good],
            keys=self.keys if every else [k for k, g in zip(self.keys, good, strict=True) if g],
            refused=tuple(sorted(self.refused, key=lambda refusal: refusal.offset)),
            guests=tuple(self.guests),
            controls=tuple(self.controls),
            records=len(offsets),
            start=offsets[0],
            stop=offsets[-1] + 1,
            published_ms=timestamps_ms[-1],
        )


_VALUE_REASONS = (Reason.QUANTITY, Reason.QUANTITY, Reason.PRICE, Reason.AMOUNT)
_VALUE_DETAILS = (
    "",
    f"not a whole number from 1 to {MAX_QUANTITY:,} or its negative",
    f"not above 0, above {MAX_UNIT_PRICE:,}, or with more than four decimals",
    f"quantity x unit_price is above {MAX_AMOUNT // MONEY:,}",
)


def amounts(price: np.ndarray, quantity: np.ndarray, cancelled: np.ndarray) -> tuple[Ints, Ints, Ints]:
    """Return (amount in 1/10,000, units, what is wrong: 0 nothing, 1 quantity, 2 price, 3 amount).

    price, quantity: float64 (n,); cancelled: bool (n,), the line belongs to a cancellation and counts
    negative whatever the sign of its quantity. A price is accepted iff it is the double of a multiple of
    1/10,000, give or take the noise of arithmetic in doubles (4 ulp): exact, or refused.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        whole = (np.rint(quantity) == quantity) & (quantity != 0) & (np.abs(quantity) <= MAX_QUANTITY)
        in_range = (price > 0) & (price <= MAX_UNIT_PRICE)
        safe_price = np.where(in_range, price, 1.0)
        ticks = np.rint(safe_price * MONEY)
        exact = in_range & (ticks > 0) & (np.abs(safe_price - ticks / MONEY) <= 4 * np.spacing(safe_price))
    units = np.where(whole, quantity, 1).astype(np.int64)
    units = np.where(cancelled, -np.abs(units), units)
    # The product is checked in floating point first: 10^11 x 10^9 is beyond int64.
    fits = np.abs(units.astype(np.float64) * ticks) <= MAX_AMOUNT
    amount = ticks.astype(np.int64) * np.where(fits, units, 1)
    wrong = np.where(~whole, 1, np.where(~exact, 2, np.where(~fits, 3, 0)))
    return amount, units, wrong


def _parse(value: bytes | None) -> _Message:
    if not value:
        raise _Refused(Reason.EMPTY, "a record without a value")
    if len(value) > MAX_VALUE_BYTES:
        raise _Refused(Reason.TOO_LARGE, f"longer than {MAX_VALUE_BYTES:,} bytes")
    try:
        message = _decoder.decode(value)
        if not value.isascii():
            value.decode()  # the decoder skips the fields that we ignore without reading them as text
    except msgspec.ValidationError as error:
        raise _Refused(Reason.SCHEMA, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused(Reason.MALFORMED, type(error).__name__) from None
    if message.schema_version != SCHEMA_MAJOR and str(message.schema_version).split(".")[0] != str(SCHEMA_MAJOR):
        raise _Refused(Reason.SCHEMA_VERSION, f"this service reads major version {SCHEMA_MAJOR}")
    return message


def _event(event_id: str | int | None) -> tuple[int, bool]:
    """Return the event id's hash (0: none) and whether it is of the history's scheme."""
    if event_id is None or event_id == "":
        return 0, False
    text = str(event_id)
    if len(text) > MAX_EVENT_ID_BYTES:
        raise _Refused(Reason.EVENT_ID, f"longer than {MAX_EVENT_ID_BYTES} characters")
    return hash64(text), text.startswith(HISTORY_SCHEME)


def _number(value: float | str | None, reason: Reason) -> float:
    if value is None:
        raise _Refused(reason, "missing")
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()):
            raise _Refused(reason, "not a plain decimal number")
        return float(value)
    if isinstance(value, int) and abs(value) > 1 << 53:
        raise _Refused(reason, "out of range")
    return float(value)


def today_in(zone: ZoneInfo, now_s: float) -> int:
    """Return the day of a POSIX time in `zone`."""
    return local_seconds(datetime.fromtimestamp(now_s, UTC), zone) // DAY_SECONDS
