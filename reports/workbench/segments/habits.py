"""How the customers of each segment buy: what is in a typical basket, at which hours and on which days, and from where.

    ledger --------> orders: lines, units, value
    sales lines ---> orders: hour, weekday        customers: country

Orders and customers are those of the horizon, in the segment that each customer is in as of the study's day.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.ledger import FOLDED, MONEY, expire, order_starts
from reports.workbench.exhibit import Exhibit
from reports.workbench.lines import sales
from reports.workbench.phrases import WEEKDAYS, count, listed, money, share
from reports.workbench.study import Study
from reports.workbench.tables import long, parts, rows
from reports.workbench.theme import OUTSIDE, PALETTE, segment_colours, styled

ENOUGH = 30
"""Orders of a segment below which its shares are not compared with the shop's."""

ABROAD = 5
"""Countries that have a colour of their own, beside the home country; the others are drawn together."""


def orders(study: Study) -> pd.DataFrame:
    """Return the positive orders of the horizon, a row each, from the ledger.

    Columns: ``customer``, ``segment``, ``lines``, ``units``, ``value`` (net, currency units). Where a customer has so
    many that the oldest are folded together, those are left out.
    """
    before = study.ledger.take(study.ledger.day < study.day)
    known, _ = expire(before, study.day - study.bundle.horizon_days)
    starts = order_starts(known)
    sums = {
        name: np.add.reduceat(column, starts) if len(starts) else column
        for name, column in (("lines", known.lines), ("units", known.units), ("value", known.net))
    }
    table = pd.DataFrame({"customer": np.array(study.ids, dtype=object)[known.owner[starts]], **sums})
    table.insert(1, "segment", study.customers["segment"].reindex(table["customer"]).to_numpy())
    table["segment"] = pd.Categorical(table["segment"], categories=study.customers["segment"].cat.categories)
    table["value"] /= MONEY
    kept: pd.DataFrame = table[(table["value"] > 0) & (known.order[starts] != FOLDED)]
    return kept


