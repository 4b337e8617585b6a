"""The six criteria, each against another computation, and what the section says of this and of that shop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from models.selection import Candidate, Choice
from reports.workbench.segments import choosing_k, gap_statistic
from reports.workbench.segments.choosing_k import (
    coordinates,
    criteria,
    partitions,
    section,
    standardised,
    two_groups,
    verdicts,
)
from reports.workbench.study import Study

TABLE = (
    Candidate(2, 900.0, 0.43, 0.98, 0.93, 0.00),
    Candidate(3, 600.0, 0.34, 0.92, 0.79, 0.22),
    Candidate(4, 450.0, 0.33, 0.91, 0.82, 0.28),
    Candidate(5, 400.0, 0.31, 0.70, 0.40, 0.00),
)
CHOICE = Choice(4, TABLE, "it bends most there", 100, 100, 20)
CRITERIA = pd.DataFrame(
    {
        "k": [1, 2, 3, 4, 5, 6],
        "wcss": [np.nan, 900, 600, 450, 400, np.nan],
        "bend": [np.nan, 0, 0.22, 0.28, 0, np.nan],
        "silhouette": [np.nan, 0.43, 0.34, 0.33, 0.31, np.nan],
        "calinski_harabasz": [np.nan, 10, 30, 20, 15, np.nan],
        "davies_bouldin": [np.nan, 1.0, 0.9, 0.95, 0.8, np.nan],
        "stability": [np.nan, 0.98, 0.92, 0.91, 0.7, np.nan],
        "gap": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "gap_error": [0.1] * 6,
    }
)


@pytest.fixture(autouse=True)
def _few_references(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gap_statistic, choosing_k):
        monkeypatch.setattr(module, "REFERENCES", 3)


@pytest.fixture(scope="module")
def few(sample: Study) -> Study:
    return replace(sample, customers=sample.clustered.iloc[::8])


def logs(study: Study) -> np.ndarray:
    """What is clustered, by pandas alone."""
    values: np.ndarray = np.log1p(study.clustered[["recency", "frequency", "monetary"]].to_numpy())
    return values


def test_the_partitions_are_those_of_the_best_k_means(few: Study) -> None:
    z = StandardScaler().fit_transform(logs(few))
    points = coordinates(few)
    assert standardised(points) == pytest.approx(z - z.min(axis=0) + standardised(points).min(axis=0), abs=1e-5)
    for k, labels in partitions(points, [2, 3]).items():
        wcss = sum(((part - part.mean(axis=0)) ** 2).sum() for part in (z[labels == i] for i in range(k)))
        assert wcss <= KMeans(k, n_init=10, random_state=7).fit(z).inertia_ * 1.001


def test_calinski_harabasz_and_davies_bouldin_are_those_of_their_definitions(few: Study) -> None:
    z = StandardScaler().fit_transform(logs(few))
    points = coordinates(few)
    labels = partitions(points, [2, 3, 4, 5])
    table = criteria(standardised(points), labels, CHOICE).set_index("k")
    for k, found in labels.items():
        parts = [z[found == i] for i in range(k)]
        centres = np.array([part.mean(axis=0) for part in parts])
        within = sum(((part - centre) ** 2).sum() for part, centre in zip(parts, centres, strict=True))
        between = (z**2).sum() - within
        assert table.at[k, "calinski_harabasz"] == pytest.approx(between / (k - 1) / (within / (len(z) - k)), rel=1e-4)
        spread = [np.linalg.norm(part - centre, axis=1).mean() for part, centre in zip(parts, centres, strict=True)]
        ratios = [
            max((spread[i] + spread[j]) / np.linalg.norm(centres[i] - centres[j]) for j in range(k) if j != i)
            for i in range(k)
        ]
        assert table.at[k, "davies_bouldin"] == pytest.approx(np.mean(ratios), rel=1e-4)
    assert table["wcss"].tolist() == [900.0, 600.0, 450.0, 400.0]


def test_each_criterion_takes_its_own_k_and_the_service_takes_the_choices() -> None:
    found = verdicts(CRITERIA, CHOICE).set_index("criterion")
    assert found["k"].drop("gap statistic").to_dict() == {
        "elbow": 4,
        "silhouette": 2,
        "Calinski-Harabasz": 3,
        "Davies-Bouldin": 5,
        "stability": 2,
        "the service's rule": 4,
    }
    assert found["k"].isna().tolist() == [name == "gap statistic" for name in found.index]
    assert found["measure"].iloc[[0, -1]].tolist() == ["WCSS", "mean ARI"]
    assert found["value"].drop("gap statistic").tolist() == [450, 0.43, 30, 0.8, 0.98, 0.91]


def test_the_wcss_and_the_bend_are_the_services_own_and_progress_is_told(few: Study) -> None:
    told: list[str] = []
    few = replace(few, customers=few.clustered.iloc[::3])
    given = section(replace(few, choice=None), lambda stage, _done, _of: told.append(stage))
    assert set(told) == {"choosing k", "gap statistic"}
    drawn = given.exhibits[1].data.set_index("k")
    for k in (2, 5, 8):
        best = min(KMeans(k, n_init=10, random_state=s).fit(standardised(coordinates(few))).inertia_ for s in (0, 1))
        assert drawn.at[k, "wcss"] == pytest.approx(best, rel=0.01)
    wcss = drawn.loc[2:8, "wcss"].to_numpy()
    hanging = (wcss[0] - wcss) / (wcss[0] - wcss[-1]) - np.arange(7) / 6
    assert drawn.loc[2:8, "bend"].to_numpy() == pytest.approx(hanging)


def test_two_groups_are_told_by_their_medians(few: Study) -> None:
    customers = few.clustered
    often = (customers["frequency"] > 3).to_numpy()
    table = two_groups(customers, often.astype(np.int64))
    for place, part in enumerate((customers[often], customers[~often])):
        medians = [part[name].median() for name in ("recency", "frequency", "monetary")]
        assert list(table.iloc[place, 1:]) == [len(part), *medians]


def recommended(study: Study, choice: Choice, table: pd.DataFrame = CRITERIA) -> str:
    return choosing_k._verdicts(study, choice, verdicts(table, choice)).sentence


def test_the_recommendation_is_the_rules_and_says_what_the_shown_k_is_worth(few: Study) -> None:
    assert recommended(few, CHOICE).startswith("The service takes k = 4: it bends most there. Each criterion alone")
    assert "take k = 2: silhouette and stability; k = 3: Calinski-Harabasz; k = 4: elbow" in recommended(few, CHOICE)
    other = recommended(few, CHOICE._replace(k=3))
    assert "This report shows k = 4, that of its model, which is stable too (mean ARI 0.91, at least 0.82)." in other
    shaky = (*TABLE[:2], TABLE[2]._replace(stability=0.6), TABLE[3])
    assert "of its model, which is not stable (mean ARI 0.60" in recommended(few, CHOICE._replace(k=3, table=shaky))
    assert "was not among those compared" in recommended(few, CHOICE._replace(k=3, table=TABLE[:2]))


def test_honesty_follows_the_data(few: Study) -> None:
    weak = recommended(few, CHOICE, CRITERIA.assign(gap=[2.0, 1.5, 1, 1, 1, 1]))
    assert "0.33, which speaks for a weak structure (silhouette would only cut the customers in two; the gap" in weak
    assert "not natural kinds" in weak
    strong = CHOICE._replace(table=tuple(row._replace(silhouette=0.7 + row.k / 100) for row in TABLE))
    assert "a strong structure: the segments are likely to be groups that are there" in recommended(few, strong)


def planted(study: Study) -> Study:
    """The same ids as three groups, far from one another, whose silhouettes are right about it."""
    customers = study.clustered.copy()
    rng = np.random.default_rng(0)
    group = np.arange(len(customers)) % 3
    for name, centres in (("recency", (2, 40, 300)), ("frequency", (2, 60, 2)), ("monetary", (10, 5_000, 90_000))):
        customers[name] = np.array(centres)[group] * rng.uniform(0.98, 1.02, len(customers))
    return replace(study, customers=customers)


def test_another_shop_gets_other_sentences(few: Study, real: Study | None) -> None:
    other = planted(few) if real is None else replace(real, customers=real.clustered.iloc[::20])
    flat = CHOICE._replace(k=3, reason="it is stable", table=TABLE[:3])
    ours, theirs = section(replace(few, choice=CHOICE)), section(replace(other, choice=flat))
    pairs = zip(ours.exhibits, theirs.exhibits, strict=True)
    assert all(one.sentence != another.sentence for one, another in pairs)


def test_shops_with_nothing_to_compare_get_a_note(sample: Study) -> None:
    nobody = section(replace(sample, choice=None, customers=sample.customers.iloc[:0]))
    assert (nobody.exhibits, len(nobody.notes)) == ((), 1)
    two = section(replace(sample, choice=None, customers=sample.clustered.iloc[:2]))
    assert "only 2 different customers" in two.notes[0]
    five = section(replace(sample, choice=None, customers=sample.clustered.iloc[:5]))
    assert {"k-verdicts", "k-criteria", "k-two"} <= {exhibit.key for exhibit in five.exhibits}
