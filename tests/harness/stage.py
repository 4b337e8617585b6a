"""A tiny world in memory on which faults are played one after another, and the end of which is judged.

    stage = Stage("wall"); stage.deliver(...); stage.crash("after_commit"); stage.lose(3); stage.finish(); judge(stage)

Two partitions, six customers with a past, sweeps of two customers a chunk, polls of three records, one to three
workers. Everything is real but Kafka and Redis: the worker, and its sink over kafka-python's transaction manager.
Time passes by the turn, and faster while nothing happens. Each fault says what it did; one that did not land fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import msgspec
import pytest
from kafka import errors
from kafka.producer import transaction_manager

from consumer.exits import Stop
from consumer.partition import Clock, Rules
from consumer.worker import Worker
from models.bundle import successor
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.fixed_learner import FixedLearner
from tests.harness.memory_kafka import Crash
from tests.harness.memory_producer import Request, producers_in_memory
from tests.harness.sequential import complaints
from tests.harness.world import FIRST_DAY, GROUP, TOPICS, World, day_number, line

NAMES = ("c0", "c5", "c1", "c4", "c2", "c7")
"""Three in each partition, in the order of their last purchases; a sweep comes to c2 and c7 last."""
NEWCOMERS = ("n0", "n4")
POINTS = (
    "after_load",
    "mid_commit",
    "after_commit",
    "mid_transaction",
    "after_publish",
    "during_recovery",
    "mid_sweep",
    "mid_model_publish",
)
PLACES = (((0.5, 1.2, 4.5), (2.8, 0.7, 3.0)), ((0.9, 1.0, 4.0), (2.0, 0.7, 3.5)), ((0.2, 0.7, 3.0), (1.8, 1.2, 4.5)))
"""Centroids that somebody may publish."""
RULES = {clock: Rules(horizon_days=12, dedupe_days=4, forget_after_days=16, clock=clock) for clock in ("event", "wall")}
"""Short: a few turns of a wall clock's day and orders expire, ids are forgotten, customers lapse, lives end."""
DAY_S = 86_400
PATIENCE = 400
"""Rounds within which whatever was begun must end."""
IDLE_S = 0.6
"""So much time passes in a round in which nothing happened."""
IDLE_ROUNDS = 4
"""After so many of them the sessions of the dead time out, and the transactions that are still open."""

Kind = Literal["order", "again", "return", "late", "tomorrow", "poison", "guest"]
Outage = Literal["batch", "offsets", "end", "end_lost", "init", "markers", "store", "reply", "commit"]
REFUSED: dict[str, type[errors.KafkaError]] = {
    "batch": errors.NotEnoughReplicasError,
    "offsets": errors.IllegalGenerationError,
    "end": errors.InvalidTxnStateError,
}


class NeverLanded(AssertionError):
    """A fault that was played did not come to pass."""


class Wrong(AssertionError):
    """Something was lost, doubled, or is not as recomputed; or what was published is never applied."""


class Actor:
    """A worker on the stage; its crash points are the stage's."""

    def __init__(self, stage: Stage) -> None:
        self.worker: Worker = stage.world.worker(lambda point: stage.reached(self, point))

    @property
    def member(self) -> str:
        name: str = self.worker._parts.source._member  # type: ignore[attr-defined]
        return name


