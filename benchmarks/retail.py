"""UCI Online Retail as ledger lines, by a plain pandas path: what the benchmarks replay.

Guests and prices <= 0 are out; returns, exact repeats and non-product codes stay (the ledger's default view).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from features.ledger import MONEY, Lines
from features.transaction import MAX_QUANTITY, MAX_UNIT_PRICE

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "OnlineRetail.csv.gz"
"""The real file beside the repository; it is not part of it."""

COLUMNS = ["InvoiceNo", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]


@dataclass(frozen=True, slots=True)
class Retail:
    """customers: the ids, by owner index; lines: in the order of the file, which is that of time."""

    customers: tuple[str, ...]
    lines: Lines

    @property
    def until(self) -> int:
        """The day after the last line, days since 1970-01-01."""
        return int(self.lines.day.max()) + 1

    @property
    def first(self) -> int:
        """Where replays begin: the first of the month of the middle day (2011-06-01), and after the first line."""
        begins = int(self.lines.day.min())
        middle = np.datetime64((begins + self.until) // 2, "D")
        return max(int(middle.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)), begins + 1)


def read(path: Path = FILE) -> Retail:
    """Read a file in UCI's form, plain or .gz; a missing one raises FileNotFoundError.

    Rows with figures that the service refuses are out.
    """
    frame = pd.read_csv(path, usecols=COLUMNS, dtype=str, engine="pyarrow")
    for column in ("Quantity", "UnitPrice"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"], format="%m/%d/%Y %H:%M", errors="coerce")
    frame = frame.dropna()
    frame = frame[frame["UnitPrice"].between(0, MAX_UNIT_PRICE, inclusive="right") & (frame["Quantity"] % 1 == 0)]
    frame = frame[frame["Quantity"].abs().between(1, MAX_QUANTITY)]
    owner, customers = pd.factorize(frame["CustomerID"].str.removesuffix(".0"))
    order, _ = pd.factorize(frame["InvoiceNo"])
    # A calendar date in whole days; the file is local time, so no zone is involved.
    date = frame["InvoiceDate"].to_numpy("datetime64[D]")
    cents = np.rint(frame["UnitPrice"].to_numpy() * MONEY).astype(np.int64)
    units = frame["Quantity"].to_numpy(np.int64)
    lines = Lines(
        owner.astype(np.int64),
        (order + 1).astype(np.uint64),
        date.astype(np.int64),
        cents * units,
        units,
        np.zeros(len(frame), np.uint64),
    )
    return Retail(tuple(map(str, customers)), lines)


def day_of(iso: str) -> int:
    """Return a date as days since 1970-01-01."""
    return int(np.datetime64(iso, "D").astype(np.int64))
