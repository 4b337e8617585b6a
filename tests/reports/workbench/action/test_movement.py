"""Movement between two days, month by month and by cohort, counted customer by customer and by pandas on the lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.workbench.action.cohorts import pooled, retention
from reports.workbench.action.movement import ARRIVED, looks, monthly, moves, section, sizes, turnover
from reports.workbench.exhibit import Section
from reports.workbench.study import Study
from reports.workbench.tables import rows
from tests.reports.workbench.odd import check, few, poor, without_lines


@pytest.fixture(scope="module")
def movement(sample: Study) -> Section:
    return section(sample)


def first_days(study: Study) -> pd.Series:
    return pd.Series(study.first_day, index=list(study.ids))


def test_everybody_is_in_one_flow_with_his_net_at_both_looks(sample: Study) -> None:
    first = sample.day - 60
    then, now = sample.as_of(first), sample.customers
    counted: Counter[tuple[str, str]] = Counter()
    before: Counter[tuple[str, str]] = Counter()
    for customer in now.index:
        source = str(then["segment"][customer]) if customer in then.index else ARRIVED
        counted[source, str(now["segment"][customer])] += 1
        before[source, str(now["segment"][customer])] += then["monetary"][customer] if customer in then.index else 0
    found = {(row["source"], row["target"]): row for row in rows(moves(then, now, first_days(sample), first))}
    assert {pair: row["customers"] for pair, row in found.items()} == counted
    for pair, row in found.items():
        assert row["revenue_then"] == pytest.approx(before[pair])
    assert sum(row["revenue_now"] for row in found.values()) == pytest.approx(now["monetary"].sum())


def test_looks_are_the_firsts_of_months_and_the_day_itself(sample: Study) -> None:
    assert sample.lines is not None
    starts = pd.date_range(sample.lines["time"].min(), sample.date, freq="MS", inclusive="neither")
    expected = [*starts.normalize(), pd.Timestamp(sample.date)]
    assert [pd.Timestamp(at, unit="D") for at in looks(sample)] == expected


def test_added_less_removed_is_the_growth_of_a_segment(sample: Study) -> None:
    labels = monthly(sample, lambda _stage, _done, _of: None)
    names = [str(name) for name in sample.customers["segment"].cat.categories]
    grid = sizes(labels, names).pivot_table(index="day", columns="segment", values="customers")
    assert grid.iloc[-1].to_dict() == sample.customers["segment"].astype(str).value_counts().to_dict()
    changed = turnover(labels, names)
    net = changed.assign(net=changed["added"] - changed["removed"]).pivot_table(
        index="day", columns="segment", values="net"
    )
    pd.testing.assert_frame_equal(net, grid.diff().iloc[1:], check_dtype=False)
    before, now = labels.columns[-2:]
    joined = (labels[now] == "Dormant") & (labels[before] != "Dormant")
    assert rows(changed[changed["segment"] == "Dormant"])[-1]["added"] == joined.sum()


def test_retention_is_counted_from_the_lines(sample: Study, real: Study | None) -> None:
    for study in (sample, real) if real is not None else (sample,):
        assert study.lines is not None
        lines = study.lines[study.lines["kept"]]
        month = lines["time"].dt.to_period("M")
        owner = lines["customer"].astype(str)
        cohort = month.groupby(owner).min()
        # A month in which an order of the customer came to more than nothing on some day.
        by_day = lines.groupby([owner, lines["invoice"].astype(str), lines["time"].dt.normalize()])["amount"].sum()
        bought = by_day[by_day.round(4) > 0].reset_index()
        active = set(zip(bought["customer"], bought["time"].dt.to_period("M"), strict=True))
        found = retention(study)
        for row in rows(found)[::7]:
            start = pd.Period(row["cohort"], "M")
            members = cohort.index[cohort == start]
            there = sum((name, start + row["months_later"]) in active for name in members)
            assert (row["customers"], row["active"]) == (len(members), there)
            assert row["active_share"] == there / len(members)
        assert set(found.loc[found["partial"], "months_later"]) == set(range(1, 13))
        assert pooled(found)[1][1] == (cohort < pd.Period("2011-11", "M")).sum()


def test_the_sentences_tell_what_is_in_their_tables(movement: Section, sample: Study) -> None:
    found = {exhibit.key: exhibit for exhibit in movement.exhibits}
    table = found["movement-matrix"].data
    known = table[table["source"] != ARRIVED]
    left = known[known["source"] != known["target"]]
    assert f"{left['customers'].sum():,} customers of {known['customers'].sum():,}" in found["movement-matrix"].sentence
    arrived = int((sample.first_day >= sample.day - 90).sum())
    assert f"{arrived:,} customers ordered for the first time" in found["movement-flows"].sentence
    retained = found["cohort-retention"].data.query("months_later == 3 and not partial")
    told = retained["active"].sum() / retained["customers"].sum() * 100
    assert f"{told:.1f} % 3 months later" in found["cohort-retention"].sentence


def test_another_shop_or_another_day_gets_other_sentences(movement: Section, sample: Study) -> None:
    other = {exhibit.key: exhibit.sentence for exhibit in section(few(sample, sample.segments, 30)).exhibits}
    later = {exhibit.key: exhibit.sentence for exhibit in section(sample, sample.day - 30).exhibits}
    for exhibit in movement.exhibits:
        assert other[exhibit.key] != exhibit.sentence, exhibit.key
    for exhibit in movement.exhibits[:2]:
        assert later[exhibit.key] != exhibit.sentence


def test_odd_shops_have_a_section_too(movement: Section, sample: Study) -> None:
    check(movement)
    assert any("begin on 1 December 2010" in note for note in movement.notes)
    check(section(without_lines(sample)))
    check(section(poor(sample)))
    check(section(few(sample, ["Dormant"], 1)))
    for first in (sample.day, sample.day - 4_000):
        nothing = section(sample, first)
        check(nothing)
        assert any("no two looks" in note for note in nothing.notes)
    young = few(sample, ["Promising"], 3)
    month = young.ledger.day >= np.datetime64("2011-12-01", "D").astype(int)
    check(section(few_days(young, month)))


def few_days(study: Study, kept: np.ndarray) -> Study:
    """A shop that opened this month."""
    ledger = study.ledger.take(kept)
    first = np.full(len(study.ids), study.day - 1)
    young = replace(study, ledger=ledger, first_day=first)
    return replace(young, customers=young.as_of(young.day))
