"""UCI Online Retail as ledger lines, by a plain pandas path: what the benchmarks replay.

Guests and prices <= 0 are out; returns, exact repeats and non-product codes stay (the ledger's default view).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from features.ledger import MONEY, Lines

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "OnlineRetail.csv.gz"
"""The real file beside the repository; it is not part of it."""

COLUMNS = ["InvoiceNo", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]


@dataclass(frozen=True, slots=True)
class Retail:
    """customers: the ids, by owner index; lines: in the order of the file, which is that of time."""

    customers: tuple[str, ...]
    lines: Lines


def read(path: Path = FILE) -> Retail:
    """Read the UCI file, plain or .gz; a missing one raises FileNotFoundError."""
    frame = pd.read_csv(path, usecols=COLUMNS, dtype={"InvoiceNo": str, "CustomerID": str}, engine="pyarrow")
    frame = frame[frame["CustomerID"].notna() & (frame["UnitPrice"] > 0)]
    owner, customers = pd.factorize(frame["CustomerID"].str.removesuffix(".0"))
    order, _ = pd.factorize(frame["InvoiceNo"])
    # A calendar date in whole days; the file is local time, so no zone is involved.
    date = pd.to_datetime(frame["InvoiceDate"], format="%m/%d/%Y %H:%M").to_numpy("datetime64[D]")
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
