"""Segments and profiles: how large each is, what it brings, how it differs from the others, and how it buys.

Medians are in raw units. Where features are compared with each other they stand as percentile ranks, or as
logarithms (those that cluster) in standard deviations of the clustered customers: each plot says which.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.vector import COORDINATE_SCALE, NAMES, RFM, coordinate
from models.bundle import centroid_array, scale_array
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.measures import MEASURES, axis, value
from reports.workbench.phrases import count, day, listed, money, share
from reports.workbench.segments import habits, surrogate
from reports.workbench.segments.sizes import medians, sizes
from reports.workbench.study import Study
from reports.workbench.tables import Row, long, parts, rows
from reports.workbench.theme import CONTRAST, DIVERGING, LOG_AXIS, PLAIN, segment_colours, styled

RADAR = ("recency", "tenure", "frequency", "monetary", "basket_value", "basket_items")
"""What the radar shows: one feature for each side of a customer, none twice."""

QUANTILES = {"low": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "high": 0.95}
"""What a box is drawn from: the box holds the middle half, the whiskers nine customers in ten."""


def section(study: Study) -> Section:
    """Return the section. Parts that need lines are left out with a note where the study has none."""
    key, title = "segments", "Who is in which segment?"
    if study.clustered.empty:
        return Section(key, title, "", notes=("Nobody has a positive net in the horizon: there are no segments.",))
    lead = (
        f"Everybody as of {day(study.date)}, with the orders of the {study.bundle.horizon_days} days before. The "
        f"model clusters by {listed([MEASURES[name].noun for name in study.bundle.features])}; the other features only "
        "describe."
    )
    rules = surrogate.rules(study.clustered, study.bundle.features, study.segments, study.currency)
    points = tuple(rule_in_words(row) for row in rows(rules))
    exhibits = [
        _sizes(study),
        _medians(study),
        _rules(study, rules),
        _radar(study),
        _snake(study),
        _centres(study),
        *(_box(study, name) for name in RFM),
        habits.basket_exhibit(study),
    ]
    if study.lines is None:
        notes = ["The running service keeps no lines: hours, weekdays and countries are known from files only."]
        return Section(key, title, lead, tuple(exhibits), points, tuple(notes))
    placed = habits.placed(habits.in_horizon(study))
    notes = []
    if placed.empty:
        notes.append("No order in the horizon has lines with a price: no plots of weekdays and hours.")
    else:
        of_time, notes = habits.time_exhibits(study, placed)
        exhibits += of_time
    countries = habits.country_exhibit(study, study.lines[study.lines["kept"]])
    if countries is None:
        notes.append("The files name no country, or a single one: no plot of countries.")
    else:
        exhibits.append(countries)
    return Section(key, title, lead, tuple(exhibits), points, tuple(notes))


# --- computations -----------------------------------------------------------------------------------------------------


def logs(clustered: pd.DataFrame, recency_offset: int) -> pd.DataFrame:
    """Return the features as they would cluster, natural logarithms; what is undefined is missing.

    Constant features are left out, and those equal to an earlier one (a window as long as the horizon).
    """
    kept: dict[str, pd.Series] = {}
    for name in NAMES:
        raw = clustered[name]
        steps = coordinate(name, raw.to_numpy(), recency_offset) / COORDINATE_SCALE
        found = pd.Series(steps, index=clustered.index).where(raw.notna())
        if found.nunique() > 1 and not any(found.equals(other) for other in kept.values()):
            kept[name] = found
    return pd.DataFrame(kept, index=clustered.index)


def snake(clustered: pd.DataFrame, recency_offset: int) -> pd.DataFrame:
    """Return each segment's mean of every log feature in standard deviations from the mean of all: long form.

    Columns: ``segment``, ``feature``, ``mean`` (standard deviations, ddof 0).
    """
    values = logs(clustered, recency_offset)
    z = (values - values.mean()) / values.std(ddof=0)
    table = z.groupby(clustered["segment"].astype(str), sort=False).mean()
    table = table.reindex([name for name in clustered["segment"].cat.categories if name in table.index])
    return long(table, "segment", "feature", "mean")


def separation(clustered: pd.DataFrame, recency_offset: int) -> pd.Series:
    """Return by feature the share of its variance, on the log scale, that lies between segments; greatest first.

    The squared correlation ratio (Pearson, 1905): the weighted variance of the segments' means over that of all.
    """
    values = logs(clustered, recency_offset)
    segments = clustered["segment"].astype(str)
    between = values.apply(lambda column: column.groupby(segments).transform("mean").var(ddof=0))
    ratio: pd.Series = between / values.var(ddof=0)
    return ratio.sort_values(ascending=False, kind="stable")


def percentiles(clustered: pd.DataFrame) -> pd.DataFrame:
    """Return each segment's mean percentile rank in the radar's features: ``segment``, ``feature``, ``percentile``.

    Mid-ranks in 0 .. 100 among all the clustered: their mean is 50. Of recency the rank is turned round, the most
    recent highest, so that outside is always more.
    """
    ranks = (clustered[list(RADAR)].rank() - 0.5) / clustered[list(RADAR)].count() * 100
    ranks["recency"] = 100 - ranks["recency"]
    table = ranks.groupby(clustered["segment"].astype(str)).mean()
    table = table.reindex([name for name in clustered["segment"].cat.categories if name in table.index])
    return long(table, "segment", "feature", "percentile")


def centres(study: Study) -> pd.DataFrame:
    """Return the model's centroids in its standard deviations from the customers' mean: ``segment``, ``feature``,
    ``centre``.
    """
    away = centroid_array(study.bundle) / scale_array(study.bundle) - study.vectors.mean(axis=0)
    table = pd.DataFrame(away, index=study.segments, columns=list(study.bundle.features))
    return long(table, "segment", "feature", "centre")


def boxes(clustered: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the quantiles of a feature by segment: ``segment``, ``customers`` and the columns of `QUANTILES`."""
    by_segment = clustered.groupby("segment", observed=True)[name]
    found = pd.DataFrame({column: by_segment.quantile(q) for column, q in QUANTILES.items()})
    found.insert(0, "customers", by_segment.size())
    return found.reset_index().astype({"segment": str})


