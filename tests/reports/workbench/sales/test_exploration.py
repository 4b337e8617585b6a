"""Sales by time, product and country, and customers' distributions, against pandas and NumPy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.workbench.sales import exploration
from reports.workbench.sales.exploration import (
    by_period,
    by_product,
    by_weekday_and_hour,
    gaps,
    rank_correlations,
    traded,
)
from reports.workbench.study import Study


def lines_of(*rows: tuple[str | None, str, str, str, int, float]) -> pd.DataFrame:
    """Return made-up lines: customer, invoice, time, code, quantity, price."""
    frame = pd.DataFrame(rows, columns=["customer", "invoice", "time", "stock_code", "quantity", "price"])
    frame["time"] = pd.to_datetime(frame["time"]).astype("datetime64[s]")
    frame["cancelled"] = frame["invoice"].str.startswith("C")
    frame["amount"], frame["units"] = frame["quantity"] * frame["price"], frame["quantity"]
    frame["description"], frame["country"], frame["non_product"] = frame["stock_code"], "", False
    for name in ("customer", "invoice", "stock_code", "description", "country"):
        frame[name] = pd.Categorical(frame[name])
    return frame


LINES = lines_of(
    ("1", "100", "2024-01-01 09:10", "A", 2, 5.0),
    ("1", "100", "2024-01-01 09:10", "B", 1, 1.0),
    ("1", "C101", "2024-01-02 10:00", "A", -2, 5.0),
    (None, "102", "2024-03-05 10:59", "B", 4, 1.0),
    ("1", "103", "2024-01-31 23:00", "B", 1, 2.0),
)


def test_months_without_a_sale_are_there_with_zero_and_returns_are_taken_off() -> None:
    months = by_period(traded(LINES), "M")
    assert [f"{each:%Y-%m}" for each in months["start"]] == ["2024-01", "2024-02", "2024-03"]
    assert months["value"].tolist() == [10 + 1 - 10 + 2, 0, 4]
    assert months["units"].tolist() == [2 + 1 - 2 + 1, 0, 4]


def test_an_order_is_written_at_its_first_line_and_a_cancellation_is_no_order() -> None:
    table = by_weekday_and_hour(LINES)
    used = table[table["invoices"] > 0]
    assert len(table) == 7 * 24
    assert {tuple(row) for row in used[["weekday", "hour", "invoices"]].to_numpy().tolist()} == {
        (0, 9, 1),  # Monday
        (2, 23, 1),  # Wednesday
        (1, 10, 1),  # Tuesday
    }


def test_a_product_that_came_back_brings_nothing() -> None:
    table = by_product(LINES)
    figures = table[["product", "value", "units", "invoices"]].to_numpy().tolist()
    assert sorted(figures) == [["A", 0, 0, 1], ["B", 7, 6, 3]]


def test_gaps_lie_between_purchase_days_of_one_customer() -> None:
    assert gaps(LINES).tolist() == [30]


def test_the_real_files_gaps_and_products_are_what_plain_loops_find(sample: Study, real: Study | None) -> None:
    study = sample if real is None else real
    assert study.lines is not None
    lines = study.lines
    sold = lines[~lines["cancelled"] & (lines["quantity"] > 0) & (lines["price"] > 0) & lines["customer"].notna()]
    expected = []
    for _, days in sold["time"].dt.floor("D").groupby(sold["customer"].astype(str)):
        distinct = sorted(set(days))
        expected += [(b - a).days for a, b in itertools.pairwise(distinct)]
    assert sorted(gaps(lines).tolist()) == sorted(expected)
    products = by_product(traded(lines))
    kept = traded(lines)
    kept = kept[~kept["non_product"]]
    assert products["value"].sum() == pytest.approx(kept["amount"].sum())
    assert products["value"].is_monotonic_decreasing


def test_rank_correlations_are_pearsons_of_the_ranks(sample: Study) -> None:
    table = rank_correlations(sample.clustered)
    ranks = sample.clustered[["recency", "monetary"]].rank()
    expected = np.corrcoef(ranks["recency"], ranks["monetary"])[0, 1]
    assert table.loc["recency", "monetary"] == pytest.approx(expected)
    assert "frequency_365" not in table.columns  # with a horizon of 365 days it is the frequency


def test_another_shop_gives_other_sentences(sample: Study, real: Study | None) -> None:
    assert sample.lines is not None
    cut = sample.lines["time"].max() - pd.Timedelta(days=100)
    earlier = replace(sample, lines=sample.lines[sample.lines["time"] < cut], customers=sample.as_of(sample.day - 100))
    other = earlier if real is None else real
    first = {e.key: e.sentence for e in exploration.section(sample).exhibits}
    second = {e.key: e.sentence for e in exploration.section(other).exhibits}
    assert first.keys() == second.keys()
    assert not [key for key in first if first[key] == second[key]]


def test_a_shop_of_one_day_and_nameless_products_holds(sample: Study) -> None:
    assert sample.lines is not None
    day = sample.lines["time"].dt.floor("D")
    one = sample.lines[day == day.iloc[0]].copy()
    for name in ("country", "stock_code", "description"):
        one[name] = pd.Categorical([""] * len(one))
    keys = {exhibit.key for exhibit in exploration.section(replace(sample, lines=one)).exhibits}
    assert keys.isdisjoint({"top-products", "countries-beside-the-first", "gaps-between-orders"})
    assert {"sales-by-week", "orders-a-customer"} <= keys
