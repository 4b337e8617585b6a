"""Movement as the running service told it: the daily table of its sweeps, not a look back by today's model.

past (a row a day and segment, a row a day and flow) --> sizes by day, flows in all, moves a day by cause
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from reports.workbench.action.sankey import GROUND, sankey
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, share
from reports.workbench.study import Past, Study
from reports.workbench.tables import greatest, rows
from reports.workbench.theme import PALETTE, segment_colours, styled


def section(study: Study, past: Past) -> Section:
    """Return the section."""
    days = past.sizes["day"].nunique()
    lead = (
        f"What the service published in the {count(days, 'day')} that it remembers, each under the model of that day "
        "and with the margin that holds a label: these are the moves that its topic told."
    )
    exhibits = [_sizes(study, past.sizes)]
    moved = past.flows[past.flows["source"] != past.flows["target"]]
    if len(moved):
        exhibits += [_flows(study, moved), _causes(moved)]
        return Section("movement", "Who moved?", lead, tuple(exhibits))
    return Section("movement", "Who moved?", lead, tuple(exhibits), notes=("Nobody moved in these days.",))


def _sizes(study: Study, sizes: pd.DataFrame) -> Exhibit:
    grid = sizes.pivot_table(index="day", columns="segment", values="customers", sort=False).fillna(0)
    change = (grid.iloc[-1] - grid.iloc[0]).rename("change").reset_index()
    most = greatest(change.assign(size=change["change"].abs()), "size")
    ends = [int(row[most["segment"]]) for row in rows(grid)]
    colours = segment_colours(study.bundle)
    figure = go.Figure()
    for name in grid.columns:
        figure.add_scatter(
            name=str(name), x=list(grid.index), y=grid[name], mode="lines", line_color=colours.get(str(name), GROUND)
        )
    between = f"between {grid.index[0]} and {grid.index[-1]}"
    said = (
        f"{most['segment']} changed most, from {ends[0]:,} to {ends[-1]:,} customers {between}."
        if most["size"]
        else f"No segment's size differs {between}."
    )
    title = "Customers in each segment, day by day"
    return Exhibit("segment-sizes-over-time", title, said, sizes, styled(figure, x="day [date]", y="customers"))


def _flows(study: Study, moved: pd.DataFrame) -> Exhibit:
    table = moved.groupby(["source", "target"]).agg(customers=("customers", "sum")).reset_index()
    table = table.sort_values(["customers", "source", "target"], ascending=[False, True, True], ignore_index=True)
    figure = sankey(table, list(dict.fromkeys(table["target"])), segment_colours(study.bundle))
    first, total = rows(table)[0], int(table["customers"].sum())
    said = (
        f"{count(total, 'move')} in all; most often from {first['source']} to {first['target']}: "
        f"{first['customers']:,} ({share(first['customers'] / total)}). A customer who moved twice counts twice."
    )
    return Exhibit("movement-flows", "From where (left) to where (right)", said, table, styled(figure, height=440))


def _causes(moved: pd.DataFrame) -> Exhibit:
    table = moved.groupby(["day", "cause"]).agg(customers=("customers", "sum")).reset_index()
    totals = table.groupby("cause").agg(customers=("customers", "sum")).reset_index()
    most = greatest(totals, "customers")
    figure = go.Figure()
    for cause, colour in zip(sorted(set(table["cause"])), PALETTE, strict=False):
        marks = table[table["cause"] == cause]
        figure.add_bar(name=cause, x=marks["day"], y=marks["customers"], marker_color=colour)
    figure.update_layout(barmode="stack")
    said = (
        f"Most moves come from {most['cause']}: {most['customers']:,} of {int(totals['customers'].sum()):,} "
        f"({share(most['customers'] / totals['customers'].sum())})."
    )
    return Exhibit(
        "moves-by-cause", "Moves a day, by cause", said, table, styled(figure, x="day [date]", y="customers")
    )
