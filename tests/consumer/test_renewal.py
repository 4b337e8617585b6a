"""Models that no day's step made: a dying cluster's rescue, a challenger, a freeze, and one that a person chose."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from consumer.observer import Silence
from features.codec import SCHEMA
from features.store import InvalidKey, Orders, StoreUnavailable
from models.bundle import Bundle, Segment, content_hash, segment_ids
from models.checkup import Checkup
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.world import FIRST_DAY, World, between, day_number, first_model, line, shopping

LINES = list(shopping(5, days=30))
NOBODYS = (40.0, 40.0, 40.0)


def shop(first: Bundle, renewal: str = "adopt") -> World:
    world = World(renewal=renewal)  # type: ignore[arg-type]  # a word of three
    world.registry.versions = {1: first}
    world.begin_generation({})
    return world


def sell(world: World, first: int, stop: int) -> None:
    """Publish some days and let them be swept."""
    world.publish(*between(LINES, first, stop))
    world.tick(FIRST_DAY + timedelta(days=stop))
    world.settle(world.workers[-1] if world.workers else None)


def with_a_dead_cluster() -> Bundle:
    first = first_model()
    return msgspec.structs.replace(
        first,
        centroids=(*first.centroids, NOBODYS),
        segments=(*first.segments, Segment(13, "Loyal")),
        sizes=(1, 1, 1),
    )


class Told(Silence):
    """Keeps what the leader says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.checkups: list[Checkup] = []

    def trouble(self, what: str, error: Exception) -> None:
        self.said.append(f"{what}: {error}")

    def checked_up(self, checkup: Checkup) -> None:
        self.checkups.append(checkup)


def test_a_dead_cluster_is_rescued_under_an_id_of_its_own() -> None:
    world = shop(with_a_dead_cluster())
    sell(world, 0, 10)
    made = [bundle for bundle in world.registry.versions.values() if bundle.created_by == "rescue"]
    assert len(made) == 1, "one rescue is enough"
    assert 13 not in segment_ids(made[0])
    assert made[0].retired_id == 13
    live = world.registry.versions[max(world.registry.versions)]
    assert 14 in segment_ids(live)
    assert NOBODYS not in live.centroids
    sell(world, 10, 14)
    assert 14 in world.labels().values()
    assert 13 not in world.labels().values()
    assert verify(*evidence(world)).differences == ()


def test_a_rescue_may_wait_for_a_person() -> None:
    world = shop(with_a_dead_cluster(), "propose")
    sell(world, 0, 10)
    assert {bundle.created_by for bundle in world.registry.versions.values()} <= {"bootstrap", "recentre", "refine"}
    (candidate,) = world.registry.candidates.values()
    assert "hardly anybody" in candidate.why
    assert 14 in segment_ids(candidate.bundle)
    assert (candidate.cause, candidate.dying) == ("rescue", (13,))


def test_a_dying_segment_is_proposed_for_once_until_a_person_chooses() -> None:
    world = shop(with_a_dead_cluster(), "propose")
    sell(world, 0, 12)
    assert len(world.registry.candidates) == 1
    world.registry.promoted = world.registry.current()  # chose something else: 13 goes on dying
    sell(world, 12, 16)
    assert [each.dying for each in world.registry.candidates.values()] == [(13,), (13,)]
    assert list(world.registry.pending()) == [2]


def test_no_renewal_is_no_renewal() -> None:
    world = shop(with_a_dead_cluster(), "off")
    sell(world, 0, 16)
    assert NOBODYS in world.registry.versions[max(world.registry.versions)].centroids
    assert not world.registry.candidates


