"""Who will be silent? Fitted at one cutoff, judged at a later one: no figure knows what came after it.

    -- history --> first cutoff | 90 days: silent? |                      the models are fitted
    -- history --------------------> second cutoff | 90 days: silent? |   and judged, once

Features are the service's own as of the beginning of a cutoff; the label is what happened from that day on. The two
labels' windows share no day, so what is learned from the first may be judged by the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.vector import COORDINATE_SCALE, Flags, Floats, coordinate
from reports.workbench.study import Study

WINDOW = 90
"""Days after a cutoff in which a customer orders or is silent."""

HISTORY = 60
"""Days of history that the first cutoff needs at least: with less, everybody is new."""

LEAST = 30
"""Silent and ordering customers that each cutoff needs at least."""

FEATURES = {
    "recency": "days since the last order",
    "tenure": "days since the first order",
    "frequency": "orders",
    "frequency_90": "orders in the last 90 days",
    "basket_value": "value of an order",
    "basket_items": "units in an order",
    "return_rate": "share of value returned",
}
"""What the models see, with its name for people. `monetary` is frequency × basket value and would only repeat them."""

LOGISTIC, FOREST = "logistic regression", "random forest"
FOLDS, RESAMPLES, SEED = 5, 200, 0

Chances = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """A forecast and what became of it.

    first, second: the cutoffs, days since 1970-01-01. fitted_on, judged_on: as of `outcomes`. models: fitted, by name.
    chances: float64 (n,) by model's name, the chances of silence that it gave the customers of `judged_on`.
    """

    first: int
    second: int
    window: int
    fitted_on: pd.DataFrame
    judged_on: pd.DataFrame
    models: dict[str, Any]
    chances: dict[str, Chances]


def cutoffs(study: Study) -> tuple[int, int]:
    """Return the latest two cutoffs whose windows are over and share no day; raises ValueError where time is short."""
    second = study.day - WINDOW
    first = second - WINDOW
    begins = int(study.first_day.min()) if len(study.first_day) else study.day
    if first - begins < HISTORY:
        raise ValueError(
            f"The orders span {study.day - begins} days; {HISTORY + 2 * WINDOW} are needed: {HISTORY} of history, then "
            f"two windows of {WINDOW} days, one to learn from and one to be judged by."
        )
    return first, second


def outcomes(study: Study, cutoff: int, window: int = WINDOW) -> pd.DataFrame:
    """Return who had ordered before a cutoff: the columns of `Study.as_of`, and ``silent`` (bool).

    Silent is who has no record of a positive net on the days cutoff .. cutoff + window - 1. Customers without a
    positive order in the horizon before the cutoff are left out: they were silent already. Raises ValueError where
    the window is not over.
    """
    if cutoff + window > study.day:
        raise ValueError(f"the window of {window} days from day {cutoff} ends after day {study.day}")
    ledger = study.ledger
    inside = (ledger.day >= cutoff) & (ledger.day < cutoff + window) & (ledger.net > 0)
    ordered = np.zeros(len(study.ids), np.bool_)
    ordered[ledger.owner[inside]] = True
    known = study.as_of(cutoff)
    known = known[known["frequency"] > 0]
    return known.assign(silent=~pd.Series(ordered, index=list(study.ids))[known.index].to_numpy())


def logs(customers: pd.DataFrame) -> Floats:
    """Return what the models see of n customers, float64 (n, d): log(value + 1); what is undefined counts as 0."""
    columns = [coordinate(name, customers[name].to_numpy(), 1) / COORDINATE_SCALE for name in FEATURES]
    return np.stack(columns, axis=1)


def unfitted() -> dict[str, Any]:
    """Return the models: one whose coefficients can be read, and one that would find what is not a straight line."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)),
        FOREST: RandomForestClassifier(60, min_samples_leaf=20, random_state=SEED),
    }


def tried(study: Study, first: int, second: int, window: int = WINDOW) -> Trial:
    """Fit at the first cutoff and judge at the second; raises ValueError where either has too few of a kind."""
    if first + window > second:
        raise ValueError(f"the windows of {window} days from days {first} and {second} share days")
    fitted_on, judged_on = outcomes(study, first, window), outcomes(study, second, window)
    for customers in (fitted_on, judged_on):
        silent = int(customers["silent"].sum())
        if min(silent, len(customers) - silent) < LEAST:
            raise ValueError(
                f"At one of the cutoffs {silent} customers were silent and {len(customers) - silent} ordered; at least "
                f"{LEAST} of each are needed."
            )
    models = unfitted()
    seen = logs(judged_on)
    for model in models.values():
        model.fit(logs(fitted_on), fitted_on["silent"].to_numpy())
    chances = {name: model.predict_proba(seen)[:, 1] for name, model in models.items()}
    return Trial(first, second, window, fitted_on, judged_on, models, chances)


def cross_validated(customers: pd.DataFrame) -> dict[str, Chances]:
    """Return chances as `Trial.chances`, of customers who were left out in turn (5 folds) at the same cutoff."""
    return {name: out_of_fold(model, logs(customers), customers["silent"]) for name, model in unfitted().items()}


