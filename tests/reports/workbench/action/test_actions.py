"""What to do: the table that people may edit, and who leaves when, played out day by day."""

from __future__ import annotations

import numpy as np
import pytest

from features.ledger import expire
from features.transaction import date_of
from models.scoring import score
from models.segments import PLACES
from reports.workbench.action.actions import AHEAD, leaving, section, table
from reports.workbench.action.recommended_actions import COLUMNS, ActionsError, packaged, parsed, with_own
from reports.workbench.exhibit import Section
from reports.workbench.study import Study, named
from reports.workbench.tables import rows
from tests.reports.workbench.odd import check, few, poor, without_lines

HEADER = ",".join(COLUMNS)
ROW = "a reader,a letter,post,nothing,answers"


@pytest.fixture(scope="module")
def actions(sample: Study) -> Section:
    return section(sample, packaged())


def test_the_packaged_table_has_a_row_for_every_name() -> None:
    assert list(packaged()) == [*PLACES, "Lapsed", "No net purchases"]


def test_a_persons_rows_take_the_place_of_the_packaged_ones_in_any_order_of_columns() -> None:
    own = with_own(
        '\ufeffkpi,segment,traits,campaign,channel,offer\nanswers,VIP,"rich, few",call,phone,tea\n\n', "my.csv", ["VIP"]
    )
    assert own["VIP"] == ("VIP", "rich, few", "call", "phone", "tea", "answers")
    assert {name: row for name, row in own.items() if name != "VIP"} == packaged()
    assert with_own(f"{HEADER}\nLoyal,{ROW}\n", "my.csv", [])["Loyal"].campaign == "a letter"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "my.csv: column 'segment' must be there once"),
        (f"{HEADER},colour\n", "my.csv: unknown column 'colour'; the columns are segment, traits"),
        ("segment,traits,campaign,channel,offer\n", "column 'kpi' must be there once"),
        (f"{HEADER}\nPlatinum,{ROW}\n", "my.csv, line 2: unknown segment 'Platinum'; known are Active, "),
        (f"{HEADER}\nLoyal,{ROW}\nLoyal,{ROW}\n", "my.csv, line 3: segment 'Loyal' comes a second time"),
        (f"{HEADER}\nLoyal,a,b,,d,e\n", "my.csv, line 2: channel is empty; write 'none'"),
        (f"{HEADER}\nLoyal,a,b\n", "my.csv, line 2: 3 cells where there are 6 columns"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_where_and_why(text: str, said: str) -> None:
    with pytest.raises(ActionsError) as refused:
        parsed(text, "my.csv", packaged())
    assert said in str(refused.value)


def test_a_row_says_the_medians_that_its_customers_have(sample: Study) -> None:
    found = {row["segment"]: row for row in rows(table(sample, packaged()))}
    assert set(found) == set(sample.customers["segment"].astype(str))
    own = sample.customers[sample.customers["segment"] == "Dormant"]
    assert found["Dormant"]["customers"] == len(own)
    recency, monetary = np.median(own["recency"]), np.median(own["monetary"])
    assert (
        found["Dormant"]["measured"] == f"last order {recency:.0f} days ago, 1 order, £{monetary:.0f} net in 365 days"
    )
    assert found["Lapsed"]["measured"].startswith("no order in 365 days")
    assert found["Champions"]["offer"] == packaged()["Champions"].offer


def test_who_leaves_and_when_is_what_a_sweep_a_day_would_publish(sample: Study) -> None:
    """Everybody scored anew on each of the days, his label bound to that of the day before by the margin."""
    labels = sample.customers["segment_id"].to_numpy()
    moved: dict[str, tuple[str, str]] = {}
    for day in range(sample.day + 1, sample.day + AHEAD + 1):
        known, _ = expire(sample.ledger, day - sample.bundle.horizon_days)
        now = score(known, sample.first_day, day, sample.bundle).labels(labels, sample.bundle)
        names = list(named(now, sample.bundle))
        for row in np.flatnonzero(now != labels).tolist():
            moved.setdefault(sample.ids[row], (date_of(day).isoformat(), names[row]))
        labels = now
    found = leaving(sample)
    assert {row["customer"]: (row["day"], row["target"]) for row in rows(found)} == moved
    assert found["revenue"].is_monotonic_decreasing
    net = sample.customers["monetary"].reindex(found["customer"])
    assert np.array_equal(net.to_numpy(), found["revenue"].to_numpy())


def test_all_who_leave_are_in_the_table_and_the_sentence_counts_them(actions: Section, sample: Study) -> None:
    found = {exhibit.key: exhibit for exhibit in actions.exhibits}
    leavers = leaving(sample)
    assert not found["customers-leaving"].whole
    assert len(found["customers-leaving"].data) == len(leavers)
    assert found["moves-ahead"].data["customers"].sum() == len(leavers)
    assert f"{len(leavers):,} customers of {len(sample.customers):,} leave" in found["moves-ahead"].sentence
    assert len(found["about-to-lapse"].data) == (leavers["target"] == "Lapsed").sum()


def test_another_shop_gets_other_sentences(actions: Section, sample: Study, real: Study | None) -> None:
    other = section(real if real is not None else few(sample, sample.segments, 60), packaged())
    sentences = {exhibit.key: exhibit.sentence for exhibit in other.exhibits}
    assert all(sentences.get(exhibit.key) != exhibit.sentence for exhibit in actions.exhibits)


def test_odd_shops_have_a_section_too(actions: Section, sample: Study) -> None:
    check(actions)
    service = section(without_lines(sample), packaged())
    check(service)
    assert "products-to-recommend" not in {exhibit.key for exhibit in service.exhibits}
    check(section(poor(sample), packaged()))
    check(section(few(sample, ["Champions"], 1), packaged()))
    bare = section(few(sample, ["Lapsed", "No net purchases"]), {})
    check(bare)
    assert any("has no row for Lapsed and No net purchases" in note for note in bare.notes)