class Stage:
    """What happens, in the order of the calls."""

    def __init__(self, clock: Clock) -> None:
        self.world = _beginning(clock).fork()
        assert self.world.cluster is not None
        assert self.world.journal is not None
        self.faults, self.journal = self.world.cluster.faults, self.world.journal
        self.clock = clock
        self.day = FIRST_DAY + timedelta(days=PAST_DAYS)
        self.sent: list[dict[str, Any]] = []
        self.actors: list[Actor] = []
        self.dead: list[Actor] = []
        self._traps: list[tuple[str, Callable[[Actor], None]]] = []
        """The point at which the next to reach it has something happen to him."""
        self._numbers = self._idle = 0

    # --- what may happen -----------------------------------------------------------------------------------------

    def deliver(self, lines: Sequence[tuple[str, Kind]], rounds: int = 1) -> None:
        """Publish lines of customers and let the workers run."""
        for customer, kind in lines:
            self.write(customer, kind)
        self.drive(rounds)

    def crash(self, point: str, *, late: bool = False) -> None:
        """Let a worker die at a point; late: the group and the coordinator learn of it as time passes."""
        self._lead_to(point)
        self._spring(point, self._die)
        if not late:
            self.time_out()

    def freeze(self, point: str, meanwhile: Sequence[Callable[[], None]], *, expired: bool) -> None:
        """Freeze a worker at a point past its session, let others take over and things happen, and let it wake.

        expired: its transaction, too, has timed out by then.
        """

        def sleep(actor: Actor) -> None:
            self.actors.remove(actor)
            self.world.kafka.evict(GROUP, actor.member)
            if expired:
                self.world.kafka.expire_transactions()
            for act in meanwhile:
                act()
            self.actors.append(actor)

        self._lead_to(point)
        self._spring(point, sleep)

    def rebalance(self, how: Literal["join", "leave", "expel"]) -> None:
        """Let a worker come or go, or be put out of the group without knowing."""
        self._staff()
        if how == "join" and len(self.actors) < 3:
            self.actors.append(Actor(self))
        elif how == "leave":
            self.actors.pop(0).worker.close()
        else:
            self.world.kafka.evict(GROUP, self.actors[0].member)
        self.drive(1)

    def lose(self, writes: int, lines: Sequence[tuple[str, Kind]] = (), *, busy: bool = False) -> None:
        """Let Redis lose its last writes, and lines come at once; busy: and right before."""
        if busy:
            self.deliver([(customer, "order") for customer, _ in lines], rounds=2)
        self.journal.lose(writes)
        if lines:
            self.deliver(lines)

    def outage(self, what: Outage, *, silent: bool = False) -> None:
        """Let the broker or the store fail once, while something is to be done.

        silent: no answer, instead of a wrong one.
        """
        if what == "commit":
            self.die_committing(lost=silent)
            return
        self._staff()
        if what in (*REFUSED, "init", "end_lost"):
            request: Request = what  # type: ignore[assignment]  # checked above
            self.faults.plan(request, None if silent else REFUSED.get(what))
            if what == "init":
                self.actors.append(Actor(self))
                self.world.kafka.evict(GROUP, self.actors[0].member)
        elif what == "markers":
            self.world.kafka.hold_markers = True
        elif what == "store":
            self.world.store.unavailable = 2
        else:
            self.world.store.lose_reply = 1
        for customer in (NAMES[0], NAMES[-1]):  # both partitions have something to publish
            self.write(customer, "order")
        self.drive(2)
        self.world.kafka.write_markers()

    def die_committing(self, *, lost: bool) -> None:
        """Let a worker take over and die with its first commit on the way; it arrives when the next owner commits.

        lost: Redis loses its last writes, the raised epochs.
        """
        while self.actors:
            self.actors.pop().worker.close()
        self.write(NAMES[0], "order")
        self._staff()
        store, before = self.world.store, len(self.journal)
        store.hold = 1
        for _ in range(PATIENCE):
            self._round()
            if not store.hold:
                break
        else:
            raise NeverLanded("nobody committed")
        self.dead.append(self.actors.pop())
        if lost:
            self.journal.lose(len(self.journal) - before)
        self.write(NAMES[0], "order")
        self.time_out()
        self.drive(1)

    def begin_anew(self) -> None:
        """Let all workers end and a bootstrap replace the state by none; the input is read from its beginning."""
        self.drive(6)
        while self.actors:
            self.actors.pop().worker.close()
        self.world.begin_generation({})

    def turn_day(self, days: int, lines: Sequence[tuple[str, Kind]] = ()) -> None:
        """Let a day begin, by a tick in each partition or by the clock on the wall, and lines come at once."""
        self.day += timedelta(days=days)
        if self.clock == "event":
            self.world.tick(self.day)
        else:
            self.world.clock.seconds += days * DAY_S
        for customer, kind in lines:
            self.write(customer, kind)
        self.drive(2)

    def publish_model(self, place: int) -> None:
        """Let somebody publish a model by hand."""
        registry = self.world.registry
        number = registry.current()
        assert number is not None
        made = successor(registry.versions[number], day=registry.versions[number].day, created_by="republish")
        registry.publish(msgspec.structs.replace(made, centroids=PLACES[place]), expected=number)

    def erase(self, customer: str) -> None:
        """Ask for a customer's erasure."""
        self.world.publish({"type": "erase", "customer_id": customer})
        self.drive(1)

    # --- its parts ----------------------------------------------------------------------------------------------

    def write(self, customer: str, kind: Kind) -> None:
        """Publish one line."""
        self._numbers += 1
        again = next((each for each in reversed(self.sent) if each["customer_id"] == customer), None)
        if kind == "poison":
            self.world.write(self.world.home(customer), customer.encode(), b"{%d" % self._numbers)
        elif kind == "guest":
            self.world.publish(line(None, self.day))
        elif kind == "again" and again is not None:
            self.world.publish(again)
        else:
            back = {"late": -5, "tomorrow": 1 if self.clock == "event" else 0}.get(kind, 0)
            self.day += timedelta(days=max(back, 0))
            order = line(
                customer,
                self.day + timedelta(days=min(back, 0)),
                invoice_no=f"{'C' if kind == 'return' else ''}{self._numbers // 2}",
                quantity=-1 if kind == "return" else 1 + self._numbers % 3,
                event_id=f"e{self._numbers}",
            )
            self.sent.append(order)
            self.world.publish(order)

    def drive(self, rounds: int) -> None:
        """Let every worker have so many turns."""
        self._staff()
        for _ in range(rounds):
            self._round()

    def _round(self) -> bool:
        """Let each worker have a turn; say whether anything happened, else let time pass."""
        before = self._progress()
        for actor in tuple(self.actors):
            try:
                if actor in self.actors:
                    actor.worker.turn()
            except Crash:
                pass
            except Stop as stop:
                raise Wrong(f"a worker wants a person: {stop}") from stop
        happened = before != self._progress()
        self._idle = 0 if happened else self._idle + 1
        if not happened:
            self.world.clock.seconds += IDLE_S
        if self._idle == IDLE_ROUNDS:
            self.time_out()
        return happened

    def _progress(self) -> tuple[int, int]:
        log = self.world.kafka.log
        return len(self.journal), sum(len(log(TOPICS.output, p).entries) for p in range(self.world.partitions))

    def _staff(self) -> None:
        if not self.actors:
            self.actors.append(Actor(self))

    def _lead_to(self, point: str) -> None:
        """Let there be something to do on the way to a point."""
        self._staff()
        if point == "during_recovery":
            self.world.kafka.evict(GROUP, self.actors[0].member)
        elif point in ("mid_sweep", "mid_model_publish"):
            self.day += timedelta(days=1)
            if self.clock == "event":
                self.world.tick(self.day)
            else:
                self.world.clock.seconds += DAY_S
        else:
            self.write(NAMES[self._numbers % len(NAMES)], "order")

    def _spring(self, point: str, act: Callable[[Actor], None]) -> None:
        """Run until some worker reaches a point, and there let something happen."""
        self._traps.append((point, act))
        for _ in range(PATIENCE):
            self._staff()
            self._round()
            if not self._traps:
                return
            if self._idle == 2 * IDLE_ROUNDS:  # what was to be done was done on a way that does not pass the point
                self._lead_to(point)
        raise NeverLanded(f"nobody came to {point}")

    def reached(self, actor: Actor, point: str) -> None:
        """Called by the workers at their crash points."""
        if self._traps and self._traps[0][0] == point:
            _, act = self._traps.pop()
            act(actor)

    def _die(self, actor: Actor) -> None:
        self.actors.remove(actor)
        self.dead.append(actor)
        raise Crash

    def time_out(self) -> None:
        """Let the sessions of the dead and all open transactions time out."""
        while self.dead:
            self.world.kafka.evict(GROUP, self.dead.pop().member)
        self.world.kafka.expire_transactions()

    # --- the end ------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End all faults and run until everything published is applied, swept and published."""
        self.faults.clear()
        self.world.store.unavailable = self.world.store.lose_reply = 0
        self.world.kafka.write_markers()
        self.time_out()
        self._staff()
        self._idle = 0
        for _ in range(PATIENCE):
            if not self._round() and self.world.settled_by(*(actor.worker for actor in self.actors)):
                return
        raise Wrong(f"no rest after {PATIENCE} rounds: {self.world.states()}")


