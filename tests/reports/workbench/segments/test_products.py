"""Products by segment and pairs to recommend, counted by plain sets of customers."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from reports.workbench.action.recommendations import LEAST_CONFIDENCE, recommended
from reports.workbench.exhibit import Section
from reports.workbench.segments.products import diversity, lifts, purchases, section, support, top
from reports.workbench.study import Study
from reports.workbench.tables import rows
from tests.reports.workbench.odd import check, few, poor, without_lines


@pytest.fixture(scope="module")
def bought(sample: Study) -> pd.DataFrame:
    found = purchases(sample)
    return found[found["segment"].isin(sample.segments)]


@pytest.fixture(scope="module")
def products(sample: Study) -> Section:
    return section(sample)


def holders(bought: pd.DataFrame, segment: str | None = None) -> dict[str, set[str]]:
    """By product, who bought it."""
    found: dict[str, set[str]] = {}
    for customer, code, of in zip(bought["customer"], bought["stock_code"], bought["segment"], strict=True):
        if segment in (None, of):
            found.setdefault(str(code), set()).add(str(customer))
    return found


def test_a_purchase_is_what_was_kept_once_a_customer_and_product(sample: Study) -> None:
    assert sample.lines is not None
    lines = sample.lines[sample.lines["kept"] & ~sample.lines["non_product"]]
    lines = lines[lines["time"] >= pd.Timestamp("2010-12-10")]
    net = lines.groupby([lines["customer"].astype(str), lines["stock_code"].astype(str)])[["units", "amount"]].sum()
    net = net[(net["units"] > 0) & (net["amount"].round(4) > 0)]
    found = purchases(sample)
    by_pair = found.set_index([found["customer"].astype(str), found["stock_code"].astype(str)])
    assert set(by_pair.index) == set(net.index)
    assert len(by_pair) == len(net)
    assert np.allclose(by_pair["revenue"].reindex(net.index), net["amount"])
    assert len(net) < len(lines.groupby(["customer", "stock_code"], observed=True))  # some was brought back


def test_top_products_are_those_with_the_greatest_revenue(sample: Study, bought: pd.DataFrame) -> None:
    found = top(bought, sample.segments)
    for name in sample.segments:
        own = bought[bought["segment"] == name]
        revenue = own.groupby(own["stock_code"].astype(str))["revenue"].sum().sort_values(ascending=False)
        mine = found[found["segment"] == name]
        assert mine["stock_code"].astype(str).to_list() == revenue.index[:5].to_list()
        assert np.allclose(mine["revenue_share"], revenue.iloc[:5] / revenue.sum())


def test_the_lift_is_the_share_inside_over_the_share_of_all_and_no_greater_one_is_left_out(
    sample: Study, bought: pd.DataFrame
) -> None:
    found = lifts(bought, sample.segments)
    everybody, everywhere = len(set(bought["customer"].astype(str))), holders(bought)
    for name in sample.segments:
        inside = holders(bought, name)
        own = len(set().union(*inside.values()))
        expected = {
            code: (len(people) / own) / (len(everywhere[code]) / everybody)
            for code, people in inside.items()
            if len(people) >= max(5, math.ceil(0.03 * own))
        }
        best = sorted((lift for lift in expected.values() if lift > 1), reverse=True)[:5]
        mine = found[found["segment"] == name]
        assert mine["lift"].to_list() == pytest.approx(best)
        for row in rows(mine):
            assert row["lift"] == pytest.approx(expected[str(row["stock_code"])])
            outside = len(everywhere[str(row["stock_code"])]) - row["customers"]
            assert row["elsewhere_share"] == pytest.approx(outside / (everybody - own))


def test_pairs_to_recommend_are_those_of_sets_of_customers(sample: Study, bought: pd.DataFrame) -> None:
    name = "Promising"
    inside = holders(bought, name)
    own = len(set().union(*inside.values()))
    least = support(own)
    common = {code: people for code, people in inside.items() if len(people) >= least}
    expected = {}
    for has, recommend in permutations(common, 2):
        both = len(common[has] & common[recommend])
        confidence, lacking = both / len(common[has]), len(common[has] - common[recommend])
        lift = confidence / (len(common[recommend]) / own)
        if min(both, lacking) >= least and confidence >= LEAST_CONFIDENCE and lift > 1:
            expected[has, recommend] = (lift, both, confidence, lacking)
    found = rows(recommended(bought, [name], 5))
    assert found
    assert len({row["recommend"] for row in found}) == len(found)
    assert found[0]["lift"] == pytest.approx(max(lift for lift, *_ in expected.values()))
    for row in found:
        figures = (row["lift"], row["both"], row["confidence_share"], row["candidates"])
        assert figures == pytest.approx(expected[row["has"], row["recommend"]])


def test_as_many_products_of_equal_revenue_are_as_diverse_as_they_are_many() -> None:
    rows_of = [("a", "x", 10.0), ("b", "x", 20.0), ("b", "y", 30.0), ("c", "z", 30.0), ("d", "w", 30.0)]
    bought = pd.DataFrame(rows_of, columns=["customer", "stock_code", "revenue"]).assign(segment="S")
    (found,) = rows(diversity(bought, ["S", "T"]))
    assert (found["buyers"], found["products"], found["median_products"]) == (4, 4, 1.0)
    assert found["effective_products"] == pytest.approx(4.0)


def test_another_shop_gets_other_sentences(products: Section, sample: Study, real: Study | None) -> None:
    other = section(real) if real is not None else section(few(sample, sample.segments, 60))
    sentences = {exhibit.key: exhibit.sentence for exhibit in other.exhibits}
    assert all(sentences[exhibit.key] != exhibit.sentence for exhibit in products.exhibits)


def test_odd_shops_have_a_section_too(products: Section, sample: Study) -> None:
    check(products)
    for study, note in ((without_lines(sample), "no lines"), (poor(sample), "no product")):
        found = section(study)
        check(found)
        assert found.exhibits == ()
        assert note in found.notes[0]
    check(section(few(sample, ["Dormant"], 1)))
    assert recommended(purchases(few(sample, ["Dormant"], 2)), sample.segments, 3).empty
