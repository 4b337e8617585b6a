"""Can it be foretold who will stop ordering? A forecast judged by what came after it, beside one that judged itself.

Trial (outlook.churn_models) --> figures, curves, coefficients, chances by segment; each with its sentence
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.transaction import date_of
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.outlook.churn_models import (
    FOREST,
    LOGISTIC,
    Chances,
    Trial,
    auc,
    coefficients,
    cutoffs,
    gains,
    leaky_chances,
    leaky_label,
    middle,
    resampled,
    risk_today,
    tried,
)
from reports.workbench.outlook.churn_tables import (
    LATER,
    OF_FOREST,
    area,
    by_segment,
    leakage,
    reliability,
    scores,
    windows,
)
from reports.workbench.outlook.season import season_days, seasonal
from reports.workbench.phrases import count, day, share
from reports.workbench.study import Progress, Study, silent
from reports.workbench.theme import CONTRAST, PALETTE, PLAIN, segment_colours, styled

LEAKY = "label made of its own features"
LINES = {LOGISTIC: PLAIN, FOREST: CONTRAST, LEAKY: PALETTE[2]}
MOST_POINTS = 200
"""Of a curve that is drawn; the figures in words come from all of them."""

TITLE = "Can it be foretold who will stop ordering?"


def section(study: Study, progress: Progress = silent) -> Section:
    """Return the section; where time or customers are too few, a note says what is missing.

    progress: told (stage, done, of).
    """
    stage = "churn"
    try:
        trial = tried(study, *cutoffs(study))
    except ValueError as error:
        return Section("churn", TITLE, "", notes=(f"Not said: {error}",))
    progress(stage, 1, 4)
    table = scores(trial)
    progress(stage, 2, 4)
    label = leaky_label(study.customers[study.customers["frequency"] > 0])
    chance = leaky_chances(study.customers.loc[label.index]) if label.nunique() == 2 else None
    leaky = leakage(trial, study.customers.loc[label.index], chance)
    progress(stage, 3, 4)
    exhibits = (
        _cutoffs(study, trial),
        _scores(trial, table),
        _roc(trial, table, label, chance),
        _precision_recall(trial, table),
        _calibration(trial, table),
        _gains(trial),
        _coefficients(trial),
        _leakage(trial, leaky),
        _today(study, trial),
    )
    progress(stage, 4, 4)
    lead = (
        f"Silent means: no order within {trial.window} days. Two models learned from customers as they were known on "
        f"{day(date_of(trial.first))} and from who was silent then. They were judged once, by the {trial.window} days "
        f"from {day(date_of(trial.second))}. Nothing that they see comes from after the day they forecast from."
    )
    return Section("churn", TITLE, lead, exhibits, notes=_limits(study, trial))


def _cutoffs(study: Study, trial: Trial) -> Exhibit:
    table = windows(study, trial)
    then, later = table["silent_share"]
    moved = later - then
    way = "fell" if moved < 0 else "rose"
    shift = (
        f"the share of silent customers {way} from {share(then)} to {share(later)}"
        if abs(moved) >= 0.02
        else f"the share of silent customers hardly moved ({share(then)}, then {share(later)})"
    )
    held = [int(days) for days in table["season_days"]]
    season = (
        f" Of the window that judges, {seasonal(trial.second, trial.second + trial.window)}, against {held[0]} of the "
        "one learned from."
        if held[0] != held[1]
        else ""
    )
    sentence = f"Between the two cutoffs {shift}.{season}"
    return Exhibit("churn-cutoffs", "Learned from one window, judged by a later one", sentence, table)


def _scores(trial: Trial, table: pd.DataFrame) -> Exhibit:
    later = _later(table)
    best = _best(table, "auc")
    other = FOREST if best == LOGISTIC else LOGISTIC
    row = later[best]
    better = "less" if row["brier"] < row["brier_of_rate"] else "not less"
    sentence = (
        f"Of a silent customer and one who ordered, the {best} gives the silent one the greater chance in "
        f"{share(row['auc'])} of the pairs (AUC {row['auc']:.3f}, 95 % interval {row['low']:.3f} to {row['high']:.3f}; "
        f"guessing: .500). The {other} reaches {later[other]['auc']:.3f}: {_difference(trial, best, other)}. "
        f"The mean squared error of its chances (Brier score) is {row['brier']:.3f}, {better} than the "
        f"{row['brier_of_rate']:.3f} of saying the true rate of everybody. n = {len(trial.judged_on):,} customers."
    )
    return Exhibit("churn-scores", "How good the forecasts were", sentence, table)


def _difference(trial: Trial, best: str, other: str) -> str:
    """Say whether two models' AUCs can be told apart, by their difference over the same resampled customers."""
    silent = trial.judged_on["silent"].to_numpy()
    weights = resampled(len(silent))
    low, _ = middle(auc(silent, trial.chances[best], weights) - auc(silent, trial.chances[other], weights))
    return "the difference is more than chance" if low > 0 else "these customers cannot tell the two apart"


