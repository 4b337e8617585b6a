"""Value without the extra: purchase days, summaries and errors against pandas and by hand; what is missing is said."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.workbench.outlook import value
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
from reports.workbench.study import Study

DAYS = pd.DataFrame(
    {
        "customer": ["a", "a", "a", "b", "c", "c"],
        "day": [100, 110, 150, 120, 90, 160],
        "net": [5.0, 10.0, 30.0, 7.0, 1.0, 8.0],
    }
)


def lines_of(rows: list[tuple[str | None, str, float, bool]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["customer", "time", "amount", "kept"])
    return table.assign(customer=table["customer"].astype("category"), time=pd.to_datetime(table["time"]))


def test_a_purchase_day_is_one_on_which_more_was_bought_than_given_back() -> None:
    lines = lines_of(
        [
            ("a", "1970-01-11 09:00", 10.0, True),
            ("a", "1970-01-11 17:00", 5.0, True),
            ("a", "1970-01-12 09:00", -3.0, True),  # given back on a day without a purchase
            ("a", "1970-01-13 09:00", 4.0, True),
            ("a", "1970-01-13 10:00", -4.0, True),  # and on one on which nothing is left of it
            ("b", "1970-01-11 09:00", 9.0, False),
            (None, "1970-01-11 09:00", 9.0, True),
        ]
    )
    assert purchase_days(lines).to_dict("list") == {"customer": ["a"], "day": [10], "net": [15.0]}
    assert returned_apart(lines) == pytest.approx(3 / 15)


def test_a_summary_is_that_of_the_definitions() -> None:
    found = summary(DAYS, 160)
    assert list(found.loc["a"]) == [2, 50, 60, 20.0]  # the first purchase is in no mean
    assert list(found.loc["b"]) == [0, 0, 40, 0.0]
    assert list(found.loc["c"]) == [0, 0, 70, 0.0]  # day 160 has not begun
    assert list(summary(DAYS, 161).loc["c"]) == [1, 70, 71, 8.0]


def test_summaries_of_files_are_those_of_a_loop(sample: Study) -> None:
    assert sample.lines is not None
    found = summary(purchase_days(sample.lines), sample.day)
    lines = sample.lines[sample.lines["kept"]]
    for customer in found.index[::97]:
        own = lines[lines["customer"] == customer]
        net = own.groupby(own["time"].dt.date)["amount"].sum()
        dates = sorted(date for date, amount in net.items() if round(amount, 4) > 0)
        assert found.loc[customer, "frequency"] == len(dates) - 1
        assert found.loc[customer, "recency"] == (dates[-1] - dates[0]).days
        assert found.loc[customer, "age"] == (sample.date - dates[0]).days
        assert found.loc[customer, "spend"] == pytest.approx(np.mean([net[date] for date in dates[1:]] or [0.0]))


def test_what_came_is_counted_in_the_window_alone() -> None:
    after = bought(DAYS, pd.Index(["a", "b", "c"]), 110, 160)
    assert after["purchases"].tolist() == [2, 1, 0]
    assert after["net"].tolist() == [40.0, 7.0, 0.0]


def test_the_naive_forecast_goes_on_as_so_far() -> None:
    assert own_rate(summary(DAYS, 160), 90).tolist() == pytest.approx([3.0, 0.0, 0.0])


def test_errors_are_those_worked_by_hand() -> None:
    row = errors({"x": np.array([1.0, 3.0, 0.0])}, np.array([2.0, 0.0, 0.0])).iloc[0]
    assert row.tolist()[1:4] == [3, 4.0, 2.0]
    assert row["mean_absolute_error"] == pytest.approx(4 / 3)
    assert row["root_mean_square_error"] == pytest.approx(np.sqrt(10 / 3))


def test_groups_hold_everybody_with_their_means() -> None:
    frequency = pd.Series([0, 0, 5, 4, 12])
    table = calibration(frequency, np.arange(5.0), np.zeros(5), np.array([1.0, 0.0, 2.0, 4.0, 9.0]))
    assert table["group"].tolist() == ["0", "4 to 5", "10 or more"]
    assert table["customers"].tolist() == [2, 2, 1]
    assert table["foretold"].tolist() == [0.5, 2.5, 4.0]
    assert table["happened"].tolist() == [0.5, 3.0, 9.0]


def test_the_correlation_is_of_those_who_came_back() -> None:
    before = pd.DataFrame({"frequency": [0, 1, 2, 3], "spend": [0.0, 10.0, 20.0, 30.0]})
    assert correlation(before) == pytest.approx(1.0)
    assert np.isnan(correlation(before.head(2)))


def test_value_adds_up_by_segment_the_greatest_first() -> None:
    customers = pd.DataFrame(
        {"segment": list("xyy"), "purchases": [1.0, 2.0, 4.0], "alive": [1.0, 0.5, 0.7], "value": [10.0, 10.0, 20.0]}
    )
    table = by_segment(customers)
    assert table["segment"].tolist() == ["y", "x"]
    assert table["total_share"].tolist() == [0.75, 0.25]
    assert table["median"].tolist() == [15.0, 10.0]
    assert by_segment(customers.drop(columns="value")).columns.tolist() == [
        "segment",
        "customers",
        "purchases",
        "alive_share",
    ]


def test_without_the_extra_a_note_says_how_to_install_it(sample: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pymc_marketing", "pymc_extras"):
        monkeypatch.setitem(sys.modules, name, None)
    found = value.section(sample)
    assert found.exhibits == ()
    assert "make clv" in found.notes[0]
    assert ".[clv]" in found.notes[0]


def test_without_lines_time_or_customers_a_note_says_what_is_missing(sample: Study) -> None:
    assert sample.lines is not None
    lines = sample.lines
    recent = lines[lines["time"] >= pd.Timestamp(sample.date) - pd.Timedelta(days=100)]
    few = lines[lines["customer"].cat.codes < 60]
    nobody = lines[lines["customer"].isna()]
    for part, said in (
        (None, "keeps no lines"),
        (recent, "span 100 days; 150 are needed"),
        (few, "at least 100"),
        (nobody, "span 0 days"),
    ):
        found = value.section(replace(sample, lines=part))
        assert found.exhibits == ()
        assert said in found.notes[0]
