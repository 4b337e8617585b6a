"""The leader: the owner of partition 0 makes the day's model from every partition's snapshot (PROTOCOL C6).

snapshot(D) of each partition --add--> statistics --learner--> version v+1 --compare-and-set--> registry
                                       sample     --challenger, every 14 days; rescue, where a cluster died
                                                  --checkup, of what was published, once a week: registry, observer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, TypeGuard

import msgspec
import numpy as np

from consumer.observer import Observer
from consumer.partition import EVERYONE, Clock, PartitionState, SnapshotRecord, decode_state
from consumer.step import read_rows
from consumer.stored import read_msgpack
from features.ledger import Ints
from features.store import Fence, Store, StoreError, StoreRefused
from models.bundle import Bundle, same_space, segment_ids, successor
from models.candidate import Candidate, Cause, is_proposed
from models.checkup import Checkup, check_up, checkup_due, week_before
from models.learner import Evidence, Learner, challenge_due, refinement_due
from models.population import Statistics, StatisticsError, dying
from models.population import decode as decode_statistics

EVENT_DEADLINE_S = 30.0
"""How long an event-clock leader waits for the snapshots of a day; then a partition stands with its last."""

WALL_DEADLINE_S = 3600.0


class Registry(Protocol):
    """Where model versions live (models.redis_registry)."""

    def current(self) -> int | None: ...
    def load(self, version: int) -> Bundle | None: ...
    def publish(self, bundle: Bundle, expected: int | None) -> bool: ...
    def keep(self, bundle: Bundle) -> bool: ...
    def propose(self, candidate: Candidate) -> int: ...
    def pending(self) -> dict[int, Candidate]: ...
    def note(self, checkup: Checkup) -> None: ...
    def checkups(self) -> dict[int, Checkup]: ...


Renewal = Literal["adopt", "propose", "off"]
"""What a challenger that wins and a rescue become: the model, a candidate for a person to promote, or nothing.

One that is better and puts many customers elsewhere is a candidate under `adopt` too.
"""


class Learned(NamedTuple):
    """What a day made. sample: int64 (n, d), customers to check it on, None on days without a checkup;

    inertia_ratio: to a fit from scratch on the sample, None where there was none.
    """

    bundle: Bundle
    sample: Ints | None = None
    inertia_ratio: float | None = None


class Renewed(NamedTuple):
    """What is to take the day's model's place, if anything, and whether at once or when a person says so.

    gain: of the challenger (models.challenger), if there was one.
    """

    candidate: Candidate | None = None
    gain: float | None = None
    is_adopted: bool = False


def deadline_of(clock: Clock) -> float:
    """Return how many seconds the leader waits for a day's snapshots."""
    return EVENT_DEADLINE_S if clock == "event" else WALL_DEADLINE_S


def made_for(bundle: Bundle, day: int) -> bool:
    """Say whether a model was made from the snapshots of `day` or of a later day."""
    return bundle.created_by != "bootstrap" and bundle.day >= day