def test_a_challenger_comes_every_fourteen_days_and_wins_by_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    fought: list[int] = []

    def always_better(bundle: Bundle, sample: np.ndarray, day: int) -> object:
        fought.append(day)
        found = genuine(bundle, sample, day)
        return found._replace(gain=1.5, overlap=0.95)

    from models.challenger import challenge as genuine

    monkeypatch.setattr("models.challenger.challenge", always_better)
    world = shop(first_model())
    sell(world, 0, 29)
    first = day_number(FIRST_DAY)
    assert [day // 14 - first // 14 for day in fought] == [1, 2]
    made = [bundle for bundle in world.registry.versions.values() if bundle.created_by == "refit"]
    assert [bundle.day for bundle in made] == fought
    for bundle in made:
        parent = next(b for b in world.registry.versions.values() if content_hash(b) == bundle.parent)
        assert bundle.version == parent.version + 1
    assert verify(*evidence(world)).differences == ()


def test_a_challenger_is_proposed_once_and_a_waiting_rescue_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def always_better(bundle: Bundle, sample: np.ndarray, day: int) -> object:
        return genuine(bundle, sample, day)._replace(gain=1.5, overlap=0.95)

    from models.challenger import challenge as genuine

    monkeypatch.setattr("models.challenger.challenge", always_better)
    world = shop(with_a_dead_cluster(), "propose")
    sell(world, 0, 29)
    assert [each.cause for each in world.registry.candidates.values()] == ["rescue", "challenger"]
    challenger = world.registry.candidates[2]
    assert (challenger.gain, challenger.overlap, challenger.dying) == (1.5, 0.95, ())
    assert challenger.over in world.registry.versions


def test_candidates_that_cannot_be_read_are_told_and_the_day_has_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> dict[int, object]:
        raise InvalidKey("candidates", "holds what is no candidate")

    world = shop(with_a_dead_cluster(), "propose")
    world.observer = told = Told()
    monkeypatch.setattr(world.registry, "pending", damaged)
    sell(world, 0, 4)
    assert world.registry.versions[max(world.registry.versions)].day == day_number(FIRST_DAY) + 4
    assert not world.registry.candidates
    assert set(told.said) == {"reading the candidates: candidates: holds what is no candidate"}


def test_once_a_week_a_checkup_lies_beside_the_version_that_was_made_when_the_leader_refined() -> None:
    world = shop(first_model(), "off")
    world.observer = told = Told()
    sell(world, 0, 24)
    refined = {v: bundle for v, bundle in world.registry.versions.items() if bundle.created_by == "refine"}
    assert len(refined) == 8, "daily for the first week, then once a week"
    first, *_, newest = sorted(bundle.day for bundle in refined.values())
    checked = [refined[version].day for version in world.registry.checked]
    assert checked == [first, newest - 7, newest], "none in the first week after the first"
    assert told.checkups == list(world.registry.checked.values())
    last = told.checkups[-1]
    assert (last.against, last.customers) == (last.day - 7, sum(refined[last.version].sizes))
    assert set(last.population) == {"frequency", "monetary"}
    assert (last.silhouette, last.inertia_ratio) == (None, None), "so few customers are not measured"


@pytest.mark.parametrize(("wins", "ratio"), [(True, 1.0), (False, 1.5)])
def test_the_day_s_challenger_says_how_far_the_model_was_from_a_fresh_fit(
    monkeypatch: pytest.MonkeyPatch, wins: bool, ratio: float
) -> None:
    def far_better(bundle: Bundle, sample: np.ndarray, day: int) -> object:
        return genuine(bundle, sample, day)._replace(gain=1.5, overlap=0.95 if wins else 0.5)

    from models.challenger import challenge as genuine

    monkeypatch.setattr("models.challenger.challenge", far_better)
    monkeypatch.setattr("models.checkup.FEWEST_CUSTOMERS", 2)
    world = shop(first_model())
    sell(world, 0, 29)
    measured = {v: each for v, each in world.registry.checked.items() if each.inertia_ratio is not None}
    assert [each.inertia_ratio for each in measured.values()] == [ratio] * 2, "the model is the fit itself, or far off"
    assert {world.registry.versions[v].created_by == "refit" for v in measured} == {wins}
    assert [each.overlap for each in world.registry.candidates.values()] == ([] if wins else [0.5]), "a person chooses"
    alarmed = {finding.kind for each in measured.values() for finding in each.alarms}
    assert ("inertia" in alarmed) == (not wins)


def test_a_checkup_that_fails_is_told_and_the_day_has_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_checkup: Checkup) -> None:
        raise StoreUnavailable("away")

    world = shop(first_model())
    world.observer = told = Told()
    monkeypatch.setattr(world.registry, "note", gone)
    sell(world, 0, 4)
    assert world.registry.versions[max(world.registry.versions)].day == day_number(FIRST_DAY) + 4
    assert set(told.said) == {"checking the model: away"}
    assert not told.checkups


