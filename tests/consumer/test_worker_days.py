"""The worker and time: both clocks, sweeps between batches, models that come, fail to come, or are gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from consumer.partition import Rules
from consumer.ports import TransportError
from consumer.worker import Worker
from features.store import Chunk
from models.bundle import Bundle, content_hash
from tests.harness.world import FIRST_DAY, World, day_number, line, shopping

WALL = Rules(horizon_days=60, clock="wall")


def at(world: World, days: float) -> None:
    world.clock.seconds = (day_number(FIRST_DAY) + days) * 86_400.0


def sweep_chunks(world: World, worker: Worker, day: int, patch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """Run until every partition has swept a day, counted from the first; return each sweeping turn's chunks.

    A chunk is told by its partition and by how many customers were asked for.
    """
    turns: list[list[tuple[int, int]]] = []
    read = world.store.chunk

    def noted(partition: int, after: int, limit: int) -> Chunk:
        turns[-1].append((partition, limit))
        return read(partition, after, limit)

    patch.setattr(world.store, "chunk", noted)
    while any(state.day < day_number(FIRST_DAY) + day or not state.sweep.ended for state in world.states().values()):
        turns.append([])
        worker.turn()
    return [turn for turn in turns if turn]


def test_the_wall_clock_turns_the_day_without_any_event() -> None:
    world = World(partitions=2, rules=WALL)
    at(world, 0.5)
    world.publish(line("a", FIRST_DAY), line("b", FIRST_DAY))
    worker = world.settle()
    at(world, 30.5)
    world.settle(worker)
    assert {state.day for state in world.states().values()} == {day_number(FIRST_DAY) + 30}
    assert {record["cause"] for record in world.output()} == {"purchase", "silence"}


def test_the_day_never_runs_backwards() -> None:
    world = World(partitions=1, rules=WALL)
    at(world, 10.5)
    worker = world.settle()
    at(world, 8.5)
    world.publish(line("a", FIRST_DAY + timedelta(days=8)))
    world.settle(worker)
    assert world.states()[0].day == day_number(FIRST_DAY) + 10
    assert world.counters()["applied"] == 1


def test_a_line_from_the_future_is_refused_and_moves_no_day() -> None:
    world = World(partitions=1, rules=WALL)
    at(world, 0.5)
    world.publish(line("a", FIRST_DAY + timedelta(days=1)), line("a", FIRST_DAY + timedelta(days=2)))
    world.settle()
    assert [reason for reason, _ in world.dead()] == ["future"]
    assert world.states()[0].day == day_number(FIRST_DAY)


def test_events_go_on_between_the_chunks_of_a_wall_clock_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer whom the sweep has not reached turns his own day first; the sums equal an undisturbed sweep's."""
    monkeypatch.setattr("consumer.planner.CHUNK_SIZE", 3)
    stream = list(shopping(5, days=10))
    later = [x | {"invoice_date": f"{FIRST_DAY + timedelta(days=20)}T10:00:00", "event_id": ""} for x in stream[:40]]
    disturbed, calm = World(partitions=1, rules=WALL, max_poll_records=5), World(partitions=1, rules=WALL)
    for world in (disturbed, calm):
        at(world, 10.9)
        world.publish(*stream)
        worker = world.settle()
        at(world, 20.5)
        if world is calm:
            world.settle(worker)
        world.publish(*later)
        world.settle(worker)
    assert disturbed.labels() == calm.labels()
    assert disturbed.ledgers() == calm.ledgers()
    assert disturbed.store.statistics(0) == calm.store.statistics(0)


def test_where_events_wait_one_partition_sweeps_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every partition begins its sweep at once; then each turn has one chunk, and events of all the others."""
    monkeypatch.setattr("consumer.planner.CHUNK_SIZE", 4)
    world = World(partitions=3, rules=WALL, max_poll_records=6)
    at(world, 10.9)
    world.publish(*shopping(5, days=10))
    worker = world.settle()
    at(world, 20.5)
    again = [x | {"invoice_date": f"{FIRST_DAY + timedelta(days=20)}T10:00:00", "event_id": ""} for x in shopping(5)]
    world.publish(*again[:200])
    swept = sweep_chunks(world, worker, 20, monkeypatch)
    assert [partition for partition, _ in swept[0]] == [0, 1, 2]
    assert {len(turn) for turn in swept[1:-1]} == {1}
    assert {partition for turn in swept[1:] for partition, _ in turn} == {0, 1, 2}
    assert world.counters()["applied"] > 0


def test_where_nobody_waits_eight_partitions_sweep_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first sweep publishes everybody: the transaction of a turn, and what is in memory, stay small."""
    monkeypatch.setattr("consumer.planner.CHUNK_SIZE", 16)
    world = World(partitions=12, rules=WALL)
    at(world, 10.9)
    world.publish(*(line(f"c{n}", FIRST_DAY + timedelta(days=10)) for n in range(700)))
    worker = world.settle()
    at(world, 11.5)
    swept = sweep_chunks(world, worker, 11, monkeypatch)
    assert [limit for _, limit in swept[0]] == [16] * 8 + [1] * 4
    assert max(len(turn) for turn in swept[1:]) == 8


