"""Lines and customers of a study, against pandas alone."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.workbench.lines import COLUMNS, described, sales
from reports.workbench.study import Study


def textbook(lines: pd.DataFrame) -> pd.DataFrame:
    """Do what introductions do, from the raw columns."""
    cancelled = lines["invoice"].astype(str).str.upper().str.startswith("C")
    return lines[lines["customer"].notna() & ~cancelled & (lines["quantity"] > 0) & (lines["price"] > 0)]


def test_the_textbook_view_is_that_of_the_introductions(sample: Study, real: Study | None) -> None:
    assert sample.lines is not None
    assert tuple(sample.lines.columns) == COLUMNS
    assert sales(sample.lines).index.equals(textbook(sample.lines).index)
    if real is not None:
        assert real.lines is not None
        sold = sales(real.lines)
        assert (len(real.lines), len(sold), sold["customer"].nunique()) == (541_909, 397_884, 4_338)
        assert sold["amount"].sum() == pytest.approx(8_911_407.90, abs=0.01)
        assert (~sold["repeat"]).sum() == 392_692
        assert real.lines["customer"].isna().sum() == 135_080
        assert (real.lines["description"] == "").sum() == 1_454
        assert real.lines["repeat"].sum() == 5_268


def test_customers_are_those_of_the_service(sample: Study, real: Study | None) -> None:
    """Recency, orders and net of everybody, from the lines that count by pandas."""
    for study in (sample, real) if real is not None else (sample,):
        assert study.lines is not None
        lines = study.lines[study.lines["kept"]].copy()
        day = pd.Timestamp(study.date)
        lines["date"] = lines["time"].dt.normalize()
        lines = lines[lines["date"] >= day - pd.Timedelta(days=study.bundle.horizon_days)]
        orders = lines.groupby(["customer", "invoice"], observed=True).agg(net=("amount", "sum"), last=("date", "max"))
        by_customer = orders.groupby("customer", observed=True)
        in_horizon = study.customers.loc[study.customers["segment"] != "Lapsed"]
        assert set(in_horizon.index) == set(map(str, by_customer.groups))
        net = by_customer["net"].sum().rename(str)
        bought = orders[orders["net"].round(4) > 0].groupby("customer", observed=True)
        frequency = bought.size().rename(str).reindex(in_horizon.index).fillna(0)
        recency = (day - bought["last"].max().rename(str)).dt.days.reindex(in_horizon.index)
        pd.testing.assert_series_equal(in_horizon["frequency"], frequency.astype(float), check_names=False)
        pd.testing.assert_series_equal(in_horizon["recency"], recency.astype(float), check_names=False)
        assert (in_horizon["monetary"] - net.reindex(in_horizon.index)).abs().max() < 1e-6
    if real is not None:
        horizon = real.customers[real.customers["segment"] != "Lapsed"]
        assert (len(horizon), int(horizon["frequency"].sum()), int((horizon["monetary"] <= 0).sum())) == (
            4_295,
            17_756,
            52,
        )


def test_a_day_of_the_past_knows_only_the_customers_it_had(sample: Study) -> None:
    day = sample.day - 90
    assert sample.lines is not None
    lines = sample.lines[sample.lines["kept"]]
    there = lines.loc[lines["time"] < pd.Timestamp(sample.date) - pd.Timedelta(days=90), "customer"]
    assert set(sample.as_of(day).index) == set(there.astype(str))


def test_a_product_is_called_what_is_written_most_often() -> None:
    lines = pd.DataFrame(
        {
            "stock_code": pd.Categorical(["A", "A", "A", "B", "C"]),
            "description": pd.Categorical(["old", "new", "new", "", "b"]),
        }
    )
    assert described(lines).to_dict() == {"A": "new", "B": "B", "C": "b"}
