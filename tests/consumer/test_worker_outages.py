"""The worker while Redis or Kafka is away, has lost something, or answers nonsense: it waits, and nothing ends it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from consumer.exits import ExitCode, Stop
from consumer.observer import Silence
from consumer.partition import PartitionState, Rules
from consumer.ports import TransportError
from consumer.worker import LOOK_EVERY_S, Worker
from features.store import (
    Commit,
    Fence,
    InvalidKey,
    OutOfStep,
    SlotMoving,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.memory_kafka import MemorySource
from tests.harness.memory_store import MemoryStore, Part
from tests.harness.world import FIRST_DAY, TOPICS, World, line, shopping


class Heard(Silence):
    """Remembers what the worker told."""

    def __init__(self) -> None:
        self.troubles: list[tuple[str, Exception]] = []
        self.told: list[tuple[str, int]] = []
        self.verdicts: list[str] = []

    def trouble(self, what: str, error: Exception) -> None:
        self.troubles.append((what, error))

    def paused(self, partition: int, reason: str) -> None:
        del reason
        self.told.append(("paused", partition))

    def resumed(self, partition: int) -> None:
        self.told.append(("resumed", partition))

    def recovered(self, partition: int, verdict: str, state: PartitionState) -> None:
        del partition, state
        self.verdicts.append(verdict)

    def kinds(self) -> set[type[Exception]]:
        return {type(error) for _, error in self.troubles}


def listened(world: World) -> tuple[Worker, Heard]:
    """Start a worker whose observer remembers."""
    worker, heard = world.worker(), Heard()
    worker._observer = worker._leader._observer = heard
    return worker, heard


def turns(worker: Worker, number: int) -> None:
    for _ in range(number):
        worker.turn()


def turn_until(worker: Worker, condition: Callable[[], bool], what: str) -> None:
    for _ in range(4_000):
        if condition():
            return
        worker.turn()
    raise AssertionError(what)


def shop(seed: int = 1, **options: object) -> World:
    world = World(**options)  # type: ignore[arg-type]
    world.publish(*shopping(seed, days=6))
    world.tick(FIRST_DAY + timedelta(days=8))
    return world


class Watched(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self, parts: MemoryStore) -> None:
        super().__init__()
        self.parts = parts.parts
        self.calls: list[str] = []

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        if partitions:
            self.calls.append("fences")
        return super().fences(partitions)


def test_an_idle_worker_finds_out_that_the_store_lost_its_last_writes() -> None:
    world = shop(max_poll_records=20)
    worker, heard = listened(world)
    turns(worker, 12)
    backup = copy.deepcopy(world.store.parts)
    assert world.settle(worker) is worker
    world.store.parts = backup
    assert world.settle(worker) is worker
    assert "diverged" in heard.verdicts
    assert OutOfStep in heard.kinds()
    assert verify(*evidence(world)).differences == ()


def test_the_store_is_asked_once_a_second_while_nothing_is_committed_and_not_more() -> None:
    world = World(partitions=2)
    watched = world.store = Watched(world.store)
    worker = world.settle()
    watched.calls.clear()
    began = world.clock.seconds
    turns(worker, 3_000)
    seconds = world.clock.seconds - began
    assert 0.8 * seconds <= len(watched.calls) <= seconds / LOOK_EVERY_S + 1


def test_after_an_outage_the_store_is_asked_at_once() -> None:
    world = World(partitions=2)
    watched = world.store = Watched(world.store)
    worker, heard = listened(world)
    world.settle(worker)
    world.store.unavailable = 3
    turn_until(worker, lambda: world.store.unavailable == 0, "the outage was not noticed by an idle worker")
    assert StoreUnavailable in heard.kinds()
    failed = world.clock.seconds
    watched.calls.clear()
    turn_until(worker, lambda: bool(watched.calls), "it was not asked again")
    assert world.clock.seconds - failed < 0.7


def test_a_commit_of_unknown_outcome_is_tried_again_before_its_lane_is_compared() -> None:
    world = World(partitions=1)
    worker, heard = listened(world)
    world.settle(worker)
    world.publish(line("a", FIRST_DAY))
    world.store.lose_reply = 1
    turn_until(worker, lambda: world.store.lose_reply == 0, "no commit")
    world.settle(worker)
    assert OutOfStep not in heard.kinds()
    assert heard.verdicts == ["first"]
    assert world.counters()["applied"] == 1


def test_one_lanes_silent_store_does_not_hold_the_turn_for_every_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(partitions=4)
    worker = world.settle()
    tried: list[int] = []

    def commit_each(commits: Mapping[int, Commit]) -> dict[int, StoreError]:
        tried.extend(commits)
        return dict.fromkeys(commits, StoreUnavailable("no answer within 5 s"))

    world.publish(*(line(f"c{n}", FIRST_DAY) for n in range(40)))
    with monkeypatch.context() as patch:
        patch.setattr("consumer.preparation.TOGETHER", 0)
        patch.setattr(world.store, "commit_each", commit_each)
        turns(worker, 2)
    assert len(tried) == 1
    world.settle(worker)
    assert world.counters()["applied"] == 40


@pytest.mark.parametrize("error", [StoreRefused("NOPERM"), InvalidKey("{n:1}:g:fence", "holds another type")])
def test_what_the_store_refuses_ends_no_worker(error: Exception) -> None:
    world = shop()

    class Refusing(Watched):
        left = 5

        def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
            if self.left and len(partitions) == 1:
                self.left -= 1
                raise error
            return super().fences(partitions)

    refusing = world.store = Refusing(world.store)
    worker, heard = listened(world)
    assert world.settle(worker, turns=20_000) is worker
    assert refusing.left == 0
    assert heard.troubles or heard.told


@pytest.mark.parametrize("call", ["raise_epoch", "load", "commit", "chunk"])
def test_a_slot_on_its_way_holds_its_partition_alone(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster moves partition 1 for long: what asks for it is refused, and the others go on meanwhile."""
    world = World(partitions=3, rules=Rules(horizon_days=60, clock="wall"))
    world.clock.seconds = (FIRST_DAY - date(1970, 1, 1)).days * 86_400.0 + 43_200
    names = [next(f"c{n}" for n in range(99) if world.home(f"c{n}") == partition) for partition in range(3)]
    worker, heard = listened(world)
    if call != "raise_epoch":
        world.publish(*(line(name, FIRST_DAY) for name in names))
        world.settle(worker)
    before = world.counters().get("applied", 0)
    whole, moving = getattr(world.store, call), True

    def refused(asked: Any, *more: Any) -> Any:
        if moving and (asked == 1 or (isinstance(asked, Mapping) and 1 in asked)):
            raise SlotMoving("a slot of Redis' cluster is on its way: TRYAGAIN")
        return whole(asked, *more)

    monkeypatch.setattr(world.store, call, refused)
    if call == "chunk":
        world.clock.seconds += 86_400.0
    world.publish(*(line(name, FIRST_DAY, invoice_no="2") for name in names))
    turn_until(worker, lambda: world.counters().get("applied") == before + 2, "the others do not go on")
    turns(worker, 50)
    assert heard.kinds() == {SlotMoving}
    assert world.counters()["applied"] == before + 2
    moving = False
    world.settle(worker)
    assert world.counters()["applied"] == before + 3
    assert verify(*evidence(world)).differences == ()


