"""The classic RFM scoring: quintiles of recency, frequency and monetary, 1 the worst and 5 the best.

    R = 5 - (how many of the four cut-offs are below the recency)        F, M = 1 + (how many are below the value)

Cut-offs are the quintiles of the values (R's package rfm has them so), and equal customers get equal scores: where many
ordered once, fewer than five scores of F are given, and the table says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.vector import RFM
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, listed, money, share, unit
from reports.workbench.study import Study
from reports.workbench.tables import greatest, rows
from reports.workbench.theme import CONTRAST, PLAIN, RAMP, styled

QUANTILES = (0.2, 0.4, 0.6, 0.8)
SCORES = (1, 2, 3, 4, 5)
TOP = 0.2
"""The share of customers whose share of revenue is told."""


def section(study: Study) -> Section:
    """Return the section; a note where nobody is in the clusters."""
    title, customers = "What do the classic scores say?", study.clustered
    if customers.empty:
        return Section("rfm-scores", title, "", notes=("Nobody has a positive net in the horizon: nothing to score.",))
    scored = scores(customers)
    lead = (
        f"{count(len(customers), 'customer')} with a positive net in the {study.bundle.horizon_days} days before "
        f"{study.date:%-d %B %Y}, scored 1 to 5 by recency (R), frequency (F) and monetary value (M): 555 bought "
        "yesterday, often and for much."
    )
    exhibits = (
        _cutoffs(customers),
        _codes(scored),
        _means(study, scored),
        _cells(scored),
        _pareto(customers),
    )
    return Section("rfm-scores", title, lead, exhibits)


def cutoffs(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the quintiles of R, F and M: ``measure`` and one column a quantile, ``0.2`` to ``0.8``."""
    table = customers[list(RFM)].quantile(list(QUANTILES)).T
    table.columns = pd.Index([f"{quantile:g}" for quantile in QUANTILES])
    return table.rename_axis("measure").reset_index()


def scores(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the customers with ``R``, ``F``, ``M`` (int64, 1 to 5) and ``code`` (``111`` to ``555``) beside them."""
    scored = customers.copy()
    for letter, name in zip("RFM", RFM, strict=True):
        values = customers[name].to_numpy()
        above = np.searchsorted(np.quantile(values, QUANTILES), values)
        scored[letter] = 5 - above if name == "recency" else 1 + above
    scored["code"] = scored["R"].astype(str) + scored["F"].astype(str) + scored["M"].astype(str)
    return scored


def by_r_and_f(scored: pd.DataFrame) -> pd.DataFrame:
    """Return a row a cell that has anybody: ``R``, ``F``, ``mean`` (net revenue), ``customers``."""
    cells = scored.groupby(["R", "F"], as_index=False)
    return cells.agg(mean=("monetary", "mean"), customers=("monetary", "size"))


def pareto(values: pd.Series) -> pd.DataFrame:
    """Return the curve of revenue over customers, the dearest first: ``customer_share``, ``revenue_share``."""
    ordered = np.sort(values.to_numpy())[::-1]
    running = np.concatenate([[0.0], np.cumsum(ordered)]) / ordered.sum()
    at = np.linspace(0, 1, 101)
    held = np.interp(at, np.linspace(0, 1, len(running)), running)
    return pd.DataFrame({"customer_share": at, "revenue_share": held})


def _cutoffs(customers: pd.DataFrame) -> Exhibit:
    scored = scores(customers)
    unused = [
        f"{letter} = {listed([str(score) for score in SCORES if score not in set(scored[letter])])}"
        for letter in "RFM"
        if scored[letter].nunique() < len(SCORES)
    ]
    table = cutoffs(customers)
    frequency = rows(table)[1]
    return Exhibit(
        "rfm-cut-offs",
        "Where one score ends and the next begins",
        f"A fifth of the customers have more than {frequency['0.8']:,.0f} orders. "
        + (f"Nobody gets {listed(unused)}: too many customers are equal there." if unused else "All scores are given."),
        table,
    )


def _codes(scored: pd.DataFrame) -> Exhibit:
    grouped = scored.groupby("code").agg(customers=("monetary", "size"), value=("monetary", "sum"))
    table = grouped.sort_values(["customers"], ascending=False, kind="stable").reset_index()
    table["share"], table["revenue_share"] = table["customers"] / len(scored), table["value"] / table["value"].sum()
    best = next((row for row in rows(table) if row["code"] == "555"), None)
    most, shown = rows(table)[0], table.head(20)
    said = (
        f" 555 is given to {count(best['customers'], 'customer')}, {share(best['revenue_share'])} of the revenue."
        if best
        else " Nobody is 555."
    )
    figure = go.Figure(go.Bar(x=shown["code"], y=shown["customers"], marker_color=PLAIN))
    figure.update_xaxes(type="category")
    return Exhibit(
        "rfm-codes",
        "The most frequent scores",
        f"{len(table)} of the 125 codes are given; most often {most['code']}, to {share(most['share'])}.{said}",
        table,
        styled(figure, x="score R F M (the 20 most frequent)", y="customers"),
    )


def _means(study: Study, scored: pd.DataFrame) -> Exhibit:
    table = by_r_and_f(scored)
    best = greatest(table, "mean")
    return Exhibit(
        "mean-net-by-r-and-f",
        "Mean net revenue by R and F",
        f"The dearest cell is R {best['R']}, F {best['F']}: {money(best['mean'], study.currency)} each on average, "
        f"{count(best['customers'], 'customer')}.",
        table,
        _heat(table, "mean", f"mean net [{unit(study.currency)}]", ",.0f"),
    )


def _cells(scored: pd.DataFrame) -> Exhibit:
    table = by_r_and_f(scored)[["R", "F", "customers"]]
    most = greatest(table, "customers")
    return Exhibit(
        "customers-by-r-and-f",
        "Customers by R and F",
        f"The fullest cell is R {most['R']}, F {most['F']} with {share(most['customers'] / len(scored))} of the "
        f"customers; {25 - len(table)} of the 25 cells are empty.",
        table,
        _heat(table, "customers", "customers", ",d"),
    )


def _heat(table: pd.DataFrame, column: str, name: str, form: str) -> go.Figure:
    grid = table.pivot(index="R", columns="F", values=column).reindex(index=SCORES, columns=SCORES).to_numpy()
    labels = [str(score) for score in SCORES]
    bar = {"title": name}
    cells = go.Heatmap(z=grid, x=labels, y=labels, colorscale=RAMP, colorbar=bar, texttemplate=f"%{{z:{form}}}")
    figure = go.Figure(cells)
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    return styled(figure, x="F (5: the most orders)", y="R (5: the most recent)")


def _pareto(customers: pd.DataFrame) -> Exhibit:
    table = pareto(customers["monetary"])
    held = float(np.interp(TOP, table["customer_share"], table["revenue_share"]))
    half = float(np.interp(0.5, table["revenue_share"], table["customer_share"]))
    figure = go.Figure()
    figure.add_scatter(
        x=table["customer_share"], y=table["revenue_share"], mode="lines", line_color=PLAIN, name="actual"
    )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": CONTRAST, "dash": "dash"}, name="if all were equal"
    )
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(tickformat=".0%")
    return Exhibit(
        "pareto",
        "Who brings the revenue",
        f"The best {share(TOP, 0)} of {count(len(customers), 'customer')} bring {share(held)} of the net revenue; "
        f"{share(half)} bring half of it.",
        table,
        styled(figure, x="share of customers, the dearest first", y="share of net revenue"),
    )
