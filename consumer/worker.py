"""The worker: one loop, each turn of which takes events from Kafka through Redis to Kafka exactly once.

    1 poll        new records; at once a snapshot of the group's membership (PROTOCOL A1)
      look        now and then: what does the operator ask? is the store where idle lanes left it? do records come?
    2 take over   partitions that are newly ours, or that failed (PROTOCOL B, consumer.takeover)
    3 plan        each lane's next unit: events of its day, a sweep's chunk, or nothing; load its states
    4 decide      pure: consumer.step, consumer.sweep, consumer.erasure; lane after lane, small ones together
    5 commit      one fenced script a partition (PROTOCOL A2), those of a group in one round trip, written while 4 goes
                  on with the next; all answered
    6 publish     one Kafka transaction: outboxes, dead letters, offsets (PROTOCOL A3)
    7 lead        the owner of partition 0 makes the day's model (PROTOCOL C6)

Guarantee: nothing is unpublished when 1 comes round again. Whatever fails between 5 and 6 throws the
lane away; it is taken over again from what Redis and Kafka then say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from itertools import chain
from typing import TypeAlias

import msgspec
import numpy as np

from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.guards import TopicGuard, state_gone
from consumer.lane import Lane, Sweeping, Unit
from consumer.leader import Leader, made_for
from consumer.observer import Turn
from consumer.plan import Parts, Plan
from consumer.planner import Planner
from consumer.ports import (
    Committed,
    InputRecord,
    LogCutShort,
    Membership,
    OutputRecord,
    RetentionGap,
    TransportError,
)
from consumer.preparation import Decider, Group, as_commit, concerned
from consumer.publication import output_records
from consumer.step import Decision, refuse_foreign
from consumer.takeover import Takeover, another_log, lost_input
from consumer.watch import Watch
from consumer.watchdog import Remedy, Watchdog
from features.codec import SCHEMA, InvalidState, NewerSchema
from features.decoding import decode
from features.store import (
    Fence,
    Fenced,
    GenerationGone,
    InvalidKey,
    OutOfStep,
    SlotMoving,
    StoreError,
    StoreUnavailable,
)
from features.transaction import Batch
from models.population import StatisticsError

IDLE_POLL_S = 0.25
WAITING_POLL_S = 0.02
RETRY_S = 0.5
ALARM_RETRY_S = 5.0
ASK_S = 5.0
STORE_CALLS = 8
"""So many calls of the store may be under way at once; they wait, and take no part in deciding."""
LED_FOR_S = 1.0
"""So long the day's model counts as made before the registry is asked again: it may have lost it (FAULTS 8)."""
TRANSACTION_RETRY_S = 0.1
"""A partition whose last transaction is in doubt is looked at again so soon; its coordinator ends it within 15 s."""
LOOK_EVERY_S = 1.0
"""So often the store is asked what the operator wants, and where lanes stand that commit nothing: it may have lost
its last writes."""
RIVAL_FENCES = 3
RIVAL_WITHIN_S = 60.0
"""A named worker that is fenced so often within so long has a rival of its name; once may be a timeout."""


Sent: TypeAlias = tuple[Sequence[Lane], Future[dict[int, StoreError]]]
"""Lanes whose commits went in one round trip, and the answer: why those failed that did, by partition."""


def never(point: str) -> None:
    """Stand in for the crash points, which only the tests' harness fires."""


