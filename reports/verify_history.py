"""History files read anew: Python's csv module and a loop over rows, for the judge's own view of what was loaded.

    rows of text --kept or left out by the documented rules (docs/features.md)--> History up to the cutoff

What the service reports as dropped is dropped here by rules written a second time.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from reports.verify_events import DAY, MONEY, Refused, canonical_id, local_seconds
from reports.verify_input import History

Row = Mapping[str, str]

_HEADERS: Final = {
    "customerid": "customer_id",
    "invoiceno": "invoice_no",
    "invoice": "invoice_no",
    "originalinvoiceno": "original_invoice_no",
    "originalinvoice": "original_invoice_no",
    "invoicedate": "invoice_date",
    "stockcode": "stock_code",
    "description": "description",
    "quantity": "quantity",
    "unitprice": "unit_price",
    "price": "unit_price",
    "country": "country",
    "currency": "currency",
    "eventid": "event_id",
}
_GUESTS: Final = {"", "nan", "NaN", "<NA>", "NULL", "None"}
_FEE: Final = re.compile(
    "ADJUST2?|AMAZONFEE|B|BANKCHARGES|C[23]|CRUK|D|DOT|GIFT|M|PADS|POST|S|SAMPLES|(GIFT_|TEST|SP1002|DCGS).*", re.DOTALL
)
_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d(?:\.\d+)?))?)? ?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_SLASHED: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: (\d{1,2}):(\d\d)(?::(\d\d))?)?", re.ASCII)
_POINT: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+", re.ASCII)
_COMMA: Final = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d*)?", re.ASCII)
_LATEST: Final = 7_258_118_400


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files are to be read; columns: field -> header, beside the known headers."""

    columns: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    date_format: str | None = None
    zone: str = "UTC"
    currency: str = "GBP"
    drop_repeats: bool = False
    drop_non_products: bool = False


@dataclass(slots=True)
class _Kept:
    """A row that counts; price: in 1/10,000; original: the order that a return names, "" elsewhere."""

    customer: str
    invoice: str
    original: str
    stock: str
    quantity: int
    price: int
    time: int
    event: str
    row: str
    occurrence: int = 0

    @property
    def content(self) -> tuple[Any, ...]:
        return (self.customer, self.invoice, self.stock, self.quantity, self.price, self.time)


