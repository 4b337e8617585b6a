"""The worker: one loop, each turn of which takes events from Kafka through Redis to Kafka exactly once.

    1 poll        new records; at once a snapshot of the group's membership (PROTOCOL A1)
    2 take over   partitions that are newly ours, or that failed (PROTOCOL B, consumer.takeover)
    3 plan        each lane's next unit: events of its day, a sweep's chunk, or nothing; load its states
    4 decide      pure: consumer.step, consumer.sweep, consumer.erasure
    5 commit      one fenced script a partition (PROTOCOL A2)
    6 publish     one Kafka transaction: outboxes, dead letters, offsets (PROTOCOL A3)
    7 lead        the owner of partition 0 makes the day's model (PROTOCOL C6)

Guarantee: nothing is unpublished when 1 comes round again. Whatever fails between 5 and 6 throws the
lane away; it is taken over again from what Redis and Kafka then say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from consumer import erasure, sweep
from consumer.clock import Standing, target_day
from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.lane import Events, Lane, Prepared, Sweeping, Unit
from consumer.leader import Leader, Registry, deadline_of, made_for
from consumer.messages import encode_outbox
from consumer.observer import Observer
from consumer.partition import History, PartitionState, Rules, decode_state, encode_state
from consumer.ports import (
    Committed,
    InputRecord,
    Membership,
    OutputRecord,
    RetentionGap,
    Sink,
    Source,
    TopicReader,
    TransportError,
)
from consumer.publication import Topics, output_records
from consumer.step import Context, Decision, Mark, refuse_foreign, step, wanted
from consumer.takeover import Takeover
from features.codec import InvalidState
from features.store import (
    Chunk,
    Commit,
    Fenced,
    GenerationGone,
    InvalidKey,
    OutOfStep,
    Snapshot,
    Store,
    StoreUnavailable,
)
from features.transaction import Control, decode, local_seconds, today_in
from models.bundle import Bundle, content_hash
from models.learner import Learner
from models.population import encode as encode_statistics

IDLE_POLL_S = 0.25
WAITING_POLL_S = 0.02
RETRY_S = 0.5
ALARM_RETRY_S = 5.0
FOLLOW_AFTER_S = 0.5
"""An event-clock partition follows the others' day after its log has been at its end for so long."""
SILENT_AFTER_S = 5.0
"""A partition that gave nothing for so long has no lag, whatever its end offset says (transaction markers)."""
CHUNK_SIZE = 2_000
"""Customers a sweep re-scores between two batches of events."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything outside that the worker speaks to."""

    source: Source
    sink: Sink
    reader: TopicReader
    store: Store
    registry: Registry
    learner: Learner
    observer: Observer


@dataclass(frozen=True, slots=True)
class Plan:
    """What the worker does with them."""

    topics: Topics
    rules: Rules
    history: History
    zone: ZoneInfo
    currency: str
    partitions: int
    partition_of: Callable[[str], int]
    erasure_key: bytes
    refine_every_days: int = 7


def never(point: str) -> None:
    """Stand in for the crash points, which only the tests' harness fires."""