def test_an_outbox_of_before_the_commit_that_was_found_is_not_published() -> None:
    """Between the fence and the outbox a replica without the last commit takes over: its outbox is an older one."""
    world = shop(max_poll_records=20, partitions=1)
    world.crash.point, world.crash.nth = "after_commit", 5
    before: dict[int, Part] = {}

    class FailsOver(MemoryStore):
        def outbox(self, partition: int) -> bytes:
            if world.crash.fired and before:
                self.parts[partition] = before.pop(partition)
            return super().outbox(partition)

        def commit(self, partition: int, commit: Commit) -> None:
            if not world.crash.fired:
                before[partition] = copy.deepcopy(self.parts[partition])
            super().commit(partition, commit)

    parts = world.store.parts
    world.store = FailsOver()
    world.store.parts = parts
    world.settle()
    assert world.crash.fired
    assert not before, "the outbox was never read again"
    assert verify(*evidence(world)).differences == ()


def test_a_log_that_ends_before_what_was_read_is_another_topic_though_its_id_was_not_heard_of_yet() -> None:
    world = shop()
    worker = world.settle()
    for log in world.kafka.topic(TOPICS.input).logs:
        log.entries.clear()
    with pytest.raises(Stop, match="the log ends at 0") as stopped:
        turns(worker, 2)
    assert stopped.value.code is ExitCode.TOPOLOGY
    assert "exit code 4" in str(stopped.value)