def read_history(paths: Sequence[Path], reading: Reading, cutoff: int | None, ids_from: int) -> History:
    """Return the rows of some files dated at or before `cutoff` (local seconds; None: all).

    ids_from: the first day whose rows need event ids, the dedupe horizon before the cutoff.
    """
    files = [list(_rows(path, reading)) for path in paths]
    has_ids = any("event_id" in row for rows in files for row in rows[:1])
    until = math.inf if cutoff is None else cutoff
    numbered_from = ids_from * DAY if len(files) == 1 else 0  # an overlap of two files may lie anywhere
    kept = [row for rows in files for row in _File(rows, reading, until, numbered_from).kept()]
    if has_ids or len(files) > 1:
        kept = _once(kept, has_ids)
    returned = [_is_cancelled(row.invoice) for row in kept]
    return History(
        customer=[row.customer for row in kept],
        invoice=[row.original or row.invoice for row in kept],
        time=[row.time for row in kept],
        amount=[_signed(row.price * row.quantity, back) for row, back in zip(kept, returned, strict=True)],
        units=[_signed(row.quantity, back) for row, back in zip(kept, returned, strict=True)],
        event_id=[_event_id(row, has_ids) if row.time // DAY >= ids_from else "" for row in kept],
        row=[row.row for row in kept],
    )


def _is_cancelled(invoice: str) -> bool:
    return invoice[:1] in ("C", "c")


def _signed(value: int, returned: bool) -> int:
    return -abs(value) if returned else value


def _event_id(row: _Kept, has_ids: bool) -> str:
    if has_ids:
        return row.event
    moment = datetime.fromordinal(719_163 + row.time // DAY)
    second = row.time % DAY
    stamp = f"{moment:%Y-%m-%d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    content = "\x1f".join((row.customer, row.invoice, row.stock, str(row.quantity), str(row.price), stamp))
    return f"h1-{blake2b(content.encode(), digest_size=12).hexdigest()}-{row.occurrence}"


def _once(rows: list[_Kept], has_ids: bool) -> list[_Kept]:
    """Keep the first of the rows that hold one event: the same id, or an overlap of two files."""
    seen: set[Any] = set()
    found = []
    for row in rows:
        key = (row.customer, row.event) if has_ids else (*row.content, row.occurrence)
        if (has_ids and not row.event) or key not in seen:
            found.append(row)
            seen.add(key)
    return found


def _rows(path: Path, reading: Reading) -> Iterator[Row]:
    """Yield the mapped cells of each row that has as many cells as the header, and under "row" which one it is."""
    if path.suffix == ".parquet":
        yield from _parquet(path, reading)
        return
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(reading.encoding).removeprefix("\ufeff")
    header_line = text.split("\n", 1)[0]
    separator = reading.separator or max(",;\t|", key=header_line.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = next(table)
    columns = _columns(header, reading.columns)
    for number, cells in enumerate(table, start=2):  # as a spreadsheet counts
        if len(cells) == len(header) and any(cells[at] for at in columns.values()):
            yield {ours: cells[at] for ours, at in columns.items()} | {"row": f"{path.name} row {number}"}


def _columns(header: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Return field -> place of its column."""
    columns = {ours: header.index(theirs) for ours, theirs in mapping.items()}
    for at, name in enumerate(header):
        ours = _HEADERS.get(name.strip().lower().replace(" ", "").replace("_", ""))
        amount_is_enough = "amount" in mapping and ours in ("unit_price", "quantity")
        if ours is not None and ours not in mapping and name not in mapping.values() and not amount_is_enough:
            columns.setdefault(ours, at)
    return columns


def _parquet(path: Path, reading: Reading) -> Iterator[Row]:
    import pandas as pd

    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    columns = _columns([str(name) for name in frame.columns], reading.columns)
    texts = {ours: frame.iloc[:, at].astype("string").fillna("").tolist() for ours, at in columns.items()}
    for number, cells in enumerate(zip(*texts.values(), strict=True), start=2):
        yield dict(zip(texts, cells, strict=True)) | {"row": f"{path.name} row {number}"}


class _File:
    """Reads the rows of one file, each distinct text once."""

    def __init__(self, rows: Sequence[Row], reading: Reading, until: float, numbered_from: int) -> None:
        self._rows, self._reading = rows, reading
        self._until, self._numbered_from = until, numbered_from
        self._number = lru_cache(maxsize=1 << 16)(lambda text: _number(text, reading.decimal))
        self._zone = ZoneInfo(reading.zone)
        self._day_first = reading.date_format is None and _day_first(row["invoice_date"] for row in rows)
        self._time = lru_cache(maxsize=1 << 18)(self._read_time)
        self._customer = lru_cache(maxsize=1 << 18)(canonical_id)

    def kept(self) -> Iterator[_Kept]:
        """Yield the rows that count, those that need it numbered among their equals."""
        equals: Counter[tuple[Any, ...]] = Counter()
        moments: Counter[tuple[str, int | None]] = Counter()
        whole: set[tuple[Any, ...]] = set()
        for row in self._rows:
            read = self._one(row, moments)
            if read is None:
                continue
            if read.time >= self._numbered_from:
                content = read.content
                read.occurrence = equals[content]
                equals[content] = read.occurrence + 1
            if self._reading.drop_repeats:
                texts = (row.get("description", "").strip(), row.get("country", "").strip())
                line = (*read.content, read.original, *texts)
                if line in whole:
                    continue
                whole.add(line)
            if not (self._reading.drop_non_products and _is_fee(read.stock)):
                yield read

    def _one(self, row: Row, moments: Counter[tuple[str, int | None]]) -> _Kept | None:
        """Return a row as numbers, None where a rule leaves it out."""
        customer, time = self._customer(row["customer_id"]), self._time(row["invoice_date"])
        invoice = canonical_id(row["invoice_no"]) if "invoice_no" in row else _of_its_own(customer, time, moments)
        if time is None or time > self._until:
            return None
        price, quantity = self._money(row)
        is_return = _is_cancelled(invoice) or (quantity is not None and quantity < 0)
        original = canonical_id(row.get("original_invoice_no", "")) if is_return else ""
        original = "" if original in _GUESTS else original
        event = row.get("event_id", "").strip()
        fits = 0 < len(invoice.encode()) <= 256 and len(event) <= 512 and len(customer.encode()) <= 512
        fits = fits and len(original.encode()) <= 256
        ours = row.get("currency", "").strip().upper() in ("", self._reading.currency)
        if price is None or quantity is None or not fits or not ours or customer in _GUESTS:
            return None
        if quantity == 0 or not 0 < price <= 10_000_000 * MONEY or abs(price * quantity) > 10**13:
            return None
        stock = row.get("stock_code", "").strip()
        return _Kept(customer, invoice, original, stock, quantity, price, time, event, row["row"])

    def _money(self, row: Row) -> tuple[int | None, int | None]:
        """Return (price in 1/10,000, quantity); an amount is the price of one unit, or of one given back."""
        if "amount" in row:
            amount = _exact(self._number(row["amount"]))
            return (None, None) if amount is None else (abs(amount), -1 if amount < 0 else 1)
        quantity = self._number(row["quantity"])
        whole = quantity is not None and abs(quantity) <= 1_000_000_000 and quantity == int(quantity)
        return _exact(self._number(row["unit_price"])), int(quantity) if whole and quantity is not None else None

    def _read_time(self, text: str) -> int | None:
        try:
            seconds = self._moment(text.strip())
        except (Refused, ValueError):
            return None
        return seconds if 0 <= seconds < _LATEST else None

    def _moment(self, text: str) -> int:
        form = self._reading.date_format
        if form is not None:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 -- the shop's wall clock unless the format has %z
            return local_seconds(moment.isoformat(), self._zone)
        if match := _SLASHED.fullmatch(text):
            day, month = (match[1], match[2]) if self._day_first else (match[2], match[1])
            date = f"{match[3]}-{month:0>2}-{day:0>2}"
            return local_seconds(f"{date}T{match[4] or '0':0>2}:{match[5] or '00'}:{match[6] or '00'}", self._zone)
        found = _ISO.fullmatch(text)
        if found is None:
            raise ValueError(text)
        date, clock, seconds, zone = found.groups()
        return local_seconds(f"{date}T{clock or '00:00'}:{(seconds or '00').split('.')[0]}{zone or ''}", self._zone)


def _day_first(texts: Iterator[str]) -> bool:
    """Return whether slashed dates begin with the day, by the numbers that cannot be a month."""
    return any(12 < int(match[1]) <= 31 for text in set(texts) if (match := _SLASHED.fullmatch(text.strip())))


def _number(text: str, decimal: str) -> float | None:
    text = text.strip()
    if not (_POINT if decimal == "." else _COMMA).fullmatch(text):
        return None
    value = float(text if decimal == "." else text.replace(".", "").replace(",", "."))
    return value if math.isfinite(value) else None


def _exact(value: float | None) -> int | None:
    """Return money in 1/10,000, None where it is none or has more decimals."""
    if value is None or abs(value) >= 1e15:
        return None
    ticks = round(value * MONEY)
    return ticks if abs(value - ticks / MONEY) <= 4 * math.ulp(abs(value)) else None


def _of_its_own(customer: str, time: int | None, moments: Counter[tuple[str, int | None]]) -> str:
    """Name an order that has no number by its time."""
    number = moments[customer, time]
    moments[customer, time] += 1
    seconds = time or 0
    day = datetime.fromordinal(719_163 + seconds // DAY)
    of_day = seconds % DAY
    stamp = f"{day:%Y-%m-%d}T{of_day // 3600:02d}:{of_day // 60 % 60:02d}:{of_day % 60:02d}"
    return f"{stamp}/{number}" if number else stamp


def _is_fee(stock: str) -> bool:
    return _FEE.fullmatch(stock.upper().replace(" ", "")) is not None
