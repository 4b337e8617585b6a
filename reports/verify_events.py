"""One input record, read anew: Python's json, floats and sets of rules from docs/topics.md; nothing of the service.

bytes -> Line | Erase | Tick | GUEST | a reason
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

DAY: Final = 86_400
MONEY: Final = 10_000
GUEST: Final = "guest"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = {f"{n:02}": n for n in range(60)}
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_PLAIN_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")
_SPREADSHEET_ID = re.compile(r"(\d+)\.0+")
_SURROGATE = re.compile("[\ud800-\udfff]")

_NULL: Final = type(None)
_TYPES: Final[dict[str, frozenset[type]]] = {
    "type": frozenset({str}),
    "schema_version": frozenset({str, int, float}),
    "event_id": frozenset({str, int, _NULL}),
    "invoice_no": frozenset({str, int, _NULL}),
    "original_invoice_no": frozenset({str, int, _NULL}),
    "quantity": frozenset({int, float, str, _NULL}),
    "unit_price": frozenset({int, float, str, _NULL}),
    "invoice_date": frozenset({str, _NULL}),
    "customer_id": frozenset({str, int, float, _NULL}),
    "currency": frozenset({str, _NULL}),
    "at": frozenset({str, _NULL}),
}
"""Of each known field the types that it may have: exactly these, for a bool is no number here."""


class Line(NamedTuple):
    """An order line: hashes are 64 bits (event 0: no id), time local seconds, amount in 1/10,000.

    order: of the order that the line changes, which for a return is the one that it names.
    """

    offset: int
    customer: str
    order: int
    time: int
    amount: int
    units: int
    event: int
    of_history: bool


class Erase(NamedTuple):
    """An erasure; `at` may be missing."""

    offset: int
    customer: str
    at: int | None
    published: int


class Tick(NamedTuple):
    """A turn of the day."""

    offset: int
    at: int


class Refused(Exception):
    """Carries a reason."""


OUTSIDE: Final = -(10**18)
"""Stands for a time that its offset leads out of the calendar: only refused where the time is needed."""


class Reader:
    """Reads values; `future_from`: local seconds from which an event lies in the future."""

    def __init__(self, timezone_name: str, currency: str, future_from: int) -> None:
        self._currency, self._future_from = currency, future_from
        zone = ZoneInfo(timezone_name)
        self._moment: Callable[[str], int] = lru_cache(maxsize=1 << 16)(lambda text: local_seconds(text, zone))

    def read(self, offset: int, timestamp: int, value: bytes | None) -> Line | Erase | Tick | str:
        """Return what a record says, GUEST, or the reason of its refusal."""
        try:
            message = _parse(value)
            time, at = self._time(message, "invoice_date"), self._time(message, "at")
            version = message.get("schema_version", 1)
            if version != 1 and str(version).split(".")[0] != "1":
                raise Refused("schema_version")
            kind = message.get("type", "line")
            if kind == "line":
                return self._line(offset, message, time)
            return self._control(offset, timestamp, kind, message, at)
        except Refused as refused:
            return str(refused)

    def _time(self, message: dict[str, Any], name: str) -> int | None:
        text = message.get(name)
        return None if text is None else self._moment(text)

    def _line(self, offset: int, message: dict[str, Any], time: int | None) -> Line | str:
        customer = _customer(message)
        if not customer:
            return GUEST
        if len(customer.encode()) > 512:
            raise Refused("customer_id")
        invoice = "" if message.get("invoice_no") is None else str(message["invoice_no"]).strip()
        if not 1 <= len(invoice.encode()) <= 256:
            raise Refused("invoice_no")
        if message.get("currency") not in (None, self._currency):
            raise Refused("currency")
        if time is None or time == OUTSIDE:
            raise Refused("schema")
        if time >= self._future_from:
            raise Refused("future")
        event = message.get("event_id")
        event_text = "" if event is None else str(event)
        if len(event_text) > 512:
            raise Refused("event_id")
        quantity = _number(message.get("quantity"), "quantity")
        price = _number(message.get("unit_price"), "price")
        cancelled = invoice[0] in "Cc"
        order = taken_back(message) if cancelled or quantity < 0 else ""
        units, amount = units_and_amount(quantity, price, cancelled)
        event_hash = hash64(event_text) if event_text else 0
        return Line(
            offset, customer, hash64(order or invoice), time, amount, units, event_hash, event_text.startswith("h1-")
        )

    def _control(self, offset: int, published: int, kind: str, message: dict[str, Any], at: int | None) -> Erase | Tick:
        if at == OUTSIDE:
            raise Refused("schema")
        if kind == "tick":
            if at is None:
                raise Refused("schema")
            if at >= self._future_from:
                raise Refused("future")
            return Tick(offset, at)
        if kind != "erase":
            raise Refused("unknown_type")
        customer = _customer(message)
        if not 1 <= len(customer.encode()) <= 512:
            raise Refused("customer_id")
        return Erase(offset, customer, at, published)


def hash64(text: str) -> int:
    """Return the first 64 bits of BLAKE2b as a little-endian number, 1 instead of 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def canonical_id(text: str) -> str:
    """Return a customer id trimmed, without a spreadsheet's `.0`."""
    text = text.strip()
    match = _SPREADSHEET_ID.fullmatch(text) if "." in text else None
    return match[1] if match else text


