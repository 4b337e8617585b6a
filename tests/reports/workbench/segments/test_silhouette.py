"""Silhouettes against a plain loop over distances, and the diagram's rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.workbench.segments.silhouette import diagram, silhouettes, structure, thinned
from reports.workbench.study import Study


def few(study: Study, every: int) -> Study:
    return replace(study, customers=study.clustered.iloc[::every])


def test_each_silhouette_is_that_of_a_plain_loop(sample: Study) -> None:
    study = few(sample, 20)
    z, segments = study.vectors, study.clustered["segment"].astype(str).to_numpy()
    expected = {}
    for i, customer in enumerate(study.clustered.index):
        away = np.sqrt(((z - z[i]) ** 2).sum(axis=1))
        own = (segments == segments[i]) & (np.arange(len(z)) != i)
        a = away[own].mean()
        b = min(away[segments == other].mean() for other in set(segments) - {segments[i]})
        expected[customer] = (b - a) / max(a, b)
    found = silhouettes(study).set_index("customer")["silhouette"]
    pd.testing.assert_series_equal(found.sort_index(), pd.Series(expected).sort_index(), check_names=False)


def test_the_diagram_goes_by_segment_the_best_first_and_draws_what_it_says(sample: Study) -> None:
    study = few(sample, 20)
    found = silhouettes(study)
    exhibit = diagram(study, found)
    assert found["segment"].astype(str).drop_duplicates().tolist() == study.segments
    assert all(part.is_monotonic_decreasing for _, part in found.groupby("segment", observed=True)["silhouette"])
    assert exhibit.figure is not None
    drawn = np.concatenate([np.asarray(trace.x) for trace in exhibit.figure.data])
    assert drawn.tolist() == exhibit.data["silhouette"].tolist()
    means = found.groupby("segment", observed=True)["silhouette"].mean()
    assert f"{means.idxmax()} hang together most ({means.max():.2f})" in exhibit.sentence
    assert f"{(found['silhouette'] < 0).mean() * 100:.1f} %" in exhibit.sentence


def test_a_thinned_diagram_keeps_the_ends_and_the_shares() -> None:
    found = pd.DataFrame({"segment": ["a"] * 3_000 + ["b"] * 1_000, "silhouette": np.linspace(1, -1, 4_000)})
    shown = thinned(found, 200)
    assert len(shown) == 200
    assert shown["segment"].value_counts().to_dict() == {"a": 150, "b": 50}
    assert (shown["silhouette"].iloc[0], shown["silhouette"].iloc[-1]) == (1, -1)
    assert thinned(found, 4_000) is found


def test_one_segment_has_no_silhouettes(sample: Study) -> None:
    customers = sample.clustered
    only = customers[customers["segment"] == sample.segments[0]]
    assert silhouettes(replace(sample, customers=only)).empty


@pytest.mark.parametrize(
    ("mean", "words"), [(0.71, "a strong"), (0.6, "a reasonable"), (0.3, "a weak"), (0.25, "no"), (-0.1, "no")]
)
def test_the_words_are_kaufman_and_rousseeuws(mean: float, words: str) -> None:
    assert structure(mean) == f"{words} structure"