def out_of_fold(model: Any, X: Floats, label: pd.Series) -> Chances:
    """Return the chances that a model gives each row when fitted to the other folds, float64 (n,)."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    chances: Chances = cross_val_predict(model, X, label.to_numpy(), cv=folds, method="predict_proba")[:, 1]
    return chances


def marks(silent: Flags, chance: Chances) -> dict[str, float]:
    """Return how good chances were, of n customers.

    ``auc``: how often a silent customer had the greater chance than one who ordered; ``low``, ``high``: its 95 %
    interval over resampled customers; ``average_precision``; ``brier``: the mean squared error of the chances (Brier
    1950); ``brier_of_rate``: that of the true rate said of everybody, which nobody can know before; ``foretold``, the
    mean chance; ``happened``, the rate; ``top_decile_share``: silent ones in the tenth with the greatest chances;
    ``lift``: that over the rate.
    """
    from sklearn.metrics import average_precision_score, brier_score_loss

    rate, top = float(silent.mean()), gains(silent, chance)["silent_share"].iloc[0]
    low, high = middle(auc(silent, chance, resampled(len(silent))))
    return {
        "auc": float(auc(silent, chance, np.ones((1, len(silent))))[0]),
        "low": low,
        "high": high,
        "average_precision": float(average_precision_score(silent, chance)),
        "brier": float(brier_score_loss(silent, chance)),
        "brier_of_rate": rate * (1 - rate),
        "foretold": float(chance.mean()),
        "happened": rate,
        "top_decile_share": float(top),
        "lift": float(top / rate),
    }


def auc(silent: Flags, chance: Chances, weights: Floats) -> Floats:
    """Return the area under the ROC curve of n chances under r sets of weights, float64 (r,).

    It is the share of pairs of a silent customer and one who ordered in which the silent one has the greater chance,
    ties counting half (Mann and Whitney 1947; Hanley and McNeil 1982). weights: float64 (r, n), how often each
    customer counts; nan where one kind weighs nothing.
    """
    order = np.argsort(chance, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(chance[order]) > 0])
    weighed = weights[:, order]
    yes = np.add.reduceat(weighed * silent[order], starts, axis=1)
    no = np.add.reduceat(weighed * ~silent[order], starts, axis=1)
    below = np.cumsum(no, axis=1) - no / 2
    with np.errstate(invalid="ignore"):
        areas: Floats = (yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))
    return areas


def resampled(n: int) -> Floats:
    """Return how often each of n customers comes in each of 200 seeded resamples, float64 (200, n)."""
    draws = np.random.default_rng(SEED)
    return draws.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def middle(values: Floats) -> tuple[float, float]:
    """Return the middle 95 % of a measure over resamples (the percentile bootstrap, Efron 1979)."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def gains(silent: Flags, chance: Chances, parts: int = 10) -> pd.DataFrame:
    """Return what became of customers in equal parts, the greatest chances first.

    Columns: ``part`` (1 .. parts), ``customers``, ``foretold_share``, ``silent_share``, ``found_share``: of all silent
    ones, those in this part or one before it.
    """
    order = np.argsort(-chance, kind="stable")
    pieces = np.array_split(order, parts)
    found = np.cumsum([silent[piece].sum() for piece in pieces]) / max(silent.sum(), 1)
    return pd.DataFrame(
        {
            "part": np.arange(1, parts + 1),
            "customers": [len(piece) for piece in pieces],
            "foretold_share": [chance[piece].mean() for piece in pieces],
            "silent_share": [silent[piece].mean() for piece in pieces],
            "found_share": found,
        }
    )


def coefficients(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the logistic regression's coefficients when fitted to `outcomes`, a row a feature, the strongest first.

    Columns: ``feature``, ``coefficient`` (log odds of silence for one standard deviation more of log(value + 1)),
    ``low``, ``high`` (95 %, by Wald: 1.96 standard errors), ``odds_ratio`` = exp(coefficient).
    """
    scaler, model = unfitted()[LOGISTIC].fit(logs(customers), customers["silent"].to_numpy())
    X = np.c_[np.ones(len(customers)), scaler.transform(logs(customers))]
    found = model.coef_[0]
    chance = 1 / (1 + np.exp(-X @ np.r_[model.intercept_, found]))
    # The curvature of what was minimised: the likelihood's, and that of its ridge, which spares the intercept.
    ridge = np.diag(np.r_[0.0, np.full(len(found), 1 / model.C)])
    curvature = (X * (chance * (1 - chance))[:, None]).T @ X + ridge
    reach = 1.96 * np.sqrt(np.diag(np.linalg.inv(curvature)))[1:]
    table = pd.DataFrame(
        {"feature": list(FEATURES.values()), "coefficient": found, "low": found - reach, "high": found + reach}
    )
    table["odds_ratio"] = np.exp(table["coefficient"])
    strongest = table["coefficient"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[strongest].reset_index(drop=True)


def leaky_label(customers: pd.DataFrame) -> pd.Series:
    """Return the label that introductions predict, bool (n,): more than 90 days silent, or fewer than two orders."""
    return (customers["recency"] > WINDOW) | (customers["frequency"] < 2)


def leaky_chances(customers: pd.DataFrame) -> Chances:
    """Return the chances that a forest out of fold gives `leaky_label`, from the features that it is made of."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(50, random_state=SEED)
    X = customers[["recency", "frequency", "monetary"]].to_numpy()
    return out_of_fold(forest, X, leaky_label(customers))


def risk_today(study: Study, newest: pd.DataFrame) -> pd.Series:
    """Return everybody's chance of silence in the window from the study's day on, by the newest outcomes there are.

    newest: `outcomes` at the second cutoff; float64 by customer, of those with a positive order in the horizon.
    """
    model = unfitted()[LOGISTIC].fit(logs(newest), newest["silent"].to_numpy())
    today = study.customers[study.customers["frequency"] > 0]
    return pd.Series(model.predict_proba(logs(today))[:, 1], index=today.index, name="chance")
