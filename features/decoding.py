"""From the bytes of Kafka records to columns of accepted lines, or refusals with a reason.

values --features.plain_lines, by columns--> columns --> amounts --> Batch
   '--- odd --> one by one: a line after all, a guest, a control, or a refusal
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.identity import HISTORY_SCHEME, MAX_ID_BYTES, canonical_id, hash64
from features.ledger import MONEY, Ints, Lines
from features.plain_lines import Plain, plain_lines
from features.transaction import (
    DAY_SECONDS,
    MAX_AMOUNT,
    MAX_EVENT_ID_BYTES,
    MAX_INVOICE_BYTES,
    MAX_QUANTITY,
    MAX_UNIT_PRICE,
    MAX_VALUE_BYTES,
    SCHEMA_MAJOR,
    Batch,
    Control,
    Reason,
    Refusal,
    local_seconds,
)


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
        plain = plain_lines(values, self.zone, self.currency, self.latest)
        self.customers = plain.owners
        if len(plain.row) < len(values):
            for row in np.delete(np.arange(len(values)), plain.row).tolist():
                try:
                    self._one(row, offsets[row], _parse(values[row]), timestamps_ms[row])
                except _Refused as refused:
                    self.refused.append(Refusal(offsets[row], refused.reason, refused.detail))
        return self._batch(plain, offsets, keys, timestamps_ms)

    def _one(self, row: int, offset: int, message: _Message, published: int) -> None:
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
        self.columns.append((row, owner, order, time, event, cancelled, of_history, quantity, price))

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

    def _batch(
        self,
        plain: Plain,
        offsets: Sequence[int],
        keys: Sequence[bytes | None],
        timestamps_ms: Sequence[int],
    ) -> Batch:
        row, owner, order, time, event, cancelled, of_history, quantity, price = self._columns(plain)
        amount, units, wrong = amounts(price, quantity, cancelled)
        good = wrong == 0
        for at in np.flatnonzero(~good):
            self.refused.append(Refusal(offsets[row[at]], _VALUE_REASONS[wrong[at]], _VALUE_DETAILS[wrong[at]]))
        lines = Lines(owner, order, time // DAY_SECONDS, amount, units, event)
        every = bool(good.all())
        accepted = row if every else row[good]
        return Batch(
            customers=list(self.customers),
            lines=lines if every else lines.take(good),
            offset=np.array(offsets, np.int64)[accepted],
            time=time[good],
            of_history=of_history[good],
            keys=list(keys) if len(accepted) == len(keys) else [keys[at] for at in accepted.tolist()],
            refused=tuple(sorted(self.refused, key=lambda refusal: refusal.offset)),
            guests=tuple(self.guests),
            controls=tuple(self.controls),
            records=len(offsets),
            start=offsets[0],
            stop=offsets[-1] + 1,
            published_ms=timestamps_ms[-1],
        )

    def _columns(self, plain: Plain) -> tuple[np.ndarray, ...]:
        """Return the columns of all lines, plain ones and others, in the order of the records."""
        by_columns = (
            plain.row,
            plain.owner,
            plain.order,
            plain.time,
            plain.event,
            plain.cancelled,
            plain.of_history,
            plain.quantity,
            plain.price,
        )
        if not self.columns:
            return by_columns
        one_by_one = (
            np.array(column, known.dtype)
            for column, known in zip(zip(*self.columns, strict=True), by_columns, strict=True)
        )
        joined = [np.concatenate(pair) for pair in zip(by_columns, one_by_one, strict=True)]
        order = np.argsort(joined[0])
        return tuple(column[order] for column in joined)


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
