"""Movement: who changed segment between two days, how the segments grew, and who of each month's newcomers came back.

    as_of(before) -------> from --+
                                  +--> moves: matrix, flows     (the same model looks at both days)
    customers (now) -----> to ----+
    as_of(month ends) ---> sizes, added and removed
    ledger --------------> cohorts: month of the first order x months after it

Segments here are the nearest centroids of today's model, also in the past: what moves is the customers alone. The
service moves its model a little each day and holds a label until another is nearer by a margin: its topic tells others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.transaction import date_of
from models.bundle import LAPSED
from reports.workbench.action import told_movement
from reports.workbench.action.cohorts import cohort_exhibit
from reports.workbench.action.sankey import sankey
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, day, money, share
from reports.workbench.study import Progress, Study, silent
from reports.workbench.tables import greatest, rows
from reports.workbench.theme import RAMP, segment_colours, styled

BACK = 90
"""Days between the two looks, where nobody names the first."""

MONTHS = 36
"""Month ends looked at, at most."""

ARRIVED = "(no order yet)"
"""Where those stand at the first look who had not ordered by then. In brackets: it is no segment's name."""

UNKNOWN = "(not known then)"
"""Where those stand whose orders of that time are not known any more."""


def section(study: Study, before: int | None = None, progress: Progress = silent) -> Section:
    """Return the section. before: the day of the first look (days since 1970-01-01), None for `BACK` days earlier."""
    if study.past is not None:
        return told_movement.section(study, study.past)
    key, title = "movement", "Who moved?"
    first = study.day - BACK if before is None else before
    lead = (
        f"Two looks with the same model, as of {day(date_of(first))} and of {day(study.date)}; then month by month. "
        f"Revenue is the net in the {study.bundle.horizon_days} days before a look: at stake is what those who moved "
        "had brought before the first."
    )
    notes, exhibits = [], []
    known_from = int(study.ledger.day.min(initial=study.day))
    if min(first, *looks(study)) - study.bundle.horizon_days < known_from:
        notes.append(
            f"The orders known begin on {day(date_of(known_from))}. A look less than {study.bundle.horizon_days} "
            "days after that misses older ones: customers look newer and poorer than they were, none long silent."
        )
    then = study.as_of(first)
    if first >= study.day or then.empty:
        notes.append(f"No order known is of before {day(date_of(first))}, or the data end by then: no two looks.")
    else:
        moved = moves(then, study.customers, pd.Series(study.first_day, index=list(study.ids)), first)
        exhibits += [_matrix(study, moved, first), _flows(study, moved, first)]
    labels = monthly(study, progress)
    if labels.shape[1] < 2:
        notes.append("The orders lie within one month: no sizes over time.")
    else:
        exhibits += [_sizes(study, labels), _turnover(study, labels)]
    cohorts = cohort_exhibit(study)
    if cohorts is None:
        notes.append("Nobody's first order is a whole month old: no cohorts.")
    else:
        exhibits.append(cohorts)
        notes.append("The first cohort holds everybody who ordered in the first month, old customers of the shop too.")
    return Section(key, title, lead, tuple(exhibits), notes=tuple(notes))


# --- computations -----------------------------------------------------------------------------------------------------


def moves(then: pd.DataFrame, now: pd.DataFrame, first_day: pd.Series, first: int) -> pd.DataFrame:
    """Return who went where: ``source``, ``target``, ``customers``, ``revenue_then``, ``revenue_now``.

    then, now: customers as `Study.as_of` gives them; everybody of `now` is in one row. first_day: by customer, the day
    of the first order ever; first: the day of `then`. Revenue is the net in the horizon at each look, currency units; 0
    for who was not there. Pairs without anybody are left out.
    """
    absent = first_day.reindex(now.index).ge(first).map({True: ARRIVED, False: UNKNOWN})
    both = pd.DataFrame(
        {
            "source": then["segment"].astype(str).reindex(now.index).fillna(absent),
            "target": now["segment"].astype(str),
            "revenue_then": then["monetary"].reindex(now.index).fillna(0.0),
            "revenue_now": now["monetary"],
        }
    )
    places = {name: i for i, name in enumerate([*now["segment"].cat.categories, ARRIVED, UNKNOWN])}
    found = both.groupby(["source", "target"]).agg(
        customers=("revenue_now", "size"), revenue_then=("revenue_then", "sum"), revenue_now=("revenue_now", "sum")
    )
    return found.reset_index().sort_values(
        ["source", "target"], key=lambda column: column.map(places), ignore_index=True
    )


