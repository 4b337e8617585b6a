"""Profiles of segments against pandas on raw lines and features; sentences are those of their data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.segments.profiles import boxes, centres, percentiles, section, separation, snake
from reports.workbench.segments.sizes import medians, sizes
from reports.workbench.study import Study
from reports.workbench.tables import rows
from tests.reports.workbench.odd import check, few, poor, without_lines


@pytest.fixture(scope="module")
def profile(sample: Study) -> Section:
    return section(sample)


def of(section: Section, key: str) -> Exhibit:
    (found,) = [exhibit for exhibit in section.exhibits if exhibit.key == key]
    return found


def test_sizes_and_revenue_are_those_of_the_orders(sample: Study, real: Study | None) -> None:
    for study in (sample, real) if real is not None else (sample,):
        assert study.lines is not None
        lines = study.lines[study.lines["kept"]]
        lines = lines[lines["time"] >= pd.Timestamp(study.date) - pd.Timedelta(days=365)]
        net = lines.groupby("customer", observed=True)["amount"].sum()
        net.index = net.index.astype(str)
        found = sizes(study.customers).set_index("segment")
        clustered = study.customers[study.customers["clustered"]]
        for name, row in found.iterrows():
            members = study.customers.index[study.customers["segment"] == name]
            assert row["customers"] == len(members)
            assert row["revenue"] == pytest.approx(net.reindex(members).fillna(0).sum(), abs=0.01)
            assert row["customers_share"] == pytest.approx(len(members) / len(study.customers))
            if name in study.segments:
                assert row["revenue_share"] == pytest.approx(row["revenue"] / net[clustered.index].sum())
        assert found["revenue_share"].isna().to_dict() == {name: name not in study.segments for name in found.index}


def test_medians_are_numpys(sample: Study) -> None:
    found = medians(sample.customers).set_index("segment")
    for name in sample.segments:
        members = sample.customers[sample.customers["segment"] == name]
        assert found.loc[name, "monetary"] == np.median(members["monetary"])
        assert found.loc[name, "mean_gap"] == np.nanmedian(members["mean_gap"])


def test_the_snake_is_of_standardised_logarithms_and_a_window_as_long_as_the_horizon_is_not_drawn_twice(
    sample: Study,
) -> None:
    table = snake(sample.clustered, 1).pivot_table(index="segment", columns="feature", values="mean")
    assert "frequency_365" not in table
    z = pd.Series(zscore(np.log1p(sample.clustered["monetary"])), index=sample.clustered.index)
    for name in sample.segments:
        assert table.loc[name, "monetary"] == pytest.approx(z[sample.clustered["segment"] == name].mean(), abs=1e-6)


def test_separation_is_the_share_of_variance_that_an_analysis_of_variance_gives_to_the_segments(sample: Study) -> None:
    values, segments = np.log1p(sample.clustered["frequency"]), sample.clustered["segment"].astype(str)
    within = sum(((group - group.mean()) ** 2).sum() for _, group in values.groupby(segments))
    expected = 1 - within / ((values - values.mean()) ** 2).sum()
    assert separation(sample.clustered, 1)["frequency"] == pytest.approx(expected, abs=1e-6)


def test_percentiles_are_mid_ranks_whose_mean_is_50_and_the_most_recent_is_highest(sample: Study) -> None:
    found = percentiles(sample.clustered)
    table = found.pivot_table(index="segment", columns="feature", values="percentile")
    weights = sample.clustered["segment"].astype(str).value_counts()
    assert np.allclose(table.mul(weights, axis=0).sum() / weights.sum(), 50)
    recency, own = sample.clustered["recency"].to_numpy(), sample.clustered["segment"] == "Champions"
    older = [(np.sum(recency > r) + np.sum(recency == r) / 2) / len(recency) * 100 for r in recency[own]]
    assert table.loc["Champions", "recency"] == pytest.approx(np.mean(older))


def test_centres_are_the_models_from_its_customers_mean(sample: Study) -> None:
    found = centres(sample).pivot_table(index="segment", columns="feature", values="centre")
    mean = np.log1p(sample.clustered["monetary"]).mean()
    for segment, centroid in zip(sample.bundle.segments, sample.bundle.centroids, strict=True):
        expected = (centroid[2] - mean) / sample.bundle.scale[2]
        assert found.loc[segment.name, "monetary"] == pytest.approx(expected, abs=1e-6)


def test_a_box_is_of_quantiles(sample: Study) -> None:
    found = boxes(sample.clustered, "monetary").set_index("segment")
    members = sample.clustered.loc[sample.clustered["segment"] == "Dormant", "monetary"]
    quantiles = [found[column]["Dormant"] for column in ("low", "q1", "median", "q3", "high")]
    assert quantiles == pytest.approx(np.percentile(members, [5, 25, 50, 75, 95]).tolist())


def test_baskets_hours_and_countries_are_those_of_the_lines(profile: Section, sample: Study) -> None:
    assert sample.lines is not None
    lines = sample.lines[sample.lines["kept"] & (sample.lines["time"] >= pd.Timestamp("2010-12-10"))].copy()
    lines["segment"] = lines["customer"].astype(str).map(sample.customers["segment"].astype(str))
    keys = [lines["segment"], lines["customer"].astype(str), lines["invoice"].astype(str)]
    # An invoice that comes to more than nothing is an order.
    baskets = lines.groupby(keys).agg(lines=("amount", "size"), units=("units", "sum"), value=("amount", "sum"))
    expected = baskets[baskets["value"].round(4) > 0].groupby("segment")[["lines", "units", "value"]].median()
    found = of(profile, "baskets").data.set_index("segment")
    pd.testing.assert_frame_equal(found[["lines", "units", "value"]], expected.loc[found.index], check_dtype=False)

    sold = lines[~lines["cancelled"] & (lines["quantity"] > 0)]
    first = sold.groupby([sold["segment"], sold["customer"].astype(str), sold["invoice"].astype(str)])["time"].min()
    hours = first.dt.hour.groupby("segment").value_counts()
    for row in rows(of(profile, "hours-by-segment").data):
        assert row["orders"] == hours.get((row["segment"], row["hour"]), 0)
        assert row["orders_share"] == pytest.approx(row["orders"] / hours[row["segment"]].sum())
    days = first.dt.day_name().groupby("segment").value_counts()
    for row in rows(of(profile, "weekdays-by-segment").data):
        assert row["orders"] == days.get((row["segment"], row["weekday"]), 0)

    abroad = of(profile, "countries-by-segment").data
    everything = sample.lines[sample.lines["kept"]].drop_duplicates(["customer", "invoice", "country"])
    home = everything.groupby("customer", observed=True)["country"].agg(lambda c: c.astype(str).mode().iloc[0])
    home.index = home.index.astype(str)
    for name in sample.segments:
        members = home[sample.clustered.index[sample.clustered["segment"] == name]]
        assert abroad.loc[abroad["segment"] == name, "customers"].sum() == (members != "United Kingdom").sum()


def test_another_shop_gets_other_sentences(profile: Section, sample: Study, real: Study | None) -> None:
    other = section(real) if real is not None else section(few(sample, sample.segments, 30))
    sentences = {exhibit.key: exhibit.sentence for exhibit in other.exhibits}
    for exhibit in profile.exhibits:
        assert sentences[exhibit.key] != exhibit.sentence, exhibit.key


def test_each_segments_rule_stands_in_words(profile: Section, sample: Study) -> None:
    table = of(profile, "what-distinguishes").data
    assert table["segment"].to_list() == sample.segments
    for row, said in zip(rows(table), profile.points, strict=True):
        assert said.startswith(f"{row['segment']}: {row['rule']}. ")
        assert f"{row['precision_share'] * 100:.1f} % of the {row['described']:,} customers" in said


def test_odd_shops_have_a_section_too(sample: Study) -> None:
    check(section(sample))
    service = section(without_lines(sample))
    check(service)
    assert any("keeps no lines" in note for note in service.notes)
    bare = section(poor(sample))
    check(bare)
    assert len([note for note in bare.notes if "country" in note or "hours" in note]) == 2
    check(section(few(sample, ["Dormant"], 1)))
    check(section(few(sample, ["Champions", "Lapsed"])))
    empty = section(few(sample, ["Lapsed"]))
    check(empty)
    assert empty.exhibits == ()
