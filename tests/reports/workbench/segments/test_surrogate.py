"""Rules in words: thresholds by hand, precision and recall counted by pandas."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reports.workbench.segments.surrogate import DEPTH, Clause, fidelity, leaves, rules, said, worded
from reports.workbench.study import Study


@pytest.fixture(scope="module")
def shop() -> pd.DataFrame:
    """Regulars have 6 orders or more; of the rest the fresh ordered within 30 days, but for one of them."""
    rows = [(10, 6, 900.0, "Regular")] * 40 + [(20, 2, 80.0, "Fresh")] * 30 + [(200, 2, 80.0, "Gone")] * 29
    rows += [(30, 5, 80.0, "Fresh"), (31, 5, 80.0, "Gone"), (200, 2, 80.0, "Fresh")]
    return pd.DataFrame(rows, columns=["recency", "frequency", "monetary", "segment"])


def test_rules_are_those_that_a_hand_would_write(shop: pd.DataFrame) -> None:
    found = (
        rules(shop, ("recency", "frequency"), ["Regular", "Fresh", "Gone", "Nobody"], "GBP")
        .set_index("segment")
        .T.to_dict()
    )
    assert found["Regular"]["rule"] == "at least 6 orders"
    assert found["Fresh"]["rule"] == "at most 30 days since the last order and at most 5 orders"
    assert found["Gone"]["rule"] == "at least 31 days since the last order and at most 5 orders"
    assert found["Nobody"]["rule"] == ""
    assert math.isnan(found["Nobody"]["precision_share"])
    assert [row["described"] for row in found.values()] == [40, 31, 31, 0]
    assert (found["Fresh"]["precision_share"], found["Fresh"]["recall_share"]) == (1.0, 31 / 32)
    assert (found["Gone"]["precision_share"], found["Gone"]["recall_share"]) == (30 / 31, 1.0)
    assert fidelity(pd.DataFrame(found.values())) == 101 / 102


def test_precision_and_recall_are_those_of_the_rounded_rule_and_leaves_share_out_everybody(
    sample: Study, real: Study | None
) -> None:
    for study in (sample, real) if real is not None else (sample,):
        customers = study.clustered
        found = rules(customers, study.bundle.features, study.segments, "GBP").set_index("segment")
        answer = pd.Series("", index=customers.index)
        for leaf in leaves(customers, study.bundle.features):
            assert len(leaf.clause) <= DEPTH
            parts = [f"{low!r} < {name} <= {high!r}" for name, (low, high) in leaf.clause.items()]
            there = customers.query(" and ".join(parts).replace("inf", "1e300")).index
            assert (answer[there] == "").all()
            answer[there] = leaf.segment
        assert (answer != "").all()
        table = pd.crosstab(customers["segment"].astype(str), answer)
        assert fidelity(found) == pytest.approx((customers["segment"].astype(str) == answer).mean())
        assert fidelity(found) > 0.8
        for name in study.segments:
            hits = table.to_numpy()[table.index.get_loc(name), table.columns.get_loc(name)]
            assert found["precision_share"][name] == pytest.approx(hits / table[name].sum())
            assert found["recall_share"][name] == pytest.approx(hits / table.T[name].sum())


@pytest.mark.parametrize(
    ("name", "threshold", "rounded"),
    [("frequency", 5.5, 5.0), ("monetary", 746.93, 747.0), ("monetary", 1_613.7, 1_610.0)],
)
def test_thresholds_are_said_whole_or_with_three_digits(name: str, threshold: float, rounded: float) -> None:
    assert said(name, threshold) == rounded


def test_spans_read_as_people_say_them() -> None:
    clauses: list[Clause] = [
        {"recency": (23, 60), "frequency": (2, 3), "monetary": (500, math.inf)},
        {"return_rate": (0.05, 0.1)},
        {},
    ]
    assert worded(clauses, ("recency", "frequency", "monetary", "return_rate"), "GBP") == (
        "24 to 60 days since the last order and exactly 3 orders and net revenue of more than £500; or "
        "share of value returned of more than 5.0 % and at most 10.0 %; or any customer"
    )