# --- exhibits ---------------------------------------------------------------------------------------------------------


def _sizes(study: Study) -> Exhibit:
    found = sizes(study.customers)
    inside = found.dropna(subset=["revenue_share"])
    segments = rows(inside)
    dearest = max(segments, key=lambda row: row["revenue_share"])
    largest = max(segments, key=lambda row: row["customers"])
    said = (
        f"{dearest['segment']}, {count(dearest['customers'], 'customer')} ({share(dearest['customers_share'])} of "
        f"{len(study.customers):,}), bring {share(dearest['revenue_share'])} of the segments' revenue of "
        f"{money(inside['revenue'].sum(), study.currency)} in {study.bundle.horizon_days} days"
    )
    if len(inside) == 1:
        said += "; there is no other segment."
    elif largest["segment"] == dearest["segment"]:
        said += "; no segment has more customers."
    else:
        said += (
            f"; {largest['segment']}, the most numerous with {largest['customers']:,}, bring "
            f"{share(largest['revenue_share'])}."
        )
    figure = go.Figure(
        [
            go.Bar(name="customers", x=found["segment"], y=found["customers_share"] * 100, marker_color=PLAIN),
            go.Bar(name="revenue", x=found["segment"], y=found["revenue_share"] * 100, marker_color=CONTRAST),
        ]
    )
    figure = styled(figure, x="segment", y="share of the whole [%]")
    return Exhibit("segment-sizes", "Share of customers and of revenue", said, found, figure)


