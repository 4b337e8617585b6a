"""Can the data be believed? What is missing, repeated, taken back, free of charge, or far from the rest.

lines, funnel --> counts and shares, each with the value that hangs on it
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.lines import sold
from reports.workbench.phrases import count, listed, money, share
from reports.workbench.study import Study
from reports.workbench.tables import by, greatest, rows
from reports.workbench.theme import CONTRAST, PLAIN, styled

REACH = 1.5
"""Tukey's fences stand so many interquartile ranges beyond the quartiles (Exploratory Data Analysis, 1977)."""

MOST_COUNTRIES = 12


def section(study: Study) -> Section:
    """Return the section; a study without lines gets a note in its place."""
    title, lead = "Can the data be believed?", ""
    if study.lines is None:
        return Section("data-quality", title, lead, notes=("The service keeps no lines: only files can be judged.",))
    lines = study.lines
    lead = (
        f"{count(len(lines), 'readable line')} of {count(lines['invoice'].nunique(), 'invoice')}, from "
        f"{lines['time'].min():%-d %B %Y} to {lines['time'].max():%-d %B %Y}. What cleaning took out, and what stays "
        "but should be known."
    )
    exhibits = [
        _funnel(study),
        _columns(lines),
        _missing(lines),
        _checks(study, lines),
        _taken_back(study, lines),
        _outliers(study, lines),
    ]
    exhibits += [exhibit for exhibit in (_countries(lines), _codes(study, lines)) if exhibit is not None]
    return Section("data-quality", title, lead, tuple(exhibits))


def missing(lines: pd.DataFrame) -> pd.DataFrame:
    """Return how many lines have nothing in a column: ``column``, ``lines``, ``share``; the worst first."""
    texts = ("customer", "description", "country", "stock_code", "invoice")
    empty = {name: int((lines[name].isna() | (lines[name] == "")).sum()) for name in texts}
    table = pd.DataFrame({"column": list(empty), "lines": list(empty.values())})
    table["share"] = table["lines"] / len(lines)
    return table.sort_values("lines", ascending=False, kind="stable", ignore_index=True)


def checks(lines: pd.DataFrame) -> pd.DataFrame:
    """Return what is odd about lines: ``check``, ``lines``, ``share`` of all lines, ``value`` (net, currency units)."""
    odd = {
        "no customer (guest)": lines["customer"].isna(),
        "equal to an earlier line": lines["repeat"],
        "cancelled invoice": lines["cancelled"],
        "quantity zero or less": lines["quantity"] <= 0,
        "price zero": lines["price"] == 0,
        "price below zero": lines["price"] < 0,
        "code that is no product": lines["non_product"],
    }
    found = [
        (name, int(met.sum()), float(met.mean()), float(lines.loc[met, "amount"].sum())) for name, met in odd.items()
    ]
    return pd.DataFrame(found, columns=["check", "lines", "share", "value"])


def fences(values: pd.Series) -> tuple[float, float]:
    """Return Tukey's fences of some values: (lower, upper)."""
    low, high = np.quantile(values.to_numpy(np.float64), [0.25, 0.75])
    reach = REACH * (high - low)
    return float(low - reach), float(high + reach)


def outliers(measures: dict[str, pd.Series]) -> pd.DataFrame:
    """Return what lies beyond the fences of some measures, one of them a row.

    Columns: ``measure``, ``n``, ``median``, ``lower_fence``, ``upper_fence``, ``maximum``, ``outliers``,
    ``outlier_share`` of n, ``sum_share``: their share of the measure's sum.
    """
    found = []
    for name, values in measures.items():
        lower, upper = fences(values)
        beyond = (values < lower) | (values > upper)
        total = float(values.sum())
        held = float(values[beyond].sum() / total) if total else float("nan")
        found.append(
            (name, len(values), values.median(), lower, upper, values.max(), int(beyond.sum()), beyond.mean(), held)
        )
    columns = ["measure", "n", "median", "lower_fence", "upper_fence", "maximum", "outliers", "outlier_share"]
    return pd.DataFrame(found, columns=[*columns, "sum_share"])