def baskets(orders: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return each segment's typical order: ``segment``, ``orders`` and the medians ``lines``, ``units``, ``value``."""
    by_segment = orders.groupby("segment", observed=False)
    found = by_segment[["lines", "units", "value"]].median()
    found.insert(0, "orders", by_segment.size())
    return found.loc[segments].reset_index().astype({"segment": str})


def in_horizon(study: Study) -> pd.DataFrame:
    """Return the sales lines that count and lie in the horizon, with the ``segment`` of their customer.

    Raises ValueError where the study has no lines.
    """
    if study.lines is None:
        raise ValueError("the study has no lines")
    sold = sales(study.lines[study.lines["kept"]])
    ends = pd.Timestamp(study.date)
    sold = sold[(sold["time"] < ends) & (sold["time"] >= ends - pd.Timedelta(days=study.bundle.horizon_days))]
    return sold.assign(segment=segment_of(sold["customer"], study))


def segment_of(customers: pd.Series, study: Study) -> pd.Series:
    """Return the segment of each line's customer, an ordered category. customers: a category of ids."""
    of_category = study.customers["segment"].reindex(pd.Index(customers.cat.categories)).cat.codes.to_numpy()
    codes = np.where(customers.cat.codes >= 0, of_category[customers.cat.codes.to_numpy()], -1)
    categories = study.customers["segment"].cat.categories
    return pd.Series(pd.Categorical.from_codes(codes, categories=categories, ordered=True), index=customers.index)


def placed(sold: pd.DataFrame) -> pd.DataFrame:
    """Return a row an order, at its first line: the columns of `sold`. An order is a customer's invoice."""
    return sold.sort_values("time", kind="stable").drop_duplicates(["customer", "invoice"])


def shares_by(orders: pd.DataFrame, at: pd.Series, places: range, segments: list[str]) -> pd.DataFrame:
    """Return how the orders of each segment spread over hours or weekdays, each at a number of `places`.

    Columns: ``segment``, ``at`` (the number), ``orders``, ``orders_share`` (of the segment's; missing where none).
    """
    table = pd.crosstab(orders["segment"].astype(str), at).reindex(index=segments, columns=places, fill_value=0)
    shares = table.div(table.sum(axis=1).replace(0, np.nan), axis=0)
    found = long(table, "segment", "at", "orders")
    return found.assign(orders_share=long(shares, "segment", "at", "orders_share")["orders_share"])


def homes(lines: pd.DataFrame) -> pd.Series:
    """Return each customer's country: that of most of his orders, of several the first by name. Indexed by customer."""
    known = lines[lines["country"].astype(str).ne("") & lines["customer"].notna()]
    pairs = known.drop_duplicates(["customer", "invoice", "country"])[["customer", "country"]].astype(str)
    counts = pairs.value_counts().reset_index().sort_values(["count", "country"], ascending=[False, True])
    return counts.drop_duplicates("customer").set_index("customer")["country"]


def countries(homes: pd.Series, customers: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return where the customers live: ``segment``, ``country``, ``customers``, ``customers_share``.

    Of the segment's customers whose country is known; the country with most customers comes first.
    """
    where = homes.reindex(customers.index)
    table = pd.crosstab(customers["segment"].astype(str), where).reindex(index=segments, fill_value=0)
    totals: dict[Any, int] = table.sum().to_dict()
    found = long(table[sorted(totals, key=lambda name: (-totals[name], name))], "segment", "country", "customers")
    found["customers_share"] = found["customers"] / found.groupby("segment")["customers"].transform("sum").replace(
        0, np.nan
    )
    return found


def basket_exhibit(study: Study) -> Exhibit:
    """Return the table of typical baskets."""
    found = baskets(orders(study), study.segments)
    known = found[found["orders"] > 0].sort_values("value", kind="stable")
    told = [
        f"of {row['segment']} is worth {money(row['value'], study.currency)} ({row['lines']:,.0f} lines, "
        f"{row['units']:,.0f} units; n = {row['orders']:,} orders)"
        for row in (rows(known)[:: 1 - len(known)] if len(known) > 1 else rows(known))
    ]
    sentence = f"The median order {', that '.join(told)}." if told else "No segment has an order in the horizon."
    return Exhibit(
        "baskets",
        "Typical basket: medians over orders with a positive net, value after returns that name their order",
        sentence,
        found,
    )


def time_exhibits(study: Study, placed: pd.DataFrame) -> tuple[list[Exhibit], list[str]]:
    """Return the plots of weekdays and hours, and notes on what the files do not tell."""
    weekday = shares_by(placed, placed["time"].dt.day_of_week, range(7), study.segments)
    exhibits = [
        Exhibit(
            "weekdays-by-segment",
            "On which weekdays each segment orders",
            _when(weekday, dict(enumerate(WEEKDAYS)), "on"),
            weekday.assign(weekday=[WEEKDAYS[i] for i in weekday["at"]]).drop(columns="at"),
            _bars(study, weekday),
        )
    ]
    if (placed["time"] == placed["time"].dt.normalize()).all():
        return exhibits, ["The times in the files are days without hours: no plot of hours."]
    hour = shares_by(placed, placed["time"].dt.hour, range(24), study.segments)
    exhibits.append(
        Exhibit(
            "hours-by-segment",
            "At which hours each segment orders",
            _when(hour, {i: f"{i:02}:00 to {i:02}:59" for i in range(24)}, "at"),
            hour.rename(columns={"at": "hour"}),
            _curves(study, hour),
        )
    )
    return exhibits, []


def _when(found: pd.DataFrame, names: dict[int, str], preposition: str) -> str:
    """Say when most orders come, when none, and which segment differs most from the whole."""
    whole = found.groupby("at")["orders"].sum()
    shares = whole / whole.sum()
    busiest = int(shares.to_numpy().argmax())
    said = f"Busiest is {names[busiest]}, with {share(shares[busiest])} of {count(int(whole.sum()), 'order')}"
    idle = [names[at] for at in whole.index[whole == 0].tolist()]
    if preposition == "on" and 0 < len(idle) < 6:
        said += f"; none {preposition} {listed(idle)}"
    counts = found.groupby("segment")["orders"].transform("sum")
    compared = found[counts >= ENOUGH].copy()
    if compared["segment"].nunique() < 2:
        return f"{said}."
    compared["difference"] = compared["orders_share"] - compared["at"].map(shares)
    far = max(rows(compared), key=lambda row: abs(row["difference"]))
    points = abs(far["difference"]) * 100
    direction = "more" if far["difference"] > 0 else "fewer"
    return (
        f"{said}. The segments differ by at most {points:.1f} percentage points from the whole: {far['segment']} "
        f"place {share(far['orders_share'])} of their orders {preposition} {names[int(far['at'])]}, {direction} than "
        "all together."
    )


def _bars(study: Study, found: pd.DataFrame) -> go.Figure:
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Bar(name=name, x=list(WEEKDAYS), y=marks["orders_share"] * 100, marker_color=colours[name])
            for name, marks in parts(found, "segment")
        ]
    )
    return styled(figure, x="weekday", y="share of the segment's orders [%]")


def _curves(study: Study, found: pd.DataFrame) -> go.Figure:
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Scatter(
                name=name, x=marks["at"], y=marks["orders_share"] * 100, mode="lines+markers", line_color=colours[name]
            )
            for name, marks in parts(found, "segment")
        ]
    )
    return styled(figure, x="hour of the day, the shop's clock [h]", y="share of the segment's orders [%]")


def country_exhibit(study: Study, lines: pd.DataFrame) -> Exhibit | None:
    """Return the plot of customers abroad; None where the files name fewer than two countries."""
    found = countries(homes(lines), study.clustered, study.segments)
    if found["country"].nunique() < 2:
        return None
    home = str(found["country"].iloc[0])
    abroad = found[found["country"] != home]
    totals = abroad.groupby("country", sort=False)["customers"].sum()
    named = list(totals.index[:ABROAD])
    sentence = f"{_at_home(found, home)}; next come {listed([f'{name} ({totals[name]:,})' for name in named[:3]])}"
    shares = abroad.groupby("segment", sort=False)["customers_share"].sum(min_count=1).dropna().sort_values()
    least, most = str(shares.index[0]), str(shares.index[-1])
    if math.isclose(shares[most], shares[least]):
        sentence += f"; the share abroad is {share(shares[most])} in every segment."
    else:
        sentence += f"; the share abroad is greatest among {most}, {share(shares[most])}, "
        sentence += f"and least among {least}, {share(shares[least])}."
    drawn = abroad.assign(country=abroad["country"].where(abroad["country"].isin(named), "elsewhere"))
    drawn = drawn.groupby(["segment", "country"], sort=False)[["customers", "customers_share"]].sum().reset_index()
    figure = go.Figure(
        [
            go.Bar(name=name, x=marks["segment"], y=marks["customers_share"] * 100, marker_color=colour)
            for (name, marks), colour in zip(
                parts(drawn, "country"), (*PALETTE[: len(named)], OUTSIDE[0]), strict=False
            )
        ]
    )
    figure.update_layout(barmode="stack")
    figure = styled(figure, x="segment", y="abroad [% of the segment]")
    return Exhibit("countries-by-segment", f"Customers outside {home} by segment", sentence, drawn, figure)


def _at_home(found: pd.DataFrame, home: str) -> str:
    known, there = int(found["customers"].sum()), int(found.loc[found["country"] == home, "customers"].sum())
    return f"{share(there / known)} of {count(known, 'customer')} are in {home}"
