"""Components against an eigendecomposition, maps against their measures by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway

from reports.workbench.segments import projections
from reports.workbench.segments.projections import (
    between_share,
    by_chance,
    components,
    perplexity,
    same_segment_share,
    section,
)
from reports.workbench.study import Study


@pytest.fixture(scope="module")
def few(sample: Study) -> Study:
    return replace(sample, customers=sample.clustered.iloc[::8])


def test_components_are_the_covariances_eigenvectors_and_loadings_are_correlations(few: Study) -> None:
    z = few.vectors
    values = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    found = components(z)
    assert found.variance == pytest.approx(values / values.sum())
    for c, loadings in enumerate(found.loadings):
        correlations = [np.corrcoef(z[:, j], found.scores[:, c])[0, 1] for j in range(z.shape[1])]
        assert loadings == pytest.approx(correlations)
        assert loadings[np.abs(loadings).argmax()] > 0
    assert np.cov(found.scores.T) == pytest.approx(np.diag(values), abs=1e-9)


def test_a_feature_that_does_not_vary_loads_nothing(few: Study) -> None:
    z = few.vectors.copy()
    z[:, 1] = 2.5
    assert components(z).loadings[:, 1] == pytest.approx(np.zeros(3))


def test_the_share_between_groups_is_that_of_an_analysis_of_variance(few: Study) -> None:
    values, segments = few.vectors[:, 0], few.clustered["segment"].astype(str)
    groups = [values[(segments == name).to_numpy()] for name in segments.unique()]
    f = f_oneway(*groups).statistic
    between, within = len(groups) - 1, len(values) - len(groups)
    assert between_share(values, segments) == pytest.approx(f * between / (f * between + within))


def test_neighbours_of_a_map_are_counted_and_chance_is_what_a_shuffle_gives() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 2, 3], [50, 30, 20])
    plane = rng.normal(size=(100, 2)) + labels[:, None]
    shares = []
    for i, place in enumerate(plane):
        order = [j for j in np.argsort(((plane - place) ** 2).sum(axis=1)) if j != i]
        shares.append(np.mean(labels[order[:15]] == labels[i]))
    assert same_segment_share(plane, labels) == pytest.approx(np.mean(shares))
    pairs = [labels[i] == labels[j] for i in range(100) for j in range(100) if i != j]
    assert by_chance(labels) == pytest.approx(np.mean(pairs))


def test_the_perplexity_stays_below_the_customers() -> None:
    assert (perplexity(2_000), perplexity(30)) == (30, 10)


def test_the_section_draws_its_data_and_says_its_figures(few: Study) -> None:
    variance, loadings, flat, bent = section(few).exhibits
    assert variance.data["running_share"].iloc[-1] == pytest.approx(1)
    assert f"{variance.data['variance_share'].iloc[0] * 100:.1f} %" in variance.sentence
    assert loadings.data.columns.tolist() == ["component", *few.bundle.features]
    segments = few.clustered["segment"].astype(str)
    for exhibit in (flat, bent):
        pd.testing.assert_series_equal(exhibit.data.set_index("customer")["segment"], segments, check_dtype=False)
        assert exhibit.figure is not None
        assert [trace.name for trace in exhibit.figure.data] == few.segments
        assert sum(len(trace.x) for trace in exhibit.figure.data) == len(few.clustered)
    assert f"{between_share(flat.data['pc1'].to_numpy(), segments) * 100:.1f} %" in flat.sentence
    repeated = section(few).exhibits[3].data
    pd.testing.assert_frame_equal(repeated, bent.data)


def test_the_map_of_neighbours_takes_a_stated_choice_of_many(few: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "TSNE_CUSTOMERS", 60)
    bent = section(few).exhibits[3]
    assert len(bent.data) == 60
    assert f"a random choice of 60 of {len(few.clustered)} customers" in bent.sentence


def test_another_shop_gets_other_sentences(few: Study, real: Study | None) -> None:
    shop = few if real is None else real
    other = replace(shop, customers=shop.clustered.iloc[5::20])
    pairs = zip(section(few).exhibits, section(other).exhibits, strict=True)
    assert all(ours.sentence != theirs.sentence for ours, theirs in pairs)


def test_shops_with_nothing_to_flatten_get_a_note(sample: Study, few: Study) -> None:
    for study in (
        replace(sample, customers=sample.customers.iloc[:0]),
        replace(sample, customers=sample.clustered.iloc[:5]),
        replace(sample, customers=pd.concat([sample.clustered.iloc[:1]] * 40)),
    ):
        found = section(study)
        assert (found.exhibits, len(found.notes)) == ((), 1)
    alone = msgspec.structs.replace(few.bundle, features=("recency",), scale=few.bundle.scale[:1])
    assert "One feature, recency" in section(replace(few, bundle=alone)).notes[0]