def _roc(trial: Trial, table: pd.DataFrame, label: pd.Series, leaky: Chances | None) -> Exhibit:
    from sklearn.metrics import roc_curve

    silent = trial.judged_on["silent"].to_numpy()
    series = {name: (silent, chance) for name, chance in trial.chances.items()}
    if leaky is not None:
        series[LEAKY] = (label.to_numpy(), leaky)
    curves = []
    for name, (outcome, chance) in series.items():
        false, true, _ = roc_curve(outcome, chance)
        curves.append(_curve(name, {"ordering_share": false, "silent_share": true}))
    curves.append(_curve("guessing", {"ordering_share": np.array([0.0, 1.0]), "silent_share": np.array([0.0, 1.0])}))
    data = pd.concat(curves, ignore_index=True)
    figure = _drawn(data, "ordering_share", "silent_share")
    best = _best(table, "auc")
    part = data[data["model"] == best]
    caught = float(np.interp(0.2, part["ordering_share"], part["silent_share"]))
    beside = "" if leaky is None else f" A label made of its own features gives {area(label, leaky):.4f}: see below."
    sentence = (
        f"Whoever accepts to disturb one in five of the customers who order anyway reaches {share(caught)} of the "
        f"silent ones with the {best} (AUC {area(trial.judged_on['silent'], trial.chances[best]):.3f}).{beside}"
    )
    return Exhibit(
        "churn-roc",
        "Silent customers found against others disturbed (ROC curve)",
        sentence,
        data,
        _shares(styled(figure, x="share of customers who order [%]", y="share of silent customers found [%]")),
    )


def _precision_recall(trial: Trial, table: pd.DataFrame) -> Exhibit:
    from sklearn.metrics import precision_recall_curve

    silent = trial.judged_on["silent"].to_numpy()
    curves = []
    for name, chance in trial.chances.items():
        precision, recall, _ = precision_recall_curve(silent, chance)
        curves.append(_curve(name, {"found_share": recall[::-1], "right_share": precision[::-1]}))
    data = pd.concat(curves, ignore_index=True)
    figure = _drawn(data, "found_share", "right_share")
    rate = float(silent.mean())
    figure.add_hline(y=rate, line=_line("everybody"), annotation_text="everybody")
    name = _best(table, "average_precision")
    found = _later(table)[name]["average_precision"]
    part = data[data["model"] == name]
    half = float(np.interp(0.5, part["found_share"], part["right_share"]))
    sentence = (
        f"To reach half of the silent customers with the {name}, {share(half)} of those named are right; naming "
        f"everybody is right for {share(rate)}. Average precision {found:.3f}."
    )
    return Exhibit(
        "churn-precision-recall",
        "How many of those named are right (precision and recall)",
        sentence,
        data,
        _shares(styled(figure, x="share of silent customers found [%]", y="share of the named who fell silent [%]")),
    )


