"""How many customers each segment has, what share of them and of the revenue, and what is typical of them."""

from __future__ import annotations

import pandas as pd

from features.vector import NAMES


def sizes(customers: pd.DataFrame) -> pd.DataFrame:
    """Return a row a segment: ``segment``, ``customers``, ``customers_share``, ``revenue``, ``revenue_share``.

    revenue: net in the horizon, currency units. customers_share: of everybody; revenue_share: of the clusters' revenue,
    missing for the fixed segments, which stand outside and are listed only where somebody is in them.
    """
    by_segment = customers.groupby("segment", observed=False)
    found = by_segment.agg(
        customers=("monetary", "size"), revenue=("monetary", "sum"), clustered=("clustered", "any")
    ).reset_index()
    inside = customers[customers["clustered"]]
    found["customers_share"] = found["customers"] / max(len(customers), 1)
    found["revenue_share"] = (found["revenue"] / inside["monetary"].sum()).where(found["clustered"])
    columns = ["segment", "customers", "customers_share", "revenue", "revenue_share"]
    return found.loc[found["customers"] > 0, columns].astype({"segment": str}).reset_index(drop=True)


def medians(customers: pd.DataFrame) -> pd.DataFrame:
    """Return each segment's medians, raw units: ``segment``, ``customers``, and each of features.vector.NAMES."""
    by_segment = customers.groupby("segment", observed=True)
    found = by_segment[list(NAMES)].median()
    found.insert(0, "customers", by_segment.size())
    return found.reset_index().astype({"segment": str})
