"""What a worker tells of its turns and of what waits is what happened in a small world."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from consumer.observer import Silence, Turn
from consumer.ports import InputRecord, TransportError
from tests.harness.world import FIRST_DAY, TOPICS, World, shopping


class Heard(Silence):
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.records: list[InputRecord] = []
        self.lags: list[Mapping[int, int]] = []
        self.said: list[tuple[str, int]] = []

    def turned(self, turn: Turn) -> None:
        self.turns.append(turn)
        if turn.failure is None:
            self.records += turn.inputs

    def lagging(self, lags: Mapping[int, int]) -> None:
        self.lags.append(lags)

    def written(self, partition: int) -> None:
        self.said.append(("written", partition))

    def released(self, partition: int) -> None:
        self.said.append(("released", partition))


def inputs(world: World) -> list[InputRecord]:
    logs = [world.kafka.log(TOPICS.input, partition) for partition in range(world.partitions)]
    return [record for log in logs for record in log.read(0, len(log.entries))]


@pytest.mark.parametrize("max_poll_records", [1, 7, 5_000])
def test_each_input_record_is_told_once_with_the_time_of_its_publishing(max_poll_records: int) -> None:
    """Days turn and erasures come within a batch, which is then applied in several turns."""
    heard = Heard()
    world = World(partitions=2, max_poll_records=max_poll_records)
    world.observer = heard
    world.publish(*shopping(3, days=4))
    world.publish({"type": "erase", "customer_id": "c1"}, *list(shopping(3, days=5))[-9:])
    world.write(0, None, b"{broken")
    world.tick(FIRST_DAY + timedelta(days=6))
    world.settle()
    written = inputs(world)
    assert sorted(heard.records, key=str) == sorted(written, key=str)
    told = [at for turn in heard.turns for at in turn.arrived.tolist()]
    assert sorted(told) == sorted(record.timestamp for record in written)
    assert all(turn.arrived.tolist() == [r.timestamp for r in turn.inputs] for turn in heard.turns if turn.failure)


def test_a_turn_is_told_with_the_time_of_its_parts_and_what_it_published() -> None:
    heard = Heard()
    world = World(partitions=1)
    world.observer = heard
    world.publish(*shopping(3, days=2))
    world.settle()
    published = sum(
        len(log.read(0, len(log.entries)))
        for topic in (TOPICS.output, TOPICS.dead_letters, TOPICS.erasures)
        for log in [world.kafka.log(topic, 0)]
    )
    assert sum(turn.published for turn in heard.turns) == published > 0
    for turn in heard.turns:
        assert min(turn.polling, turn.preparing, turn.committing, turn.publishing) > 0
        assert turn.partitions == (0,)


def test_a_turn_that_cannot_publish_is_told_with_the_reason_and_its_records_again_when_they_are_through() -> None:
    heard = Heard()
    world = World(partitions=1)
    world.observer = heard
    worker = world.settle()
    world.kafka.plan("before_transaction", TransportError("no replicas", retriable=True))
    world.publish(*shopping(3, days=1))
    world.settle(worker)
    assert [str(turn.failure) for turn in heard.turns if turn.failure] == ["no replicas"]


def test_what_waits_is_told_in_hand_and_behind() -> None:
    heard = Heard()
    world = World(partitions=2, max_poll_records=10)
    world.observer = heard
    worker = world.settle()
    world.publish(*shopping(3, days=3))
    total = len(inputs(world))
    heard.lags.clear()
    world.settle(worker)
    world.clock.seconds += 2
    worker.turn()
    assert 0 < max(sum(lags.values()) for lags in heard.lags) <= total
    assert heard.lags[-1] == {0: 0, 1: 0}


def test_what_is_written_and_what_goes_to_another_worker_is_told() -> None:
    heard = Heard()
    world = World(partitions=2)
    world.observer = heard
    first = world.settle()
    assert {partition for what, partition in heard.said if what == "written"} == {0, 1}
    second = world.worker()
    for _ in range(6):
        second.turn()
        first.turn()
    (moved,) = second.assigned
    assert ("released", moved) in heard.said