class Leader:
    """Makes models; holds nothing but when it began to wait."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        learner: Learner,
        observer: Observer,
        *,
        clock: Clock,
        refine_every_days: int,
        renewal: Renewal = "off",
    ) -> None:
        self._store, self._registry, self._learner, self._observer = store, registry, learner, observer
        self._clock, self._refine_every, self._renewal = clock, refine_every_days, renewal
        self._waiting: tuple[int, float] | None = None

    def lead(self, day: int, partitions: int, elapsed: float) -> Bundle | None:
        """Publish the model of `day` if it is not there yet and its snapshots are; return what was published.

        elapsed: seconds of a clock that never steps back. Where the operator froze the model, that of the day is the
        present one under the next number, so that nobody waits for it.
        """
        number = self._registry.current()
        current = None if number is None else self._registry.load(number)
        if current is None or made_for(current, day):
            return None
        fences = self._store.fences(range(partitions))
        states = {partition: decode_state(fence.state) for partition, fence in fences.items()}
        found = {partition: self._snapshot(partition, state, day) for partition, state in states.items()}
        late = [partition for partition, snapshot in found.items() if snapshot is None or snapshot.day != day]
        if late and not self._overdue(day, elapsed):
            return None
        self._waiting = None
        snapshots = {p: snapshot for p, snapshot in found.items() if self._fits(snapshot, current)}
        frozen_until = self._store.orders().frozen_until
        if frozen_until is not None and day <= frozen_until:
            learned = Learned(successor(current, day=day, created_by="freeze"))
        else:
            learned = self._learned(current, day, snapshots)
        made, sample, ratio = learned
        newest = max(state.sweep.version for state in states.values())
        made = msgspec.structs.replace(made, version=max(made.version, newest + 1))
        if not self._registry.publish(made, expected=current.version):
            return None
        self._observer.model_published(made, len(late))
        if sample is not None and len(sample):
            self._check_up(made, sample, day, ratio)
        return made

    def replace_unknown(self, fences: Mapping[int, Fence]) -> None:
        """Publish the live model again above every number seen, where a state names one that is gone (C7)."""
        number = self._registry.current()
        current = None if number is None else self._registry.load(number)
        newest = max(decode_state(fence.state).sweep.version for fence in fences.values())
        if current is None or current.version > newest:
            return
        again = successor(current, day=current.day, created_by="republish")
        again = msgspec.structs.replace(again, version=newest + 1)
        if self._registry.publish(again, expected=current.version):
            self._observer.model_published(again, 0)

    def _check_up(self, bundle: Bundle, sample: Ints, day: int, ratio: float | None) -> None:
        """Look at what was published, after everybody could have it; what fails here is told, and is no model's end."""
        try:
            kept = self._registry.checkups()
            if ratio is None and not checkup_due(kept, day):
                return
            checkup = check_up(bundle, sample, day, inertia_ratio=ratio, before=week_before(kept, day))
            self._registry.note(checkup)
        except StoreError as error:
            self._observer.trouble("checking the model", error)
        else:
            self._observer.checked_up(checkup)

    def _learned(self, current: Bundle, day: int, snapshots: Mapping[int, SnapshotRecord]) -> Learned:
        """Return the learner's model, or the one that takes its place."""
        evidence = self._evidence(day, current, snapshots)
        made = self._learner.update(current, evidence)
        sample = evidence.sample if evidence.refine else None
        if self._renewal == "off" or made.schema < 2 or not len(evidence.sample):
            return Learned(made, sample)
        candidate, gain, is_adopted = self._renewed(made, evidence, current)
        if gain is not None:
            sample = evidence.sample
        if candidate is None:
            return Learned(made, sample, gain)
        # It takes the place of the day's model, and follows what that one follows.
        bundle = msgspec.structs.replace(candidate.bundle, version=made.version, parent=made.parent)
        if is_adopted:
            return Learned(bundle, sample, None if gain is None else 1.0)
        self._registry.propose(msgspec.structs.replace(candidate, bundle=bundle))
        return Learned(made, sample, gain)

    def _renewed(self, made: Bundle, evidence: Evidence, current: Bundle) -> Renewed:
        """Return a rescue where a cluster is dying, else the challenger where one is due and better.

        One that would put many customers elsewhere is for a person to choose, whatever the setting; what waits for him
        already is not asked again.
        """
        from models.challenger import challenge, dying_segments, rescue  # scikit-learn takes seconds
        from models.selection import SelectionError

        adopts, over = self._renewal == "adopt", current.version
        lost = dying_segments(made, evidence.sample)
        if lost and (adopts or not self._is_waiting("rescue", lost)):
            rescued = rescue(made, evidence.sample, evidence.day)
            if rescued is not None:
                why = "a cluster had hardly anybody left"
                return Renewed(Candidate(rescued, why, cause="rescue", over=over, dying=lost), is_adopted=adopts)
        if not challenge_due(current, evidence.day):
            return Renewed()
        try:
            challenger, gain, overlap = found = challenge(made, evidence.sample, evidence.day)
        except SelectionError:  # fewer different customers than clusters: nothing to fit
            return Renewed()
        adopts &= found.wins
        if not found.is_better or (not adopts and self._is_waiting("challenger", ())):
            return Renewed(gain=gain)
        why = "a fit from scratch is clearly better" + ("" if found.wins else " and puts many customers elsewhere")
        return Renewed(Candidate(challenger, why, gain, overlap, cause="challenger", over=over), gain, adopts)

    def _is_waiting(self, cause: Cause, dying: tuple[int, ...]) -> bool:
        """Say whether a person is asked that already, or could not be: where the candidates cannot be read."""
        try:
            return is_proposed(cause, dying, self._registry.pending())
        except StoreRefused as error:  # what a person is to look at is no reason to go without the day's model
            self._observer.trouble("reading the candidates", error)
            return True

    def _fits(self, snapshot: SnapshotRecord | None, current: Bundle) -> TypeGuard[SnapshotRecord]:
        """Say whether a snapshot counts the present model's clusters: one that came late may tell of others."""
        if snapshot is None:
            return False
        if snapshot.version == current.version:
            return True
        under = self._registry.load(snapshot.version)
        return under is not None and segment_ids(under) == segment_ids(current) and same_space(under, current)

    def _overdue(self, day: int, elapsed: float) -> bool:
        if self._waiting is None or self._waiting[0] != day:
            self._waiting = (day, elapsed)
        return elapsed - self._waiting[1] > deadline_of(self._clock)

    def _snapshot(self, partition: int, state: PartitionState, day: int) -> SnapshotRecord | None:
        """Return the partition's snapshot of `day`, else its newest one."""
        newest = None
        for number in (state.sweep.number, state.sweep.number - 1):
            data = self._store.snapshot(partition, number)
            if data is None:
                continue
            snapshot = read_msgpack(data, SnapshotRecord)
            if snapshot.day == day:
                return snapshot
            newest = newest or snapshot
        return newest

    def _evidence(self, day: int, bundle: Bundle, snapshots: Mapping[int, SnapshotRecord]) -> Evidence:
        d = len(bundle.features)
        total = Statistics.zeros(bundle.k, d)
        for snapshot in snapshots.values():
            part = decode_statistics(snapshot.statistics)
            if part.shape != total.shape:
                raise StatisticsError(f"a snapshot's statistics are {part.shape}, the model is {total.shape}")
            total = total + part
        refine = refinement_due(bundle, day, self._refine_every)
        renewing = self._renewal != "off" and (challenge_due(bundle, day) or dying(total.n).any())
        nobody = np.empty((0, d), np.int64)
        sample = touched = nobody
        if refine or renewing:
            sample = self._rows("sample", snapshots, d, 0)
        if self._learner.needs_touched:
            touched = self._rows("touched", snapshots, d, 1)
        return Evidence(day, total, sample, touched, refine)

    def _rows(self, name: str, snapshots: Mapping[int, SnapshotRecord], d: int, back: int) -> np.ndarray:
        """Return the rows of all partitions: a sample of its own sweep, what was touched under the one before."""
        share = min((snapshot.sample_share for snapshot in snapshots.values()), default=1.0)
        tables = []
        for partition, snapshot in snapshots.items():
            positions, table = read_rows(self._store.rows(partition, name, snapshot.number - back), d)
            # Partitions of different size have different shares: thin the denser ones out to the least.
            tables.append(table[positions < _limit(share)] if name == "sample" else table)
        return np.concatenate(tables) if tables else np.empty((0, d), np.int64)


def _limit(share: float) -> float:
    return share * EVERYONE