def test_an_event_far_ahead_is_refused_until_ten_of_three_customers_say_that_the_stream_resumes() -> None:
    world = World(partitions=1)
    far = FIRST_DAY + timedelta(days=100)
    world.publish(line("a", FIRST_DAY), line("a", far), line("b", FIRST_DAY, invoice_no="x"))
    world.publish(*(line(f"c{n % 3}", far, invoice_no=str(n)) for n in range(12)))
    world.settle(turns=20_000)
    assert [reason for reason, _ in world.dead()] == ["ahead"] * 10
    assert world.states()[0].day == day_number(far)
    assert world.counters()["applied"] == 5


def test_partitions_keep_in_step_and_a_quiet_one_follows() -> None:
    world = World(partitions=2)
    busy, quiet = (next(c for c in map(str, range(99)) if world.home(c) == p) for p in (0, 1))
    world.publish(line(quiet, FIRST_DAY), *(line(busy, FIRST_DAY + timedelta(days=n)) for n in range(9)))
    world.settle()
    assert {state.day for state in world.states().values()} == {day_number(FIRST_DAY) + 8}


def test_a_state_that_names_an_unknown_model_is_swept_under_a_number_above() -> None:
    world = World(partitions=2)
    world.publish(*shopping(2, days=6))
    worker = world.settle()
    seen = max(state.sweep.version for state in world.states().values())
    for version in [v for v in world.registry.versions if v > 3]:
        del world.registry.versions[version]
    world.lose(worker)
    worker = world.worker()
    for _ in range(60):
        worker.turn()
    assert {state.sweep.version > seen for state in world.states().values()} == {True}
    assert world.registry.versions[seen + 1].created_by == "republish"


@pytest.mark.parametrize("planned", [False, True], ids=["any time", "between a plan and its commit"])
@pytest.mark.parametrize("taken", [False, True], ids=["gone", "its number went to another"])
def test_no_state_names_a_model_that_the_registry_lost(
    monkeypatch: pytest.MonkeyPatch, *, taken: bool, planned: bool
) -> None:
    """Redis forgets the newest model before any commit names it (FAULTS 8, PROTOCOL C7)."""
    world = World()
    world.publish(*shopping(2, days=12))
    versions = world.registry.versions
    lost: list[Bundle] = []
    worker = world.worker()

    def forget(point: str) -> None:
        newest = max(versions)
        named = {msgspec.json.decode(entry)["version"] for p in world.states() for entry in world.store.day_log(p)}
        plans = {lane.state.sweep.version for lane in worker._lanes.values()} - named
        if point != "after_load" or newest in named or len(lost) == 5 or (planned and newest not in plans):
            return
        lost.append(versions.pop(newest))
        if taken:
            versions[newest] = msgspec.structs.replace(lost[-1], margin=0.5)

    monkeypatch.setattr(worker, "_crash_point", forget)
    world.settle(worker)
    assert len(lost) == 5
    for partition in world.states():
        for entry in map(msgspec.json.decode, world.store.day_log(partition)):
            assert content_hash(versions[entry["version"]]) == entry["model_hash"]


def test_statistics_that_cannot_be_are_rebuilt() -> None:
    world = World(partitions=1)
    world.publish(*shopping(2, days=3))
    worker = world.settle()
    lane = worker._lanes[0]
    good = world.store.statistics(0)
    lane.statistics = replace(lane.statistics, n=lane.statistics.n - 1000)
    before = world.states()[0].sweep.number
    for _ in range(50):
        worker.turn()
    assert world.states()[0].sweep.number == before + 1
    assert lane.statistics.is_valid
    assert good is not None


def test_a_store_that_is_away_stops_nothing_for_ever() -> None:
    world = World(partitions=2)
    world.publish(*shopping(2, days=4))
    worker = world.worker()
    for _ in range(6):
        worker.turn()
    world.store.unavailable = 25
    while world.store.unavailable:
        worker.turn()
    world.settle(worker)
    assert world.counters()["applied"] == len(list(shopping(2, days=4)))