def test_two_customers_alike_are_checked_as_far_as_they_can_be() -> None:
    world = shop(first_model())
    world.publish(*(line(f"c{i}", FIRST_DAY, invoice_no=f"i{i}") for i in range(2)))
    world.tick(FIRST_DAY + timedelta(days=3))
    world.settle()
    assert {each.customers for each in world.registry.checked.values()} == {2}


def test_a_frozen_model_stands_still_and_nobody_waits_for_it() -> None:
    world = shop(first_model())
    until = day_number(FIRST_DAY) + 9
    world.store.ordered = Orders(None, SCHEMA, frozen_until=until)
    sell(world, 0, 15)
    versions = list(world.registry.versions.values())
    held = [bundle for bundle in versions if bundle.created_by == "freeze"]
    assert len(held) >= 8
    assert {bundle.centroids for bundle in held} == {first_model().centroids}
    assert max(bundle.day for bundle in held) == until
    assert versions[-1].created_by in {"recentre", "refine"}
    assert versions[-1].centroids != first_model().centroids
    assert verify(*evidence(world)).differences == ()


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_a_promoted_model_sweeps_everybody_at_once_without_an_event(clock: str) -> None:
    world = World()
    world.rules = msgspec.structs.replace(world.rules, clock=clock)
    if clock == "wall":
        world.clock.seconds = (day_number(FIRST_DAY) + 9.5) * 86_400
    world.publish(*between(LINES, 0, 9))
    worker = world.settle()
    live = world.registry.versions[max(world.registry.versions)]
    swapped = msgspec.structs.replace(
        live,
        version=live.version + 1,
        parent=content_hash(live),
        created_by="promote",
        day=max(state.day for state in world.states().values()),
        segments=(Segment(21, "New"), Segment(22, "Loyal")),
    )
    before = world.labels()
    assert world.registry.publish(swapped, expected=live.version)
    days = {p: state.day for p, state in world.states().items()}
    world.store.ordered = Orders(None, SCHEMA, promoted=swapped.version)
    for _ in range(400):
        worker.turn()
    assert {p: state.day for p, state in world.states().items()} == days
    assert {state.sweep.version for state in world.states().values()} == {swapped.version}
    expected = {11: 21, 12: 22}
    after = world.labels()
    assert set(after.values()) <= {1, 2, 21, 22}
    kept = [after[customer] == expected.get(label, label) for customer, label in before.items()]
    assert sum(kept) >= 0.9 * len(kept), "all but the few whom the margin held where nobody holds them now"
    moved = [record for record in world.output() if record["model_version"] == swapped.version]
    assert {record["cause"] for record in moved} == {"model"}
    assert {record["customer_id"] for record in moved} == {c for c, label in before.items() if label in expected}
    sweeps = {p: state.sweep.number for p, state in world.states().items()}
    for _ in range(200):
        worker.turn()
    assert {p: state.sweep.number for p, state in world.states().items()} == sweeps, "once"
    assert verify(*evidence(world)).differences == ()


def test_where_the_registry_lost_the_promoted_version_nobody_waits_for_it() -> None:
    world = World()
    world.store.ordered = Orders(None, SCHEMA, promoted=99)
    world.publish(line("c1", FIRST_DAY, invoice_no="i1"), line("c2", FIRST_DAY, invoice_no="i2"))
    world.tick(FIRST_DAY + timedelta(days=3))
    world.settle()
    assert set(world.labels().values()) <= {11, 12}
