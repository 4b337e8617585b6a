"""Silence foretold: against pandas, scikit-learn and hand-worked cases; and nothing that looks ahead."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from features.ledger import Ledger
from reports.workbench.exhibit import Section
from reports.workbench.outlook import churn
from reports.workbench.outlook.churn_models import (
    FEATURES,
    LOGISTIC,
    WINDOW,
    Trial,
    auc,
    coefficients,
    cross_validated,
    cutoffs,
    gains,
    leaky_label,
    logs,
    marks,
    outcomes,
    resampled,
    tried,
    unfitted,
)
from reports.workbench.outlook.churn_tables import area, by_segment, reliability, windows
from reports.workbench.study import Study, customers_on


@pytest.fixture(scope="module")
def trial(sample: Study) -> Trial:
    return tried(sample, *cutoffs(sample))


@pytest.fixture(scope="module")
def said(sample: Study) -> Section:
    return churn.section(sample)


def ordered(study: Study, start: int, end: int) -> set[str]:
    """Customers with an order line on the days start .. end - 1, by pandas from the lines of the file."""
    assert study.lines is not None
    lines = study.lines[study.lines["kept"]]
    day = (lines["time"].dt.normalize() - pd.Timestamp(0)).dt.days
    inside = lines[(day >= start) & (day < end)]
    net = inside.groupby([inside["customer"].astype(str), inside["invoice"].astype(str), day[inside.index]])
    sums = net["amount"].sum().round(4)
    return set(sums[sums > 0].index.get_level_values(0))


def only(study: Study, ledger: Ledger, day: int | None = None) -> Study:
    """The same shop with other records, as of another day."""
    there = np.unique(ledger.owner)
    first = np.full(len(study.ids), study.day)
    np.minimum.at(first, ledger.owner, ledger.day)
    day = study.day if day is None else day
    owner = np.searchsorted(there, ledger.owner)
    ids, ledger, first = tuple(study.ids[i] for i in there), replace(ledger, owner=owner), first[there]
    customers = customers_on(ids, ledger, first, day, study.bundle)
    return replace(study, ids=ids, ledger=ledger, first_day=first, day=day, customers=customers, lines=None)


def test_silent_is_who_orders_nothing_in_the_window(sample: Study, real: Study | None) -> None:
    for study in filter(None, (sample, real)):
        for cutoff in cutoffs(study):
            found = outcomes(study, cutoff)
            before = ordered(study, cutoff - study.bundle.horizon_days, cutoff)
            after = ordered(study, cutoff, cutoff + WINDOW)
            # An order that was taken back as a whole makes no customer; the rest are those of pandas.
            assert set(found.index) <= before
            assert len(before - set(found.index)) < 0.01 * len(before)
            assert set(found.index[~found["silent"]]) == set(found.index) & after


def test_at_the_cutoff_of_the_honest_figures_they_come_out(real: Study | None) -> None:
    if real is None:
        return
    cutoff = (date(2011, 9, 10) - date(1970, 1, 1)).days
    found = outcomes(real, cutoff, window=real.day - cutoff)
    assert (len(found), round(found["silent"].mean(), 3)) == (3_370, 0.430)
    chances = cross_validated(found)
    silent = found["silent"].to_numpy()
    low, high = 0.735, 0.744  # forest and logistic, recorded
    for chance in chances.values():
        figures = marks(silent, chance)
        assert figures["low"] < low < high < figures["high"]
        assert low - 0.01 < roc_auc_score(silent, chance) < high + 0.01


def test_features_at_a_cutoff_know_nothing_of_what_comes_after(sample: Study) -> None:
    _, cutoff = cutoffs(sample)
    past = only(sample, sample.ledger.take(sample.ledger.day < cutoff), day=cutoff)
    found = outcomes(sample, cutoff)
    columns = list(FEATURES)
    pd.testing.assert_frame_equal(found[columns], past.customers.loc[found.index, columns])


def test_forecasts_do_not_move_when_the_future_does(sample: Study, trial: Trial) -> None:
    kept = (sample.ledger.day < trial.second) | (np.arange(len(sample.ledger)) % 2 == 0)
    other = tried(only(sample, sample.ledger.take(kept)), trial.first, trial.second)
    assert other.judged_on["silent"].mean() > trial.judged_on["silent"].mean()
    for name, chance in trial.chances.items():
        there = pd.Series(chance, trial.judged_on.index)
        assert other.chances[name] == pytest.approx(there[other.judged_on.index].to_numpy(), abs=1e-12)


def test_windows_that_share_days_or_are_not_over_are_refused(sample: Study) -> None:
    first, second = cutoffs(sample)
    with pytest.raises(ValueError, match="share days"):
        tried(sample, first + 1, second)
    with pytest.raises(ValueError, match="ends after"):
        outcomes(sample, second + 1)


def test_the_area_is_scikit_learns_with_ties_and_weights() -> None:
    draws = np.random.default_rng(1)
    silent, chance = draws.random(300) < 0.4, draws.integers(0, 12, 300) / 12
    weights = np.vstack([np.ones(300), draws.integers(0, 4, (3, 300))]).astype(float)
    expected = [roc_auc_score(silent, chance, sample_weight=row) for row in weights]
    assert auc(silent, chance, weights) == pytest.approx(expected, abs=1e-12)
    assert area(pd.Series([True, False]), np.array([0.5, 0.5])) == 0.5


def test_a_resample_has_as_many_customers_and_is_the_same_each_time() -> None:
    assert (resampled(40).sum(axis=1) == 40).all()
    assert (resampled(40) == resampled(40)).all()


def test_tenths_go_from_the_greatest_chance_to_the_least() -> None:
    silent = np.array([True, False, True, True, False, False])
    chance = np.array([0.9, 0.2, 0.8, 0.6, 0.5, 0.1])
    table = gains(silent, chance, parts=3)
    assert table["silent_share"].tolist() == [1.0, 0.5, 0.0]
    assert table["found_share"].tolist() == pytest.approx([2 / 3, 1.0, 1.0])
    assert table["foretold_share"].tolist() == pytest.approx([0.85, 0.55, 0.15])
    points = reliability(np.tile(silent, 10), np.tile(chance, 10))
    assert points["foretold_share"].is_monotonic_increasing
    assert points["customers"].sum() == 60


def test_marks_are_those_worked_by_hand() -> None:
    silent, chance = np.array([True] * 4 + [False] * 6), np.linspace(0.95, 0.05, 10)
    found = marks(silent, chance)
    assert (found["auc"], found["average_precision"], found["happened"]) == (1.0, 1.0, 0.4)
    assert found["brier"] == pytest.approx(np.mean((silent - chance) ** 2))
    assert found["brier_of_rate"] == pytest.approx(0.24)
    assert (found["top_decile_share"], found["lift"]) == (1.0, 2.5)


def test_the_intervals_of_coefficients_come_from_the_curvature_of_what_was_minimised(sample: Study) -> None:
    customers = outcomes(sample, cutoffs(sample)[0])
    table = coefficients(customers).set_index("feature").loc[list(FEATURES.values())]
    scaler, model = unfitted()[LOGISTIC].fit(logs(customers), customers["silent"].to_numpy())
    X, y = scaler.transform(logs(customers)), customers["silent"].to_numpy()
    at = np.r_[model.intercept_, model.coef_[0]]

    def minimised(point: np.ndarray) -> float:
        z = point[0] + X @ point[1:]
        return float(np.logaddexp(0, z).sum() - z[y].sum() + point[1:] @ point[1:] / 2)

    step, n = 1e-3, len(at)
    moves = np.eye(n) * step
    curvature = np.array(
        [
            [
                minimised(at + a + b) - minimised(at + a - b) - minimised(at - a + b) + minimised(at - a - b)
                for b in moves
            ]
            for a in moves
        ]
    ) / (4 * step**2)
    errors = np.sqrt(np.diag(np.linalg.inv(curvature)))[1:]
    assert table["coefficient"].to_numpy() == pytest.approx(at[1:])
    assert (table["high"] - table["low"]).to_numpy() == pytest.approx(2 * 1.96 * errors, rel=1e-3)


def test_the_leaky_label_is_the_one_of_the_introductions() -> None:
    customers = pd.DataFrame({"recency": [91.0, 90.0, 10.0, 10.0], "frequency": [9.0, 2.0, 1.0, 2.0]})
    assert leaky_label(customers).tolist() == [True, False, True, False]


def test_the_leaky_label_is_told_apart_and_the_forecast_is_not(said: Section, trial: Trial) -> None:
    leaky = next(exhibit for exhibit in said.exhibits if exhibit.key == "churn-leaky-label")
    figures = leaky.data.set_index("measure")["value"]
    assert figures["AUC, random forest on recency, frequency and monetary"] > 0.999
    assert figures["share right, two questions about the same two features"] == 1.0
    silent = trial.judged_on["silent"]
    label = (trial.judged_on["recency"] > 90) | (trial.judged_on["frequency"] < 2)
    assert figures["AUC of the label as a forecast"] == pytest.approx(roc_auc_score(silent, label))
    assert figures["AUC of the label as a forecast"] < 0.9


def test_the_two_windows_are_shown_with_their_rates(sample: Study, trial: Trial) -> None:
    table = windows(sample, trial)
    assert table["cutoff"].tolist() == ["2011-06-13", "2011-09-11"]
    assert table["last_day"].tolist() == ["2011-09-10", "2011-12-09"]
    assert table["season_days"].tolist() == [0, 39]
    assert table["silent_share"].tolist() == [trial.fitted_on["silent"].mean(), trial.judged_on["silent"].mean()]


def test_chances_add_up_by_segment(sample: Study) -> None:
    chance = pd.Series(0.25, sample.customers.index[sample.customers["frequency"] > 0])
    table = by_segment(sample, chance)
    assert table["customers"].sum() == len(chance)
    assert table["expected_silent"].sum() == pytest.approx(len(chance) / 4)
    assert (table[["mean_share", "lower_quartile", "median", "upper_quartile"]] == 0.25).all(axis=None)


def test_the_section_speaks_of_its_shop_alone(sample: Study, said: Section) -> None:
    other = churn.section(only(sample, sample.ledger.take(sample.ledger.owner % 3 == 0)))
    assert [exhibit.key for exhibit in other.exhibits] == [exhibit.key for exhibit in said.exhibits]
    for ours, theirs in zip(said.exhibits, other.exhibits, strict=True):
        assert ours.sentence != theirs.sentence
    assert "39 of 90 days" in said.exhibits[0].sentence


def test_every_plot_has_marks_titles_and_few_points(said: Section) -> None:
    for exhibit in said.exhibits:
        if exhibit.figure is not None:
            assert exhibit.figure.layout.xaxis.title.text
            assert exhibit.figure.layout.yaxis.title.text
            assert 0 < sum(len(trace.x) for trace in exhibit.figure.data) < 5_000


def test_too_short_a_history_is_a_note(sample: Study) -> None:
    short = only(sample, sample.ledger.take(sample.ledger.day >= sample.day - 200))
    found = churn.section(short)
    assert found.exhibits == ()
    assert "span 200 days; 240 are needed" in found.notes[0]


def test_too_few_customers_are_a_note(sample: Study) -> None:
    few = only(sample, sample.ledger.take(sample.ledger.owner < 40))
    found = churn.section(few)
    assert found.exhibits == ()
    assert "at least 30 of each are needed" in found.notes[0]
