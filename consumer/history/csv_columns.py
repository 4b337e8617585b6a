"""Which column of an export is which field, and the options of reading one.

UCI Online Retail's header, Online Retail II's and our own field names are known; everything else is
mapped by the user. Nothing is guessed: a missing field names what was found and what to pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FIELDS = (
    "customer_id",
    "invoice_no",
    "original_invoice_no",
    "invoice_date",
    "stock_code",
    "description",
    "quantity",
    "unit_price",
    "amount",
    "country",
    "currency",
    "event_id",
)
"""Every field that a column can stand for."""

KNOWN = {
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
"""Known headers, lower-case and without spaces and underscores. `amount` is taken only when mapped."""

SEPARATORS = ",;\t|"
"""What may separate cells when the option does not say."""

GIB = 1 << 30

MOST_SHOWN = 40
"""Headers, and characters of each, that a message shows."""


class CsvError(Exception):
    """A file that cannot be read as asked: the message names the file, the row and what to do. Never worth a retry."""


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How to read an export; every default is what UCI Online Retail's UTF-8 copy needs.

    columns: field -> header, beside the known headers. separator: None takes the one that splits the
    header. decimal: "." or ",". encoding: a Python codec in which commas and line ends are ASCII.
    date_format: strptime's; None reads ISO 8601 and slashed dates whose order the file itself proves.
    zone: an IANA name, the zone of the shop's days. currency: rows in another are refused; needed only
    where a currency column holds several. repeats, non_products: keep or drop (csv_cleaning.py).
    max_bytes: the most one file may unpack to. latest: local seconds; later rows are refused as a date.
    day_first: what slashed dates were proved to be; None: the rows at hand have to prove it. part: the rows are
    a part of the whole, so that none of them has a readable date proves nothing.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    date_format: str | None = None
    zone: str = "UTC"
    currency: str | None = None
    repeats: Literal["keep", "drop"] = "keep"
    non_products: Literal["keep", "drop"] = "keep"
    max_bytes: int = 8 * GIB
    latest: int | None = None
    day_first: bool | None = None
    part: bool = False

    def __post_init__(self) -> None:
        """Raise CsvError for a value that no file could be read with."""
        if self.decimal not in (".", ","):
            raise CsvError(f"--decimal {self.decimal!r}: it is '.' or ','")
        if self.separator is not None and len(self.separator.encode()) != 1:
            raise CsvError(f"--separator {self.separator!r}: it is one character, for example ';' or a tab")
        try:
            plain = b",;\n".decode(self.encoding) == ",;\n"
        except (LookupError, UnicodeError):
            plain = False
        if not plain:
            raise CsvError(f"--encoding {self.encoding!r}: give one such as utf-8, cp1252 or latin-1")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise CsvError(f"the time zone {self.zone!r} is not known; give a name such as Europe/London") from error


def parse_map(text: str) -> dict[str, str]:
    """Read ``customer_id=Client,invoice_date=Day`` (the form of ``--map``); raise CsvError on an unknown field."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    columns = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if len(columns) != len(pairs) or not all(columns.values()):
        raise CsvError(f"--map {text!r}: write field=Header,field=Header, each field once")
    if unknown := sorted(set(columns) - set(FIELDS)):
        raise CsvError(f"--map: no field is called {', '.join(unknown)}; the fields are {', '.join(FIELDS)}")
    return columns


def resolve(headers: Sequence[str], mapping: Mapping[str, str], source: str) -> dict[str, str]:
    """Return field -> header for the headers of a file; raise CsvError when one is missing or named twice."""
    if absent := sorted(set(mapping.values()) - set(headers)):
        raise CsvError(f"{source}: no column is called {', '.join(map(repr, absent))}; {_found(headers)}")
    columns = dict(mapping)
    for header in headers:
        ours = KNOWN.get(header.strip().lower().replace(" ", "").replace("_", ""))
        if ours is None or ours in mapping or header in mapping.values():
            continue
        if "amount" in mapping and ours in ("unit_price", "quantity"):
            continue  # an amount stands for both
        if ours in columns:
            raise CsvError(
                f"{source}: {columns[ours]!r} and {header!r} could both be {ours}; pass --map {ours}=<column>"
            )
        columns[ours] = header
    _check(columns, headers, source)
    return columns


def separator_of(header_line: str, option: str | None) -> str:
    """Return the separator that splits a header line into most cells, or the option's."""
    return option or max(SEPARATORS, key=header_line.count)


def _check(columns: Mapping[str, str], headers: Sequence[str], source: str) -> None:
    """Raise CsvError unless the columns are enough for an amount, a day and a customer."""
    if clash := sorted({"unit_price", "quantity"} & set(columns)) if "amount" in columns else []:
        raise CsvError(f"{source}: amount stands for quantity x unit_price; map either it or {' and '.join(clash)}")
    needed = ["customer_id", "invoice_date"] + ([] if "amount" in columns else ["quantity", "unit_price"])
    if missing := [name for name in needed if name not in columns]:
        example = ",".join(f"{name}=<column>" for name in missing)
        hint = " (or --map amount=<column> for one row an order)" if "unit_price" in missing else ""
        raise CsvError(f"{source}: no column for {', '.join(missing)}; {_found(headers)}; pass --map {example}{hint}")
    if repeated := sorted({h for h in columns.values() if list(headers).count(h) > 1}):
        raise CsvError(f"{source}: several columns are called {', '.join(map(repr, repeated))}; rename all but one")


def _found(headers: Sequence[str]) -> str:
    more = f" and {len(headers) - MOST_SHOWN:,} more" if len(headers) > MOST_SHOWN else ""
    return "found " + ", ".join(repr(header[:MOST_SHOWN]) for header in headers[:MOST_SHOWN]) + more