PAST_DAYS = 6


@cache
def _beginning(clock: Clock) -> World:
    """Return a world with a past of some days, at rest."""
    world = World(rules=RULES[clock], learner=FixedLearner(), max_poll_records=3)
    if clock == "wall":
        world.clock.seconds = (day_number(FIRST_DAY) + 0.5) * DAY_S
    worker = world.worker()
    for n in range(PAST_DAYS + 1):
        day = FIRST_DAY + timedelta(days=n)
        if n < len(NAMES):
            world.publish(line(NAMES[n], day, invoice_no=f"p{n}", event_id=f"past{n}", quantity=1 + n))
        if clock == "event":
            world.tick(day)
        worker = world.settle(worker)
        world.clock.seconds += DAY_S * (clock == "wall" and n < PAST_DAYS)
    worker.close()
    return world


@contextmanager
def on_stage() -> Iterator[None]:
    """Let the real sink write to memory, and sweeps go by two customers."""
    with producers_in_memory(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumer.planner.CHUNK_SIZE", 2)
        patch.setattr(logging.getLogger("kafka"), "disabled", True)
        patch.setattr(transaction_manager.log, "disabled", True)
        yield


def judge(stage: Stage) -> None:
    """Say whether everything is as it must be at the end of a schedule."""
    differences = verify(*evidence(stage.world)).differences
    if differences:
        raise Wrong(f"verify: {differences}")
    wrong = list(complaints(stage.world, day_number(FIRST_DAY)))
    if wrong:
        raise Wrong("; ".join(wrong))