def _medians(study: Study) -> Exhibit:
    found = medians(study.customers)
    ratio = separation(study.clustered, study.bundle.recency_offset)
    if study.clustered["segment"].nunique() < 2 or ratio.empty:
        said = "The customers are all in one segment, or do not differ: there is nothing to compare."
    else:
        first, last = str(ratio.index[0]), str(ratio.index[-1])
        inside = found[found["segment"].isin(study.segments)].dropna(subset=first).sort_values(first, kind="stable")
        low, *_, high = [f"{value(first, row[first], study.currency)} ({row['segment']})" for row in rows(inside)]
        said = (
            f"The segments differ most in {MEASURES[first].noun}: {share(ratio[first], 0)} of the variance (log scale) "
            f"lies between them, medians from {low} to {high}; least in {MEASURES[last].noun} ({share(ratio[last])})."
        )
    # A row a feature: fourteen of them beside each other are wider than a page.
    table = found.set_index("segment").T
    table.insert(0, "median of", ["customers (their number)", *[axis(name, study.currency) for name in NAMES]])
    table = table.rename_axis(index=None, columns=None).reset_index(drop=True)
    return Exhibit("segment-medians", "Medians of every feature", said, table)


def _rules(study: Study, found: pd.DataFrame) -> Exhibit:
    agreed = surrogate.fidelity(found)
    said = (
        f"A decision tree of at most {surrogate.DEPTH} questions about the features that cluster gives "
        f"{share(agreed)} of the {count(len(study.clustered), 'customer')} their segment (its fidelity, on the "
        "customers it was grown on)"
    )
    # The harmonic mean of precision and recall (F1) orders them; a segment without a rule has none.
    f1 = 2 / (1 / found["precision_share"] + 1 / found["recall_share"])
    if f1.notna().sum() > 1:
        worst, *_, best = found[f1.notna()].iloc[f1.dropna().argsort()].to_dict("records")
        said += (
            f". It tells {best['segment']} best: precision {share(best['precision_share'])}, recall "
            f"{share(best['recall_share'])}; {worst['segment']} worst: {share(worst['precision_share'])} and "
            f"{share(worst['recall_share'])}"
        )
    if none := [str(name) for name in found.loc[found["described"] == 0, "segment"]]:
        said += f". No short rule singles out {listed(none)}"
    return Exhibit("what-distinguishes", "What distinguishes a segment, in raw units", f"{said}.", found)


def rule_in_words(row: Row) -> str:
    """Return a row of `surrogate.rules` as a sentence, with its precision and recall."""
    name = row["segment"]
    if not row["described"]:
        return f"{name}: no short rule singles them out."
    return (
        f"{name}: {row['rule']}. {share(row['precision_share'])} of the {row['described']:,} customers so described "
        f"are {name}, and {share(row['recall_share'])} of all {name} are described so."
    )


def _radar(study: Study) -> Exhibit:
    found = percentiles(study.clustered)
    nouns = {name: MEASURES[name].noun for name in RADAR} | {"recency": "freshness of the last order"}
    colours = segment_colours(study.bundle)
    figure = go.Figure()
    told = []
    for name, marks in parts(found, "segment"):
        around = [*marks["feature"].map(nouns), nouns[marks["feature"].iloc[0]]]
        at = [*marks["percentile"], marks["percentile"].iloc[0]]
        figure.add_scatterpolar(name=name, r=at, theta=around, line_color=colours[name])
        far = max(rows(marks), key=lambda row: abs(row["percentile"] - 50))
        told.append(f"{name} in {nouns[far['feature']]} ({far['percentile']:.0f})")
    grid = "rgba(128,128,128,0.35)"
    figure.update_polars(
        bgcolor="rgba(0,0,0,0)",
        radialaxis={"range": [0, 100], "gridcolor": grid, "title": {"text": "mean percentile [0 to 100]"}},
        angularaxis={"gridcolor": grid, "rotation": 90},
    )
    said = f"50 is the mean of all; each segment stands farthest from it here: {listed(told)}."
    title = "Radar: mean percentile rank among the clustered customers, the most recent highest"
    styled(figure, height=500).update_layout(margin={"t": 90}, legend={"y": 1.12})  # above the topmost label
    return Exhibit("segment-radar", title, said, found, figure)


