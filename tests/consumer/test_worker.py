"""The worker over the fakes: exactly once whatever dies, whenever."""

from __future__ import annotations

import copy
from collections import defaultdict
from datetime import timedelta

import pytest

from consumer.exits import ExitCode, Stop
from consumer.ports import TransportError
from tests.harness.world import FIRST_DAY, World, line, shopping

POINTS = (
    "after_load",
    "mid_trip",  # between the commits of one round trip
    "mid_commit",
    "after_commit",
    "mid_transaction",
    "after_publish",
    "during_recovery",
    "mid_sweep",
    "mid_model_publish",
)


def run(seed: int, **options: object) -> World:
    world = World(**options)  # type: ignore[arg-type]
    world.publish(*shopping(seed))
    world.tick(FIRST_DAY + timedelta(days=40))
    return world


def revisions_are_whole(world: World) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    for record in world.output():
        seen[record["customer_id"]].append(record["revision"])
    for customer, numbers in seen.items():
        assert numbers == list(range(1, len(numbers) + 1)), customer
    last = {customer: head["revision"] for customer, head in world.heads().items()}
    assert {customer: numbers[-1] for customer, numbers in seen.items()} == last


@pytest.fixture(scope="module")
def undisturbed() -> World:
    world = run(1)
    world.settle()
    return world


def test_a_run_ends_with_everyone_labelled_and_counted(undisturbed: World) -> None:
    counters = undisturbed.counters()
    lines = list(shopping(1))
    assert counters["lines"] == len(lines) + undisturbed.partitions
    assert counters["applied"] == len(lines)
    assert counters["ticks"] == undisturbed.partitions
    assert all(label in (1, 2, 11, 12) for label in undisturbed.labels().values())
    revisions_are_whole(undisturbed)
    assert {record["cause"] for record in undisturbed.output()} >= {"purchase", "silence"}


def test_the_day_turns_one_at_a_time_and_a_model_is_made_of_each(undisturbed: World) -> None:
    days = [state.day for state in undisturbed.states().values()]
    assert len(set(days)) == 1
    made = sorted(undisturbed.registry.versions.values(), key=lambda bundle: bundle.version)
    first = made[0].day
    assert [bundle.day for bundle in made[1:]] == list(range(first, days[0] + 1))


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [0, 1, 7])
def test_a_crash_changes_nothing(undisturbed: World, point: str, nth: int) -> None:
    world = run(1)
    world.crash.point, world.crash.nth = point, nth
    if point in ("during_recovery", "mid_trip") and nth > 1:
        nth = world.crash.nth = 1
    world.settle()
    assert world.crash.fired, "a fault that never landed proves nothing"
    assert world.ledgers() == undisturbed.ledgers()
    assert world.labels() == undisturbed.labels()
    assert world.counters() == undisturbed.counters()
    revisions_are_whole(world)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_size_of_batches_changes_no_label_at_a_days_end(undisturbed: World, batch: int) -> None:
    world = run(1, max_poll_records=batch)
    world.settle(turns=60_000)
    assert world.ledgers() == undisturbed.ledgers()
    assert world.labels() == undisturbed.labels()
    revisions_are_whole(world)


def test_a_lost_reply_is_applied_once(undisturbed: World) -> None:
    world = run(1)
    world.store.lose_reply = 5
    world.settle()
    assert world.store.lose_reply == 0
    assert world.counters() == undisturbed.counters()
    assert world.labels() == undisturbed.labels()
    revisions_are_whole(world)


def test_a_broker_that_forgets_commits_is_recovered_by_the_outputs_headers(undisturbed: World) -> None:
    world = run(1, forgets_commits=True)
    world.crash.point, world.crash.nth = "after_commit", 5
    world.settle()
    assert world.crash.fired
    assert world.labels() == undisturbed.labels()
    revisions_are_whole(world)


def test_a_zombie_is_fenced(undisturbed: World) -> None:
    world = run(1)
    zombie = world.worker()
    for _ in range(5):
        zombie.turn()
    world.lose(zombie)
    heir = world.worker()
    for _ in range(5):
        heir.turn()
    # The zombie wakes and takes part again: it must lose what it had, and do no harm.
    for _ in range(6_000):
        zombie.turn()
        heir.turn()
        if zombie.assigned | heir.assigned == frozenset(range(world.partitions)) and world.settled_by(zombie, heir):
            break
    assert world.labels() == undisturbed.labels()
    assert world.counters() == undisturbed.counters()
    revisions_are_whole(world)