def test_a_broker_that_does_not_answer_a_question_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the event clock a quiet lane asks for the log's end before it follows the day of the others."""
    world = World(partitions=2)
    away = TransportError("no answer within 10 s", retriable=True)
    failed = 0

    def ends(partitions: frozenset[int]) -> dict[int, int]:
        nonlocal failed
        if failed < 5:
            failed += 1
            raise away
        return {each: end for each, (_, end) in source.bounds(partitions).items()}

    worker, heard = listened(world)
    source = worker._parts.source
    monkeypatch.setattr(source, "ends", ends)
    there = next(f"c{n}" for n in range(9) if world.home(f"c{n}") == 0)
    world.publish(line(there, FIRST_DAY), line(there, FIRST_DAY + timedelta(days=1), invoice_no="2"))
    assert world.settle(worker, turns=20_000) is worker
    assert failed == 5
    assert ("asking the broker", away) in heard.troubles


def test_a_worker_told_to_end_while_it_waits_for_a_broker_begins_nothing_more() -> None:
    world = shop(partitions=1)
    worker = world.worker()
    before = world.states()

    def stops(point: str) -> None:
        if point == "during_recovery":
            worker.stop()

    worker._takeover._crash_point = stops
    worker.run()
    assert worker.assigned == {0}, "what it was at it ended"
    assert world.states() == before


def test_a_partition_not_taken_over_yet_is_not_read_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise TransportError("not now", retriable=False)

    world = shop(partitions=1)
    worker = world.worker()
    monkeypatch.setattr(worker._takeover, "take", refused)
    turns(worker, 20)
    source = worker._parts.source
    assert isinstance(source, MemorySource)
    assert source._positions == {0: 0}
    assert worker.blocked() == {0: "not now"}


def test_a_blocked_lane_that_is_taken_over_anew_is_told_to_have_resumed() -> None:
    world = World(partitions=1)
    worker, heard = listened(world)
    world.publish(line("a", FIRST_DAY))
    world.settle(worker)
    part = world.store.parts[0]
    whole = part.states["a"]
    backup = copy.deepcopy(world.store.parts)
    part.states["a"] = whole[:-1] + b"?"
    world.publish(line("a", FIRST_DAY, invoice_no="2"))
    turn_until(worker, lambda: bool(worker.blocked()), "the damage was not met")
    world.publish(line("b", FIRST_DAY))
    world.lose(worker)
    turn_until(worker, lambda: not worker.blocked(), "it stayed blocked")
    assert heard.told[:2] == [("paused", 0), ("resumed", 0)]
    world.store.parts = backup
    world.settle(worker)
    assert worker.blocked() == {}
    assert [told for told, _ in heard.told].count("paused") == [told for told, _ in heard.told].count("resumed")
    assert set(world.labels()) == {"a", "b"}


# --- what a recovery may not decide on -------------------------------------------------------------------------------


def lost_writes(world: World) -> Worker:
    """Set Redis back behind a commit of partition 0 whose record has no marker yet; then the worker dies."""
    worker = world.settle()
    backup = copy.deepcopy(world.store.parts)
    end = len(world.kafka.log(TOPICS.output, 0).entries)
    world.kafka.hold_markers = True
    newcomer = next(f"new{n}" for n in range(99) if world.home(f"new{n}") == 0)
    world.publish(line(newcomer, FIRST_DAY + timedelta(days=8)))
    turn_until(worker, lambda: len(world.kafka.log(TOPICS.output, 0).entries) > end, "nothing was published")
    world.kafka.hold_markers = False
    world.lose(worker)
    world.store.parts = backup
    return worker


def test_a_recovery_waits_for_markers_that_are_on_their_way() -> None:
    world = shop(max_poll_records=20)
    lost_writes(world)
    heir, heard = listened(world)
    turns(heir, 300)
    assert heir.assigned == frozenset({1}), "the other partitions run meanwhile"
    assert any("in doubt" in str(error) for _, error in heard.troubles)
    assert world.kafka.write_markers() == 1
    world.settle(heir)
    assert "diverged" in heard.verdicts
    assert verify(*evidence(world)).differences == ()


def test_where_the_commits_metadata_is_gone_the_tail_is_not_read_before_it_is_decided() -> None:
    world = shop(max_poll_records=20)
    lost_writes(world)
    world.kafka.lose_offsets("g")
    heir, heard = listened(world)
    turns(heir, 300)
    assert heir.assigned == frozenset({1}), "the other partitions run meanwhile"
    assert world.kafka.write_markers() == 1
    world.settle(heir)
    assert "diverged" in heard.verdicts
    assert verify(*evidence(world)).differences == ()


def test_waiting_for_a_transaction_in_doubt_does_not_cost_a_producer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = shop(max_poll_records=20)
    lost_writes(world)
    heir = world.worker()
    opened = 0
    sink = heir._parts.sink
    really = sink.open

    def open_again() -> None:
        nonlocal opened
        opened += 1
        really()

    monkeypatch.setattr(sink, "open", open_again)
    turns(heir, 300)
    assert opened == 1
