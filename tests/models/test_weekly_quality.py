"""The floors of DESIGN D4, on the real file: half a year day by day through the pure code, checked each week."""

from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.retail import day_of, read
from benchmarks.weekly_quality import FROM, UNTIL, Check, run, summary

LEARNERS = ("population", "frozen", "minibatch", "river")


@pytest.fixture(scope="module")
def checks(real_dataset: Path | None) -> dict[str, list[Check]]:
    if real_dataset is None:
        pytest.skip("these floors were measured on UCI Online Retail, which does not lie beside the repository")
    with threadpool_limits(limits=1):
        return run(read(real_dataset), LEARNERS)


def test_each_week_from_june_to_december_is_checked(checks: dict[str, list[Check]]) -> None:
    days = [day_of(check.day) for check in checks["population"]]
    assert days == list(range(FROM + 7, UNTIL + 1, 7))
    assert len(days) == 27


def test_the_population_learner_stays_as_good_as_batch(checks: dict[str, list[Check]]) -> None:
    found = summary(checks["population"])
    assert found["inertia_ratio"] <= 1.001
    assert found["worst_inertia_ratio"] <= 1.005
    assert found["ari"] >= 0.95
    assert found["ari_published"] >= 0.91


@pytest.mark.parametrize("control", LEARNERS[1:])
def test_the_controls_are_plainly_worse(checks: dict[str, list[Check]], control: str) -> None:
    ours, theirs = summary(checks["population"]), summary(checks[control])
    assert theirs["inertia_ratio"] - 1 > 10 * (ours["inertia_ratio"] - 1)
    assert theirs["ari"] < ours["ari"] - 0.1


def test_learning_from_touched_customers_alone_is_worse_than_never_learning(checks: dict[str, list[Check]]) -> None:
    frozen = summary(checks["frozen"])["inertia_ratio"]
    assert summary(checks["minibatch"])["inertia_ratio"] > frozen
    assert summary(checks["river"])["inertia_ratio"] > frozen
