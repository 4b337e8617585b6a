"""The table of algorithms and their agreement, by counting pairs and by scikit-learn on the same labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import comb

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_samples

from reports.workbench.segments.algorithms import agreement, compared, section
from reports.workbench.study import Study
from tests.reports.workbench.segments.test_choosing_k import planted


@pytest.fixture(scope="module")
def few(sample: Study) -> Study:
    return replace(sample, customers=sample.clustered.iloc[::8])


def test_agreement_is_that_of_counted_pairs() -> None:
    one, other = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([5, 5, 4, 4, 4, 5, -1, -1])
    pairs = list(combinations(range(8), 2))
    both = sum(one[i] == one[j] and other[i] == other[j] for i, j in pairs)
    first, second = (sum(labels[i] == labels[j] for i, j in pairs) for labels in (one, other))
    expected = first * second / comb(8, 2)
    ari = (both - expected) / ((first + second) / 2 - expected)
    table = agreement({"a": one, "b": other}).set_index(["one", "other"])["ari"]
    assert table["a", "b"] == pytest.approx(ari)
    assert table["b", "a"] == pytest.approx(ari)
    assert table["a", "a"] == table["b", "b"] == 1


def test_noise_is_told_and_not_judged(few: Study) -> None:
    z = few.vectors
    labels = np.where(np.arange(len(z)) % 10 == 0, -1, few.clustered["segment_id"].to_numpy())
    row = compared(z, {"some": labels}).iloc[0]
    inside = labels != -1
    assert row["noise_share"] == pytest.approx((~inside).mean())
    assert row["clusters"] == len(set(labels[inside].tolist()))
    assert row["largest_share"] == pytest.approx(pd.Series(labels[inside]).value_counts().max() / len(z))
    assert row["silhouette"] == pytest.approx(silhouette_samples(z[inside], labels[inside]).mean())


def test_what_is_one_cluster_or_none_has_no_indices(few: Study) -> None:
    none = np.full(len(few.vectors), -1)
    table = compared(few.vectors, {"noise": none, "one": np.zeros_like(none)})
    assert table[["silhouette", "calinski_harabasz", "davies_bouldin"]].isna().all(axis=None)
    assert table["clusters"].tolist() == [0, 1]
    assert table["noise_share"].tolist() == [1, 0]


def test_the_sentence_follows_the_agreement(few: Study) -> None:
    doubtful = section(few).exhibits[0].sentence
    assert "sees other groups than K-Means" in doubtful
    assert "a useful cut" in doubtful
    three = planted(few)
    customers = three.customers.assign(segment_id=11 + np.arange(len(three.customers)) % 3)
    clear = section(replace(three, customers=customers)).exhibits[0]
    assert clear.data["clusters"].tolist()[2] == 3
    assert "DBSCAN sees almost the same groups as K-Means" in clear.sentence
    assert "do not hang on the choice of K-Means" in clear.sentence


def test_another_shop_gets_other_sentences(few: Study, real: Study | None) -> None:
    other = planted(few) if real is None else replace(real, customers=real.clustered.iloc[::20])
    pairs = zip(section(few).exhibits, section(other).exhibits, strict=True)
    assert all(ours.sentence != theirs.sentence for ours, theirs in pairs)


def test_one_segment_has_no_borders_to_compare(few: Study) -> None:
    bundle = few.bundle
    alone = msgspec.structs.replace(bundle, centroids=bundle.centroids[:1], segments=bundle.segments[:1])
    assert "one segment" in section(replace(few, bundle=alone)).notes[0]


def test_shops_with_nothing_to_compare_get_a_note(sample: Study) -> None:
    for customers in (
        sample.customers.iloc[:0],
        sample.clustered.iloc[:5],
        pd.concat([sample.clustered.iloc[:1]] * 40),
        pd.concat([sample.clustered.iloc[:3]] * 40),
    ):
        found = section(replace(sample, customers=customers))
        assert (found.exhibits, len(found.notes)) == ((), 1)
