"""A model is checked on a sample; scikit-learn and plain counting are the oracles."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from features.ledger import Ints
from models.bundle import Bundle, Segment, centroid_array, scale_array
from models.checkup import Checkup, check_up, checkup_due, week_before
from models.sentinel_model import FEWEST_CUSTOMERS, INERTIA_ALARM
from tests.models.samples import CENTRES, UNIT, bundle_of, population

DAY = 20_000


def sample(customers: int = 600, seed: int = 0) -> Ints:
    return population(customers, seed=seed)


def checked(bundle: Bundle, rows: Ints, day: int = DAY, ratio: float | None = None, **more: Checkup) -> Checkup:
    return check_up(bundle, rows, day, inertia_ratio=ratio, before=more.get("before"))


def test_the_silhouette_is_that_of_nearest_centroids_and_no_partition_s_order_changes_it() -> None:
    bundle, rows = bundle_of(CENTRES), sample()
    z = rows / UNIT / scale_array(bundle)
    clusters = np.argmin(((z[:, None] - centroid_array(bundle) / scale_array(bundle)) ** 2).sum(axis=2), axis=1)
    found = checked(bundle, rows)
    assert found.silhouette == pytest.approx(silhouette_score(z, clusters), abs=1e-6)
    assert (found.version, found.day, found.customers) == (bundle.version, DAY, 600)
    many = sample(5_000)
    assert checked(bundle, many[::-1]).silhouette == checked(bundle, many).silhouette


def test_the_population_is_held_against_the_deciles_of_a_week_before() -> None:
    bundle = bundle_of(CENTRES)
    before, now = sample(1_000, seed=1), sample(900, seed=2)
    now[:, 2] += round(0.5 * UNIT)
    earlier = checked(bundle, before, DAY - 7)
    found = checked(bundle, now, before=earlier)
    assert (earlier.population, earlier.against, found.against) == ({}, None, DAY - 7)
    for feature, j in (("frequency", 1), ("monetary", 2)):
        edges = sorted({sorted(before[:, j].tolist())[n * 100 - 1] for n in range(1, 10)})
        p, q = (
            np.array([sum(low < x <= high for x in side[:, j].tolist()) for low, high in intervals(edges)])
            for side in (before, now)
        )
        p, q = (p + 0.5) / (1_000 + 0.5 * len(p)), (q + 0.5) / (900 + 0.5 * len(q))
        index = sum((q - p) * np.log(q / p)) - (len(p) - 1) * (1 / 1_000 + 1 / 900)
        assert found.population[feature] == pytest.approx(index, abs=1e-6)
    assert "recency" not in found.population
    assert [(f.kind, f.measure, f.severity) for f in found.alarms] == [("population", "monetary", "alarm")]
    assert abs(found.population["frequency"]) < 0.05


def intervals(edges: list[int]) -> list[tuple[float, float]]:
    return list(zip([-np.inf, *edges], [*edges, np.inf], strict=True))


def test_an_alarm_of_the_day_s_challenger_and_of_a_dead_cluster_is_the_sentinel_s_own() -> None:
    far = bundle_of(np.vstack([CENTRES, [[40.0, 40.0, 40.0]]]))
    found = checked(far, sample(), ratio=INERTIA_ALARM + 0.01)
    assert {(f.kind, f.severity) for f in found.alarms} == {("cluster", "alarm"), ("inertia", "alarm")}
    assert found.inertia_ratio == pytest.approx(1.03)
    assert checked(bundle_of(CENTRES), sample(), ratio=1.005).alarms == ()


def test_few_customers_or_none_different_leave_out_what_cannot_be_measured() -> None:
    bundle = bundle_of(CENTRES)
    few = checked(bundle, sample(FEWEST_CUSTOMERS - 1), ratio=1.5)
    assert (few.silhouette, few.inertia_ratio) == (None, None)
    alike = checked(bundle, np.repeat(sample(1), 500, axis=0), ratio=np.inf)
    assert (alike.silhouette, alike.inertia_ratio) == (None, None)
    assert msgspec.json.decode(msgspec.json.encode(alike), type=Checkup) == alike
    again = checked(bundle, sample(500), before=alike)
    assert set(again.population) == {"frequency", "monetary"}


def test_a_feature_that_the_model_did_not_have_a_week_before_is_not_compared() -> None:
    before = checked(bundle_of(CENTRES), sample())
    other = msgspec.structs.replace(bundle_of(CENTRES), features=("recency", "frequency", "tenure"))
    assert set(checked(other, sample(), before=before).population) == {"frequency"}


@pytest.mark.parametrize(
    ("days", "chosen"),
    [((), None), ((1, 2, 3), None), ((6, 7, 8), 7), ((4, 11), 4), ((14,), 14), ((15, 30), None), ((5, 9), 5)],
)
def test_about_a_week_before_is_the_nearest_of_four_to_fourteen_days(days: tuple[int, ...], chosen: int | None) -> None:
    known = {n: msgspec.structs.replace(checked(bundle_of(CENTRES), sample(9)), day=DAY - n) for n in days}
    found = week_before(known, DAY)
    assert (None if found is None else DAY - found.day) == chosen


@pytest.mark.parametrize(("days", "due"), [((), True), ((7,), True), ((6, 13), False), ((8, 15), True), ((0,), False)])
def test_a_checkup_is_due_a_week_after_the_newest(days: tuple[int, ...], due: bool) -> None:
    known = {n: msgspec.structs.replace(checked(bundle_of(CENTRES), sample(9)), day=DAY - n) for n in days}
    assert checkup_due(known, DAY) == due


def test_a_name_that_fits_no_more_is_told() -> None:
    # Of three clusters the freshest and most valuable one is Champions, whatever it is called here.
    named = (Segment(11, "Dormant"), Segment(12, "Needs attention"), Segment(13, "Champions"))
    found = checked(msgspec.structs.replace(bundle_of(CENTRES), segments=named), sample())
    told = {f.measure: f.message for f in found.findings if f.kind == "name"}
    assert told["Dormant"] == "by its centroid it would be called Champions today"
    assert "Champions" in told
    assert found.alarms == ()