def _snake(study: Study) -> Exhibit:
    found = snake(study.clustered, study.bundle.recency_offset)
    title = "Snake plot: means of the log features, in standard deviations from the mean of all"
    if found.empty:
        return Exhibit("segment-snake", title, "No feature differs between customers.", found)
    table = found.pivot_table(index="feature", columns="segment", values="mean", sort=False)
    spread = (table.max(axis=1) - table.min(axis=1)).sort_values(kind="stable")
    widest, closest = str(spread.index[-1]), str(spread.index[0])
    ends = sorted(table.T[widest].dropna().items(), key=lambda pair: pair[1])
    least, most = ends[0], ends[-1]
    if len(table.columns) < 2:
        said = "One segment is the mean of all: its line is zero."
    else:
        said = (
            f"The lines are widest apart at {MEASURES[widest].noun}, from {least[0]} ({least[1]:+.1f}) to {most[0]} "
            f"({most[1]:+.1f}), and closest at {MEASURES[closest].noun} ({spread.iloc[0]:.1f} apart)."
        )
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Scatter(
                name=name,
                x=[MEASURES[feature].noun for feature in marks["feature"]],
                y=marks["mean"],
                mode="lines+markers",
                line_color=colours[name],
            )
            for name, marks in parts(found, "segment")
        ]
    )
    figure = styled(figure, x="feature", y="mean of the logarithm [standard deviations]", height=460)
    return Exhibit("segment-snake", title, said, found, figure)


def _centres(study: Study) -> Exhibit:
    found = centres(study)
    table = found.pivot_table(index="segment", columns="feature", values="centre", sort=False)
    far = max(rows(found), key=lambda row: abs(row["centre"]))
    norms = np.sqrt((table**2).sum(axis=1)).sort_values(kind="stable")
    side = "above" if far["centre"] > 0 else "below"
    said = (
        f"The centre farthest from the mean in one feature is that of {far['segment']}: {abs(far['centre']):.1f} "
        f"standard deviations {side} it in {MEASURES[far['feature']].noun}. Nearest to the mean of all customers is "
        f"{norms.index[0]} ({norms.iloc[0]:.1f} away)."
    )
    limit = max(float(table.abs().to_numpy().max()), 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(),
            x=[MEASURES[name].noun for name in table.columns],
            y=list(table.index),
            text=table.map("{:+.2f}".format).to_numpy(),
            texttemplate="%{text}",
            colorscale=DIVERGING,
            zmin=-limit,
            zmax=limit,
            colorbar={"title": {"text": "standard<br>deviations"}},
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure = styled(figure, x="feature, log scale [standard deviations]", y="segment")
    return Exhibit("segment-centres", "The model's centres, from the mean of its customers", said, found, figure)


def _box(study: Study, name: str) -> Exhibit:
    found = boxes(study.clustered, name).sort_values("median", kind="stable")
    said = listed([f"{row['segment']} {value(name, row['median'], study.currency)}" for row in rows(found)])
    pairs = [
        f"{one['segment']} and {other['segment']}" for one, other in pairwise(rows(found)) if other["q1"] <= one["q3"]
    ]
    overlap = f"the middle halves of these overlap: {'; '.join(pairs)}" if pairs else "no two middle halves overlap"
    drawn = found.set_index("segment").loc[[s for s in study.segments if s in set(found["segment"])]].reset_index()
    # A logarithm has no place for 0 days: an order of the day itself is drawn at 1.
    shown = drawn[list(QUANTILES)].clip(lower=1) if name == "recency" else drawn[list(QUANTILES)]
    drawn[list(QUANTILES)] = shown
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Box(
                name=row["segment"],
                x=[row["segment"]],
                q1=[row["q1"]],
                median=[row["median"]],
                q3=[row["q3"]],
                lowerfence=[row["low"]],
                upperfence=[row["high"]],
                marker_color=colours[row["segment"]],
                showlegend=False,
            )
            for row in rows(drawn)
        ]
    )
    figure = styled(figure, x="segment", y=axis(name, study.currency, "log scale"))
    figure.update_yaxes(**LOG_AXIS)
    title = (
        f"{MEASURES[name].noun.capitalize()} by segment (log scale; box: middle half, whiskers: 5th to 95th per cent)"
    )
    tail = f"; {overlap}" if len(found) > 1 else ""
    return Exhibit(f"{name}-by-segment", title, f"Medians of {MEASURES[name].noun}: {said}{tail}.", drawn, figure)
