"""Partitions that are decided in one go: each one's decision is, to the last byte, what it is alone."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from consumer.clock import Cut
from consumer.partition import Rules
from consumer.step import Decision, Task, step
from tests.harness.pure_run import FIRST, Part, PureRun, model
from tests.harness.shop import stream

PARTITIONS = 3


class Recording(PureRun):
    """A run by the wall clock that remembers what each partition had to decide, and what it decided alone."""

    def __init__(self, emit: Literal["changes", "all"]) -> None:
        rules = Rules(horizon_days=60, clock="wall", emit=emit, dedupe_days=3)
        super().__init__(partitions=PARTITIONS, rules=rules, bundle=model(), first=FIRST, chunk=2)
        self.decided: list[list[tuple[Task, Decision]]] = [[] for _ in range(PARTITIONS)]

    def decide(self, part: Part, piece: Cut) -> Decision:
        alone = super().decide(part, piece)
        if piece.control is None:
            self.decided[part.number].append((self.task(part, piece), alone))
        return alone


def recorded(seed: int, emit: Literal["changes", "all"]) -> Recording:
    """Apply a stream with repeats, refusals and erasures; the partitions stand at different places of their sweeps."""
    rng = random.Random(seed)
    run = Recording(emit)
    run.publish(*stream(seed, days=25))
    run.turn(run.parts[0], FIRST)  # the first partition has swept once more than the others: other numbers, equal days
    day = FIRST
    while any(part.state.applied < len(part.log) for part in run.parts):
        for part in run.parts:
            run.begin(part, day)
        for _ in range(4):
            for part in run.parts:
                for _ in range(rng.choice([0, 1, 3])):
                    if not part.state.sweep.ended:
                        run.sweep_on(part)
                run.apply(part, rng.choice([1, 2, 9]))
        for part in run.parts:
            while not part.state.sweep.ended:
                run.sweep_on(part)
        day += 1
    return run


@pytest.mark.parametrize("emit", ["changes", "all"])
def test_partitions_decided_in_one_go_decide_what_each_does_alone(emit: Literal["changes", "all"]) -> None:
    rng, of_several = random.Random(1), []
    for run in [recorded(seed, emit) for seed in range(4)]:
        for first in run.decided[0]:
            group = [first]
            for others in run.decided[1:]:
                fitting = [each for each in others if each[0].context.goes_with(first[0].context)]
                group += rng.sample(fitting, min(1, len(fitting)))
            rng.shuffle(group)
            assert step([task for task, _ in group]) == [decision for _, decision in group]
            of_several += group if len(group) == PARTITIONS else []
    tasks, decisions = [task for task, _ in of_several], [decision for _, decision in of_several]
    assert any(not task.context.state.sweep.ended for task in tasks)
    assert len({task.context.state.sweep.number - task.context.state.day for task in tasks}) > 1
    assert any(task.marks for task in tasks)
    assert any(decision.outbox.dead for decision in decisions)
    assert any(decision.sample for decision in decisions)
    assert any(decision.state.counters.get("repeated", 0) for decision in decisions)


def test_partitions_of_two_days_do_not_go_together() -> None:
    run = recorded(1, "changes")
    (first, _), (last, _) = run.decided[0][0], run.decided[1][-1]
    assert first.context.state.day < last.context.state.day
    assert not first.context.goes_with(last.context)
