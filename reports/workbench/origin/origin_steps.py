"""The origin's own steps, from order lines to the table that it clustered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from features.vector import Floats
from reports.workbench.origin.origin_kmeans import standardised


class Origin(NamedTuple):
    """The origin's own steps. rfm: `rfm`; scored: its rows with a logarithm; x: float64 (n, 4), what it clustered."""

    rfm: pd.DataFrame
    scored: pd.DataFrame
    x: Floats


def rfm(lines: pd.DataFrame, on: pd.Timestamp) -> pd.DataFrame:
    """Return the origin's table, a row a customer: every line counts, whatever its price, sign or invoice.

    Columns: recency (days from the last date to `on`), frequency (distinct invoice numbers), monetary (sum of quantity
    x price).
    """
    known = lines[lines["customer"].notna()]
    by = known.groupby("customer", observed=True)
    spent = (known["quantity"] * known["price"]).groupby(known["customer"], observed=True).sum()
    recency = (on - by["time"].max().dt.normalize()).dt.days
    return pd.DataFrame({"recency": recency, "frequency": by["invoice"].nunique(), "monetary": spent})


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose ln(monetary + 1) exists, with log_frequency, log_monetary and the origin's score."""
    there = table[table["monetary"] > -1]
    frequency, monetary = np.log1p(there["frequency"]), np.log1p(there["monetary"])
    return there.assign(log_frequency=frequency, log_monetary=monetary, score=there["recency"] + frequency + monetary)


def origin_of(lines: pd.DataFrame, on: pd.Timestamp) -> Origin:
    """Take the origin's steps up to its clustering."""
    table = rfm(lines, on)
    rows = scored(table)
    features = rows[["recency", "log_frequency", "log_monetary", "score"]].to_numpy(np.float64)
    return Origin(table, rows, standardised(features))
