"""What every learner promises, whatever it learns from: a new learner gets these tests by its name alone."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, content_hash, decode, encode, validate
from models.centroids import distances, nearest
from models.learner import DEFAULT, NAMES, Evidence, Learner, learner_named, no_evidence, refinement_due
from tests.models.samples import CENTRES, bundle_of, population, statistics_of, to_coordinates

DAY = 15_200


@pytest.fixture(params=NAMES)
def learner(request: pytest.FixtureRequest) -> Learner:
    return learner_named(request.param)


@pytest.fixture(params=[False, True], ids=["step", "refine"])
def refine(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def evidence_of(bundle: Bundle, coordinates: np.ndarray, *, refine: bool = False) -> Evidence:
    return Evidence(DAY, statistics_of(bundle, coordinates), coordinates, coordinates[::3], refine)


def inertia(bundle: Bundle, coordinates: np.ndarray, scale: np.ndarray) -> float:
    table = distances(coordinates, np.array(bundle.centroids), scale)
    return float((table.min(axis=1) ** 2).sum())


def test_it_is_found_by_its_name(learner: Learner) -> None:
    assert learner_named(learner.name).name == learner.name


def test_the_result_is_a_valid_model_that_reads_back(learner: Learner, refine: bool) -> None:
    bundle = bundle_of()
    after = learner.update(bundle, evidence_of(bundle, population(), refine=refine))
    validate(after)
    assert decode(encode(after)) == after


def test_it_counts_on_by_one_and_names_parent_and_day(learner: Learner, refine: bool) -> None:
    bundle = bundle_of(version=41, parent="f")
    after = learner.update(bundle, evidence_of(bundle, population(), refine=refine))
    assert (after.version, after.parent, after.day) == (42, content_hash(bundle), DAY)


def test_what_is_not_learnt_stays(learner: Learner, refine: bool) -> None:
    bundle = bundle_of()
    after = learner.update(bundle, evidence_of(bundle, population(), refine=refine))
    kept = ("segments", "features", "horizon_days", "margin", "learner", "schema")
    assert {name: getattr(after, name) for name in kept} == {name: getattr(bundle, name) for name in kept}
    assert np.array(after.centroids).shape == np.array(bundle.centroids).shape


def test_equal_evidence_gives_equal_bytes(learner: Learner, refine: bool) -> None:
    bundle, coordinates = bundle_of(), population(3_000)
    evidence = evidence_of(bundle, coordinates, refine=refine)
    again = learner_named(learner.name)
    assert encode(learner.update(bundle, evidence)) == encode(again.update(bundle, evidence))


def test_it_draws_nothing_from_the_global_generator(learner: Learner, refine: bool) -> None:
    bundle = bundle_of()
    np.random.seed(5)  # noqa: NPY002  # scikit-learn falls back on this very generator
    learner.update(bundle, evidence_of(bundle, population(), refine=refine))
    after = np.random.random()  # noqa: NPY002  # see above
    np.random.seed(5)  # noqa: NPY002  # see above
    assert after == np.random.random()  # noqa: NPY002  # see above


def test_another_process_with_another_hash_seed_gives_equal_bytes(learner: Learner) -> None:
    program = (
        "from tests.models.test_learner_conformance import *; b = bundle_of();"
        f"print(content_hash(learner_named({learner.name!r}).update(b, evidence_of(b, population(), refine=True))))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_it_keeps_nothing_between_calls(learner: Learner) -> None:
    bundle, other = bundle_of(), bundle_of(CENTRES + 1.0)
    evidence = evidence_of(bundle, population())
    fresh = learner.update(bundle, evidence)
    learner.update(other, evidence_of(other, population(seed=8)))
    assert learner.update(bundle, evidence) == fresh


def test_its_input_is_untouched(learner: Learner, refine: bool) -> None:
    bundle, coordinates = bundle_of(), population()
    evidence = evidence_of(bundle, coordinates, refine=refine)
    for array in (evidence.sample, evidence.touched, evidence.statistics.n, evidence.statistics.sums):
        array.flags.writeable = False
    before = encode(bundle)
    learner.update(bundle, evidence)
    assert encode(bundle) == before
    np.testing.assert_array_equal(coordinates, population())


def test_no_evidence_keeps_centroids_and_scale_to_the_bit(learner: Learner, refine: bool) -> None:
    bundle = bundle_of(np.random.default_rng(3).normal(size=(4, 3)))
    after = learner.update(bundle, replace(no_evidence(bundle, DAY), refine=refine))
    assert (after.centroids, after.scale) == (bundle.centroids, bundle.scale)
    assert after.version == bundle.version + 1


@pytest.mark.parametrize("count", [1, 2, 500])
def test_customers_who_are_all_alike_give_finite_numbers(learner: Learner, refine: bool, count: int) -> None:
    bundle = bundle_of()
    alike = to_coordinates(np.full((count, 3), 2.7))
    for _ in range(5):
        bundle = learner.update(bundle, evidence_of(bundle, alike, refine=refine))
    validate(bundle)
    assert min(bundle.scale) > 0


def test_centroids_that_have_met_give_finite_numbers(learner: Learner, refine: bool) -> None:
    bundle = bundle_of(np.vstack([CENTRES, CENTRES[:1]]))
    validate(learner.update(bundle, evidence_of(bundle, population(), refine=refine)))


def test_a_single_cluster_is_learnt_too(learner: Learner, refine: bool) -> None:
    bundle = bundle_of(CENTRES[:1])
    validate(learner.update(bundle, evidence_of(bundle, population(), refine=refine)))


def test_five_features_are_learnt_like_three(learner: Learner, refine: bool) -> None:
    centres = np.random.default_rng(2).uniform(1, 6, size=(3, 5))
    features = ("recency", "tenure", "frequency", "monetary", "basket_value")
    bundle = bundle_of(centres + 0.2, features=features, scale=(1.0,) * 5)
    after = learner.update(bundle, evidence_of(bundle, population(centres=centres), refine=refine))
    assert np.array(after.centroids).shape == (3, 5)
    assert after.centroids != bundle.centroids


def test_it_learns_a_population_that_stays_as_it_is(learner: Learner) -> None:
    bundle, coordinates = bundle_of(), population(2_000)
    scale = np.array(bundle.scale)
    before, first = inertia(bundle, coordinates, scale), bundle
    for _ in range(10):
        bundle = learner.update(bundle, evidence_of(bundle, coordinates))
    assert inertia(bundle, coordinates, scale) < before
    # Every cluster is still the one it was: its segment did not change its meaning.
    assert nearest(distances(to_coordinates(CENTRES), np.array(bundle.centroids), scale)).tolist() == [0, 1, 2]
    assert bundle.segments == first.segments


def test_sizes_are_those_of_the_statistics(learner: Learner) -> None:
    bundle, coordinates = bundle_of(), population()
    evidence = evidence_of(bundle, coordinates)
    assert learner.update(bundle, evidence).sizes == tuple(evidence.statistics.n.tolist())


def test_an_unknown_learner_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="population, minibatch, river"):
        learner_named("oracle")


def test_the_default_counts_the_silent_too() -> None:
    assert not learner_named(DEFAULT).needs_touched
    assert learner_named("minibatch").needs_touched
    assert learner_named("river").needs_touched


def test_refinement_is_due_every_seventh_day_and_after_a_gap() -> None:
    def due(made: int, day: int, every: int = 7) -> bool:
        return refinement_due(bundle_of(version=8, parent="f", day=made), day, every)

    assert [day for day in range(700, 722) if due(day - 1, day)] == [700, 707, 714, 721]
    assert due(699, 701)
    assert not due(700, 706)
    assert all(due(day - 1, day, every=1) for day in range(700, 715))


def test_a_new_model_is_refined_daily_until_it_is_a_week_old() -> None:
    days = {version: refinement_due(bundle_of(version=version, parent="f", day=701), 702) for version in (1, 7, 8)}
    assert days == {1: True, 7: True, 8: False}