class Worker:
    """One member of the group. Not thread-safe but for `stop`."""

    def __init__(
        self,
        parts: Parts,
        plan: Plan,
        *,
        now: Callable[[], float] = time.time,
        crash_point: Callable[[str], None] = never,
    ) -> None:
        self._parts, self._plan = parts, plan
        self._now, self._crash_point = now, crash_point
        self._observer = parts.observer
        self._takeover = Takeover(
            parts.source,
            parts.sink,
            parts.reader,
            parts.store,
            parts.registry,
            plan.topics,
            plan.erasure_key,
            crash_point,
        )
        self._leader = Leader(
            parts.store,
            parts.registry,
            parts.learner,
            parts.observer,
            clock=plan.rules.clock,
            refine_every_days=plan.refine_every_days,
        )
        self._lanes: dict[int, Lane] = {}
        self._pending: set[int] = set()
        """Ours, but not taken over yet."""
        self._retry_at: dict[int, float] = {}
        self._blocked: dict[int, str] = {}
        self._sink_open = False
        self._sink_retry_at = 0.0
        self._store_retry_at = 0.0
        self._stopping = False
        self._waiting = False
        self._model: Bundle | None = None
        self._led: int | None = None
        self._turns_ends: dict[int, int] | None = None
        self._turns_standings: dict[int, Standing] | None = None
        self._membership = Membership(-1, "", None, frozenset())

    def stop(self) -> None:
        """Ask the loop to end after the present turn; may be called from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Work until `stop`. Raises `Stop` where a person is needed."""
        try:
            while not self._stopping:
                self.turn()
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group; what is unpublished is taken over by whoever comes next."""
        self._parts.source.close()
        self._parts.sink.close()
        self._parts.reader.close()

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions taken over and running."""
        return frozenset(self._lanes)

    def blocked(self) -> dict[int, str]:
        """Return why partitions stand still."""
        return self._blocked | {p: lane.blocked for p, lane in self._lanes.items() if lane.blocked}

    def turn(self) -> None:
        """One turn of the loop; see the module's text for the numbers."""
        self._poll()  # 1
        try:
            self._take_over()  # 2
            prepared = self._prepare()  # 3, 4
            self._finish(self._commit(prepared))  # 5, 6
            self._lead()  # 7
        except GenerationGone as error:
            raise Stop(
                ExitCode.INCOMPATIBLE, f"{error}; bootstrap it, or start the worker again if it was replaced"
            ) from error
        except StoreUnavailable as error:
            self._store_retry_at = self._now() + RETRY_S
            self._observer.trouble("the store", error)
        self._apply_pauses()

    # 1 -- poll ---------------------------------------------------------------------------------------

    def _poll(self) -> None:
        source, lanes = self._parts.source, self._lanes
        try:
            records = source.poll(self._poll_timeout())
        except RetentionGap as gap:
            raise Stop(ExitCode.INPUT_LOST, f"{gap}; see docs/operations.md, exit code 3") from gap
        except TransportError as error:
            if not error.retriable:
                raise Stop(ExitCode.INTERNAL, str(error)) from error
            self._observer.trouble("reading", error)
            records = {}
        self._turns_ends, self._turns_standings = None, None
        self._membership = source.membership()
        change = source.rebalanced()
        for partition in change.revoked | change.assigned:
            lanes.pop(partition, None)
            self._forget_pending(partition)
        self._pending |= change.assigned
        for partition in sorted(records.keys() & lanes.keys()):
            if records[partition]:
                self._decode(lanes[partition], records[partition])

    def _forget_pending(self, partition: int) -> None:
        self._pending.discard(partition)
        self._retry_at.pop(partition, None)
        self._blocked.pop(partition, None)

    def _poll_timeout(self) -> float:
        now = self._now()
        if self._waiting or self._pending:
            return WAITING_POLL_S
        if now < self._store_retry_at:
            return RETRY_S / 2
        busy = any(self._is_busy(lane) and now >= lane.retry_at for lane in self._lanes.values())
        return 0.0 if busy else IDLE_POLL_S

    def _is_busy(self, lane: Lane) -> bool:
        return lane.buffer is not None or not lane.state.sweep.ended or lane.prepared is not None

    def _decode(self, lane: Lane, records: Sequence[InputRecord]) -> None:
        batch = decode(
            [record.offset for record in records],
            [record.key for record in records],
            [record.value for record in records],
            [record.timestamp for record in records],
            zone=self._plan.zone,
            currency=self._plan.currency,
            today=today_in(self._plan.zone, self._now()),
        )
        batch = refuse_foreign(batch, lane.partition, self._plan.partition_of)
        lane.take(batch, {record.offset: record for record in records})

    def _apply_pauses(self) -> None:
        """Read on only where nothing waits: a lane with a buffer would otherwise pile input up."""
        full = frozenset(p for p, lane in self._lanes.items() if lane.buffer is not None or lane.blocked)
        self._parts.source.pause(full)
        self._parts.source.resume(frozenset(self._lanes) - full)

    # 2 -- take over ----------------------------------------------------------------------------------

    def _take_over(self) -> None:
        now = self._now()
        due = sorted(p for p in self._pending if now >= self._retry_at.get(p, 0.0))
        if not due or now < self._store_retry_at or not self._open_sink():
            return
        for partition in due:
            try:
                lane, verdict = self._takeover.take(partition, self._membership)
            except TransportError as error:
                self._take_over_later(partition, error)
                return  # the next partition needs the new producer too
            except (Fenced, InvalidKey) as error:
                self._block_pending(partition, str(error))
            else:
                self._pending.discard(partition)
                self._resume_pending(partition)
                self._lanes[partition] = lane
                self._observer.recovered(partition, verdict.value, lane.state.applied)

    def _open_sink(self) -> bool:
        if self._sink_open:
            return True
        if self._now() < self._sink_retry_at:
            return False
        try:
            self._parts.sink.open()
        except TransportError as error:
            self._sink_retry_at = self._now() + RETRY_S
            self._observer.trouble("opening the producer", error)
            if not error.retriable:
                raise Stop(ExitCode.INTERNAL, str(error)) from error
            return False
        self._sink_open = True
        return True

    def _take_over_later(self, partition: int, error: TransportError) -> None:
        """Try again soon, with a new producer; what time alone does not mend pauses this partition alone (A4)."""
        self._sink_open = False
        if error.retriable:
            self._retry_at[partition] = self._now() + WAITING_POLL_S
            self._observer.trouble(f"taking partition {partition} over", error)
        else:
            self._block_pending(partition, str(error))

    def _block_pending(self, partition: int, reason: str) -> None:
        self._retry_at[partition] = self._now() + ALARM_RETRY_S
        if self._blocked.get(partition) != reason:
            self._blocked[partition] = reason
            self._observer.paused(partition, reason)

    def _resume_pending(self, partition: int) -> None:
        self._retry_at.pop(partition, None)
        if self._blocked.pop(partition, None) is not None:
            self._observer.resumed(partition)

    # 3 -- plan and load --------------------------------------------------------------------------------

    def _prepare(self) -> list[Lane]:
        """Give every lane that can go on a prepared commit; return these lanes."""
        now = self._now()
        self._waiting = False
        if now < self._store_retry_at:
            return []
        ready = [lane for lane in self._lanes.values() if now >= lane.retry_at]
        # A commit of unknown outcome comes first, unchanged: nothing else may follow its parent.
        open_ends = [lane for lane in ready if lane.prepared is not None]
        units = {lane.partition: unit for lane in ready if lane.prepared is None and (unit := self._unit(lane))}
        names = {p: wanted(unit.piece.now) for p, unit in units.items() if isinstance(unit, Events)}
        for partition, unit in units.items():
            if isinstance(unit, Events) and unit.piece.control is not None and unit.piece.control.kind == "erase":
                names[partition] = [unit.piece.control.customer]
        loaded = self._parts.store.load(names)
        self._crash_point("after_load")
        for partition, unit in units.items():
            lane = self._lanes[partition]
            try:
                decision = self._decide(lane, unit, loaded.get(partition, []))
            except InvalidState as error:
                named = unit.chunk.ids if isinstance(unit, Sweeping) else names[partition]
                hashed = keyed_hash(self._plan.erasure_key, named[error.index])[:16]
                self._block(lane, f"the state of customer {hashed} (keyed hash) cannot be trusted: {error.problem}")
                continue
            lane.prepared = self._as_commit(lane, unit, decision)
        return open_ends + [lane for p, lane in self._lanes.items() if p in units and lane.prepared is not None]

    def _unit(self, lane: Lane) -> Unit | None:
        """Choose what a lane does next."""
        if lane.bundle is None:
            return self._with_new_model(lane)
        if not lane.state.sweep.ended:
            turn_of_events = self._plan.rules.clock == "wall" and lane.swept_last and lane.buffer is not None
            return self._events(lane) if turn_of_events else self._chunk(lane)
        if lane.state.sweep.number == 0 or not lane.statistics.is_valid:
            return self._begin(lane, max(lane.state.day, self._wall_day(lane)))
        if self._plan.rules.clock == "wall":
            day = self._wall_day(lane)
            return self._begin(lane, day) if day > lane.state.day else self._events(lane)
        return self._under_event_clock(lane)

    def _wall_day(self, lane: Lane) -> int:
        """Return today by the wall clock, which never runs backwards here; the lane's day under the event clock."""
        if self._plan.rules.clock == "event":
            return lane.state.day
        return max(lane.state.day, today_in(self._plan.zone, self._now()))

    def _events(self, lane: Lane) -> Events | None:
        piece = lane.cut(self._plan.rules)
        return Events(piece) if piece is not None and piece.now.records else None

    def _under_event_clock(self, lane: Lane) -> Unit | None:
        piece = lane.cut(self._plan.rules)
        if piece is not None and piece.now.records:
            lane.waiting_since = None
            return Events(piece)
        if piece is None and not self._quiet(lane):
            return None
        others = self._standings(lane.partition)
        day = target_day(lane.state, piece.turn_to if piece else None, others, lagging=piece is not None)
        if day is None or not self._model_made(lane, day - 1):
            self._waiting = self._waiting or piece is not None or day is not None
            return None
        lane.waiting_since = None
        return self._begin(lane, day)

    def _quiet(self, lane: Lane) -> bool:
        """Say whether the lane's log has been at its end for a while."""
        now = self._now()
        if lane.quiet_since is None:
            lane.quiet_since = now
        since = now - lane.quiet_since
        if since < FOLLOW_AFTER_S:
            return False
        return since >= SILENT_AFTER_S or self._ends()[lane.partition] <= lane.state.applied

    def _ends(self) -> dict[int, int]:
        """Return all partitions' end offsets, asked for once a turn."""
        if self._turns_ends is None:
            self._turns_ends = self._parts.source.ends(frozenset(range(self._plan.partitions)))
        return self._turns_ends

    def _standings(self, partition: int) -> dict[int, Standing]:
        """Return the days of all other partitions, ours from memory, the others' from Redis; read once a turn."""
        if self._turns_standings is None:
            fences = self._parts.store.fences([p for p in range(self._plan.partitions) if p not in self._lanes])
            states = {p: decode_state(fence.state) for p, fence in fences.items()}
            states |= {p: lane.state for p, lane in self._lanes.items()}
            self._turns_standings = {p: Standing(state.day, self._lags(p, state)) for p, state in states.items()}
        return {p: standing for p, standing in self._turns_standings.items() if p != partition}

    def _lags(self, partition: int, state: PartitionState) -> bool:
        """Say whether a partition's log holds more. Of ours that is mostly known without asking the broker."""
        lane = self._lanes.get(partition)
        if lane is not None:
            quiet_for = 0.0 if lane.quiet_since is None else self._now() - lane.quiet_since
            if lane.buffer is not None or quiet_for < FOLLOW_AFTER_S:
                return True
            if quiet_for >= SILENT_AFTER_S:
                return False
        return state.applied < self._ends()[partition]

    def _model_made(self, lane: Lane, day: int) -> bool:
        """Say whether the model of `day` is live, or has been waited for long enough (counted)."""
        if self._model is None or not made_for(self._model, day):
            self._model = self._live_model()
        if made_for(self._model, day):
            return True
        now = self._now()
        lane.waiting_since = lane.waiting_since or now
        # The leader waits as long itself before it goes on without a snapshot.
        if now - lane.waiting_since < 2 * deadline_of("event"):
            return False
        lane.state = msgspec.structs.replace(lane.state, counters=lane.state.counted({"model_waits_expired": 1}))
        return True

    def _live_model(self) -> Bundle:
        number = self._parts.registry.current()
        bundle = None if number is None else self._parts.registry.load(number)
        if bundle is None:
            raise Stop(ExitCode.INCOMPATIBLE, "the registry holds no model that can be read: bootstrap again")
        return bundle

    def _begin(self, lane: Lane, day: int) -> Unit:
        """Start a sweep in memory; its first chunk commits the start (PROTOCOL C5)."""
        bundle = self._live_model()
        population = lane.statistics.total if lane.statistics.is_valid else 0
        changed = lane.bundle is not None and bundle.version != lane.state.sweep.version
        lane.previous = lane.bundle if changed else None
        lane.state = sweep.begin(lane.state, day, bundle, content_hash(bundle), population)
        lane.bundle = bundle
        return self._chunk(lane)

    def _with_new_model(self, lane: Lane) -> Unit | None:
        """A state that names an unknown model waits for one with a number above, and is swept anew (C7)."""
        bundle = self._live_model()
        if bundle.version <= lane.state.sweep.version:
            self._leader.replace_unknown(self._parts.store.fences(range(self._plan.partitions)))
            self._waiting = True
            return None
        ended = msgspec.structs.replace(lane.state.sweep, cursor=None)
        lane.state = msgspec.structs.replace(lane.state, sweep=ended)
        return self._begin(lane, lane.state.day)

    def _chunk(self, lane: Lane) -> Sweeping:
        cursor = lane.state.sweep.cursor
        assert cursor is not None
        found: Chunk = self._parts.store.chunk(lane.partition, cursor, CHUNK_SIZE)
        return Sweeping(found, last=len(found.ids) < CHUNK_SIZE)

    # 4 -- decide ---------------------------------------------------------------------------------------

    def _decide(self, lane: Lane, unit: Unit, blobs: Sequence[bytes | None]) -> Decision:
        context = self._context(lane)
        if isinstance(unit, Sweeping):
            lane.swept_last = True
            part = unit.chunk
            return sweep.chunk(context, part.ids, part.positions, part.blobs, unit.last)
        lane.swept_last = False
        piece = unit.piece
        if piece.control is not None and piece.control.kind == "erase":
            return self._erase(lane, context, piece.control, blobs[0])
        if piece.control is not None:
            counters = lane.state.counted({"lines": 1, "ticks": 1})
            after = msgspec.structs.replace(lane.state, applied=piece.now.stop, counters=counters)
            return Decision(after, lane.statistics)
        names = wanted(piece.now)
        return step(context, piece, blobs, self._marks(lane, names))

    def _context(self, lane: Lane) -> Context:
        assert lane.bundle is not None
        return Context(
            state=lane.state,
            statistics=lane.statistics,
            bundle=lane.bundle,
            previous=lane.previous,
            rules=self._plan.rules,
            history=self._plan.history,
            wants_touched=self._parts.learner.needs_touched,
        )

    def _marks(self, lane: Lane, names: Sequence[str]) -> dict[str, Mark]:
        if not lane.state.erased:
            return {}
        hashes = [keyed_hash(self._plan.erasure_key, name) for name in names]
        found = self._parts.store.marks(lane.partition, hashes)
        return {
            name: msgspec.json.decode(mark, type=Mark)
            for name, mark in zip(names, found, strict=True)
            if mark is not None
        }

    def _erase(self, lane: Lane, context: Context, control: Control, blob: bytes | None) -> Decision:
        at = control.at
        if at is None:
            published = datetime.fromtimestamp(control.published_ms / 1000, UTC)
            event_clock = self._plan.rules.clock == "event"
            at = lane.state.watermark if event_clock else local_seconds(published, self._plan.zone)
        number = lane.state.sweep.number
        rows = {
            f"{name}:{n}": self._parts.store.rows(lane.partition, name, n)
            for name, oldest in (("sample", number - 1), ("touched", number - 2))
            for n in range(max(oldest, 0), number + 1)
        }
        earlier = self._marks(lane, [control.customer]).get(control.customer)
        control = msgspec.structs.replace(control, at=at)
        return erasure.erase(context, control, blob, earlier, self._plan.erasure_key, rows)

    # 5 -- commit ---------------------------------------------------------------------------------------

    def _as_commit(self, lane: Lane, unit: Unit, decision: Decision) -> Prepared:
        number = decision.state.sweep.number
        snapshot = decision.snapshot
        commit = Commit(
            epoch=lane.epoch,
            parent=lane.last,
            id=lane.next_id,
            state=encode_state(decision.state),
            outbox=encode_outbox(decision.outbox),
            sweep=number,
            states=decision.states,
            created=decision.created,
            deleted=decision.deleted,
            statistics=encode_statistics(decision.statistics),
            day_entry=None if decision.day_entry is None else msgspec.json.encode(decision.day_entry),
            begins=decision.begins,
            sample=decision.sample,
            touched=decision.touched,
            snapshot=None if snapshot is None else Snapshot(snapshot.number, msgspec.msgpack.encode(snapshot)),
            marks=decision.marks,
            replaced=decision.replaced,
        )
        dead = {refusal.offset: lane.raw[refusal.offset] for refusal in decision.outbox.dead}
        return Prepared(decision, commit, dead, unit.piece if isinstance(unit, Events) else None)

    def _commit(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Write the prepared commits to Redis; return the lanes whose script succeeded."""
        written = []
        for lane in lanes:
            assert lane.prepared is not None
            try:
                self._parts.store.commit(lane.partition, lane.prepared.commit)
            except StoreUnavailable as error:
                # The outcome is unknown: the very same commit is tried again, which is safe (A2).
                self._store_retry_at = self._now() + RETRY_S
                self._observer.trouble(f"committing partition {lane.partition}", error)
            except (Fenced, OutOfStep) as error:
                self._observer.trouble(f"committing partition {lane.partition}", error)
                self._abandon([lane])
            except InvalidKey as error:
                lane.prepared = None
                self._block(lane, str(error))
            else:
                if lane.blocked is not None:
                    lane.blocked = None
                    self._observer.resumed(lane.partition)
                written.append(lane)
                self._crash_point("after_commit")
                if lane.prepared.commit.begins or not lane.prepared.decision.state.sweep.ended:
                    self._crash_point("mid_sweep")
        return written

    def _block(self, lane: Lane, reason: str) -> None:
        """Let a lane stand still: a person is needed, but it tries again now and then."""
        lane.retry_at = self._now() + ALARM_RETRY_S
        if lane.blocked != reason:
            lane.blocked = reason
            self._observer.paused(lane.partition, reason)

    def _abandon(self, lanes: Iterable[Lane]) -> None:
        """Throw lanes away; what they are is read again from Redis and Kafka."""
        for lane in lanes:
            self._lanes.pop(lane.partition, None)
            self._pending.add(lane.partition)

    # 6 -- publish --------------------------------------------------------------------------------------

    def _finish(self, lanes: Sequence[Lane]) -> None:
        if not lanes:
            return
        began = self._now()
        if not self._publish(lanes):
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
            self._observer.committed(lane.partition, decision, self._now() - began)

    def _publish(self, lanes: Sequence[Lane]) -> bool:
        """Write one transaction for all lanes (A3). On failure all our lanes are taken over anew (A4)."""
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
            self._sink_open = False
            self._abandon(list(self._lanes.values()))
            return False
        return True

    # 7 -- lead -----------------------------------------------------------------------------------------

    def _lead(self) -> None:
        lane = self._lanes.get(0)
        if lane is None or not lane.state.sweep.ended or lane.state.sweep.number == 0:
            return
        day = lane.state.day
        if self._led == day:
            return
        made = self._leader.lead(day, self._plan.partitions, self._now())
        if made is not None:
            self._crash_point("mid_model_publish")
            self._model = made
        if made is not None or made_for(self._live_model(), day):
            self._led = day
