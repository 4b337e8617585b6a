"""What is sold, when, where and to whom: the plots that one looks at before any clustering.

traded lines (guests too) --> time, weekday, hour, products, countries        customers --> orders, R, F, M, gaps

Amounts are net: an order that was taken back an hour later would else be the best week and the best product.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import skew

from features.vector import NAMES, RFM, Floats
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.lines import described, sales, sold
from reports.workbench.measures import MEASURES
from reports.workbench.phrases import WEEKDAYS, count, money, share, unit
from reports.workbench.sales.data_quality import REACH, by_country, fences
from reports.workbench.study import Study
from reports.workbench.tables import greatest, rows
from reports.workbench.theme import CONTRAST, DIVERGING, LOG_AXIS, LOG_TICKS, PLAIN, RAMP, styled

MOST = 15
"""Products and countries in a plot; the CSV has all."""

STRONG = 0.7
"""A rank correlation from which two features are said to tell much the same."""


def section(study: Study) -> Section:
    """Return the section; without lines only what the customers' features show."""
    title = "What is sold, when, and to whom?"
    if study.lines is None or not sold(study.lines).any():
        return Section("exploration", title, "From the customers' features alone.", tuple(_of_customers(study)))
    lines = traded(study.lines)
    total = float(lines["amount"].sum())
    known = float(lines.loc[lines["customer"].notna(), "amount"].sum())
    lead = (
        f"{money(total, study.currency)} net were sold on {count(invoices(lines), 'invoice')}, "
        f"{share(known / total if total else float('nan'))} of it to customers who are known. Plots of time, products "
        "and countries count guests too. In time and products, what was taken back is taken off where it came back; "
        "countries show what was sold."
    )
    exhibits = [*_of_time(study, lines), *_of_goods(study, lines), *_of_customers(study)]
    return Section("exploration", title, lead, tuple(exhibits))


