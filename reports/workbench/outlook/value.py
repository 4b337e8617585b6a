"""What are customers worth in the year ahead? A forecast that was tried on the last 90 days before it is believed.

purchase days --> summary --> BG/NBD (how often) x Gamma-Gamma (how much, where it may be asked) --> value by segment
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.transaction import date_of
from features.vector import Floats
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.outlook import pymc_value
from reports.workbench.outlook.season import season_days, seasonal
from reports.workbench.outlook.value_tables import (
    bought,
    by_segment,
    calibration,
    correlation,
    errors,
    own_rate,
    purchase_days,
    returned_apart,
    summary,
)
from reports.workbench.phrases import count, day, money, share, unit
from reports.workbench.study import Progress, Study, silent
from reports.workbench.theme import CONTRAST, LOG_AXIS, PALETTE, PLAIN, segment_colours, styled

WINDOW, HISTORY = 90, 60
"""Days that the forecast is tried on, and days before them that it needs at least."""

MONTHS, DISCOUNT = 12, 0.01
"""The year ahead, and what a month takes from the worth of money: 1 %, about 12.7 % a year."""

LEAST = 100
"""Customers with a repeat purchase that the models need at least."""

MOST_CORRELATED = 0.3
"""Gamma-Gamma takes spend to be independent of frequency; beyond this correlation it is not asked."""

MOST_MARKS = 2_000
TITLE = "What are customers worth in the year ahead?"
MODEL, NAIVE, SAME = "BG/NBD", "each goes on as so far", "all customers alike"
INSTALL = "make clv, or pip install -e '.[clv]'"


@dataclass(frozen=True, slots=True)
class Holdout:
    """A forecast of the last days and what came: n customers who had bought before `cutoff`.

    before: `summary` as of the cutoff; forecasts: purchase days by name, float64 (n,); spend: money a purchase day,
    float64 (n,), None where Gamma-Gamma was not asked; after: `bought` from the cutoff on.
    """

    cutoff: int
    before: pd.DataFrame
    forecasts: dict[str, Floats]
    spend: Floats | None
    after: pd.DataFrame


def section(study: Study, progress: Progress = silent) -> Section:
    """Return the section; where the extra, the lines, time or customers are missing, a note says so.

    progress: told (stage, done, of).
    """
    if study.lines is None:
        return _missing("Value is worked out from days of purchase, and the service keeps no lines: give the files.")
    days = purchase_days(study.lines)
    why = _too_little(days, study.day)
    if why:
        return _missing(why)
    if not pymc_value.available():
        return _missing(f"It needs the extra `clv`. Install it with: {INSTALL}")
    try:
        progress("value", 0, 3)
        held_out = tried(days, study.day - WINDOW, WINDOW)
        progress("value", 1, 3)
        now = summary(days, study.day)
        model = pymc_value.fit_purchases(now)
        progress("value", 2, 3)
        spend, refused = _spend(now)
        customers = foretold(study, now, model, spend)
        progress("value", 3, 3)
    except ValueError as error:
        return _missing(f"The model could not be fitted: {error}.")
    exhibits = [
        _holdout(held_out),
        _calibration(held_out),
        _assumption(study, now),
        _parameters(study, model, spend, customers),
        _segments(study, customers),
    ]
    if spend is not None:
        exhibits.append(_customers(study, customers))
    lead = (
        f"Two models read how often and for how much each of {count(len(now), 'customer')} bought until "
        f"{day(study.date)}. Before they speak of the year ahead, the same models are fitted on what was known on "
        f"{day(date_of(held_out.cutoff))}, and their forecast of the {WINDOW} days after it is held against what came."
    )
    return Section("value", TITLE, lead, tuple(exhibits), notes=_limits(study, days, held_out, refused))


def tried(days: pd.DataFrame, cutoff: int, window: int) -> Holdout:
    """Fit on what was before a cutoff and forecast the window from there; days: `purchase_days`."""
    before = summary(days, cutoff)
    after = bought(days, before.index, cutoff, cutoff + window)
    foretold = pymc_value.expected_purchases(pymc_value.fit_purchases(before), before, window)
    # The rate of all: repeat purchase days over the days in which they could come.
    rate = before["frequency"].sum() / before["age"].sum()
    forecasts = {MODEL: foretold, NAIVE: own_rate(before, window), SAME: np.full(len(before), rate * window)}
    spend, _ = _spend(before)
    expected = None if spend is None else pymc_value.expected_spend(spend, before)
    return Holdout(cutoff, before, forecasts, expected, after)


def foretold(study: Study, now: pd.DataFrame, model: Any, spend: Any | None) -> pd.DataFrame:
    """Return what to expect of each customer in the year ahead, the greatest first, indexed by customer.

    Columns: ``segment``, those of `summary`, ``alive`` (chance of not having stopped), ``purchases`` (purchase days
    in 12 months of 30 days), and ``value`` (currency units, discounted) where a model of spend is given.
    """
    table = now.assign(
        alive=pymc_value.chance_alive(model, now),
        purchases=pymc_value.expected_purchases(model, now, MONTHS * pymc_value.MONTH),
    )
    table.insert(0, "segment", study.customers["segment"].reindex(table.index))
    order = "purchases"
    if spend is not None:
        table["value"] = pymc_value.lifetime_value(model, spend, now, MONTHS, DISCOUNT)
        order = "value"
    return table.dropna(subset=["segment"]).sort_values(order, ascending=False, kind="stable")


def _spend(before: pd.DataFrame) -> tuple[Any | None, str]:
    """Return the model of spend, or None and why it was not asked."""
    found = correlation(before)
    if not abs(found) <= MOST_CORRELATED:
        return None, (
            f"Gamma-Gamma takes what a customer spends to be independent of how often he buys; here the correlation is "
            f"{found:.2f}, beyond {MOST_CORRELATED}, so purchases are foretold and money is not."
        )
    try:
        return pymc_value.fit_spend(before[before["frequency"] > 0]), ""
    except ValueError as error:
        return None, f"Gamma-Gamma could not be used: {error}. Purchases are foretold and money is not."


def _too_little(days: pd.DataFrame, today: int) -> str:
    begins = int(days["day"].min()) if len(days) else today
    if today - begins < HISTORY + WINDOW:
        return (
            f"The purchases span {count(today - begins, 'day')}; {HISTORY + WINDOW} are needed: {HISTORY} of history "
            f"and {WINDOW} that the forecast is tried on."
        )
    before = summary(days, today - WINDOW)
    again = int((before["frequency"] > 0).sum())
    if again < LEAST:
        return (
            f"{count(again, 'customer')} had bought on a second day {WINDOW} days before the end; at least {LEAST} are "
            "needed."
        )
    return ""


def _missing(why: str) -> Section:
    return Section("value", TITLE, "", notes=(f"Not said: {why}",))


def _holdout(held_out: Holdout) -> Exhibit:
    happened = held_out.after["purchases"].to_numpy(np.float64)
    table = errors(held_out.forecasts, happened)
    rows = {str(row["forecast"]): row for row in table.to_dict("records")}
    ours, naive = rows[MODEL], rows[NAIVE]
    ratio = ours["foretold"] / max(ours["happened"], 1.0) - 1
    level = (
        f"{abs(ratio) * 100:.0f} % {'less' if ratio < 0 else 'more'} than came" if abs(ratio) >= 0.005 else "as many"
    )
    absolute, squared = (
        "smaller" if ours[column] < naive[column] else "not smaller"
        for column in ("mean_absolute_error", "root_mean_square_error")
    )
    sentence = (
        f"{MODEL} foretold {ours['foretold']:,.0f} purchase days of {count(int(ours['customers']), 'customer')}, and "
        f"{ours['happened']:,.0f} came: {level}. Its mean error of {ours['mean_absolute_error']:.3f} a customer is "
        f"{absolute} than the {naive['mean_absolute_error']:.3f} of letting each go on as so far; where large errors "
        f"weigh more (root mean square) its {ours['root_mean_square_error']:.3f} is {squared} than "
        f"{naive['root_mean_square_error']:.3f}. "
    )
    end = held_out.cutoff + WINDOW
    if season_days(held_out.cutoff, end):
        sentence += f"Of the window, {seasonal(held_out.cutoff, end)}: the models know no season."
    else:
        sentence += f"Of the window, {seasonal(held_out.cutoff, end)}."
    return Exhibit("value-holdout", f"The last {WINDOW} days, foretold and come", sentence, table)


def _calibration(held_out: Holdout) -> Exhibit:
    happened = held_out.after["purchases"].to_numpy(np.float64)
    forecasts = held_out.forecasts
    table = calibration(held_out.before["frequency"], forecasts[MODEL], forecasts[NAIVE], happened)
    figure = go.Figure()
    for column, name, colour in (
        ("happened", "happened", PLAIN),
        ("foretold", MODEL, CONTRAST),
        ("own_rate", NAIVE, PALETTE[4]),
    ):
        figure.add_bar(
            x=table["group"],
            y=table[column],
            name=name,
            marker_color=colour,
            customdata=table["customers"],
            hovertemplate="%{x}: %{y:.2f}, n = %{customdata}",
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    gap = table["foretold"] - table["happened"]
    low = int((gap < 0).sum())
    worst = table.iloc[int(np.argmax(gap.abs().to_numpy()))].to_dict()
    sides = (
        "In every group more came than was foretold"
        if low == len(table)
        else f"In {low} of {len(table)} groups more came than was foretold"
    )
    sentence = (
        f"{sides}; the widest gap is among customers with {worst['group']} repeat purchase days (n = "
        f"{worst['customers']:,}): {worst['foretold']:.2f} foretold, {worst['happened']:.2f} came."
    )
    return Exhibit(
        "value-calibration",
        "Purchase days by how often a customer had come back",
        sentence,
        table,
        styled(
            figure,
            x=f"repeat purchase days before {day(date_of(held_out.cutoff))}",
            y=f"mean purchase days in the next {WINDOW} days",
        ),
    )


def _assumption(study: Study, now: pd.DataFrame) -> Exhibit:
    again = now.loc[now["frequency"] > 0, ["frequency", "spend"]]
    drawn = again.sample(min(len(again), MOST_MARKS), random_state=0).reset_index(drop=True)
    figure = go.Figure(
        go.Scatter(
            x=drawn["frequency"], y=drawn["spend"], mode="markers", marker={"color": PLAIN, "size": 4, "opacity": 0.4}
        )
    )
    figure.update_xaxes(**LOG_AXIS)
    figure.update_yaxes(**LOG_AXIS)
    found = correlation(now)
    verdict = (
        "near enough to none for Gamma-Gamma, which takes the two to be independent"
        if abs(found) <= MOST_CORRELATED
        else "too much for Gamma-Gamma, which takes the two to be independent"
    )
    shown = f"; {len(drawn):,} of them drawn" if len(drawn) < len(again) else ""
    sentence = (
        f"Among {count(len(again), 'customer')} who came back{shown}, how often and how much correlate by {found:.2f}: "
        f"{verdict} (limit {MOST_CORRELATED})."
    )
    return Exhibit(
        "value-assumption",
        "Do those who come often spend more each time? (log scales)",
        sentence,
        drawn,
        styled(
            figure,
            x="repeat purchase days (log scale)",
            y=f"mean net of a purchase day [{unit(study.currency)}] (log scale)",
        ),
    )


def _parameters(study: Study, model: Any, spend: Any | None, customers: pd.DataFrame) -> Exhibit:
    found = pymc_value.parameters(model)
    rate = found["r"] / found["alpha"]
    stops = found["a"] / (found["a"] + found["b"])
    rows = [
        ("r", found["r"], "how alike purchase rates are (a greater r, more alike)"),
        ("alpha", found["alpha"], "days; r / alpha is the mean rate a day"),
        ("a", found["a"], "with b, the chance to stop after a repeat purchase: a / (a + b)"),
        ("b", found["b"], "see a"),
    ]
    if spend is not None:
        money_of = pymc_value.parameters(spend)
        rows += [
            ("p", money_of["p"], "how even a customer's purchases are (a greater p, more even)"),
            ("q", money_of["q"], "how alike customers' means are (a greater q, more alike)"),
            ("v", money_of["v"], "scale; p v / (q - 1) is the mean of a purchase day"),
        ]
    alive = float(customers["alive"].mean())
    leaving = (
        f"It finds no sign that customers stop for good: the chance after a repeat purchase is {share(stops, 2)}, so "
        "its chances of being alive say nothing here, and every silence is only a pause to it"
        if alive > 0.99
        else f"After a repeat purchase {share(stops)} stop for good; {share(alive)} are still there in the mean"
    )
    sentence = f"A customer buys again every {1 / rate:,.0f} days in the mean while he stays. {leaving}."
    if spend is not None:
        mean = money_of["p"] * money_of["v"] / (money_of["q"] - 1)
        sentence += f" A purchase day is worth {money(mean, study.currency)} in the mean of customers."
    table = pd.DataFrame(rows, columns=["parameter", "value", "meaning"])
    return Exhibit("value-parameters", "What the models found", sentence, table)


def _segments(study: Study, customers: pd.DataFrame) -> Exhibit:
    table = by_segment(customers).reset_index(drop=True)
    colours = segment_colours(study.bundle)
    valued = "value" in customers
    column = "total_share" if valued else "purchases"
    figure = go.Figure(
        go.Bar(
            x=table[column],
            y=table["segment"],
            orientation="h",
            marker_color=[colours[name] for name in table["segment"]],
            customdata=table["customers"],
            hovertemplate="%{y}: %{x}, n = %{customdata}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    first = table.iloc[0].to_dict()
    period = f"{MONTHS} months of {pymc_value.MONTH} days from {day(study.date)}"
    if valued:
        figure.update_xaxes(tickformat=".0%")
        total = float(table["total"].sum())
        sentence = (
            f"In the {period}, {money(total, study.currency)} are to be expected of {len(customers):,} customers, "
            f"before costs and discounted at {share(DISCOUNT, 0)} a month; {share(first['total_share'])} of it from "
            f"“{first['segment']}” (n = {first['customers']:,}, median {money(first['median'], study.currency)} each)."
        )
        axis = f"share of the value of {MONTHS} months [%]"
    else:
        sentence = (
            f"In the {period} a customer in “{first['segment']}” (n = {first['customers']:,}) is expected on "
            f"{first['purchases']:.1f} purchase days in the mean; money is not foretold."
        )
        axis = f"mean purchase days in {MONTHS} months"
    return Exhibit(
        "value-by-segment",
        "The year ahead, by segment",
        sentence,
        table,
        styled(figure, x=axis, y="segment", height=300),
    )


def _customers(study: Study, customers: pd.DataFrame) -> Exhibit:
    table = customers.assign(segment=customers["segment"].astype(str)).rename_axis("customer").reset_index()
    fifth = max(round(len(table) / 5), 1)
    top = float(table["value"].head(fifth).sum() / table["value"].sum())
    now = customers["spend"] * customers["frequency"]
    kept = float(now.head(fifth).sum() / now.sum()) if now.sum() > 0 else float("nan")
    sentence = (
        f"The fifth that promises most ({count(fifth, 'customer')}) holds {share(top)} of the value ahead; it made "
        f"{share(kept)} of the repeat purchases' value so far. The median customer promises "
        f"{money(float(table['value'].median()), study.currency)}."
    )
    return Exhibit("value-by-customer", "The year ahead, by customer", sentence, table, whole=False)


def _limits(study: Study, days: pd.DataFrame, held_out: Holdout, refused: str) -> tuple[str, ...]:
    assert study.lines is not None
    begins = int(days["day"].min())
    end = held_out.cutoff + WINDOW
    beginning = (
        f"The history begins on {day(date_of(begins))}: whoever bought before it looks new, so his first purchase here "
        "is a repeat in truth, and how long he has been there is understated."
    )
    season = (
        f"Of the days that the forecast was tried on, {seasonal(held_out.cutoff, end)}. A model without a season says "
        "too little in one and too much after it."
    )
    revenue = (
        "Value is net revenue, not profit, and counts purchase days: what was given back on other days "
        f"({share(returned_apart(study.lines))} of what was bought) is not taken off."
    )
    notes = [beginning, season, revenue]
    if held_out.spend is not None:
        expected = float((held_out.forecasts[MODEL] * held_out.spend).sum())
        came = float(held_out.after["net"].sum())
        notes.append(
            f"In money, {money(expected, study.currency)} were foretold for those days and "
            f"{money(came, study.currency)} came."
        )
    return (*notes, refused) if refused else tuple(notes)