class Worker:
    """One member of the group. Not thread-safe but for `stop`.

    now: POSIX seconds, which may step back: for days. elapsed: seconds that never do: for every deadline (FAULTS 30).
    background: where Redis is waited for while the next partition is decided; None: a few threads.
    """

    def __init__(
        self,
        parts: Parts,
        plan: Plan,
        *,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        crash_point: Callable[[str], None] = never,
        background: Executor | None = None,
    ) -> None:
        self._parts, self._plan = parts, plan
        self._background = background or ThreadPoolExecutor(STORE_CALLS, "store")
        self._now, self._elapsed, self._crash_point = now, elapsed, crash_point
        self._observer = parts.observer
        self._takeover = Takeover(parts, plan, crash_point)
        self._leader = Leader(
            parts.store,
            parts.registry,
            parts.learner,
            parts.observer,
            clock=plan.rules.clock,
            refine_every_days=plan.refine_every_days,
            renewal=plan.renewal,
        )
        self._watch = Watch(parts.store, parts.observer)
        self._topic = TopicGuard(plan.topics.input, plan.topic_id, plan.partitions, may_grow=plan.draining)
        self._watchdog = Watchdog()
        self._lanes: dict[int, Lane] = {}
        self._planner = Planner(parts, plan, self._leader, self._lanes, now, elapsed)
        self._decider = Decider(parts, plan)
        self._pending: set[int] = set()
        """Ours, but not taken over yet."""
        self._retry_at: dict[int, float] = {}
        self._blocked: dict[int, str] = {}
        self._sink_retry_at = 0.0
        self._store_retry_at = 0.0
        self._look_at = 0.0
        self._lag_at = 0.0
        self._paused: str | None = None
        """Why an operator wants all workers to stand still: nothing is written, heartbeats go on."""
        self._stopping = False
        self._led: int | None = None
        self._led_until = 0.0
        self._lead_at = 0.0
        self._fenced_at: list[float] = []
        self._membership = Membership(-1, "", None, frozenset())

    def stop(self) -> None:
        """Ask the loop to end after the present turn; may be called from a signal handler."""
        self._stopping = True

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Work until `stop`, or until something is so. Raises `Stop` where a person is needed."""
        try:
            while not self._stopping and not (until is not None and until()):
                self.turn()
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group; what is unpublished is taken over by whoever comes next."""
        self._background.shutdown()
        self._parts.source.close()
        self._parts.sink.close()
        self._parts.reader.close()

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions taken over and running."""
        return frozenset(self._lanes)

    def drained(self) -> bool:
        """Say whether all partitions are ours and stand at the end of their log, on one day, with nothing in hand."""
        lanes = self._lanes
        if lanes.keys() != set(range(self._plan.partitions)):
            return False
        still = all(
            lane.buffer is None
            and lane.prepared is None
            and lane.state.sweep.ended
            and lane.state.sweep.number
            and self._planner.is_quiet(lane)
            for lane in lanes.values()
        )
        return still and len({lane.state.day for lane in lanes.values()}) == 1

    def blocked(self) -> dict[int, str]:
        """Return why partitions stand still."""
        return self._blocked | {p: lane.blocked for p, lane in self._lanes.items() if lane.blocked}

    def turn(self) -> None:
        """One turn of the loop; see the module's text for the numbers."""
        began = self._elapsed()
        polled = self._poll(began)  # 1
        try:
            self._measure_lag(polled)
            self._look(polled)
            if self._paused is None:
                self._watch_for_stalls()
                self._take_over()  # 2
                if not self._stopping:  # the signal came while we waited for a broker: nothing is begun any more
                    sent = self._send(self._prepare())  # 3, 4, 5
                    ready = self._elapsed()
                    self._finish(self._written(sent), began, polled, ready)  # 5, 6
                    self._lead()  # 7
        except GenerationGone as error:
            raise self._without_state(error) from error
        except (StoreError, msgspec.MsgspecError, StatisticsError) as error:
            # What is refused or cannot be read, of another partition for one, is no reason to let ours stop.
            self._store_failed("the store", error)
        except TransportError as error:
            self._observer.trouble("asking the broker", error)
        self._apply_pauses()

    def _without_state(self, error: GenerationGone) -> Stop:
        """Return why this worker cannot go on: its generation was replaced, or the state is gone (FAULTS 9)."""
        if error.replaced:
            again = "a bootstrap made a new generation: start the worker again (or, if it was interrupted, it first)"
            return Stop(ExitCode.INCOMPATIBLE, f"{error}; {again}")
        everywhere = frozenset(range(self._plan.partitions))
        try:
            committed = self._parts.source.committed(everywhere, ASK_S)
            stop = state_gone(self._plan.namespace, committed, self._parts.source.bounds(everywhere))
        except TransportError:
            stop = None  # Kafka does not tell what was applied; that the state is gone stands all the same
        return stop or Stop(
            ExitCode.INPUT_LOST, f"{error}: Redis was emptied; see docs/operations.md, Redis was emptied"
        )

    def _store_failed(self, what: str, error: Exception) -> None:
        """Let everything rest for a moment; when the store is back it is asked at once where it stands."""
        self._store_retry_at = self._elapsed() + RETRY_S
        self._look_at = 0.0
        for lane in self._lanes.values():
            lane.seen_at = 0.0
        self._observer.trouble(what, error)

    # 1 -- poll ---------------------------------------------------------------------------------------

    def _poll(self, now: float) -> float:
        """Take in what is new, and return when it was there."""
        source, lanes = self._parts.source, self._lanes
        try:
            records = source.poll(self._poll_timeout(now))
        except RetentionGap as gap:
            if not self._plan.skip_lost_input:
                raise Stop(ExitCode.INPUT_LOST, lost_input(gap)) from gap
            self._abandon([lane for lane in lanes.values() if lane.partition == gap.partition])
            records = {}
        except LogCutShort as error:  # the new topic's id may not have been heard of yet
            raise another_log(error) from error
        except TransportError as error:
            facts = source.facts()
            if not error.retriable and (facts is None or facts.partitions):
                raise Stop(ExitCode.FENCED if error.fenced else ExitCode.INTERNAL, str(error)) from error
            self._observer.trouble("reading", error)
            self._note_fence(error)
            records = {}
        self._membership = source.membership()
        change = source.rebalanced()
        polled = self._elapsed()
        self._topic.check(source.facts(), change.assigned, polled)
        for partition in change.revoked | change.assigned:
            self._forget(partition)
        for partition in sorted(change.revoked):
            self._observer.released(partition)
        self._pending |= {partition for partition in change.assigned if partition < self._plan.partitions}
        arrivals = [(lanes[p], records[p]) for p in sorted(records.keys() & lanes.keys()) if records[p]]
        if arrivals:
            self._take(arrivals)
        return polled

    def _forget(self, partition: int) -> None:
        """Know nothing more of a partition that is gone, or that comes anew."""
        lane = self._lanes.pop(partition, None)
        self._pending.discard(partition)
        self._resume_pending(partition)
        if lane is not None and lane.blocked is not None:
            self._observer.resumed(partition)

    def _poll_timeout(self, now: float) -> float:
        if now < self._store_retry_at:
            return RETRY_S / 2
        if self._paused is not None:
            return IDLE_POLL_S
        if self._planner.waiting or any(now >= self._retry_at.get(p, 0.0) for p in self._pending):
            return WAITING_POLL_S
        busy = any(self._is_busy(lane) and now >= lane.retry_at for lane in self._lanes.values())
        return 0.0 if busy else IDLE_POLL_S

    def _is_busy(self, lane: Lane) -> bool:
        return lane.buffer is not None or not lane.state.sweep.ended or lane.prepared is not None

    def _take(self, arrivals: Sequence[tuple[Lane, Sequence[InputRecord]]]) -> None:
        """Decode what has come, and give it to its lanes."""
        batches = [self._decoded(lane, records) for lane, records in arrivals]
        ends = np.cumsum([len(batch.customers) for batch in batches])
        homes = np.split(self._plan.partitions_of([name for batch in batches for name in batch.customers]), ends[:-1])
        for (lane, records), batch, home in zip(arrivals, batches, homes, strict=True):
            arrived = np.array([record.timestamp for record in records], np.int64)
            lane.take(refuse_foreign(batch, lane.partition, home), records, arrived)

    def _decoded(self, lane: Lane, records: Sequence[InputRecord]) -> Batch:
        return decode(
            [record.offset for record in records],
            [record.key for record in records],
            [record.value for record in records],
            [record.timestamp for record in records],
            zone=self._plan.zone,
            currency=self._plan.currency,
            today=self._planner.today(lane),
        )

    def _apply_pauses(self) -> None:
        """Read on only where nothing waits: a lane with a buffer would otherwise pile input up.

        What is not taken over yet is read from where its state stands, once that is known: until then not at all.
        """
        stopped = self._paused is not None
        full = frozenset(p for p, lane in self._lanes.items() if stopped or lane.buffer is not None or lane.blocked)
        self._parts.source.pause(full | self._pending)
        self._parts.source.resume(frozenset(self._lanes) - full)

    def _measure_lag(self, now: float) -> None:
        """Tell now and then how much waits: in hand, and behind it as the last fetch told."""
        if now < self._lag_at:
            return
        self._lag_at = now + LOOK_EVERY_S
        behind = self._parts.source.lags(frozenset(self._lanes))
        in_hand = {p: lane.buffer.records for p, lane in self._lanes.items() if lane.buffer is not None}
        self._observer.lagging({p: n + in_hand.get(p, 0) for p, n in behind.items()})

    def _look(self, now: float) -> None:
        """Ask now and then what the operator wants, and where the store stands. Raises `NewerSchema`, `StoreError`."""
        if now < max(self._store_retry_at, self._look_at):
            return
        self._look_at = now + LOOK_EVERY_S
        orders = self._parts.store.orders()
        if orders.schema is not None and orders.schema > SCHEMA:
            raise NewerSchema(orders.schema)
        if orders.paused != self._paused:
            self._paused = orders.paused
            self._watchdog.forget()
            self._observer.resumed(-1) if orders.paused is None else self._observer.paused(-1, orders.paused)
        self._planner.promoted = orders.promoted
        self._compare_fences(now)

    def _compare_fences(self, now: float) -> None:
        """Throw lanes away that the store does not stand behind any more: it lost its last writes (FAULTS 8, 10).

        A lane that commits finds that out by itself. One with a commit of unknown outcome has to try that first (A2).
        """
        idle = [lane for lane in self._lanes.values() if lane.prepared is None and now - lane.seen_at >= LOOK_EVERY_S]
        fences = self._readable_fences([lane.partition for lane in idle])
        for lane in idle:
            fence = fences.get(lane.partition)
            if fence is None:
                continue
            if (fence.epoch, fence.owner, fence.last) == (lane.epoch, lane.owner, lane.last):
                lane.seen_at = now
                continue
            here = f"epoch {fence.epoch}, commit {fence.last}"
            error = OutOfStep(f"partition {lane.partition}: Redis is at {here}, not at {lane.epoch}, {lane.last}")
            self._observer.trouble(f"looking after partition {lane.partition}", error)
            self._abandon([lane])

    def _readable_fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        """Read fences; a damaged one is told and left out, and keeps nobody from looking at the others."""
        store = self._parts.store
        try:
            return store.fences(partitions) if partitions else {}
        except InvalidKey:
            found: dict[int, Fence] = {}
        for partition in partitions:
            try:
                found |= store.fences([partition])
            except InvalidKey as error:
                self._observer.trouble(f"looking after partition {partition}", error)
        return found

    def _watch_for_stalls(self) -> None:
        """Set a consumer right that gives nothing of what is there (FAULTS 31)."""
        now, source = self._elapsed(), self._parts.source
        if not self._watchdog.due(now):
            return
        waiting = {p: lane.epoch for p, lane in self._lanes.items() if lane.buffer is None and lane.blocked is None}
        still = self._watchdog.note(waiting, source.positions(frozenset(waiting)), now)
        try:
            stalled = self._watchdog.judge(source.ends(still) if still else {}, now)
        except TransportError:
            self._watchdog.forget()
            raise
        for partition, remedy in stalled.items():
            self._observer.stalled(partition, remedy.value)
            if remedy is Remedy.SEEK:
                source.seek(partition, self._lanes[partition].state.applied)
        if Remedy.REJOIN in stalled.values():
            source.rejoin()
            for partition in self._lanes.keys() | self._pending:
                self._forget(partition)

    # 2 -- take over ----------------------------------------------------------------------------------

    def _take_over(self) -> None:
        now = self._elapsed()
        due = sorted((self._retry_at.get(p, 0.0), p) for p in self._pending)
        due = [(at, p) for at, p in due if at <= now]
        if not due or now < self._store_retry_at or not self._open_sink():
            return
        for _, partition in due:
            if self._stopping:
                return
            try:
                lane, verdict = self._takeover.take(partition, self._membership)
            except TransportError as error:
                self._take_over_later(partition, error)
                return  # the lanes that run come first; then those that were not tried yet
            except SlotMoving as error:
                self._retry_at[partition] = self._elapsed() + RETRY_S
                self._observer.trouble(f"taking partition {partition} over", error)
            except (Fenced, InvalidKey) as error:
                self._block_pending(partition, str(error))
            else:
                self._pending.discard(partition)
                self._resume_pending(partition)
                lane.seen_at = self._elapsed()
                self._lanes[partition] = lane
                self._observer.recovered(partition, verdict.value, lane.state)

    def _open_sink(self) -> bool:
        if self._parts.sink.opened:
            return True
        if self._elapsed() < self._sink_retry_at:
            return False
        try:
            self._parts.sink.open()
        except TransportError as error:
            self._sink_retry_at = self._elapsed() + RETRY_S
            self._observer.trouble("opening the producer", error)
            if not error.retriable:
                raise Stop(ExitCode.INTERNAL, str(error)) from error
            return False
        return True

    def _take_over_later(self, partition: int, error: TransportError) -> None:
        """Try again soon, after a failed publish with a new producer; what time does not mend pauses it alone (A4)."""
        self._note_fence(error)
        if error.retriable:
            self._retry_at[partition] = self._elapsed() + TRANSACTION_RETRY_S
            self._observer.trouble(f"taking partition {partition} over", error)
        else:
            self._block_pending(partition, str(error))

    def _block_pending(self, partition: int, reason: str) -> None:
        self._retry_at[partition] = self._elapsed() + ALARM_RETRY_S
        if self._blocked.get(partition) != reason:
            self._blocked[partition] = reason
            self._observer.paused(partition, reason)

    def _resume_pending(self, partition: int) -> None:
        self._retry_at.pop(partition, None)
        if self._blocked.pop(partition, None) is not None:
            self._observer.resumed(partition)

    # 3 -- plan and load --------------------------------------------------------------------------------

    def _prepare(self) -> Iterator[list[Lane]]:
        """Give every lane that can go on a prepared commit, and yield those decided together.

        The states of the others come meanwhile.
        """
        now = self._elapsed()
        self._planner.begin_turn()
        if now < self._store_retry_at or not (self._lanes and self._open_sink()):
            return
        ready = [lane for lane in self._lanes.values() if now >= lane.retry_at]
        # A commit of unknown outcome comes first, unchanged: nothing else may follow its parent.
        if unsettled := [lane for lane in ready if lane.prepared is not None]:
            yield unsettled
        units = [(lane, unit) for lane in ready if lane.prepared is None and (unit := self._unit(lane))]
        groups = self._decider.groups(units)
        for group, loaded in zip(groups, [self._load(group) for group in groups], strict=True):
            try:
                blobs = loaded.result()
            except SlotMoving as error:
                for lane, _ in group:
                    self._wait_for_slot(lane, error)
                continue
            self._crash_point("after_load")
            decided = list(self._decided(group, blobs))
            for lane, unit, decision in decided:
                lane.apart = False
                lane.prepared = as_commit(lane, unit, decision, self._plan.rules.history_days)
            yield [lane for lane, _, _ in decided]

    def _load(self, group: Group) -> Future[Mapping[int, Sequence[bytes | None]]]:
        """Begin to load the states of a group; a sweep's chunk has brought its own."""
        lane, unit = group[0]
        if isinstance(unit, Sweeping):
            ready: Future[Mapping[int, Sequence[bytes | None]]] = Future()
            ready.set_result({lane.partition: unit.chunk.blobs})
            return ready
        return self._background.submit(
            self._parts.store.load, {lane.partition: concerned(unit) for lane, unit in group}
        )

    def _decided(
        self, group: Group, blobs: Mapping[int, Sequence[bytes | None]]
    ) -> Iterator[tuple[Lane, Unit, Decision]]:
        """Decide a group; where one of it cannot be decided, the others are without it."""
        try:
            decisions = self._decider.decide(group, blobs)
        except (InvalidState, InvalidKey) as error:
            if len(group) > 1:
                for each in group:
                    yield from self._decided([each], blobs)
                return
            lane, unit = group[0]
            reason = str(error)
            if isinstance(error, InvalidState):
                hashed = keyed_hash(self._plan.erasure_key, concerned(unit)[error.index])[:16]
                reason = f"the state of customer {hashed} (keyed hash) cannot be trusted: {error.problem}"
            self._block(lane, reason)
            return
        for (lane, unit), decision in zip(group, decisions, strict=True):
            yield lane, unit, decision

    def _wait_for_slot(self, lane: Lane, error: SlotMoving) -> None:
        """Let a partition wait alone whose keys are on their way to another node; whatever it prepared it keeps."""
        lane.apart, lane.retry_at = True, self._elapsed() + RETRY_S
        self._observer.trouble(f"the store of partition {lane.partition}", error)

    def _unit(self, lane: Lane) -> Unit | None:
        try:
            return self._planner.unit(lane)
        except SlotMoving as error:
            self._wait_for_slot(lane, error)
            return None
        except (InvalidKey, msgspec.MsgspecError) as error:
            self._block(lane, str(error))
            return None

    # 5 -- commit ---------------------------------------------------------------------------------------

    def _send(self, groups: Iterable[Sequence[Lane]]) -> list[Sent]:
        """Send prepared commits to Redis as soon as a group's are there; the next is decided while they are written.

        Returns when all are answered, whatever the answers are: nothing is in flight when the next turn begins.
        """
        sent: list[Sent] = []
        try:
            for lanes in groups:
                if any(_is_silent(answer) for _, answer in sent):
                    break  # a store that is silent for all would hold the turn for a timeout each
                kept = [lane for lane in lanes if self._keeps_model(lane)]
                commits = {lane.partition: lane.prepared.commit for lane in kept if lane.prepared is not None}
                if commits:
                    sent.append((kept, self._background.submit(self._parts.store.commit_each, commits)))
                    self._crash_point("mid_commit")
        finally:
            # Where a later lane failed, those sent before keep what they prepared: an outcome unknown, as any other.
            wait([answer for _, answer in sent])
        return sent

    def _written(self, sent: Iterable[Sent]) -> list[Lane]:
        """Return the lanes whose script succeeded."""
        return [
            lane
            for lanes, answer in sent
            for lane in lanes
            if self._is_written(lane, answer.result().get(lane.partition))
        ]

    def _is_written(self, lane: Lane, failure: StoreError | None) -> bool:
        """Say whether a lane's script succeeded; where it did not, let the lane do what the failure asks for."""
        assert lane.prepared is not None
        match failure:
            case None:
                if lane.blocked is not None:
                    lane.blocked = None
                    self._observer.resumed(lane.partition)
                lane.seen_at = self._elapsed()
                self._observer.written(lane.partition)
                self._crash_point("after_commit")
                if lane.prepared.commit.begins or not lane.prepared.decision.state.sweep.ended:
                    self._crash_point("mid_sweep")
            case SlotMoving():
                self._wait_for_slot(lane, failure)
            case StoreUnavailable():
                # The outcome is unknown: the very same commit is tried again, which is safe (A2).
                self._store_failed(f"committing partition {lane.partition}", failure)
            case Fenced() | OutOfStep():
                self._observer.trouble(f"committing partition {lane.partition}", failure)
                self._abandon([lane])
            case InvalidKey():
                lane.prepared = None
                self._block(lane, str(failure))
            case _:
                raise failure
        return failure is None

    def _keeps_model(self, lane: Lane) -> bool:
        """Let no state name a model that the registry lost meanwhile (C7); a lane that does so begins anew."""
        assert lane.bundle is not None
        if lane.prepared is None or not lane.prepared.commit.begins:
            return True
        kept = self._parts.registry.keep(lane.bundle)
        if not kept:
            lost = OutOfStep(f"partition {lane.partition}: model {lane.bundle.version} is another one by now")
            self._observer.trouble(f"committing partition {lane.partition}", lost)
            self._abandon([lane])
        return kept

    def _block(self, lane: Lane, reason: str) -> None:
        """Let a lane stand still: a person is needed, but it tries again now and then."""
        lane.retry_at = self._elapsed() + ALARM_RETRY_S
        if lane.blocked != reason:
            lane.blocked = reason
            self._observer.paused(lane.partition, reason)

    def _abandon(self, lanes: Iterable[Lane]) -> None:
        """Throw lanes away; what they are is read again from Redis and Kafka."""
        for lane in lanes:
            self._lanes.pop(lane.partition, None)
            self._pending.add(lane.partition)
            if lane.blocked is not None:
                self._blocked[lane.partition] = lane.blocked

    # 6 -- publish --------------------------------------------------------------------------------------

    def _finish(self, lanes: Sequence[Lane], began: float, polled: float, ready: float) -> None:
        """Publish what is written; the moments are those at which the turn began, had polled, and had decided."""
        if not lanes:
            return
        written = self._elapsed()
        published, failure = self._publish(lanes)
        ended = self._elapsed()
        applied = [lane.applying() for lane in lanes]
        self._observer.turned(
            Turn(
                ended=self._now(),
                polling=polled - began,
                preparing=ready - polled,
                committing=written - ready,
                publishing=ended - written,
                partitions=tuple(lane.partition for lane in lanes),
                arrived=np.concatenate([arrived for arrived, _ in applied]),
                inputs=chain.from_iterable(records for _, records in applied),
                published=published,
                failure=failure,
            )
        )
        if failure is not None:
            return
        self._crash_point("after_publish")
        for lane in lanes:
            prepared = lane.prepared
            assert prepared is not None
            decision = prepared.decision
            if prepared.piece is not None:
                lane.done(prepared.piece)
            lane.last = prepared.commit.id
            lane.state, lane.statistics, lane.prepared = decision.state, decision.statistics, None
            self._observer.committed(lane.partition, decision)

    def _publish(self, lanes: Sequence[Lane]) -> tuple[int, TransportError | None]:
        """Write one transaction for all lanes (A3). On failure all our lanes are taken over anew (A4).

        Returns how many records it holds, and why it failed.
        """
        records: list[OutputRecord] = []
        offsets = {}
        for lane in lanes:
            assert lane.prepared is not None
            commit = lane.prepared.commit
            outbox = lane.prepared.decision.outbox
            records += output_records(self._plan.topics, lane.partition, commit.id, outbox, lane.prepared.dead_bytes)
            offsets[lane.partition] = Committed(lane.prepared.decision.state.applied, commit.id)
        try:
            self._parts.sink.publish(records, offsets, self._membership)
        except TransportError as error:
            self._observer.trouble("publishing", error)
            self._note_fence(error)
            self._abandon(list(self._lanes.values()))
            return len(records), error
        return len(records), None

    def _note_fence(self, error: TransportError) -> None:
        """Stop where another worker has our name: the two would take everything from each other for ever."""
        if not error.fenced or self._plan.instance is None:
            return
        now = self._elapsed()
        self._fenced_at = [at for at in self._fenced_at if now - at < RIVAL_WITHIN_S] + [now]
        if len(self._fenced_at) >= RIVAL_FENCES:
            raise Stop(
                ExitCode.FENCED,
                f"fenced {RIVAL_FENCES} times within a minute: another worker runs as instance {self._plan.instance}; "
                "give each worker a name of its own, or none",
            )

    # 7 -- lead -----------------------------------------------------------------------------------------

    def _lead(self) -> None:
        lane = self._lanes.get(0)
        if lane is None or not lane.state.sweep.ended or lane.state.sweep.number == 0:
            return
        day, now = lane.state.day, self._elapsed()
        if now < (self._led_until if self._led == day else self._lead_at):
            return
        try:
            made = self._leader.lead(day, self._plan.partitions, now)
            done = made is not None or made_for(self._planner.live_model(), day)
        except (InvalidKey, msgspec.MsgspecError, StatisticsError) as error:
            # The model, or another partition's snapshot, cannot be read: ours go on, without a model of the day.
            self._lead_at = now + ALARM_RETRY_S
            self._observer.trouble("making the day's model", error)
            return
        if made is not None:
            self._crash_point("mid_model_publish")
            self._judge(day)
        if done:
            self._led, self._led_until = day, self._elapsed() + LED_FOR_S

    def _judge(self, day: int) -> None:
        """Judge the orders of the day that ended; a table that cannot be read stops nothing."""
        try:
            self._watch.look(day, self._plan.partitions)
        except (InvalidKey, ValueError) as error:
            self._observer.trouble("judging the day's orders", error)


def _is_silent(answer: Future[dict[int, StoreError]]) -> bool:
    failures = answer.result().values() if answer.done() else ()
    return any(isinstance(error, StoreUnavailable) and not isinstance(error, SlotMoving) for error in failures)
