"""A consumer that gives nothing of what is there is set right; one that has nothing to give, or may not, is let be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from consumer.observer import Silence
from consumer.ports import InputRecord, OutputRecord, TransportError
from consumer.watchdog import EVERY_S, STALLED_S, UNSEEN_S, Remedy, Watchdog
from consumer.worker import Worker
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.memory_kafka import MemorySource
from tests.harness.world import FIRST_DAY, GROUP, TOPICS, World, line, shopping

SEEK, REJOIN = Remedy.SEEK, Remedy.REJOIN
STEPS = int(STALLED_S / EVERY_S)


class Watched:
    """A watchdog that looks every 5 s at one partition of epoch 1."""

    def __init__(self) -> None:
        self.dog, self.now = Watchdog(), 100.0

    def look(self, position: int, end: int | None, *, epoch: int = 1, after: float = EVERY_S) -> Remedy | None:
        """end: None where the broker does not say."""
        self.now += after
        assert self.dog.due(self.now)
        still = self.dog.note({0: epoch}, {0: position}, self.now)
        if end is None:
            self.dog.forget()
            return None
        return self.dog.judge({0: end} if still else {}, self.now).get(0)

    def looks(self, times: int, position: int, end: int) -> list[Remedy | None]:
        return [self.look(position, end) for _ in range(times)]


# --- the decision -----------------------------------------------------------------------------------------------------


def test_frozen_below_an_end_is_sought_first_then_joined_anew() -> None:
    watched = Watched()
    assert watched.looks(STEPS, 5, 9) == [None] * STEPS
    assert watched.look(5, 9) is SEEK
    assert watched.looks(STEPS - 1, 5, 9) == [None] * (STEPS - 1)
    assert watched.look(5, 9) is REJOIN


def test_after_a_seek_passing_the_same_markers_again_is_no_progress() -> None:
    watched = Watched()
    watched.looks(STEPS, 7, 9)
    assert watched.look(7, 9) is SEEK
    assert [watched.look(at, 9) for at in (5, 6, 7)] == [None] * 3
    assert watched.look(7, 9) is REJOIN


def test_a_lane_that_moves_is_not_asked_for_its_end_and_begins_anew() -> None:
    watched = Watched()
    for position in range(20):
        watched.now += EVERY_S
        assert watched.dog.note({0: 1}, {0: position}, watched.now) == frozenset()
    assert watched.looks(STEPS - 1, 19, 99) == [None] * (STEPS - 1)
    assert watched.look(19, 99) is SEEK


def test_a_seek_that_helped_is_forgotten() -> None:
    watched = Watched()
    watched.looks(STEPS, 5, 9)
    assert watched.look(5, 9) is SEEK
    assert watched.look(8, 9) is None
    watched.looks(STEPS - 1, 8, 9)
    assert watched.look(8, 9) is SEEK


def test_at_its_end_however_long_nothing_stalls_and_new_input_has_its_time() -> None:
    watched = Watched()
    assert watched.looks(50, 9, 9) == [None] * 50
    assert watched.looks(STEPS - 1, 9, 10) == [None] * (STEPS - 1)
    assert watched.look(9, 10) is SEEK


@pytest.mark.parametrize("disturbance", ["broker", "unseen", "epoch"])
def test_what_was_not_seen_standing_still_is_not_judged(disturbance: str) -> None:
    watched = Watched()
    watched.looks(STEPS, 5, 9)
    match disturbance:
        case "broker":
            assert watched.look(5, None) is None
            found = watched.looks(STEPS, 5, 9)
        case "unseen":  # the process was frozen, or its turns were long
            assert watched.look(5, 9, after=UNSEEN_S + 1) is None
            found = watched.looks(STEPS - 1, 5, 9)
        case _:  # taken over anew
            found = [watched.look(5, 9, epoch=2) for _ in range(STEPS)]
    assert found == [None] * len(found)


def test_a_lane_that_does_not_wait_for_input_or_has_no_position_is_left_out() -> None:
    watched = Watched()
    watched.looks(STEPS, 5, 9)
    assert watched.dog.note({0: 1}, {}, watched.now + 1) == frozenset()
    assert watched.dog.note({}, {0: 5}, watched.now + 2) == frozenset()
    watched.now += 2
    assert watched.looks(STEPS, 5, 9) == [None] * STEPS


# --- in the worker ----------------------------------------------------------------------------------------------------


class Heard(Silence):
    """Remembers stalls."""

    def __init__(self) -> None:
        self.stalls: list[tuple[int, str]] = []

    def stalled(self, partition: int, remedy: str) -> None:
        self.stalls.append((partition, remedy))


def settled() -> tuple[World, Worker, Heard]:
    """Return a world whose worker has nothing left to do."""
    world, heard = World(partitions=2), Heard()
    world.publish(*shopping(1, days=4))
    world.tick(FIRST_DAY + timedelta(days=6))
    worker = world.settle()
    worker._observer = heard
    return world, worker, heard


def passes(world: World, worker: Worker, seconds: float) -> None:
    """Let time pass, a second a turn."""
    for _ in range(int(seconds)):
        world.clock.seconds += 1.0
        worker.turn()


@pytest.mark.parametrize("cure", ["seek", "rejoin"])
def test_a_silent_consumer_is_set_right_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch, cure: str) -> None:
    world, worker, heard = settled()
    truly, members = MemorySource._next, world.kafka.group(GROUP).generation
    stalled = {0}

    def gives(source: MemorySource, partition: int, room: int) -> list[InputRecord]:
        return [] if partition in stalled else truly(source, partition, room)

    def cures(name: str) -> Callable[..., None]:
        method = getattr(MemorySource, name)

        def cured(source: MemorySource, *arguments: object) -> None:
            stalled.clear()
            method(source, *arguments)

        return cured

    monkeypatch.setattr(MemorySource, "_next", gives)
    monkeypatch.setattr(MemorySource, cure, cures(cure))
    world.publish(*(line(f"late-{n}", FIRST_DAY + timedelta(days=6), event_id=f"e{n}") for n in range(8)))
    passes(world, worker, 3 * STALLED_S)
    expected = [(0, "seek"), (0, "rejoin")][: 1 + (cure == "rejoin")]
    assert heard.stalls == expected
    assert (world.kafka.group(GROUP).generation > members) == (cure == "rejoin")
    world.settle(worker)
    assert verify(*evidence(world)).ok


def test_open_transactions_trailing_markers_pauses_and_outages_are_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    world, worker, heard = settled()
    passes(world, worker, 2 * STALLED_S)
    # A producer's transaction: open for long, then committed, its marker the log's last entry.
    kafka = world.kafka
    transaction = kafka.begin("shop", kafka.open_producer("shop"))
    kafka.append_in(transaction, OutputRecord(TOPICS.input, 0, b"c", b"no order", ()))
    passes(world, worker, 3 * STALLED_S)
    kafka.end("shop", "committed")
    passes(world, worker, 3 * STALLED_S)
    # A lane that stands still on purpose, with input behind it.
    lane = worker._lanes[1]
    lane.blocked, lane.retry_at = "a damaged state", world.clock.seconds + 3 * STALLED_S
    world.publish(*(line(f"later-{n}", FIRST_DAY + timedelta(days=6), event_id=f"l{n}") for n in range(8)))
    passes(world, worker, 2 * STALLED_S)
    lane.blocked = None
    world.settle(worker)
    # No broker: nothing comes, and nobody says how much there is.
    with monkeypatch.context() as away:

        def nothing(_source: MemorySource, _partition: int, _room: int) -> Sequence[InputRecord]:
            return []

        def silent(_source: MemorySource, _partitions: frozenset[int]) -> dict[int, int]:
            raise TransportError("no broker", retriable=True)

        away.setattr(MemorySource, "_next", nothing)
        away.setattr(MemorySource, "ends", silent)
        world.publish(line("last", FIRST_DAY + timedelta(days=6), event_id="last"))
        passes(world, worker, 3 * STALLED_S)
    world.settle(worker)
    assert heard.stalls == []
    assert verify(*evidence(world)).ok