def taken_back(message: dict[str, Any]) -> str:
    """Return the number of the order that a return names, "" where it names none. Raises Refused."""
    found = message.get("original_invoice_no")
    order = "" if found is None else str(found).strip()
    if len(order.encode()) > 256:
        raise Refused("invoice_no")
    return order


def units_and_amount(quantity: float, price: float, cancelled: bool) -> tuple[int, int]:
    """Return (units, amount in 1/10,000), both negative for a cancelled line. Raises Refused."""
    if not (math.isfinite(quantity) and quantity == int(quantity) and 1 <= abs(quantity) <= 1_000_000_000):
        raise Refused("quantity")
    if not 0 < price <= 10_000_000:
        raise Refused("price")
    ticks = round(price * MONEY)
    if ticks < 1 or abs(price - ticks / MONEY) > 4 * math.ulp(price):
        raise Refused("price")
    units = -abs(int(quantity)) if cancelled else int(quantity)
    amount = ticks * units
    if abs(amount) > 1_000_000_000 * MONEY:
        raise Refused("amount")
    return units, amount


def local_seconds(text: str, zone: ZoneInfo) -> int:
    """Return RFC 3339 text as seconds since 1970-01-01 of the zone's wall clock. Raises Refused."""
    match = _MOMENT.fullmatch(text)
    if not match:
        raise Refused("schema")
    day, hour, minute, second, fraction, utc, sign, hours, minutes = match.groups()
    if hour > "23" or minute > "59" or second > "59" or (sign and (hours > "23" or minutes > "59")):
        raise Refused("schema")
    found = _midnight(day) + _DIGITS[hour] * 3_600 + _DIGITS[minute] * 60 + _DIGITS[second]
    if fraction:  # it only counts where it rounds up to the next second
        found += round(float(f"0.{fraction}") * 1e6) // 1_000_000
    if sign:
        ahead = _DIGITS[hours] * 3_600 + _DIGITS[minutes] * 60
        found += ahead if sign == "-" else -ahead
    try:
        moment = _EPOCH + timedelta(seconds=found)
        if not utc and not sign:
            return found
        moment = moment.astimezone(zone)
    except OverflowError:
        return OUTSIDE
    return _day_of(moment) * DAY + moment.hour * 3_600 + moment.minute * 60 + moment.second


@lru_cache(maxsize=1 << 12)
def _midnight(text: str) -> int:
    try:
        return _day_of(datetime(int(text[:4]), int(text[5:7]), int(text[8:]), tzinfo=UTC)) * DAY
    except ValueError:
        raise Refused("schema") from None


def _day_of(moment: datetime) -> int:
    return moment.toordinal() - _EPOCH.toordinal()


def event_id_of(value: bytes | None) -> str:
    """Return the event id of a record that was read as a line, "" where it has none."""
    found = _parse(value).get("event_id")
    return "" if found is None else str(found)


def _parse(value: bytes | None) -> dict[str, Any]:
    if not value:
        raise Refused("empty")
    if len(value) > 1_000_000:
        raise Refused("too_large")
    try:
        message = _decoded(value.decode())
    except (ValueError, RecursionError):
        raise Refused("malformed") from None
    if b"\\u" in value and _SURROGATE.search(json.dumps(message, ensure_ascii=False)):
        raise Refused("malformed")
    if not isinstance(message, dict):
        raise Refused("schema")
    for name, found in message.items():
        types = _TYPES.get(name)
        if types is not None and (type(found) not in types or (type(found) is float and not math.isfinite(found))):
            raise Refused("schema")
    return message


def _no_constant(name: str) -> float:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _decoded(text: str) -> Any:
    """Return JSON's value; what is neither before nor behind it, as with most producers, need not be looked for."""
    if text.startswith("{"):
        found, end = _DECODER.raw_decode(text)
        if end == len(text):
            return found
    return _DECODER.decode(text)


def _customer(message: dict[str, Any]) -> str:
    found = message.get("customer_id")
    return "" if found is None else canonical_id(str(found))


def _number(value: float | str | None, reason: str) -> float:
    if value is None or (isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value.strip())):
        raise Refused(reason)
    if isinstance(value, int) and abs(value) > 1 << 53:
        raise Refused(reason)
    return float(value)


def murmur2(key: bytes) -> int:
    """Return Kafka's murmur2 of a key, 31 bits: what a producer takes modulo the partitions."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF
