"""Figures, in the report's colours and look. Every name is escaped: plotly reads some HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go

from consumer.commands.explain import Explanation
from consumer.commands.trend import Day, DayFlow
from consumer.history.profile import Profile
from consumer.partition import iso
from models.bundle import FIXED
from models.checkup import Checkup
from reports.workbench.action.sankey import GROUND, sankey
from reports.workbench.theme import CONTRAST, OUTSIDE, PALETTE, PLAIN, styled

NEW, GONE = "(new)", "(gone)"
"""Where customers come from who had no segment, and where those go who are erased or forgotten."""
INK = {"light": "#31333F", "dark": "#FAFAFA"}
STEADY, SHIFTED = 0.1, 0.25
"""Below the first a population stability index is taken as steady, above the second as another population."""
FLOWS = 20
"""The greatest flows that are drawn; the rest is in the table."""


def colours_of(profiles: Sequence[Profile]) -> dict[str, str]:
    """Return a colour by segment name, as the report gives them (reports.workbench.theme). profiles: clusters first."""
    fixed = {segment.id for segment in FIXED}
    clusters = [each.name for each in profiles if each.id not in fixed]
    found = dict(zip(clusters, PALETTE, strict=False))
    return found | {segment.name: colour for segment, colour in zip(FIXED, OUTSIDE, strict=True)}


def shares(profiles: Sequence[Profile]) -> go.Figure:
    """Return each segment's share of the customers beside its share of the revenue, in per cent."""
    names = [escape(each.name) for each in profiles]
    figure = go.Figure()
    revenue = [None if each.share_of_revenue is None else 100 * each.share_of_revenue for each in profiles]
    customers: list[float | None] = [100 * each.share_of_customers for each in profiles]
    for name, values, colour in (("revenue", revenue, CONTRAST), ("customers", customers, PLAIN)):
        figure.add_bar(
            name=name,
            y=names,
            x=values,
            orientation="h",
            marker_color=colour,
            text=["" if value is None else f"{value:.1f} %" for value in values],
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_layout(barmode="group", legend_traceorder="reversed")
    figure.update_yaxes(autorange="reversed")
    widest = max(value or 0.0 for value in (*revenue, *customers))
    figure.update_xaxes(range=[0, min(max(widest, 1.0) * 1.2, 120)])
    return styled(figure, x="share of all [%]", height=90 + 70 * len(profiles))


def sizes(days: Sequence[Day], colours: Mapping[str, str]) -> go.Figure:
    """Return the customers of each segment, day by day."""
    names = {each.id: each.name for day in days for each in day.segments}
    figure = go.Figure()
    for number, name in names.items():
        counted = [next((each.customers for each in day.segments if each.id == number), 0) for day in days]
        figure.add_scatter(
            name=escape(name),
            x=[day.day for day in days],
            y=counted,
            mode="lines" if len(days) > 1 else "markers",
            line_color=colours.get(name, GROUND),
        )
    figure.update_yaxes(rangemode="tozero")
    return styled(figure, x="day [date]", y="customers")


def flows(moved: Sequence[DayFlow], colours: Mapping[str, str]) -> go.Figure:
    """Return the greatest flows as a Sankey diagram: from where (left) to where (right)."""
    totals: dict[tuple[str, str], int] = {}
    for flow in moved:
        pair = (flow.source.name if flow.source else NEW, flow.target.name if flow.target else GONE)
        totals[pair] = totals.get(pair, 0) + flow.customers
    greatest = sorted(totals.items(), key=lambda each: (-each[1], each[0]))[:FLOWS]
    drawn = pd.DataFrame(
        [(escape(source), escape(target), customers) for (source, target), customers in greatest],
        columns=["source", "target", "customers"],
    )
    known = {escape(name): colour for name, colour in colours.items()}
    return styled(sankey(drawn, list(dict.fromkeys(drawn["target"])), known), height=460)


def contributions(found: Explanation) -> go.Figure:
    """Return what each feature speaks for: to the right the nearest segment, to the left the second nearest."""
    parts = sorted(found.contributions, key=lambda each: abs(each.contribution))
    values = [each.contribution for each in parts]
    figure = go.Figure(
        go.Bar(
            y=[escape(each.feature) for each in parts],
            x=values,
            orientation="h",
            marker_color=[PLAIN if value >= 0 else CONTRAST for value in values],
            text=[f"{value:+.2f}" for value in values],
            textposition="auto",
        )
    )
    return styled(figure, x="squared distances, difference [sd²]", height=120 + 45 * len(parts))


def quality(checkups: Sequence[Checkup]) -> go.Figure:
    """Return the inertia at each checkup as a multiple of a fresh batch fit's. The oldest first."""
    known = [each for each in checkups if each.inertia_ratio is not None]
    figure = go.Figure(
        go.Scatter(
            x=[iso(each.day) for each in known],
            y=[each.inertia_ratio for each in known],
            mode="lines+markers",
            line_color=PLAIN,
            text=[f"version {each.version}" for each in known],
        )
    )
    figure.add_hline(y=1.0, line_color=CONTRAST, line_dash="dash")
    return styled(figure, x="day [date]", y="inertia / batch fit's", height=300)


def drift(indices: Mapping[str, float]) -> go.Figure:
    """Return the population stability index by feature: what shifted in a week. Dotted: from where on it is a shift."""
    names = [f"{name}: {index:.3f}" for name, index in indices.items()]
    figure = _bars(names, list(indices.values()), "population stability index", "")
    figure.update_traces(texttemplate=" ")
    for limit in (STEADY, SHIFTED):
        figure.add_vline(x=limit, line_color=CONTRAST, line_dash="dot")
    figure.update_xaxes(range=[min(-0.02, *indices.values()) * 1.2, max(SHIFTED, *indices.values()) * 1.2])
    return figure


def refused(reasons: Mapping[str, int]) -> go.Figure:
    """Return the refused records by reason, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda each: -each[1])
    return _bars([name for name, _ in ordered], [count for _, count in ordered], "records refused", ",d")


def inked(figure: go.Figure, theme: str) -> go.Figure:
    """Return a figure whose texts are read on the page. theme: `light` or `dark`."""
    ink = INK.get(theme, INK["light"])
    figure.update_layout(font={"color": ink, "family": "Source Sans, sans-serif", "size": 14}, legend_font_color=ink)
    figure.update_xaxes(color=ink)
    figure.update_yaxes(color=ink)
    return figure


def _bars(names: Sequence[str], values: Sequence[float], unit: str, form: str) -> go.Figure:
    figure = go.Figure(
        go.Bar(
            y=[escape(name) for name in names],
            x=values,
            orientation="h",
            marker_color=PLAIN,
            text=[format(value, form) for value in values],
            textposition="outside",
            cliponaxis=False,
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, max([*values, 1e-9]) * 1.2])
    return styled(figure, x=unit, height=120 + 40 * len(names))
