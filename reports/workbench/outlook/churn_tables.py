"""The tables of the section on silence: windows, marks, what a leaky label is worth, chances by segment.

Trial, study --> DataFrames, a row a window, a model, a measure, a tenth or a segment
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.transaction import date_of
from features.vector import Flags
from reports.workbench.outlook.churn_models import (
    Chances,
    Trial,
    auc,
    cross_validated,
    gains,
    leaky_label,
    marks,
)
from reports.workbench.outlook.season import season_days
from reports.workbench.study import Study

LATER = "the later cutoff"
OF_FOREST = "AUC, random forest on recency, frequency and monetary"
OF_QUESTIONS = "share right, two questions about the same two features"


def windows(study: Study, trial: Trial) -> pd.DataFrame:
    """Return the two cutoffs, a row each.

    Columns: ``use``, ``cutoff``, ``last_day`` (dates; both included), ``history_days`` before the cutoff and in the
    horizon, ``customers``, ``silent``, ``silent_share``, ``season_days`` of the window.
    """
    begins = int(study.first_day.min())
    rows = []
    for use, cutoff, customers in (
        ("learned from", trial.first, trial.fitted_on),
        ("judged by", trial.second, trial.judged_on),
    ):
        silent = customers["silent"]
        ends = cutoff + trial.window
        history = min(cutoff - begins, study.bundle.horizon_days)
        dates = (date_of(cutoff).isoformat(), date_of(ends - 1).isoformat())
        rows.append((use, *dates, history, len(customers), int(silent.sum()), silent.mean(), season_days(cutoff, ends)))
    columns = ["use", "cutoff", "last_day", "history_days", "customers", "silent", "silent_share", "season_days"]
    return pd.DataFrame(rows, columns=columns)


def scores(trial: Trial) -> pd.DataFrame:
    """Return `marks` of each model, judged at the later cutoff and, beside it, among customers of one cutoff."""
    silent = trial.judged_on["silent"].to_numpy()
    judged = {(LATER, name): chance for name, chance in trial.chances.items()}
    same = {("left-out customers", name): chance for name, chance in cross_validated(trial.judged_on).items()}
    found = [
        {"judged_by": by, "model": name, "customers": len(silent)} | marks(silent, chance)
        for (by, name), chance in (judged | same).items()
    ]
    return pd.DataFrame(found)


def leakage(trial: Trial, today: pd.DataFrame, chance: Chances | None) -> pd.DataFrame:
    """Return the leaky label's figures, a row each, ``measure`` and ``value``; beside them, what it foretells.

    The label is more than 90 days since the last order, or fewer than two orders. today: customers with an order;
    chance: `leaky_chances` of them, None where all have the same label.
    """
    from sklearn.tree import DecisionTreeClassifier

    label = leaky_label(today)
    rows: list[tuple[str, float]] = [("customers", len(today)), ("labelled share", label.mean())]
    if chance is not None:
        X = today[["recency", "frequency"]].to_numpy()
        tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, label)
        rows += [(OF_FOREST, area(label, chance)), (OF_QUESTIONS, float(tree.score(X, label)))]
    before, silent = leaky_label(trial.judged_on), trial.judged_on["silent"]
    rows += [
        ("labelled at the cutoff: silent afterwards, share", silent[before].mean()),
        ("not labelled at the cutoff: silent afterwards, share", silent[~before].mean()),
        ("AUC of the label as a forecast", area(silent, before.to_numpy(np.float64))),
    ]
    return pd.DataFrame(rows, columns=["measure", "value"])


def reliability(silent: Flags, chance: Chances) -> pd.DataFrame:
    """Return tenths of customers by chance, the least first: ``foretold_share``, ``silent_share``, ``customers``."""
    parts = gains(silent, chance).iloc[::-1]
    return parts[["foretold_share", "silent_share", "customers"]].reset_index(drop=True)


def by_segment(study: Study, chance: pd.Series) -> pd.DataFrame:
    """Return chances of silence by present segment, the greatest mean first.

    Columns: ``segment``, ``customers``, ``mean_share``, ``lower_quartile``, ``median``, ``upper_quartile``, and
    ``expected_silent``: customers, the sum of their chances.
    """
    grouped = chance.groupby(study.customers.loc[chance.index, "segment"].astype(str))
    table = grouped.agg(["size", "mean", "sum"]).set_axis(["customers", "mean_share", "expected_silent"], axis=1)
    quartiles = grouped.quantile(np.array([0.25, 0.5, 0.75])).unstack()
    table[["lower_quartile", "median", "upper_quartile"]] = quartiles.to_numpy()
    table = table.rename_axis("segment").reset_index()
    return table.sort_values(["mean_share", "segment"], ascending=[False, True], ignore_index=True)


def area(label: pd.Series, chance: Chances) -> float:
    """Return the area under the ROC curve of n chances, each customer counting once."""
    return float(auc(label.to_numpy(), chance, np.ones((1, len(label))))[0])
