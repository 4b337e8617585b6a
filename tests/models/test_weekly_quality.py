"""The floors of DESIGN D4, on the real file: half a year day by day through the pure code, checked each week."""

from pathlib import Path

import pytest

from benchmarks.calm import steps
from benchmarks.retail import day_of, read
from benchmarks.weekly_quality import MARGIN, run, table
from reports.learners import CONTESTANTS, Comparison, Replay


@pytest.fixture(scope="module")
def replays(real_dataset: Path | None) -> list[Replay]:
    if real_dataset is None:
        pytest.skip("these floors were measured on UCI Online Retail, which does not lie beside the repository")
    return run(read(real_dataset))


@pytest.fixture(scope="module")
def found(real_dataset: Path, replays: list[Replay]) -> dict[str, Comparison]:
    return table(read(real_dataset), replays)


def test_each_week_from_june_to_december_is_checked(replays: list[Replay]) -> None:
    for replay in replays:
        days = [check.day for check in replay.checks]
        assert days == list(range(day_of("2011-06-08"), day_of("2011-12-10") + 1, 7))
        assert len(days) == 27


def test_the_population_learner_stays_as_good_as_batch(found: dict[str, Comparison]) -> None:
    assert found["population"].inertia_ratio <= 1.001
    assert found["population"].worst_inertia_ratio <= 1.005
    assert found["population"].ari >= 0.95
    assert found["population"].ari_published >= 0.91


def test_the_margin_takes_the_returns_away_for_little_of_the_agreement_with_batch(
    replays: list[Replay], found: dict[str, Comparison]
) -> None:
    calm, free = replays[0].published
    assert (calm.margin, free.margin) == (MARGIN, 1.0)
    assert free.returns > 1_000
    assert calm.returns <= 0.3 * free.returns
    assert found["population"].ari - found["population"].ari_published <= 0.035


def test_a_customer_who_really_changes_moves_exactly_once(replays: list[Replay]) -> None:
    assert steps(replays[0].models, MARGIN) == (600, 600)


@pytest.mark.parametrize("control", CONTESTANTS[1:])
def test_the_controls_are_plainly_worse(found: dict[str, Comparison], control: str) -> None:
    assert found[control].inertia_ratio - 1 > 10 * (found["population"].inertia_ratio - 1)
    assert found[control].ari < found["population"].ari - 0.1


def test_learning_from_touched_customers_alone_is_worse_than_never_learning(found: dict[str, Comparison]) -> None:
    assert found["minibatch"].inertia_ratio > found["frozen"].inertia_ratio
    assert found["river"].inertia_ratio > found["frozen"].inertia_ratio