def _calibration(trial: Trial, table: pd.DataFrame) -> Exhibit:
    silent = trial.judged_on["silent"].to_numpy()
    parts = [
        reliability(silent, chance).assign(model=name)[["model", "foretold_share", "silent_share", "customers"]]
        for name, chance in trial.chances.items()
    ]
    data = pd.concat(parts, ignore_index=True)
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="as foretold", line=_line("as foretold"))
    for each, part in data.groupby("model", sort=False):
        figure.add_scatter(
            x=part["foretold_share"],
            y=part["silent_share"],
            mode="lines+markers",
            name=str(each),
            line=_line(str(each)),
            customdata=part["customers"],
            hovertemplate="foretold %{x:.1%}, happened %{y:.1%}, n = %{customdata}",
        )
    later = _later(table)[LOGISTIC]
    error = later["foretold"] - later["happened"]
    said = (
        "in the mean they are right"
        if abs(error) < 0.01
        else f"they are {abs(error) * 100:.1f} points too {'high' if error > 0 else 'low'}"
    )
    least, most = data["customers"].min(), data["customers"].max()
    sizes = f"n = {least}" if least == most else f"n = {least} to {most}"
    with_rate = later["happened"] - trial.fitted_on["silent"].mean()
    if abs(error) >= 0.01 and error * with_rate < 0:
        said += f", since the share itself {'fell' if with_rate < 0 else 'rose'} between the windows"
    sentence = (
        f"The {LOGISTIC} foretold silence for {share(later['foretold'])} in the mean, and {share(later['happened'])} "
        f"fell silent: {said}. Each point stands for a tenth of the customers ({sizes})."
    )
    return Exhibit(
        "churn-calibration",
        "Did a chance of 70 % come true in 70 %? (reliability diagram)",
        sentence,
        data,
        _shares(styled(figure, x="foretold chance of silence [%]", y="share who fell silent [%]")),
    )


def _gains(trial: Trial) -> Exhibit:
    silent = trial.judged_on["silent"].to_numpy()
    data = gains(silent, trial.chances[LOGISTIC])
    figure = go.Figure(
        go.Bar(
            x=data["part"],
            y=data["silent_share"],
            marker_color=PLAIN,
            customdata=data["customers"],
            hovertemplate="tenth %{x}: %{y:.1%} fell silent, n = %{customdata}<extra></extra>",
        )
    )
    rate = float(silent.mean())
    figure.add_hline(y=rate, line={"color": CONTRAST, "dash": "dot"}, annotation_text="all customers")
    figure.update_xaxes(dtick=1)
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    top, bottom = data["silent_share"].iloc[0], data["silent_share"].iloc[-1]
    n = count(int(data["customers"].iloc[0]), "customer")
    sentence = (
        f"Of the tenth with the greatest chances ({n}) {share(top)} fell silent, {top / rate:.2f} times the rate of "
        f"all ({share(rate)}); of the tenth with the least, {share(bottom)}."
    )
    return Exhibit(
        "churn-deciles",
        f"What became of each tenth, by the {LOGISTIC}",
        sentence,
        data,
        styled(figure, x="tenth of the customers, the greatest chance first", y="share who fell silent [%]"),
    )


def _coefficients(trial: Trial) -> Exhibit:
    data = coefficients(trial.fitted_on)
    figure = go.Figure(
        go.Bar(
            x=data["coefficient"],
            y=data["feature"],
            orientation="h",
            marker_color=[CONTRAST if value > 0 else PLAIN for value in data["coefficient"]],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": data["high"] - data["coefficient"],
                "arrayminus": data["coefficient"] - data["low"],
            },
        )
    )
    figure.update_yaxes(autorange="reversed")
    sure = data[(data["low"] > 0) | (data["high"] < 0)]
    if len(sure):
        first = sure.iloc[0]
        way = "raises" if first["coefficient"] > 0 else "lowers"
        sentence = (
            f"“{first['feature']}” weighs most: one standard deviation more of its logarithm {way} the odds of silence "
            f"to {first['odds_ratio']:.2f} times, the other features being equal. For {len(sure)} of {len(data)} "
            "features the direction is sure (the 95 % interval leaves out 0)."
        )
    else:
        sentence = f"For none of the {len(data)} features is the direction sure (each 95 % interval holds 0)."
    return Exhibit(
        "churn-coefficients",
        f"What the {LOGISTIC} goes by (on a log scale of odds)",
        f"{sentence} n = {len(trial.fitted_on):,}. Weights say what goes together, not what a campaign would change.",
        data,
        styled(
            figure, x="change of the log odds of silence for one standard deviation", y="feature (as log(value + 1))"
        ),
    )


