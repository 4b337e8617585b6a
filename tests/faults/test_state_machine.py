"""Thousands of schedules of faults in memory, drawn by Hypothesis: whatever follows whatever, the verdict stays.

    deliver | crash at a point | rebalance | zombie | lose writes | outage | turn the day | publish a model | erase

The stage is tests/harness/stage.py: all is real but Kafka and Redis. At the end of a schedule everything that was
published is judged. The machine proves itself: it counts the pairs of (crash point, next event) that it came to,
and finds each of the protocol's rules that is taken out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from kafka.errors import KafkaError
from kafka.producer.transaction_manager import TransactionState

from consumer.lane import Lane
from consumer.partition import Clock
from consumer.ports import Membership, TransportError
from consumer.recovery import Verdict
from consumer.takeover import Takeover
from consumer.transport import kafka_sink
from consumer.transport.kafka_sink import KafkaSink
from features.codec import States, decode_states
from features.moves import no_moves
from features.store import Commit
from tests.harness.memory_store import MemoryStore
from tests.harness.stage import NAMES, NEWCOMERS, POINTS, Stage, Wrong, judge, on_stage

EXAMPLES = 300
SEED = 2
MOST_PAIRS = 45
"""Of the 63 pairs so many are met by the short form."""
STEPS = 5
CRASH_EVERY = 2
KINDS = ("deliver", "crash", "rebalance", "zombie", "lose", "outage", "turn", "publish", "erase")
PAIRS = frozenset((point, kind) for point in POINTS for kind in KINDS)

customers = st.sampled_from(NAMES + NEWCOMERS + 2 * NAMES[-2:])
"""Those to whom a sweep comes last are the likeliest to be waiting for it."""
lines = st.lists(
    st.tuples(customers, st.sampled_from(("order", "again", "return", "late", "tomorrow", "poison", "guest"))),
    min_size=1,
    max_size=3,
)
meanwhile = st.lists(st.sampled_from(("drive", "deliver", "lose", "erase", "turn")), min_size=1, max_size=3)


def may(kind: str) -> Callable[[Any], Any]:
    """Let a rule run where it is the one that a crash said would follow, or where none is due."""

    def due(machine: Schedules) -> bool:
        if machine.then is not None:
            return machine.then == kind
        return kind == "crash" or machine.steps % CRASH_EVERY != 1

    return precondition(due)


class Everything:
    """Lets Hypothesis choose among all rules in each schedule; it would leave some out, and pairs would not meet."""

    def is_enabled(self, name: str) -> bool:  # noqa: ARG002 -- as Hypothesis calls it
        return True


class Schedules(RuleBasedStateMachine):
    """One schedule: a clock, then one event after another."""

    pairs: ClassVar[Counter[tuple[str, str]]] = Counter()
    played: ClassVar[int] = 0

    stage: Stage
    crashed_at: str | None = None
    then: str | None = None
    steps = 0
    sound = False

    def __init__(self) -> None:
        super().__init__()
        everything: Any = Everything()
        self._rules_strategy.enabled_rules_strategy = st.just(everything)

    @initialize(clock=st.sampled_from(("event", "wall")))
    def begin(self, clock: Any) -> None:
        self.stage = Stage(clock)
        self.sound = True

    def _now(self, kind: str, event: Callable[[], None]) -> None:
        """Let an event happen, and count what it followed."""
        if self.crashed_at is not None:
            Schedules.pairs[self.crashed_at, kind] += 1
        self.crashed_at = self.then = None
        self.steps += 1
        self.sound = False
        event()
        self.sound = True

    @may("deliver")
    @rule(lines=lines)
    def deliver(self, lines: Any) -> None:
        self._now("deliver", lambda: self.stage.deliver(lines))

    @may("crash")
    @rule(pair=st.sampled_from(sorted(PAIRS)), late=st.booleans())
    def crash(self, pair: tuple[str, str], late: bool) -> None:
        point, then = pair
        self._now("crash", lambda: self.stage.crash(point, late=late))
        self.crashed_at, self.then = point, then

    @may("rebalance")
    @rule(how=st.sampled_from(("join", "leave", "expel")))
    def rebalance(self, how: Any) -> None:
        self._now("rebalance", lambda: self.stage.rebalance(how))

    @may("zombie")
    @rule(point=st.sampled_from(POINTS), names=meanwhile, customer=customers, expired=st.booleans())
    def zombie(self, point: str, names: list[str], customer: str, expired: bool) -> None:
        acts = {
            "drive": partial(self.stage.drive, 2),
            "deliver": partial(self.stage.deliver, [(customer, "order")]),
            "lose": partial(self.stage.lose, 2),
            "erase": partial(self.stage.erase, customer),
            "turn": partial(self.stage.turn_day, 1),
        }
        self._now("zombie", lambda: self.stage.freeze(point, [acts[name] for name in names], expired=expired))

    @may("lose")
    @rule(writes=st.integers(1, 6), lines=lines, busy=st.booleans())
    def lose(self, writes: int, lines: Any, busy: bool) -> None:
        self._now("lose", lambda: self.stage.lose(writes, lines, busy=busy))

    @may("outage")
    @rule(
        what=st.sampled_from(("batch", "offsets", "end", "end_lost", "init", "markers", "store", "reply", "commit")),
        silent=st.booleans(),
    )
    def outage(self, what: Any, silent: bool) -> None:
        self._now("outage", lambda: self.stage.outage(what, silent=silent))

    @may("turn")
    @rule(days=st.integers(1, 5), lines=lines)
    def turn(self, days: int, lines: Any) -> None:
        self._now("turn", lambda: self.stage.turn_day(days, lines))

    @may("publish")
    @rule(place=st.integers(0, 2))
    def publish(self, place: int) -> None:
        self._now("publish", lambda: self.stage.publish_model(place))

    @may("erase")
    @rule(customer=customers)
    def erase(self, customer: str) -> None:
        self._now("erase", lambda: self.stage.erase(customer))

    def teardown(self) -> None:
        if not self.sound:
            return
        self.stage.finish()
        judge(self.stage)
        Schedules.played += 1


def play(examples: int, seed: int = SEED, *, shrink: bool = True) -> None:
    """Play schedules, the same ones for a seed; raises what the first that fails raises, made simple by `shrink`."""
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Schedules), settings=settings)


@pytest.fixture(autouse=True)
def stage() -> Iterator[None]:
    Schedules.pairs.clear()
    with on_stage():
        yield


def test_every_schedule_ends_as_recomputed() -> None:
    play(EXAMPLES)
    assert len(Schedules.pairs) >= MOST_PAIRS


@pytest.mark.long
def test_every_pair_of_crash_point_and_next_event_ends_as_recomputed() -> None:
    for seed in range(1, 7):
        play(500, seed)
    assert Schedules.pairs.keys() == PAIRS


# --- schedules that ended otherwise once ------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["event", "wall"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_commit_that_arrives_under_the_next_owners_epoch_is_not_taken_for_his(clock: Clock, lost: bool) -> None:
    """docs/decisions/0011."""
    stage = Stage(clock)
    stage.die_committing(lost=lost)
    stage.finish()
    judge(stage)


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_of_owners_known_by_their_epochs_alone_one_loses_input(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered_owners(monkeypatch)
    stage = Stage(clock)
    stage.die_committing(lost=True)
    with pytest.raises(Wrong):
        stage.finish()


@pytest.mark.parametrize("clock", ["event", "wall"])
@pytest.mark.parametrize("lost", [3, 6])
def test_a_customer_whose_erasure_redis_lost_is_not_shown_again(clock: Clock, lost: int) -> None:
    """docs/decisions/0012: a day turns, a customer is erased, and Redis loses both."""
    stage = Stage(clock)
    stage.publish_model(2)  # everybody moves at the turn
    stage.drive(2)
    stage.turn_day(1, [("c0", "order")])
    stage.erase("c0")
    stage.drive(4)
    end = len(stage.world.output())
    stage.lose(lost)
    stage.turn_day(1)
    stage.finish()
    judge(stage)
    behind = [record.get("tombstone") or record["customer_id"] for record in stage.world.output()[end:]]
    shown = [record for record in stage.world.output()[end:] if record.get("customer_id") == "c0"]
    assert not shown, behind


def test_recoveries_of_which_redis_lost_the_trace_are_followed() -> None:
    """What they published stands in the log; the state tells only of the last one, which went back behind them all."""
    stage = Stage("wall")
    for lost in (1, 2, 9):
        stage.deliver([("n4", "order"), ("c0", "return"), ("c2", "order")], rounds=3)
        stage.lose(lost)
        stage.drive(6)
    stage.finish()
    assert any(
        len({record["headers"]["epoch"] for record in stage.world.output()}) > len(state.rewinds) + 2
        for state in stage.world.states().values()
    )
    judge(stage)


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_states_begun_anew_twice_are_verified(clock: Clock) -> None:
    stage = Stage(clock)
    for _ in range(2):
        stage.deliver([("c0", "order"), ("c7", "return"), ("n0", "order")], rounds=4)
        stage.turn_day(1, [("c2", "order")])
        stage.begin_anew()
    stage.deliver([("c0", "order")])
    stage.finish()
    judge(stage)


# --- a rule of the protocol is taken out ------------------------------------------------------------------------------


def any_parent(patch: pytest.MonkeyPatch) -> None:
    """A2: a commit is written, whatever commit the store is at."""
    written = MemoryStore.commit

    def commit(store: MemoryStore, partition: int, commit: Commit) -> None:
        last, follows = store.parts[partition].fence.last, commit.follows or commit.parent
        written(store, partition, replace(commit, parent=last, follows=follows))

    patch.setattr(MemoryStore, "commit", commit)


def unread_futures(patch: pytest.MonkeyPatch) -> None:
    """A3: nobody looks whether the records were taken."""
    patch.setattr(kafka_sink, "_check_sent", lambda *_: None)


def same_producer(patch: pytest.MonkeyPatch) -> None:
    """A4: a producer whose transaction failed aborts it, and is used once more."""
    publish, failed = KafkaSink.publish, set[int]()

    def publish_again(sink: KafkaSink, *given: Any) -> None:
        producer: Any = sink._producer
        try:
            publish(sink, *given)
        except TransportError:
            if id(producer) not in failed and producer is not None:
                failed.add(id(producer))
                with suppress(KafkaError):
                    producer._transaction_manager.begin_abort()
                    producer.flush()
                    if producer._transaction_manager._current_state == TransactionState.READY:
                        sink._producer = producer
            raise

    patch.setattr(KafkaSink, "publish", publish_again)


def committed_offset(patch: pytest.MonkeyPatch) -> None:
    """B2: a new owner reads on from the offset that the group had committed, not from where the state stands."""
    take = Takeover._take

    def seek(takeover: Takeover, partition: int, membership: Membership) -> tuple[Lane, Verdict]:
        committed = takeover._find(partition).committed
        lane, verdict = take(takeover, partition, membership)
        if committed is not None:
            takeover._source.seek(partition, committed.offset)
        return lane, verdict

    patch.setattr(Takeover, "_take", seek)


def no_turn_of_his_own(patch: pytest.MonkeyPatch) -> None:
    """C5: an event of a customer whom the sweep has not reached yet is taken as one of the day before."""
    patch.setattr("consumer.step.turned", lambda *_: ([], no_moves()))


def swept_twice(patch: pytest.MonkeyPatch) -> None:
    """C5: the sweep does not skip who has turned his day before it came."""

    def as_not_turned(blobs: Sequence[bytes | None]) -> States:
        states = decode_states(blobs)
        states.heads["sweep"] = 0
        return states

    patch.setattr("consumer.sweep.decode_states", as_not_turned)


def numbered_owners(patch: pytest.MonkeyPatch) -> None:
    """docs/decisions/0011: an owner is known by his epoch alone, which Redis may lose and another come to."""
    patch.setattr("consumer.takeover.secrets.token_hex", lambda _: "")


MUTANTS = (
    any_parent,
    unread_futures,
    same_producer,
    committed_offset,
    no_turn_of_his_own,
    swept_twice,
)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_that_is_taken_out_is_missed(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(Wrong):
        play(EXAMPLES, shrink=False)