def test_refused_lines_go_to_the_dead_letters_and_disturb_nothing() -> None:
    world = World(partitions=1)
    world.publish(line("a", FIRST_DAY))
    bad = [
        b"",
        b"{",
        b"\xff",
        b'{"type":"x"}',
        b'{"customer_id":"a","invoice_no":"1","quantity":0,"unit_price":1,"invoice_date":"2024-03-01T00:00:00"}',
    ]
    for value in bad:
        world.write(0, b"a", value)
    world.publish(line(None, FIRST_DAY), line("b", FIRST_DAY))
    world.settle()
    assert [(reason, value) for reason, value in world.dead()] == [
        ("empty", b""),
        ("malformed", b"{"),
        ("malformed", b"\xff"),
        ("unknown_type", b'{"type":"x"}'),
        ("quantity", bad[4]),
    ]
    assert world.counters()["guests"] == 1
    assert set(world.labels()) == {"a", "b"}


def test_dead_letters_are_published_again_with_their_bytes_after_a_crash() -> None:
    world = World(partitions=1)
    worker = world.settle()
    world.write(0, b"a", b"{broken")
    world.publish(line("a", FIRST_DAY))
    world.crash.point = "after_commit"
    world.settle(worker)
    assert world.crash.fired
    assert world.dead() == [("malformed", b"{broken")]


def test_an_erasure_ends_in_a_tombstone_and_a_replay_brings_nobody_back() -> None:
    world = World(partitions=1)
    world.publish(line("a", FIRST_DAY), line("b", FIRST_DAY), {"type": "erase", "customer_id": "a"})
    world.publish(line("a", FIRST_DAY, invoice_no="again"))
    worker = world.settle()
    assert set(world.labels()) == {"b"}
    assert [r["tombstone"] for r in world.output() if "tombstone" in r] == ["a"]
    assert [reason for reason, _ in world.dead()] == ["erased"]
    world.publish(line("a", FIRST_DAY + timedelta(days=1)))
    world.settle(worker)
    mine = [r["revision"] for r in world.output() if r.get("customer_id") == "a"]
    assert mine == [1, 2], "a new life goes on at the last revision"


def test_the_statistics_after_an_erasure_equal_those_without_the_customer() -> None:
    """Within one day, so that both worlds have the same model; the sums are integers, so equal means equal."""
    everyone = list(shopping(3, days=1, per_day=40))
    chosen = everyone[0]["customer_id"]
    without, erased = World(partitions=1), World(partitions=1)
    without.publish(*(x for x in everyone if x["customer_id"] != chosen))
    erased.publish(*everyone, {"type": "erase", "customer_id": chosen})
    for world in (without, erased):
        world.settle()
    assert set(without.labels()) == set(erased.labels())
    assert without.store.statistics(0) == erased.store.statistics(0)


@pytest.mark.parametrize("lost_after", [3, 20, 60])
def test_a_store_that_lost_its_last_writes_is_replayed_and_no_revision_repeats(
    undisturbed: World, lost_after: int
) -> None:
    world = run(1, max_poll_records=20)
    worker = world.worker()
    for _ in range(lost_after):
        worker.turn()
    backup = copy.deepcopy(world.store.parts)
    for _ in range(12):
        worker.turn()
    world.store.parts = backup
    world.settle(worker, turns=20_000)
    assert world.ledgers() == undisturbed.ledgers()
    assert world.labels() == undisturbed.labels()
    revisions_are_whole(world)


def test_two_workers_share_the_partitions_and_one_dies(undisturbed: World) -> None:
    world = run(1)
    first, second = world.worker(), world.worker()
    for _ in range(40):
        first.turn()
        second.turn()
    assert first.assigned
    assert second.assigned
    world.lose(first)
    world.settle(second)
    assert world.labels() == undisturbed.labels()
    assert world.counters() == undisturbed.counters()
    revisions_are_whole(world)


def test_a_new_generation_publishes_everybody_anew_under_its_own_segments() -> None:
    world = World(partitions=1)
    world.publish(*shopping(4, days=3))
    worker = world.settle()
    before = {record["customer_id"]: record["revision"] for record in world.output()}
    world.lose(worker)
    world.begin_generation(dict(world.customers().items()))
    world.settle()
    after = [record for record in world.output() if int(record["headers"]["epoch"]) > 1]
    first = {record["customer_id"]: record for record in reversed(after)}
    assert {name: record["revision"] for name, record in first.items()} == {n: r + 1 for n, r in before.items()}
    assert {record["cause"] for record in first.values()} == {"bootstrap"}


def test_two_workers_of_one_name_stop_instead_of_fencing_each_other_for_ever() -> None:
    world = World(partitions=1, instance="twin")
    world.publish(*shopping(4, days=3))
    worker = world.worker()
    for _ in range(3):
        worker.turn()
    for _ in range(3):
        world.kafka.plan("mid_transaction", TransportError("a newer producer", retriable=True, fenced=True))
    with pytest.raises(Stop, match="instance twin") as caught:
        world.settle(worker)
    assert caught.value.code is ExitCode.FENCED