def _leakage(trial: Trial, leaky: pd.DataFrame) -> Exhibit:
    known = leaky.set_index("measure")["value"]
    forest = known.get(OF_FOREST)
    silent, beside = leaky["value"].iloc[-3], leaky["value"].iloc[-2]
    if forest is None:
        why = "Here the label is the same for everybody, so there is nothing to predict."
    else:
        why = (
            f"A forest “predicts” it with an AUC of {forest:.4f}, because it reads the answer: two questions about the "
            f"same two features are right for "
            f"{share(known['share right, two questions about the same two features'], 2)}."
        )
    sentence = (
        "Introductions call a customer lost after 90 days without an order, or with fewer than two orders, and predict "
        f"that from the very days and orders. {why} Used as a forecast at {day(date_of(trial.second))}, "
        f"{share(1 - silent)} of those it calls lost ordered within {trial.window} days, and {share(beside)} of the "
        f"others fell silent: an AUC of {known['AUC of the label as a forecast']:.3f}."
    )
    return Exhibit("churn-leaky-label", "Why a label made of its own features foretells nothing", sentence, leaky)


def _today(study: Study, trial: Trial) -> Exhibit:
    data = by_segment(study, risk_today(study, trial.judged_on))
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        go.Bar(
            x=data["mean_share"],
            y=data["segment"],
            orientation="h",
            marker_color=[colours.get(name, PALETTE[0]) for name in data["segment"]],
            customdata=data["customers"],
            hovertemplate="%{y}: %{x:.1%} in the mean, n = %{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(autorange="reversed")
    first, last = data.iloc[0], data.iloc[-1]
    ahead = f"the {trial.window} days from {day(study.date)}"
    sentence = (
        f"For {ahead} silence is expected of {data['expected_silent'].sum():,.0f} of "
        f"{count(int(data['customers'].sum()), 'customer')}"
    )
    if len(data) > 1:
        sentence += (
            f"; {share(first['mean_share'])} in “{first['segment']}” (n = {first['customers']:,}), "
            f"{share(last['mean_share'])} in “{last['segment']}” (n = {last['customers']:,})"
        )
    learned, coming = season_days(trial.second, study.day), season_days(study.day, study.day + trial.window)
    if learned > coming:
        sentence += (
            f". Learned from a window with {count(learned, 'day')} of the season and said of one with {coming}: expect "
            "more silence than this"
        )
    elif learned < coming:
        sentence += (
            f". Learned from a window with {count(learned, 'day')} of the season and said of one with {coming}: expect "
            "less silence than this"
        )
    return Exhibit(
        "churn-by-segment",
        "Who is expected to be silent next, by segment",
        f"{sentence}.",
        data,
        styled(figure, x="mean chance of silence [%]", y="segment"),
    )


def _limits(study: Study, trial: Trial) -> tuple[str, ...]:
    begins = int(study.first_day.min())
    reach = f"{trial.first - begins} days at the first cutoff, {trial.second - begins} at the second"
    beginning = (
        f"The history begins on {day(date_of(begins))}: older customers look new, and “days since the first order” and "
        f"“orders” reach back {reach}."
    )
    silence = (
        f"Silent is not lost: some order again after more than {trial.window} days. Without a contract nobody says "
        "that he leaves."
    )
    season = (
        f"Of the window that judges, {seasonal(trial.second, trial.second + trial.window)}. How the forecasts do in "
        "another part of the year is not known from this."
    )
    return beginning, silence, season


def _drawn(curves: pd.DataFrame, x: str, y: str) -> go.Figure:
    """Return a line for each model's curve."""
    figure = go.Figure()
    for name, part in curves.groupby("model", sort=False):
        figure.add_scatter(x=part[x], y=part[y], mode="lines", name=str(name), line=_line(str(name)))
    return figure


def _curve(name: str, columns: dict[str, Chances]) -> pd.DataFrame:
    """Return a model's curve, thinned to what can be seen, both ends kept."""
    points = len(next(iter(columns.values())))
    kept = np.unique(np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(np.int64))
    return pd.DataFrame({"model": name} | {column: values[kept] for column, values in columns.items()})


def _best(table: pd.DataFrame, measure: str) -> str:
    later = _later(table)
    return max(later, key=lambda model: later[model][measure])


def _later(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    rows = table[table["judged_by"] == LATER].to_dict("records")
    return {str(row["model"]): {str(column): value for column, value in row.items()} for row in rows}


def _line(name: str) -> dict[str, str]:
    """Return how a series is drawn; what nobody forecast is grey and dotted."""
    return {"color": LINES[name]} if name in LINES else {"color": "rgba(128,128,128,0.8)", "dash": "dot"}


def _shares(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    return figure
