"""What value is worked out from: purchase days by customer, and a forecast of the last 90 days beside what came.

lines --> purchase days --> summary as of a day --> (models) --> holdout, calibration, value by segment
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.vector import Floats

GROUPS = (0, 1, 2, 3, 4, 6, 10)
"""Least repeat purchase days of each group that a forecast is compared in."""


def purchase_days(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the days on which customers bought for more than they gave back: ``customer``, ``day``, ``net``.

    lines: as reports.workbench.lines says; those that count. ``day``: days since 1970-01-01; ``net``: currency units.
    """
    counted = lines[lines["kept"] & lines["customer"].notna()]
    day = (counted["time"].dt.normalize() - pd.Timestamp(0)).dt.days
    net = counted.groupby([counted["customer"].astype(str), day.rename("day")])["amount"].sum().rename("net")
    return net[net.round(4) > 0].reset_index()


def returned_apart(lines: pd.DataFrame) -> float:
    """Return what was given back on days without a purchase, as a share of what was bought on the purchase days."""
    counted = lines[lines["kept"] & lines["customer"].notna()]
    net = counted.groupby([counted["customer"].astype(str), counted["time"].dt.normalize()])["amount"].sum()
    return float(-net[net < 0].sum() / net[net > 0].sum())


def summary(days: pd.DataFrame, day: int) -> pd.DataFrame:
    """Return customers as of the beginning of a day, a row each, indexed by customer.

    Columns: ``frequency``, the purchase days after the first; ``recency``, days from the first to the last; ``age``,
    days from the first to `day` (the models' T); ``spend``, the mean net of a purchase day after the first, 0 without.
    """
    before = days[days["day"] < day]
    first = before.groupby("customer")["day"].transform("min")
    grouped = before.groupby("customer")
    found = grouped["day"].agg(["size", "min", "max"])
    repeat = before[before["day"] > first].groupby("customer")["net"].mean()
    return pd.DataFrame(
        {
            "frequency": found["size"] - 1,
            "recency": found["max"] - found["min"],
            "age": day - found["min"],
            "spend": repeat.reindex(found.index).fillna(0.0),
        }
    )


def bought(days: pd.DataFrame, customers: pd.Index, start: int, end: int) -> pd.DataFrame:
    """Return what customers did on the days start .. end - 1: ``purchases`` (purchase days) and ``net``."""
    inside = days[(days["day"] >= start) & (days["day"] < end)]
    found = inside.groupby("customer")["net"].agg(["size", "sum"]).reindex(customers).fillna(0.0)
    return found.set_axis(["purchases", "net"], axis=1)


def own_rate(before: pd.DataFrame, days: int) -> Floats:
    """Return the naive forecast: each customer goes on as often as so far, float64 (n,)."""
    return (before["frequency"] / before["age"] * days).to_numpy(np.float64)


def errors(foretold: dict[str, Floats], happened: Floats) -> pd.DataFrame:
    """Return how far forecasts of n customers were off, a row each.

    Columns: ``forecast``, ``customers``, ``foretold`` and ``happened`` (sums), ``mean_absolute_error``,
    ``root_mean_square_error`` (purchase days a customer).
    """
    rows = [
        (
            name,
            len(happened),
            float(values.sum()),
            float(happened.sum()),
            float(np.abs(values - happened).mean()),
            float(np.sqrt(np.square(values - happened).mean())),
        )
        for name, values in foretold.items()
    ]
    columns = ["forecast", "customers", "foretold", "happened", "mean_absolute_error", "root_mean_square_error"]
    return pd.DataFrame(rows, columns=columns)


def calibration(frequency: pd.Series, foretold: Floats, naive: Floats, happened: Floats) -> pd.DataFrame:
    """Return means by group of repeat purchase days, n customers in all.

    Columns: ``group``, ``customers``, ``foretold``, ``own_rate``, ``happened`` (purchase days a customer).
    """
    starts = np.array(GROUPS)
    place = np.searchsorted(starts, frequency.to_numpy(), side="right") - 1
    names = [_group(low, high) for low, high in zip(GROUPS, (*GROUPS[1:], None), strict=True)]
    table = pd.DataFrame({"place": place, "foretold": foretold, "own_rate": naive, "happened": happened})
    grouped = table.groupby("place")
    means = grouped.mean()
    means.insert(0, "customers", grouped.size())
    means.insert(0, "group", [names[i] for i in means.index])
    return means.reset_index(drop=True)


def correlation(before: pd.DataFrame) -> float:
    """Return Pearson's correlation of repeat purchase days and their mean net, of customers with a repeat."""
    again = before[before["frequency"] > 0]
    if len(again) < 3 or again["frequency"].nunique() < 2 or again["spend"].nunique() < 2:
        return float("nan")
    return float(np.corrcoef(again["frequency"], again["spend"])[0, 1])


def by_segment(customers: pd.DataFrame) -> pd.DataFrame:
    """Return value by segment, the greatest total first.

    customers: columns ``segment``, ``purchases`` and ``alive``, and ``value`` where it is known. Columns:
    ``segment``, ``customers``, ``purchases`` (mean), ``alive_share`` (mean), and of the value ``median``, ``total``,
    ``total_share``.
    """
    grouped = customers.groupby(customers["segment"].astype(str))
    table = pd.DataFrame(
        {
            "customers": grouped.size(),
            "purchases": grouped["purchases"].mean(),
            "alive_share": grouped["alive"].mean(),
        }
    )
    by = "purchases"
    if "value" in customers:
        table["median"], table["total"] = grouped["value"].median(), grouped["value"].sum()
        table["total_share"] = table["total"] / table["total"].sum()
        by = "total"
    return table.rename_axis("segment").reset_index().sort_values([by, "segment"], ascending=[False, True])


def _group(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return f"{low}" if high == low + 1 else f"{low} to {high - 1}"
