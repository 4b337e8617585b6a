"""What a lane does next: events of its day, a sweep's chunk, the turn of a day, or nothing yet.

model unknown       a sweep under a newer one            (PROTOCOL C7)
a sweep is running  its next chunk; by the wall clock events go on, beside one partition's chunk at a time
statistics broken   a sweep that rebuilds them           (PROTOCOL C4)
a model is promoted a sweep of the same day under it
the day turns       by the wall clock at once; by the event clock when all keep step and the model is there (C6)
else                events
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from consumer import sweep
from consumer.clock import Standing, target_day
from consumer.exits import ExitCode, Stop
from consumer.lane import Events, Lane, Sweeping, Unit
from consumer.leader import Leader, deadline_of, made_for
from consumer.partition import START, PartitionState, decode_state
from consumer.plan import Parts, Plan
from features.store import Chunk, GenerationGone, InvalidKey
from features.transaction import today_in
from models.bundle import Bundle, content_hash

FOLLOW_AFTER_S = 0.5
"""An event-clock partition follows the others' day after its log has been at its end for so long."""
SILENT_AFTER_S = 5.0
"""A partition that gave nothing for so long has no lag, whatever its end offset says (transaction markers)."""
CHUNK_SIZE = 4_000
"""Customers a sweep re-scores at once where nobody waits."""
BESIDE_EVENTS = 4
"""Where events wait, a sweep's chunk is a quarter of that, and only one partition sweeps: they come again soon."""
SWEEPING = 8
"""So many partitions sweep at once where nobody waits: a first sweep publishes everybody, in one transaction a turn."""
BEGINNING = 16
"""Every partition begins its sweep at once, for its day turns with it; beside others it is with a sixteenth."""