def looks(study: Study) -> list[int]:
    """Return the days looked at: the first of each month since the first record, `MONTHS` at most; then today."""
    days = study.ledger.day[study.ledger.day < study.day]
    if not len(days):
        return [study.day]
    months = np.arange(np.datetime64(int(days.min()), "D").astype("datetime64[M]") + 1, np.datetime64(study.day, "D"))
    starts = np.unique(months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64))
    return [*[int(at) for at in starts if days.min() < at < study.day][-MONTHS:], study.day]


def monthly(study: Study, progress: Progress) -> pd.DataFrame:
    """Return the segment names at each of the `looks`, a row a customer and a column a day; missing before he came."""
    days = looks(study)
    found = {}
    for done, at in enumerate(days):
        progress("segments month by month", done, len(days))
        found[at] = study.as_of(at)["segment"].astype(str)
    progress("segments month by month", len(days), len(days))
    return pd.DataFrame(found, index=study.customers.index)


def sizes(labels: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return a row a look and segment: ``day`` (ISO), ``segment``, ``customers``. labels: `monthly`."""
    counts = [labels[at].value_counts().reindex(segments, fill_value=0) for at in labels.columns]
    return pd.DataFrame(
        [
            {"day": date_of(int(at)).isoformat(), "segment": name, "customers": int(counted[name])}
            for at, counted in zip(labels.columns, counts, strict=True)
            for name in segments
        ]
    )


def turnover(labels: pd.DataFrame, segments: list[str]) -> pd.DataFrame:
    """Return a row a look and segment: ``day``, ``days`` since the look before, ``segment``, ``added``, ``removed``.

    Customers who are in the segment and were not at the look before (newcomers too), and who were and are not.
    """
    rows = []
    for before, at in zip(labels.columns[:-1], labels.columns[1:], strict=True):
        changed = labels[before].fillna("") != labels[at].fillna("")
        added, removed = labels.loc[changed, at].value_counts(), labels.loc[changed, before].value_counts()
        rows += [
            {
                "day": date_of(int(at)).isoformat(),
                "days": int(at) - int(before),
                "segment": name,
                "added": int(added.get(name, 0)),
                "removed": int(removed.get(name, 0)),
            }
            for name in segments
        ]
    return pd.DataFrame(rows)


# --- exhibits ---------------------------------------------------------------------------------------------------------


def _matrix(study: Study, moved: pd.DataFrame, first: int) -> Exhibit:
    known = moved[~moved["source"].isin([ARRIVED, UNKNOWN])]
    left = known[known["source"] != known["target"]]
    total = int(known["customers"].sum())
    said = (
        f"{count(int(left['customers'].sum()), 'customer')} of {total:,} known at both looks "
        f"({share(left['customers'].sum() / total)}) changed their segment; they had brought "
        f"{money(left['revenue_then'].sum(), study.currency)} before the first look and "
        f"{money(left['revenue_now'].sum(), study.currency)} before the second."
    )
    names = [name for name in study.customers["segment"].cat.categories if name in {*known["source"], *moved["target"]}]
    sources = [name for name in (*names, ARRIVED, UNKNOWN) if name in set(moved["source"])]
    grid = moved.pivot_table(index="source", columns="target", values="customers", aggfunc="sum")
    grid = grid.reindex(index=sources, columns=names).fillna(0).astype(int)
    of_row = grid.div(grid.sum(axis=1).replace(0, np.nan), axis=0) * 100
    figure = go.Figure(
        go.Heatmap(
            z=of_row.to_numpy(),
            x=names,
            y=sources,
            text=grid.map("{:,}".format).to_numpy(),
            texttemplate="%{text}",
            colorscale=RAMP,
            zmin=0,
            zmax=100,
            colorbar={"title": {"text": "of the row [%]"}},
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure = styled(figure, x=f"segment on {day(study.date)}", y=f"segment on {day(date_of(first))}", height=440)
    title = "From where to where: customers, coloured by their share of the row"
    return Exhibit("movement-matrix", title, said, moved, figure)


def _flows(study: Study, moved: pd.DataFrame, first: int) -> Exhibit:
    changed = moved[moved["source"] != moved["target"]]
    known = changed[~changed["source"].isin([ARRIVED, UNKNOWN])]
    parts = []
    losing = known[known["revenue_now"] < known["revenue_then"]]
    if len(losing):
        flow = greatest(losing.assign(loss=losing["revenue_then"] - losing["revenue_now"]), "loss")
        parts.append(
            f"the costliest change is from {flow['source']} to {flow['target']}: "
            f"{count(flow['customers'], 'customer')} with {money(flow['revenue_then'], study.currency)} then and "
            f"{money(flow['revenue_now'], study.currency)} now"
        )
    else:
        parts.append("no change of segment lost revenue")
    came = moved[moved["source"] == ARRIVED]
    parts.append(
        f"{count(int(came['customers'].sum()), 'customer')} ordered for the first time since and brought "
        f"{money(came['revenue_now'].sum(), study.currency)}"
    )
    gone = known[known["target"] == LAPSED.name]
    parts.append(
        f"{count(int(gone['customers'].sum()), 'customer')} lapsed, with "
        f"{money(gone['revenue_then'].sum(), study.currency)} then"
    )
    said = "; ".join(parts)
    right = [name for name in study.customers["segment"].cat.categories if name in set(moved["target"])]
    figure = sankey(moved, right, segment_colours(study.bundle))
    title = f"Flows of customers, {day(date_of(first))} (left) to {day(study.date)} (right)"
    figure = styled(figure, height=440)
    return Exhibit("movement-flows", title, f"{said[0].upper()}{said[1:]}.", moved, figure)


def _sizes(study: Study, labels: pd.DataFrame) -> Exhibit:
    names = [name for name in study.customers["segment"].cat.categories if (labels == name).to_numpy().any()]
    found = sizes(labels, names)
    grid = found.pivot_table(index="day", columns="segment", values="customers")
    change = (grid.iloc[-1] - grid.iloc[0]).sort_values(kind="stable")
    begin, end = str(grid.index[0]), str(grid.index[-1])
    ends = {name: f"{grid[name].iloc[0]:,.0f} to {grid[name].iloc[-1]:,.0f}" for name in names}
    up, down = str(change.index[-1]), str(change.index[0])
    parts = [f"{up} grew most, from {ends[up]}"] if change[up] > 0 else ["no segment grew"]
    parts += [f"{down} shrank most, from {ends[down]}"] if change[down] < 0 else ["no segment shrank"]
    said = f"Between {begin} and {end} {'; '.join(parts)}. The model is today's all along."
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        [
            go.Scatter(name=name, x=list(grid.index), y=grid[name], mode="lines+markers", line_color=colours[name])
            for name in names
        ]
    )
    title = "Customers in each segment at the beginning of each month, under today's model"
    figure = styled(figure, x="day [date]", y="customers")
    return Exhibit("segment-sizes-over-time", title, said, found, figure)


def _turnover(study: Study, labels: pd.DataFrame) -> Exhibit:
    names = [name for name in study.customers["segment"].cat.categories if (labels == name).to_numpy().any()]
    found = turnover(labels, names)
    sums = found.groupby("segment", sort=False)[["added", "removed"]].sum()
    busiest = greatest(sums.assign(both=sums["added"] + sums["removed"]).reset_index(), "both")
    last = rows(found)[-1]
    said = (
        f"{busiest['segment']} has the most coming and going: {busiest['added']:,} added and {busiest['removed']:,} "
        f"removed in {count(labels.shape[1] - 1, 'step')}. The last step covers {count(last['days'], 'day')}."
    )
    colours = segment_colours(study.bundle)
    figure = go.Figure()
    for name in names:
        marks = found[found["segment"] == name]
        figure.add_bar(name=name, x=marks["day"], y=marks["added"], marker_color=colours[name], legendgroup=name)
        figure.add_bar(
            name=name,
            x=marks["day"],
            y=-marks["removed"],
            marker_color=colours[name],
            legendgroup=name,
            showlegend=False,
        )
    figure.update_layout(barmode="relative")
    title = "Added to each segment (above) and removed from it (below) since the look before"
    figure = styled(figure, x="day [date]", y="customers added, removed", height=440)
    return Exhibit("added-and-removed", title, said, found, figure)