def measures(study: Study, lines: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what outliers are looked for in: of sold lines, of their orders, and of customers."""
    sales = lines[sold(lines)]
    return {
        "units a line": sales["quantity"],
        "price of one": sales["price"],
        "value of a line": sales["amount"],
        "value of an order": sales.groupby("invoice", observed=True)["amount"].sum(),
        "orders a customer": study.clustered["frequency"],
        "net of a customer": study.clustered["monetary"],
    }


def by_country(lines: pd.DataFrame) -> pd.DataFrame:
    """Return what was sold to each country, the most first: ``country``, ``value``, ``share``, ``customers``."""
    sales = lines[sold(lines) & (lines["country"] != "")]
    grouped = sales.groupby("country", observed=True)
    table = grouped.agg(value=("amount", "sum"), customers=("customer", "nunique")).reset_index()
    table["country"] = table["country"].astype(str)
    table["share"] = table["value"] / table["value"].sum()
    table = table.sort_values(["value", "country"], ascending=[False, True], ignore_index=True)
    return table[["country", "value", "share", "customers"]]


def _funnel(study: Study) -> Exhibit:
    read = int(study.funnel.loc[study.funnel["kind"] == "read", "lines"].iloc[0])
    out = study.funnel[(study.funnel["kind"] == "out") & (study.funnel["lines"] > 0)]
    view = rows(study.funnel[study.funnel["kind"] == "view"])[0]
    worst = greatest(out, "lines")["step"] if len(out) else ""
    said = f", most of the rest for “{worst}”" if worst else ""
    return Exhibit(
        "lines-and-what-became-of-them",
        "What became of every line",
        f"{int(view['lines']):,} of {read:,} lines count ({share(view['lines'] / read)}){said}; they belong to "
        f"{count(int(view['customers']), 'customer')} and net {money(view['value'], study.currency)}.",
        study.funnel,
    )


def _columns(lines: pd.DataFrame) -> Exhibit:
    found = []
    for name in lines.columns:
        column = lines[name]
        numbers = column.dtype.kind in "if"
        dates = column.dtype.kind == "M"
        spread = [column.min(), column.median(), column.max()] if numbers or dates else [None] * 3
        empty = int((column.isna() | (column == "")).sum()) if column.dtype.name == "category" else 0
        found.append((name, _type(column), int(column.nunique()), empty, *(_text(value) for value in spread)))
    table = pd.DataFrame(found, columns=["column", "type", "distinct", "missing", "least", "median", "greatest"])
    price = lines["price"]
    return Exhibit(
        "columns",
        "Columns and their ranges",
        f"{len(table)} columns; the median line is {_text(lines['quantity'].median())} units at "
        f"{price.median():,.2f}, the dearest price {price.max():,.2f}.",
        table,
    )


def _type(column: pd.Series) -> str:
    return {"category": "text", "bool": "yes or no", "float64": "decimal", "int64": "whole number"}.get(
        column.dtype.name, "date and time"
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, pd.Timestamp) else f"{value:,.10g}"


def _missing(lines: pd.DataFrame) -> Exhibit:
    table = missing(lines)
    gaps = table[table["lines"] > 0]
    said = listed([f"{row['column']} is missing in {share(row['share'], 2)} of the lines" for row in rows(gaps)])
    sentence = f"{said.capitalize()}." if said else "No column has a gap."
    figure = go.Figure(go.Bar(x=table["share"], y=table["column"], orientation="h", marker_color=PLAIN))
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "missing-values", "Missing values", sentence, table, styled(figure, x="share of lines", y="column", height=280)
    )


def _checks(study: Study, lines: pd.DataFrame) -> Exhibit:
    table = checks(lines)
    found = by(table, "check")
    repeats, free = found["equal to an earlier line"], found["price zero"]
    return Exhibit(
        "checks",
        "What is odd, and how much hangs on it",
        f"{count(repeats['lines'], 'line')} {'is' if repeats['lines'] == 1 else 'are'} equal to an earlier one in "
        f"every column ({share(repeats['share'], 2)} of all, worth {money(repeats['value'], study.currency)}): they "
        f"stay unless --drop-repeats is given. {count(free['lines'], 'line')} cost nothing.",
        table,
    )


def _taken_back(study: Study, lines: pd.DataFrame) -> Exhibit:
    month = lines["time"].dt.to_period("M").astype(str)
    parts = pd.DataFrame(
        {
            "month": month,
            "sold": lines["amount"].where(sold(lines), 0.0),
            "taken_back": -lines["amount"].where(lines["cancelled"], 0.0),
        }
    )
    table = parts.groupby("month", as_index=False).sum()
    table["share"] = (table["taken_back"] / table["sold"].where(table["sold"] > 0)).astype(float)
    total = table["taken_back"].sum() / table["sold"].sum() if table["sold"].sum() else float("nan")
    invoices = int(lines.loc[lines["cancelled"], "invoice"].nunique())
    if total > 0:
        worst, back = greatest(table, "share"), -lines.loc[lines["cancelled"], "amount"]
        largest = float(back.groupby(lines["invoice"], observed=True).sum().max())
        sentence = (
            f"{count(int(lines['cancelled'].sum()), 'line')} on {count(invoices, 'cancelled invoice')} took back "
            f"{share(total)} of the value sold; most in {worst['month']} ({share(worst['share'])}). The largest one "
            f"alone is {share(largest / back.sum())} of it ({money(largest, study.currency)})."
        )
    else:
        sentence = "No line was taken back."
    figure = go.Figure(go.Bar(x=table["month"], y=table["share"], marker_color=CONTRAST))
    figure.update_yaxes(tickformat=".0%")
    figure.update_xaxes(type="category")
    return Exhibit(
        "cancellations",
        "Cancellations by month",
        sentence,
        table,
        styled(figure, x="month", y="taken back, share of value sold"),
    )


def _outliers(study: Study, lines: pd.DataFrame) -> Exhibit:
    table = outliers({name: values for name, values in measures(study, lines).items() if len(values)})
    heavy = greatest(table, "sum_share")
    few = "they are few and much of the business" if heavy["sum_share"] > 0.25 else "they are few"
    return Exhibit(
        "outliers",
        "Far from the rest",
        f"Of “{heavy['measure']}”, {share(heavy['outlier_share'])} lie beyond {heavy['upper_fence']:,.2f} and hold "
        f"{share(heavy['sum_share'])} of the sum: {few}, so nothing is cut; clusters "
        "are made on logarithms instead. (Fences: 1.5 interquartile ranges beyond the quartiles.)",
        table,
    )


def _countries(lines: pd.DataFrame) -> Exhibit | None:
    table = by_country(lines)
    if table.empty:
        return None
    first, shown = table.iloc[0], table.head(MOST_COUNTRIES)
    figure = go.Figure(go.Bar(x=shown["share"], y=shown["country"], orientation="h", marker_color=PLAIN))
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(autorange="reversed")
    rest = len(table) - len(shown)
    return Exhibit(
        "countries",
        "Where sales go",
        f"{first['country']} has {share(first['share'])} of the value sold and "
        f"{count(int(first['customers']), 'known customer')} out of {count(len(table), 'country', 'countries')}"
        + (f"; {rest} smaller ones are in the CSV only." if rest > 0 else "."),
        table,
        styled(figure, x="share of value sold", y="country"),
    )


def _codes(study: Study, lines: pd.DataFrame) -> Exhibit | None:
    odd = lines[lines["non_product"]]
    if odd.empty:
        return None
    grouped = odd.groupby(odd["stock_code"].astype(str))
    table = grouped.agg(lines=("amount", "size"), value=("amount", "sum")).rename_axis("code").reset_index()
    table = table.sort_values(["lines", "code"], ascending=[False, True], ignore_index=True)
    most = table.iloc[0]
    return Exhibit(
        "codes-that-are-no-products",
        "Codes that are no products",
        f"{count(len(table), 'code')} for postage, fees, discounts and corrections on {count(len(odd), 'line')}; "
        f"{most['code']} alone on {int(most['lines']):,}. Together they net "
        f"{money(float(odd['amount'].sum()), study.currency)}; product sections leave them out, and totals do not.",
        table,
    )
