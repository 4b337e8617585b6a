"""Products: what each segment buys most, what it buys more than others do, and how many different things.

    lines that count, products only, in the horizon
        --net by customer and product--> purchases: who kept what    (repeats are one purchase, what came back is none)
            --> top products, lift, diversity by segment;  co-purchases (reports.workbench.action.recommendations)

Postage, fees and other non-product codes are out.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.lines import described
from reports.workbench.phrases import count, listed, money, share, unit
from reports.workbench.segments.habits import segment_of
from reports.workbench.study import Study
from reports.workbench.tables import greatest, parts, rows
from reports.workbench.theme import segment_colours, styled

TOP = 5
"""Products shown of each segment."""

LEAST_CUSTOMERS = 5
LEAST_SHARE = 0.03
"""Support: so many customers of a segment, and such a share of its buyers, must have bought what is said about it."""

UNSEEN = "\u200b"
"""A space of no width."""


def section(study: Study) -> Section:
    """Return the section; a note where the study has no lines or its files name no products."""
    key, title = "products", "What does each segment buy?"
    if study.lines is None:
        return Section(
            key, title, "", notes=("The running service keeps no lines: products are known from files only.",)
        )
    bought = purchases(study)
    bought = bought[bought["segment"].isin(study.segments)]
    if bought.empty:
        return Section(key, title, "", notes=("The files name no product that a customer of a segment has bought.",))
    lead = (
        f"Products kept in the {study.bundle.horizon_days} days before the data's end, after returns, without postage, "
        "fees and other codes that are no product. Whoever buys a product, once or often, is one of its customers."
    )
    names = described(study.lines)
    exhibits = (_top(study, bought, names), *_overbought(study, bought, names), _diversity(study, bought))
    notes = (
        () if len(exhibits) == 3 else ("No product is bought more in one segment than elsewhere by enough customers.",)
    )
    return Section(key, title, lead, exhibits, notes=notes)


def purchases(study: Study) -> pd.DataFrame:
    """Return who kept what: ``customer``, ``stock_code``, ``segment``, ``units``, ``revenue`` (net, currency units).

    One row a customer and product whose units and revenue in the horizon are both above 0, returns taken off. Raises
    ValueError where the study has no lines.
    """
    if study.lines is None:
        raise ValueError("the study has no lines")
    ends = pd.Timestamp(study.date)
    lines = study.lines
    lines = lines[lines["kept"] & ~lines["non_product"] & (lines["stock_code"] != "") & (lines["time"] < ends)]
    lines = lines[lines["time"] >= ends - pd.Timedelta(days=study.bundle.horizon_days)]
    sums = lines.groupby(["customer", "stock_code"], observed=True)[["units", "amount"]].sum().reset_index()
    # Money is in 1/10,000: what is left of sums of floats below half of that is nothing.
    kept = sums[(sums["units"] > 0) & (sums["amount"] > 0.00005)]
    found = kept.rename(columns={"amount": "revenue"}).reset_index(drop=True)
    found.insert(2, "segment", segment_of(found["customer"], study))
    return found


def support(buyers: int) -> int:
    """Return how many customers of a segment must have bought what is said about it. buyers: in the segment."""
    return max(LEAST_CUSTOMERS, math.ceil(LEAST_SHARE * buyers))


def top(bought: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return each segment's products by revenue, the `TOP` first.

    Columns: ``segment``, ``stock_code``, ``customers``, ``revenue``, ``revenue_share`` (of the segment's products).
    """
    found = []
    for name in segments:
        own = bought[bought["segment"] == name]
        table = own.groupby("stock_code", observed=True).agg(customers=("units", "size"), revenue=("revenue", "sum"))
        table["revenue_share"] = table["revenue"] / table["revenue"].sum()
        ordered = table.reset_index().sort_values(["revenue", "stock_code"], ascending=[False, True])
        found.append(ordered.head(TOP).assign(segment=name))
    table = pd.concat(found, ignore_index=True)
    return table[["segment", "stock_code", "customers", "revenue", "revenue_share"]]