class Planner:
    """Chooses units; starts a sweep in memory only, its first chunk commits the start. `lanes` is the worker's own."""

    def __init__(
        self,
        parts: Parts,
        plan: Plan,
        leader: Leader,
        lanes: dict[int, Lane],
        now: Callable[[], float],
        elapsed: Callable[[], float],
    ) -> None:
        self._parts, self._plan, self._leader, self._lanes = parts, plan, leader, lanes
        self._now, self._elapsed = now, elapsed
        self.waiting = False
        """Somebody waits for another partition or for a model: look again soon."""
        self.promoted = 0
        """The version that a person chose last: everybody is swept under it at once."""
        self._crowded = False
        """By the wall clock: events wait, in whatever partition."""
        self._room = SWEEPING
        """So many more partitions may sweep in this turn."""
        self._turns_ends: dict[int, int] | None = None
        self._turns_standings: dict[int, Standing] | None = None
        self._turns_model: Bundle | None = None

    def begin_turn(self) -> None:
        """Forget what was asked of the broker and the store for the last turn."""
        self.waiting = False
        self._crowded = self._plan.rules.clock == "wall" and any(
            lane.buffer is not None and lane.blocked is None for lane in self._lanes.values()
        )
        self._room = 1 if self._crowded else SWEEPING
        self._turns_ends, self._turns_standings, self._turns_model = None, None, None

    def unit(self, lane: Lane) -> Unit | None:
        """Choose what a lane does next."""
        if lane.bundle is None:
            return self._with_new_model(lane)
        if not lane.state.sweep.ended:
            # Not before the first chunk, which commits the sweep's beginning: no event may run under one that has none.
            begun = lane.state.sweep.cursor != START
            if begun and (self._room <= 0 or (self._crowded and lane.swept_last and lane.buffer is not None)):
                return self._events(lane) if self._crowded else None
            return self._chunk(lane)
        if lane.state.sweep.number == 0 or not lane.statistics.is_valid:
            return self._begin(lane, max(lane.state.day, self._wall_day(lane)))
        # Where the registry has lost the promoted version nobody can be swept under it.
        if lane.state.sweep.version < self.promoted <= self.live_model().version:
            return self._begin(lane, max(lane.state.day, self._wall_day(lane)))
        if self._plan.rules.clock == "wall":
            day = self._wall_day(lane)
            return self._begin(lane, day) if day > lane.state.day else self._events(lane)
        return self._under_event_clock(lane)

    def today(self, lane: Lane) -> int:
        """Return today in the shop's zone; by the wall clock a lane sees no day before its own (FAULTS 30)."""
        today = today_in(self._plan.zone, self._now())
        return max(lane.state.day, today) if self._plan.rules.clock == "wall" else today

    def _wall_day(self, lane: Lane) -> int:
        """Return the day to turn to at once: today by the wall clock, the lane's own under the event clock."""
        return lane.state.day if self._plan.rules.clock == "event" else self.today(lane)

    def _events(self, lane: Lane) -> Events | None:
        piece = lane.cut(self._plan.rules)
        return Events(piece) if piece is not None and piece.now.records else None

    def _under_event_clock(self, lane: Lane) -> Unit | None:
        piece = lane.cut(self._plan.rules)
        if piece is not None and piece.now.records:
            lane.waiting_since = None
            return Events(piece)
        if piece is None and not self.is_quiet(lane):
            return None
        others = self._standings(lane.partition)
        day = target_day(lane.state, piece.turn_to if piece else None, others, lagging=piece is not None)
        if day is None or not self._model_made(lane, day - 1):
            self.waiting = self.waiting or piece is not None or day is not None
            return None
        lane.waiting_since = None
        return self._begin(lane, day)

    def is_quiet(self, lane: Lane) -> bool:
        """Say whether the lane's log has been at its end for a while."""
        now = self._elapsed()
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
            quiet_for = 0.0 if lane.quiet_since is None else self._elapsed() - lane.quiet_since
            if lane.buffer is not None or quiet_for < FOLLOW_AFTER_S:
                return True
            if quiet_for >= SILENT_AFTER_S:
                return False
        return state.applied < self._ends()[partition]

    def _model_made(self, lane: Lane, day: int) -> bool:
        """Say whether the model of `day` is live, or has been waited for long enough (counted).

        The registry is asked in each turn: it may have lost a model that was live a moment ago (FAULTS 8).
        """
        try:
            if made_for(self.live_model(), day):
                return True
        except InvalidKey as error:  # the previous one stays in use; somebody may put this one right meanwhile
            self._parts.observer.trouble("reading the model", error)
        now = self._elapsed()
        lane.waiting_since = now if lane.waiting_since is None else lane.waiting_since
        # The leader waits as long itself before it goes on without a snapshot.
        if now - lane.waiting_since < 2 * deadline_of("event"):
            return False
        lane.state = msgspec.structs.replace(lane.state, counters=lane.state.counted({"model_waits_expired": 1}))
        return True

    def live_model(self) -> Bundle:
        """Return the model that is live, asked for once a turn."""
        if self._turns_model is None:
            self._turns_model = self._asked_model()
        return self._turns_model

    def _asked_model(self) -> Bundle:
        number = self._parts.registry.current()
        if number is None:
            raise GenerationGone("the registry of models is empty")
        bundle = self._parts.registry.load(number)
        if bundle is None:
            raise Stop(ExitCode.INCOMPATIBLE, f"the registry has lost its model {number}: bootstrap again")
        return bundle

    def _begin(self, lane: Lane, day: int) -> Unit:
        """Start a sweep in memory; its first chunk commits the start (PROTOCOL C5)."""
        try:
            bundle = self.live_model()
        except InvalidKey as error:
            if lane.bundle is None:
                raise
            self._parts.observer.trouble("reading the model", error)
            bundle = lane.bundle
        population = lane.statistics.total if lane.statistics.is_valid else 0
        changed = lane.bundle is not None and bundle.version != lane.state.sweep.version
        lane.previous = lane.bundle if changed else None
        lane.state = sweep.begin(lane.state, day, bundle, content_hash(bundle), population)
        lane.bundle = bundle
        return self._chunk(lane)

    def _with_new_model(self, lane: Lane) -> Unit | None:
        """A state that names an unknown model waits for one with a number above, and is swept anew (C7)."""
        bundle = self.live_model()
        if bundle.version <= lane.state.sweep.version:
            self._leader.replace_unknown(self._parts.store.fences(range(self._plan.partitions)))
            self.waiting = True
            return None
        ended = msgspec.structs.replace(lane.state.sweep, cursor=None)
        lane.state = msgspec.structs.replace(lane.state, sweep=ended)
        return self._begin(lane, lane.state.day)

    def _chunk(self, lane: Lane) -> Sweeping:
        cursor = lane.state.sweep.cursor
        assert cursor is not None
        limit = CHUNK_SIZE
        if cursor == START and (self._crowded or self._room <= 0):
            limit = max(1, limit // BEGINNING)
        elif self._crowded:
            limit = max(1, limit // BESIDE_EVENTS)
        self._room -= 1
        found: Chunk = self._parts.store.chunk(lane.partition, cursor, limit)
        return Sweeping(found, last=len(found.ids) < limit)