def traded(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines that sold or took back: no corrections, no bad debt, nothing for free."""
    return lines[sold(lines) | (lines["cancelled"] & (lines["price"] > 0))]


def invoices(lines: pd.DataFrame) -> int:
    """Return how many invoices sold something."""
    return int(lines.loc[~lines["cancelled"], "invoice"].nunique())


def by_period(lines: pd.DataFrame, frequency: str) -> pd.DataFrame:
    """Return ``start`` (datetime), ``value`` and ``units`` (net) a period (pandas' alias: D, W, M); gaps are 0."""
    period = lines["time"].dt.to_period(frequency)
    table = lines.groupby(period).agg(value=("amount", "sum"), units=("units", "sum"))
    whole = pd.period_range(period.min(), period.max(), freq=frequency)
    table = table.reindex(whole, fill_value=0).reset_index(drop=True)
    table.insert(0, "start", whole.to_timestamp())
    return table


def by_weekday_and_hour(lines: pd.DataFrame) -> pd.DataFrame:
    """Return ``weekday`` (0 Monday), ``hour``, ``invoices``, ``value`` of what was sold, one row each of 7 x 24."""
    first = (
        lines[~lines["cancelled"]].groupby("invoice", observed=True).agg(time=("time", "min"), value=("amount", "sum"))
    )
    grouped = first.groupby([first["time"].dt.day_of_week.rename("weekday"), first["time"].dt.hour.rename("hour")])
    table = grouped.agg(invoices=("value", "size"), value=("value", "sum"))
    whole = pd.MultiIndex.from_product([range(7), range(24)], names=["weekday", "hour"])
    return table.reindex(whole, fill_value=0).reset_index()


def by_product(lines: pd.DataFrame) -> pd.DataFrame:
    """Return ``stock_code``, ``product``, ``value``, ``units`` (net), ``invoices`` sold on; the most valuable first."""
    goods = lines[~lines["non_product"] & (lines["stock_code"] != "")]
    goods = goods.assign(sold_on=goods["invoice"].where(~goods["cancelled"]))
    grouped = goods.groupby("stock_code", observed=True)
    table = grouped.agg(value=("amount", "sum"), units=("units", "sum"), invoices=("sold_on", "nunique")).reset_index()
    table.insert(1, "product", table["stock_code"].map(described(goods)).astype(str))
    table["stock_code"] = table["stock_code"].astype(str)
    return table.sort_values(["value", "stock_code"], ascending=[False, True], ignore_index=True)


def gaps(lines: pd.DataFrame) -> pd.Series:
    """Return the days between one purchase day and the next of each known customer, int64, in no order."""
    bought = sales(lines)
    days = pd.DataFrame({"customer": bought["customer"], "day": bought["time"].dt.normalize()}).drop_duplicates()
    days = days.sort_values(["customer", "day"])
    between = days["day"].diff().dt.days
    same = days["customer"].to_numpy()[1:] == days["customer"].to_numpy()[:-1]
    found: pd.Series = between.iloc[1:][same].astype(np.int64)
    return found


def rank_correlations(customers: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlation of the features, (d, d).

    One that never varies is left out, and one that equals an earlier one (a window as long as the horizon).
    """
    told = customers[list(NAMES)].T.drop_duplicates().T
    return told.loc[:, told.nunique() > 1].corr(method="spearman")


def _of_time(study: Study, lines: pd.DataFrame) -> list[Exhibit]:
    weeks, months = by_period(lines, "W"), by_period(lines, "M")
    best = greatest(weeks, "value")
    trend = go.Figure()
    trend.add_scatter(x=weeks["start"], y=weeks["value"], name="value", mode="lines", line_color=PLAIN)
    trend.add_scatter(x=weeks["start"], y=weeks["units"], name="units", mode="lines", line_color=CONTRAST, yaxis="y2")
    trend.update_layout(yaxis2={"overlaying": "y", "side": "right", "title": "units", "showgrid": False})
    per_week = Exhibit(
        "sales-by-week",
        "Sales by week",
        f"The best week began on {best['start']:%-d %B %Y} with {money(best['value'], study.currency)}, "
        f"{best['value'] / max(float(weeks['value'].median()), 1e-9):.1f} times the median week.",
        weeks,
        styled(trend, x="week (its Monday)", y=f"value [{unit(study.currency)}]"),
    )
    return [per_week, _months(study, lines, months), _weekdays(lines), _hours(lines)]


def _months(study: Study, lines: pd.DataFrame, months: pd.DataFrame) -> Exhibit:
    last = lines["time"].max()
    partial = last.normalize() < last.to_period("M").end_time.normalize()
    months = months.assign(partial=[False] * (len(months) - 1) + [bool(partial)])
    whole = months[~months["partial"]]
    colours = [CONTRAST if each else PLAIN for each in months["partial"]]
    figure = go.Figure(go.Bar(x=months["start"], y=months["value"], marker_color=colours))
    said = f" The last month ends on {last:%-d %B} in the data and is not whole (other colour)." if partial else ""
    if whole.empty:
        sentence = f"There is no whole month in the data.{said}"
    else:
        best = greatest(whole, "value")
        least = rows(whole.nsmallest(1, "value"))[0]
        sentence = (
            f"The strongest whole month is {best['start']:%B %Y} with {money(best['value'], study.currency)}, the "
            f"weakest {least['start']:%B %Y} with {money(least['value'], study.currency)}.{said}"
        )
    return Exhibit(
        "sales-by-month",
        "Sales by month",
        sentence,
        months,
        styled(figure, x="month", y=f"value [{unit(study.currency)}]"),
    )


def _weekdays(lines: pd.DataFrame) -> Exhibit:
    table = by_weekday_and_hour(lines).groupby("weekday", as_index=False)[["invoices", "value"]].sum()
    table.insert(1, "name", list(WEEKDAYS))
    table["share"] = table["value"] / table["value"].sum()
    best, closed = greatest(table, "value"), [row["name"] for row in rows(table) if not row["invoices"]]
    figure = go.Figure(go.Bar(x=table["name"], y=table["share"], marker_color=PLAIN))
    figure.update_yaxes(tickformat=".0%")
    return Exhibit(
        "sales-by-weekday",
        "Sales by weekday",
        f"{best['name']} brings most, {share(best['share'])} of the value"
        + (f"; nothing is ever sold on a {' or '.join(closed)}." if closed else "."),
        table,
        styled(figure, x="day of the week", y="share of value"),
    )


def _hours(lines: pd.DataFrame) -> Exhibit:
    table = by_weekday_and_hour(lines)
    grid = table.pivot(index="weekday", columns="hour", values="invoices")
    hours = table.groupby("hour")["invoices"].sum()
    best = greatest(table, "invoices")
    used = [row["hour"] for row in rows(hours.reset_index()) if row["invoices"]]
    figure = go.Figure(
        go.Heatmap(z=grid.to_numpy(), x=list(range(24)), y=list(WEEKDAYS), colorscale=RAMP, colorbar_title="invoices")
    )
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "invoices-by-hour",
        "When invoices are written",
        f"Most on {WEEKDAYS[best['weekday']]}s from {best['hour']}:00 ({count(best['invoices'], 'invoice')}); there "
        f"are invoices between {min(used)}:00 and {max(used)}:59.",
        table.assign(weekday=[WEEKDAYS[i] for i in table["weekday"]]),
        styled(figure, x="hour of the day (the shop's clock)", y="day of the week"),
    )


def _of_goods(study: Study, lines: pd.DataFrame) -> list[Exhibit]:
    exhibits = []
    products = by_product(lines)
    if len(products):
        exhibits += [_products(study, products), _product_diversity(lines)]
    countries = by_country(lines)
    if len(countries) > 1:
        exhibits.append(_abroad(study, countries))
    return exhibits


def _products(study: Study, products: pd.DataFrame) -> Exhibit:
    shown, best, total = products.head(MOST), rows(products)[0], float(products["value"].sum())
    tenth = products["value"].head(max(len(products) // 10, 1)).sum() / total if total else float("nan")
    figure = go.Figure(go.Bar(x=shown["value"], y=shown["product"], orientation="h", marker_color=PLAIN))
    figure.update_yaxes(autorange="reversed", type="category")
    return Exhibit(
        "top-products",
        "Products that bring most",
        f"{best['product'].capitalize()} brings most, {money(best['value'], study.currency)} on "
        f"{count(best['invoices'], 'invoice')}; the best tenth of {count(len(products), 'product')} brings "
        f"{share(float(tenth))} of their value.",
        products,
        styled(figure, x=f"value [{unit(study.currency)}]", y="product", height=460),
    )


def _product_diversity(lines: pd.DataFrame) -> Exhibit:
    goods = lines[~lines["non_product"] & lines["customer"].notna() & ~lines["cancelled"]]
    distinct = goods.groupby("customer", observed=True)["stock_code"].nunique()
    table = distinct.value_counts().sort_index().rename_axis("products").reset_index(name="customers")
    one = int((distinct == 1).sum())
    figure = go.Figure(go.Histogram(x=np.log10(distinct), nbinsx=40, marker_color=PLAIN))
    _log_ticks(figure, int(distinct.max()))
    return Exhibit(
        "product-diversity",
        "Different products a customer has bought",
        f"Half of {count(len(distinct), 'customer')} bought at most {distinct.median():,.0f} different products; "
        f"{share(one / len(distinct))} only one.",
        table,
        styled(figure, x="different products (log scale)", y="customers"),
    )


def _abroad(study: Study, countries: pd.DataFrame) -> Exhibit:
    home, others = rows(countries)[0], countries.iloc[1 : MOST + 1]
    next_one = rows(others)[0]
    figure = go.Figure(go.Bar(x=others["value"], y=others["country"], orientation="h", marker_color=PLAIN))
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "countries-beside-the-first",
        f"Countries beside {home['country']}",
        f"{home['country']} aside, {next_one['country']} buys most: {money(next_one['value'], study.currency)} by "
        f"{count(next_one['customers'], 'known customer')}.",
        countries,
        styled(figure, x=f"value [{unit(study.currency)}]", y="country", height=420),
    )


def _of_customers(study: Study) -> list[Exhibit]:
    customers = study.clustered
    if customers.empty:
        return []
    exhibits = [_orders(customers), *(_histogram(study, name) for name in RFM), _boxes(study)]
    if study.lines is not None:
        between = gaps(study.lines)
        if len(between):
            exhibits.append(_gaps(between))
    correlations = rank_correlations(customers)
    if len(correlations) > 1:
        exhibits.append(_correlations(correlations, len(customers)))
    return exhibits


def _orders(customers: pd.DataFrame) -> Exhibit:
    table = (
        customers["frequency"]
        .astype(int)
        .value_counts()
        .sort_index()
        .rename_axis("orders")
        .reset_index(name="customers")
    )
    once = float((customers["frequency"] == 1).mean())
    figure = go.Figure(go.Bar(x=table["orders"], y=table["customers"], marker_color=PLAIN))
    figure.update_yaxes(**LOG_AXIS)
    return Exhibit(
        "orders-a-customer",
        "Orders a customer",
        f"{share(once)} of {count(len(customers), 'customer')} ordered once; the most orders of one are "
        f"{int(customers['frequency'].max()):,}.",
        table,
        styled(figure, x="orders in the horizon", y="customers (log scale)"),
    )


def _histogram(study: Study, name: str) -> Exhibit:
    values = study.clustered[name]
    unit = f" [{study.currency}]" if name == "monetary" and study.currency else ""
    plus = 1 if name == "recency" else 0
    logs = np.log10(values + plus)
    powers = _edges(values, plus, whole=name != "monetary")
    counts, _ = np.histogram(values, bins=powers)
    edges = np.log10(powers + plus)
    table = pd.DataFrame({"from": powers[:-1], "to": powers[1:], "customers": counts})
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            marker_color=PLAIN,
            customdata=powers[:-1],
            hovertemplate="from %{customdata:,.1f}: %{y} customers<extra></extra>",
        )
    )
    _log_ticks(figure, float(values.max()), plus=plus)
    quarter, half, three = np.quantile(values, [0.25, 0.5, 0.75])
    digits = 2 if name == "monetary" else 0
    return Exhibit(
        f"histogram-of-{name}",
        f"Customers by {MEASURES[name].noun}",
        f"The middle customer has {_figure(half, digits, study, name)}; half of all lie between "
        f"{_figure(quarter, digits, study, name)} and {_figure(three, digits, study, name)}. Skewness is "
        f"{skew(values):.1f}, and {skew(logs):.2f} on the log scale.",
        table,
        styled(figure, x=f"{MEASURES[name].noun}{unit} (log scale)", y="customers"),
    )


def _edges(values: pd.Series, plus: int, *, whole: bool) -> Floats:
    """Return edges that are even on a log scale; whole: at whole numbers, for bars between them would stay empty."""
    low, high = float(values.min()) + plus, float(values.max()) + plus
    edges = np.geomspace(max(low, 0.01), max(high, low, 0.01) * 1.001, 41) - plus
    if whole:
        edges = np.unique(np.floor(edges))
        edges = np.append(edges, edges[-1] + 1)
    return edges


def _figure(value: float, digits: int, study: Study, name: str) -> str:
    return money(value, study.currency, digits) if name == "monetary" else f"{value:,.{digits}f}"


def _boxes(study: Study) -> Exhibit:
    values = study.clustered["monetary"]
    lower, upper = fences(values)
    inside = values[(values >= lower) & (values <= upper)]
    figure = go.Figure()
    for label, shown, colour in (("all customers", values, PLAIN), ("within the fences", inside, CONTRAST)):
        q1, median, q3 = np.quantile(shown, [0.25, 0.5, 0.75])
        low, high = shown[shown >= q1 - REACH * (q3 - q1)].min(), shown[shown <= q3 + REACH * (q3 - q1)].max()
        figure.add_box(
            name=label, x=[label], q1=[q1], median=[median], q3=[q3], lowerfence=[low], upperfence=[high],
            mean=[shown.mean()], marker_color=colour, showlegend=False,
        )  # fmt: skip
    table = pd.DataFrame(
        [
            (label, len(each), each.mean(), *np.quantile(each, [0.25, 0.5, 0.75]), each.max(), each.sum())
            for label, each in (("all customers", values), ("within the fences", inside))
        ],
        columns=["customers_shown", "n", "mean", "q1", "median", "q3", "maximum", "sum"],
    )
    return Exhibit(
        "net-before-and-after-outliers",
        "Net revenue a customer, before and after outliers",
        f"Without the {count(len(values) - len(inside), 'customer')} beyond {money(upper, study.currency)} the mean "
        f"falls from {money(values.mean(), study.currency)} to {money(inside.mean(), study.currency)}, and "
        f"{share(1 - inside.sum() / values.sum())} of the revenue is gone: outliers are shown, never cut.",
        table,
        styled(figure, x="customers", y=f"net revenue [{unit(study.currency)}]"),
    )


def _gaps(between: pd.Series) -> Exhibit:
    table = between.value_counts().sort_index().rename_axis("days").reset_index(name="gaps")
    figure = go.Figure(go.Histogram(x=between, xbins={"start": 0, "size": 7}, marker_color=PLAIN))
    return Exhibit(
        "gaps-between-orders",
        "Days between one purchase and the next",
        f"Half of {count(len(between), 'gap')} are {between.median():,.0f} days or shorter, nine tenths "
        f"{between.quantile(0.9):,.0f} days or shorter.",
        table,
        styled(figure, x="days (a bar a week)", y="gaps"),
    )


def _correlations(table: pd.DataFrame, customers: int) -> Exhibit:
    names, rho = list(map(str, table.columns)), table.to_numpy()
    pairs = {(a, b): float(rho[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i < j}
    first, second = max(pairs, key=lambda pair: abs(pairs[pair]))
    strong = sum(abs(value) >= STRONG for value in pairs.values())
    figure = go.Figure(
        go.Heatmap(
            z=rho, x=names, y=names, zmin=-1, zmax=1, colorscale=DIVERGING,
            colorbar_title="rho",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "correlations",
        "Which features say the same",
        f"{first} and {second} go together most (rank correlation {pairs[first, second]:.2f}); of {len(pairs)} pairs "
        f"{strong} reach {STRONG}. n = {customers:,} customers; Spearman's rho, so logarithms change nothing.",
        table.rename_axis("feature").reset_index(),
        styled(figure, x="feature", y="feature", height=520),
    )


def _log_ticks(figure: go.Figure, most: float, *, plus: int = 0) -> None:
    """Write an axis of decimal logarithms as the numbers themselves; plus: what was added before taking logarithms."""
    ticks = [0.0] * bool(plus) + [tick for tick in LOG_TICKS if 1 <= tick <= most * 1.2]
    figure.update_xaxes(tickvals=[float(np.log10(n + plus)) for n in ticks], ticktext=[f"{n:,g}" for n in ticks])
