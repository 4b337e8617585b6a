"""Scores against the definition by a plain loop, and the real file's known shares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reports.workbench.segments import rfm_scores
from reports.workbench.segments.rfm_scores import cutoffs, pareto, scores
from reports.workbench.study import Study


def test_scores_are_quintiles_of_the_values(sample: Study) -> None:
    customers = sample.clustered
    found = scores(customers)
    limits = {name: np.percentile(customers[name], [20, 40, 60, 80]) for name in ("recency", "frequency", "monetary")}
    for row in found.to_dict("records"):
        above = {name: sum(row[name] > limit for limit in limits[name]) for name in limits}
        assert (row["R"], row["F"], row["M"]) == (5 - above["recency"], 1 + above["frequency"], 1 + above["monetary"])
        assert row["code"] == f"{row['R']}{row['F']}{row['M']}"
    assert cutoffs(customers).set_index("measure").loc["monetary", "0.8"] == pytest.approx(limits["monetary"][3])


def test_equal_customers_get_equal_scores() -> None:
    many = pd.DataFrame(
        {"recency": [5.0] * 8 + [9.0, 1.0], "frequency": [1.0] * 9 + [7.0], "monetary": np.arange(10.0)}
    )
    found = scores(many)
    assert found["R"].tolist() == [5] * 8 + [1, 5]  # every cut-off is 5 days: only who is later is worse
    assert found["F"].tolist() == [1] * 9 + [5]


def test_the_curve_of_revenue_is_that_of_sorted_sums(real: Study | None, sample: Study) -> None:
    table = pareto(pd.Series([1.0, 1.0, 8.0, 0.0]))
    held = dict(zip(table["customer_share"].round(2), table["revenue_share"], strict=True))
    assert (held[0.0], held[0.25], held[0.5], held[1.0]) == (0, 0.8, 0.9, 1.0)
    if real is not None:
        # The textbook view without repeats: 74.7 % of the revenue from the top fifth of 4,338 customers.
        assert real.lines is not None
        lines = real.lines
        sold = lines[~lines["cancelled"] & (lines["quantity"] > 0) & (lines["price"] > 0) & ~lines["repeat"]]
        spent = (sold["quantity"] * sold["price"]).groupby(sold["customer"], observed=True).sum()
        curve = pareto(spent)
        assert np.interp(0.2, curve["customer_share"], curve["revenue_share"]) == pytest.approx(0.747, abs=0.0005)


def test_another_shop_gives_other_sentences(sample: Study, real: Study | None) -> None:
    other = real if real is not None else sample
    halved = pd.DataFrame(other.customers.iloc[::2])
    from dataclasses import replace

    first, second = (rfm_scores.section(replace(other, customers=each)) for each in (other.customers, halved))
    assert first.lead != second.lead
    assert [a.sentence for a in first.exhibits] != [b.sentence for b in second.exhibits]


def test_nobody_to_score_is_said(sample: Study) -> None:
    from dataclasses import replace

    nobody = replace(sample, customers=sample.customers[~sample.customers["clustered"]])
    assert rfm_scores.section(nobody).notes
