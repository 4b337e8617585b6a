"""Small exports to read: each test writes the one cell that matters and leaves the rest as in UCI's file."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import History, read_history

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
GOOD = ("536365", "85123A", "WHITE HEART", "6", "2010-12-01 08:26:00", "2.55", "17850", "United Kingdom")


def line(**cells: str) -> tuple[str, ...]:
    """A good line with some cells replaced."""
    return tuple(cells.get(name, good) for name, good in zip(HEADER, GOOD, strict=True))


def text(rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER, separator: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw, 1) if path.suffix == ".gz" else raw)
    return path


def read(folder: Path, *rows: Sequence[str], options: CsvOptions | None = None) -> History:
    """The history of a file of these lines."""
    return read_history([write(folder / "export.csv", text(rows))], options)
