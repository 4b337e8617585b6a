"""Cohort retention: of those whose first order was in a month, who bought again in each month after it.

              months later   1    2    3 ...
    first order 2010-12    .37  .33  .38          a cell: customers with a purchase in that month / the cohort's size
                2011-01    .22  .27
                2011-02    .19

The month of the first order itself is no column: there everybody bought.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.workbench.exhibit import Exhibit
from reports.workbench.phrases import listed, share
from reports.workbench.study import Study
from reports.workbench.theme import RAMP, styled

TOLD = (1, 3, 6, 12)
"""Months after the first order whose retention is told, where they are whole."""


def retention(study: Study) -> pd.DataFrame:
    """Return a row a cohort and month after it, the cohorts' own months left out.

    Columns: ``cohort`` (the month of the first order or return, ``2011-03``), ``customers`` in it, ``months_later``
    (1 ..), ``active`` (customers with a record above 0 in that month), ``active_share``, ``partial`` (the data end
    within that month).
    """
    if not len(study.ids):
        return pd.DataFrame(columns=["cohort", "customers", "months_later", "active", "active_share", "partial"])
    first = _month(study.first_day)
    bought = study.ledger.take((study.ledger.net > 0) & (study.ledger.day < study.day))
    pairs = pd.DataFrame({"owner": bought.owner, "month": _month(bought.day)}).drop_duplicates()
    active = pairs.groupby([first[pairs["owner"]], pairs["month"]]).size().to_dict()
    last = int(_month(np.array([study.day - 1]))[0])
    ends = bool(_month(np.array([study.day]))[0] > last)
    sizes = {int(month): int(n) for month, n in zip(*np.unique(first, return_counts=True), strict=True)}
    rows = [
        {
            "cohort": str(np.datetime64(cohort, "M")),
            "customers": size,
            "months_later": month - cohort,
            "active": active.get((cohort, month), 0),
            "active_share": active.get((cohort, month), 0) / size,
            "partial": month == last and not ends,
        }
        for cohort, size in sizes.items()
        for month in range(cohort + 1, last + 1)
    ]
    columns = ["cohort", "customers", "months_later", "active", "active_share", "partial"]
    return pd.DataFrame(rows, columns=columns)


def _month(days: np.ndarray) -> np.ndarray:
    """Return months since 1970-01 of days since 1970-01-01, int64."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def pooled(found: pd.DataFrame) -> dict[int, tuple[int, int]]:
    """Return by months later, of whole months: customers active, and customers in the cohorts that are old enough."""
    sums = found[~found["partial"].astype(bool)].groupby("months_later")[["active", "customers"]].sum()
    return {int(str(later)): (int(row["active"]), int(row["customers"])) for later, row in sums.iterrows()}


def cohort_exhibit(study: Study) -> Exhibit | None:
    """Return the triangle; None where no cohort has a whole month behind it."""
    found = retention(study)
    totals = pooled(found)
    if not totals:
        return None
    told = [later for later in TOLD if later in totals] or [min(totals)]
    parts = [
        f"{share(totals[later][0] / totals[later][1])} {later} {'month' if later == 1 else 'months'} later "
        f"(n = {totals[later][1]:,})"
        for later in told
    ]
    said = (
        f"Of the customers whose first order was in a month, these bought in a whole month after it: {listed(parts)}."
    )
    if found["partial"].any():
        said += " Cells with * are of the last month, which the data do not cover to its end."
    grid = found.pivot_table(index="cohort", columns="months_later", values="active_share")
    texts = found.assign(
        text=[f"{s * 100:.0f}{'*' if p else ''}" for s, p in found[["active_share", "partial"]].to_numpy()]
    )
    labels = texts.pivot_table(index="cohort", columns="months_later", values="text", aggfunc="first").fillna("")
    sizes = found.drop_duplicates("cohort").set_index("cohort")["customers"]
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy() * 100,
            x=list(grid.columns),
            y=[f"{cohort} (n = {sizes[cohort]:,})" for cohort in grid.index],
            text=labels.to_numpy(),
            texttemplate="%{text}",
            colorscale=RAMP,
            zmin=0,
            hoverongaps=False,
            colorbar={"title": {"text": "active [%]"}},
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(dtick=1)
    figure = styled(
        figure, x="months after the month of the first order [months]", y="month of the first order", height=460
    )
    title = "Cohort retention: customers who bought in a later month, in per cent of the cohort"
    return Exhibit("cohort-retention", title, said, found, figure)