def test_an_unknown_outcome_in_kafka_is_taken_over_again() -> None:
    world = World(partitions=2)
    world.publish(*shopping(2, days=4))
    worker = world.worker()
    for _ in range(6):
        worker.turn()
    world.kafka.plan("after_commit", TransportError("the answer was lost", retriable=True))
    world.kafka.plan("mid_transaction", TransportError("the coordinator went", retriable=True))
    world.settle(worker)
    assert world.kafka.planned == ()
    revisions: dict[str, list[int]] = {}
    for record in world.output():
        revisions.setdefault(record["customer_id"], []).append(record["revision"])
    assert all(found == list(range(1, len(found) + 1)) for found in revisions.values())


def test_a_partition_that_cannot_publish_pauses_alone() -> None:
    world = World(partitions=2)
    world.publish(*shopping(2, days=2))
    worker = world.worker()
    for _ in range(3):
        worker.turn()
    for _ in range(2):
        world.kafka.plan("mid_transaction", TransportError("record too large", retriable=False))
    for _ in range(60):
        worker.turn()
    assert len(worker.blocked()) == 1
    assert "record too large" in next(iter(worker.blocked().values()))
    assert len(worker.assigned) == 1
    world.settle(worker)
    assert worker.blocked() == {}


def test_a_corrupted_state_blocks_its_partition_and_names_the_customer_by_no_id() -> None:
    world = World(partitions=1)
    world.publish(line("secret-name", FIRST_DAY))
    worker = world.settle()
    blob = world.store.parts[0].states["secret-name"]
    world.store.parts[0].states["secret-name"] = blob[:-1] + bytes([blob[-1] ^ 1])
    world.publish(line("secret-name", FIRST_DAY, invoice_no="2"))
    for _ in range(20):
        worker.turn()
    (reason,) = worker.blocked().values()
    assert "checksum" in reason
    assert "secret-name" not in reason
    world.store.parts[0].states["secret-name"] = blob
    world.settle(worker)
    assert world.counters()["applied"] == 2


def test_a_corrupted_state_blocks_no_partition_that_is_decided_together_with_its_own() -> None:
    world = World(partitions=3, rules=WALL)
    at(world, 0.5)
    names = [next(f"c{n}" for n in range(100) if world.home(f"c{n}") == partition) for partition in range(3)]
    world.publish(*(line(name, FIRST_DAY) for name in names))
    worker = world.settle()
    blob = world.store.parts[1].states[names[1]]
    world.store.parts[1].states[names[1]] = blob[:-1] + bytes([blob[-1] ^ 1])
    world.publish(*(line(name, FIRST_DAY, invoice_no="2") for name in names))
    for _ in range(20):
        worker.turn()
    assert list(worker.blocked()) == [1]
    assert world.counters()["applied"] == 5
    world.store.parts[1].states[names[1]] = blob
    world.settle(worker)
    assert world.counters()["applied"] == 6


def test_a_lapsed_customer_is_forgotten_with_a_tombstone() -> None:
    world = World(partitions=1, rules=Rules(horizon_days=5, forget_after_days=10, clock="event"))
    world.publish(line("a", FIRST_DAY))
    world.tick(FIRST_DAY + timedelta(days=12))
    world.settle()
    causes = [record.get("cause", "tombstone") for record in world.output()]
    assert causes == ["purchase", "silence", "tombstone"] or causes == ["purchase", "silence", "silence", "tombstone"]
    assert world.labels() == {}
    assert world.counters()["forgotten"] == 1


def test_learners_that_need_touched_vectors_get_them() -> None:
    world = World(partitions=2, learner="minibatch")
    world.publish(*shopping(2, days=5))
    world.settle()
    newest = world.registry.versions[max(world.registry.versions)]
    assert newest.learner_state
    assert newest.centroids != world.registry.versions[1].centroids
    assert msgspec.json.encode(newest)


def test_a_customer_without_a_state_blocks_the_sweep_and_is_not_taken_for_lapsed() -> None:
    world = World(partitions=1)
    world.publish(line("a", FIRST_DAY), line("b", FIRST_DAY))
    worker = world.settle()
    kept = world.store.parts[0].states.pop("a")
    world.tick(FIRST_DAY + timedelta(days=1))
    for _ in range(20):
        worker.turn()
    assert "without a state" in worker.blocked()[0]
    world.store.parts[0].states["a"] = kept
    world.settle(worker)
    assert {record["cause"] for record in world.output()} == {"purchase"}