def lifts(bought: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return the products that a segment's customers buy more often than others', the `TOP` by lift of each segment.

    Columns: ``segment``, ``stock_code``, ``customers`` (of the segment, who bought it), ``segment_share`` and
    ``elsewhere_share`` (of the buyers of anything, inside and outside the segment), ``lift``. The lift is the share
    inside over the share among all (Brin et al., 1997); only above 1, and with the `support`.
    """
    buyers = bought.drop_duplicates("customer")["segment"].astype(str).value_counts()
    everybody, anywhere = int(buyers.sum()), bought["stock_code"].value_counts()
    found = []
    for name in segments:
        inside = bought.loc[bought["segment"] == name, "stock_code"].value_counts()
        own = int(buyers.get(name, 0))
        table = pd.DataFrame({"customers": inside[inside >= support(own)]})
        if table.empty or own == everybody:
            continue
        all_customers = anywhere.reindex(table.index)
        table["segment_share"] = table["customers"] / own
        table["elsewhere_share"] = (all_customers - table["customers"]) / (everybody - own)
        table["lift"] = table["segment_share"] / (all_customers / everybody)
        table = table[table["lift"] > 1].rename_axis("stock_code").reset_index().assign(segment=name)
        found.append(table.sort_values(["lift", "stock_code"], ascending=[False, True]).head(TOP))
    columns = ["segment", "stock_code", "customers", "segment_share", "elsewhere_share", "lift"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def diversity(bought: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return how many different things each segment buys.

    Columns: ``segment``, ``buyers``, ``products`` (bought by anybody of it), ``median_products`` (of a customer),
    ``effective_products`` (exp of the Shannon entropy of the revenue's shares, Hill's number of order 1: so many
    products of equal revenue would be as diverse).
    """
    found = []
    for name in segments:
        own = bought[bought["segment"] == name]
        if own.empty:
            continue
        shares = own.groupby("stock_code", observed=True)["revenue"].sum().to_numpy() / own["revenue"].sum()
        each = own["customer"].value_counts()
        each = each[each > 0]
        found.append(
            {
                "segment": name,
                "buyers": len(each),
                "products": len(shares),
                "median_products": float(each.median()),
                "effective_products": float(np.exp(-(shares * np.log(shares)).sum())),
            }
        )
    return pd.DataFrame(found)


def _top(study: Study, bought: pd.DataFrame, names: pd.Series) -> Exhibit:
    found = named(top(bought, study.segments), names)
    firsts = found.drop_duplicates("segment")
    if firsts["stock_code"].nunique() == 1 and len(firsts) > 1:
        said = f"In every segment {firsts['product'].iloc[0]} brings more than any other product."
    else:
        told = [
            f"{row['product']} in {row['segment']} ({money(row['revenue'], study.currency)} from "
            f"{count(row['customers'], 'customer')})"
            for row in rows(firsts)
        ]
        said = f"The product with the greatest net revenue is {listed(told)}."
    title = f"The {TOP} products with the greatest net revenue in each segment"
    figure = _bars(study, found, "revenue")
    figure = styled(figure, x=f"net revenue [{unit(study.currency)}]", y="product", height=120 + 22 * len(found))
    return Exhibit("top-products-by-segment", title, said, found, figure)


def _overbought(study: Study, bought: pd.DataFrame, names: pd.Series) -> list[Exhibit]:
    found = named(lifts(bought, study.segments), names)
    if found.empty:
        return []
    row = greatest(found, "lift")
    silent = [name for name in study.segments if name not in set(found["segment"])]
    said = (
        f"Furthest above the rest is {row['product']} among {row['segment']}: {share(row['segment_share'])} of the "
        f"buyers have it, elsewhere {share(row['elsewhere_share'])} (lift {row['lift']:.1f}, n = {row['customers']:,} "
        "customers)."
    )
    if silent:
        said += f" {listed(silent)}: nothing above the average that enough customers bought."
    least = min(support(int(n)) for n in bought.drop_duplicates("customer")["segment"].value_counts() if n)
    title = (
        f"Greatest lift of products bought by {LEAST_SHARE:.0%} of a segment's buyers or more (at least {least} people)"
    )
    figure = styled(
        _bars(study, found, "lift"), x="lift [times the share among all]", y="product", height=120 + 22 * len(found)
    )
    return [Exhibit("bought-more-than-elsewhere", title, said, found, figure)]


def _diversity(study: Study, bought: pd.DataFrame) -> Exhibit:
    found = diversity(bought, study.segments)
    told = [f"{row['segment']} {row['median_products']:,.0f}" for row in rows(found)]
    widest = greatest(found, "effective_products")
    said = (
        f"Different products a customer, the median: {listed(told)}. The revenue of {widest['segment']} is spread "
        f"most, as over {widest['effective_products']:,.0f} products of equal revenue (of {widest['products']:,})."
    )
    return Exhibit("product-diversity-by-segment", "How many different products", said, found)


def named(found: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Return a table of stock codes with the column ``product`` after them, as `lines.described` has it."""
    table = found.assign(stock_code=found["stock_code"].astype(str))
    by_code = {str(code): str(name) for code, name in names.items()}
    table.insert(list(table.columns).index("stock_code") + 1, "product", table["stock_code"].map(by_code))
    return table


def _bars(study: Study, found: pd.DataFrame, column: str) -> go.Figure:
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Bar(
                name=name,
                # Segments may have a product in common, and plotly draws a name where it met it first: made unlike by
                # what nobody sees, each segment's bars stay in their order.
                y=[[name] * len(marks), [f"{product}{UNSEEN * place}" for product in marks["product"]]],
                x=marks[column],
                orientation="h",
                marker_color=colours[name],
                showlegend=False,
            )
            for place, (name, marks) in enumerate(parts(found, "segment"))
        ]
    )
    figure.update_yaxes(autorange="reversed")
    return figure
