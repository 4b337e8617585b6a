"""Data quality against pandas on the raw columns, and against the real file's known figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reports.workbench.sales import data_quality
from reports.workbench.sales.data_quality import by_country, checks, fences, missing, outliers
from reports.workbench.study import Study
from reports.workbench.tables import by


def test_what_is_odd_about_the_real_file_is_what_is_known_of_it(real: Study | None, sample: Study) -> None:
    study = sample if real is None else real
    assert study.lines is not None
    lines = study.lines
    raw = pd.DataFrame({name: lines[name].astype(object) for name in ("invoice", "stock_code")})
    raw["quantity"], raw["price"] = lines["quantity"], lines["price"]
    found = by(checks(lines), "check")
    assert found["quantity zero or less"]["lines"] == (raw["quantity"] <= 0).sum()
    assert found["price zero"]["lines"] == (raw["price"] == 0).sum()
    assert found["cancelled invoice"]["lines"] == raw["invoice"].str.match("^[Cc]").sum()
    assert found["no customer (guest)"]["share"] == pytest.approx(lines["customer"].isna().mean())
    if real is not None:
        known = {
            "no customer (guest)": 135_080,
            "equal to an earlier line": 5_268,
            "cancelled invoice": 9_288,
            "quantity zero or less": 10_624,
            "price zero": 2_515,
            "price below zero": 2,
        }
        assert {name: found[name]["lines"] for name in known} == known
        assert by(missing(lines), "column")["description"]["lines"] == 1_454
        assert len(by_country(lines)) == 38


def test_outliers_are_what_lies_beyond_tukeys_fences() -> None:
    values = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0])
    lower, upper = fences(values)
    assert (lower, upper) == (3 - 1.5 * 4, 7 + 1.5 * 4)  # the quartiles of nine values are the third and the seventh
    (row,) = outliers({"x": values}).to_dict("records")
    assert (row["outliers"], row["outlier_share"]) == (1, pytest.approx(1 / 9))
    assert row["sum_share"] == pytest.approx(100 / 136)


def test_shares_of_countries_are_of_what_was_sold(sample: Study) -> None:
    assert sample.lines is not None
    lines = sample.lines
    sold = lines[(lines["quantity"] > 0) & (lines["price"] > 0) & ~lines["invoice"].astype(str).str.startswith("C")]
    expected = (
        (sold["quantity"] * sold["price"]).groupby(sold["country"].astype(str)).sum().sort_values(ascending=False)
    )
    found = by_country(lines)
    assert found["country"].tolist() == list(expected.index)
    assert np.allclose(found["value"], expected)
    assert found["share"].sum() == pytest.approx(1)


def test_another_shop_gives_other_sentences(sample: Study, real: Study | None) -> None:
    assert sample.lines is not None
    other = sample if real is None else real
    assert other.lines is not None
    halved = other.lines.iloc[: len(other.lines) // 2]
    for lines in (other.lines, halved):
        assert {e.key for e in data_quality.section(with_lines(other, lines)).exhibits} >= {"checks", "outliers"}
    first, second = (data_quality.section(with_lines(other, lines)).exhibits for lines in (other.lines, halved))
    same = [a.key for a, b in zip(first, second, strict=True) if a.sentence == b.sentence]
    assert set(same) <= {"lines-and-what-became-of-them"}  # the funnel is the study's


def test_a_shop_without_products_and_countries_has_fewer_exhibits_and_no_error(sample: Study) -> None:
    assert sample.lines is not None
    bare = sample.lines.assign(non_product=False)
    for name in ("country", "stock_code", "description"):
        bare[name] = pd.Categorical([""] * len(bare))
    keys = {exhibit.key for exhibit in data_quality.section(with_lines(sample, bare)).exhibits}
    assert keys.isdisjoint({"countries", "codes-that-are-no-products"})
    assert "missing-values" in keys


def test_a_study_without_lines_says_that_there_is_nothing_to_judge(sample: Study) -> None:
    section = data_quality.section(with_lines(sample, None))
    assert not section.exhibits
    assert "no lines" in section.notes[0]


def with_lines(study: Study, lines: pd.DataFrame | None) -> Study:
    """Return the study with other lines."""
    from dataclasses import replace

    return replace(study, lines=lines)
