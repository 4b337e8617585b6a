"""Carry out what `consumer.recovery` judges: from a partition newly ours to a lane that runs (PROTOCOL B2-B4).

read fence, committed -> raise the epoch -> read both again -> verdict -> (publish) -> seek to applied
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

import msgspec

from consumer.divergence import Divergence, decided
from consumer.exits import ExitCode, Stop
from consumer.lane import Lane
from consumer.messages import Outbox, decode_outbox, encode_outbox
from consumer.partition import Gap, PartitionState, decode_state, encode_state
from consumer.plan import Parts, Plan
from consumer.ports import Committed, InputRecord, LogCutShort, Membership, RetentionGap
from consumer.publication import output_records
from consumer.recovery import Claim, Found, Verdict, judge, new_epoch, parse_commit_id, tail_of
from features.store import Commit, InvalidKey, OutOfStep
from models.bundle import Bundle, content_hash
from models.population import Statistics, StatisticsError
from models.population import decode as decode_statistics

COMMITTED_TIMEOUT_S = 0.5
"""A slice of waiting for stable offsets; other partitions run between two of them (B1)."""


class Takeover:
    """Takes one partition at a time."""

    def __init__(self, parts: Parts, plan: Plan, crash_point: Callable[[str], None]) -> None:
        self._source, self._sink, self._reader = parts.source, parts.sink, parts.reader
        self._store, self._registry, self._observer = parts.store, parts.registry, parts.observer
        self._topics = plan.topics
        self._skip_lost_input = plan.skip_lost_input
        self._crash_point = crash_point
        self._divergence = Divergence(parts, plan)

    def take(self, partition: int, membership: Membership) -> tuple[Lane, Verdict]:
        """Return the lane of a partition that is now ours alone, and how it was found.

        Raises `TransportError` and `StoreError` (try again; `InvalidKey` where something stored cannot be read),
        `Stop` where a person is needed.
        """
        try:
            return self._take(partition, membership)
        except (msgspec.MsgspecError, StatisticsError) as error:
            raise InvalidKey(f"partition {partition}", f"what is stored of it cannot be read: {error}") from error

    def _take(self, partition: int, membership: Membership) -> tuple[Lane, Verdict]:
        found, claim = self._fence_out(partition)
        self._crash_point("during_recovery")
        outbox = self._outbox(partition, found)
        verdict = judge(found.fence, found.committed, found.tail)
        last, state = found.fence.last, found.state
        if verdict is Verdict.LOST:
            raise Stop(ExitCode.INPUT_LOST, _lost(partition, found))
        if verdict is Verdict.DIVERGED:
            bundle = self._model(state.sweep.version, state.sweep.model_hash)
            last, state = self._divergence.catch_up(partition, found, claim, self._statistics(partition), bundle)
            outbox = Outbox()
        if verdict is not Verdict.IN_STEP:
            self._publish(partition, state.applied, last, outbox, membership)
        earliest = self._check_log(partition, state.applied)
        if state.applied < earliest:
            last, state = self._skip(partition, claim, last, state, earliest, membership)
        lane = self._lane(partition, claim, last, state)
        self._source.seek(partition, state.applied)
        return lane, verdict

    def _outbox(self, partition: int, found: Found) -> Outbox:
        """Return the outbox of the commit that was found. Raises `OutOfStep` where a failover came between the two."""
        outbox = decode_outbox(self._store.outbox(partition))
        if self._store.fences([partition])[partition].last != found.fence.last:
            raise OutOfStep(f"partition {partition}: Redis went back while its last commit was read")
        return outbox

    def _fence_out(self, partition: int) -> tuple[Found, Claim]:
        """Raise the epoch, then read: from then on nobody else can write (B2)."""
        before = self._find(partition)
        claim = Claim(new_epoch(before.fence, before.committed, before.tail), secrets.token_hex(8))
        self._store.raise_epoch(partition, *claim)
        return self._find(partition), claim

    def _find(self, partition: int) -> Found:
        fence = self._store.fences([partition])[partition]
        committed = self._source.committed(frozenset({partition}), COMMITTED_TIMEOUT_S)[partition]
        tail = None
        if committed is None or parse_commit_id(committed.metadata) is None:
            tail = tail_of(decided(self._reader, self._topics.output, partition))
        return Found(fence, decode_state(fence.state), committed, tail)

    def _publish(self, partition: int, applied: int, commit_id: str, outbox: Outbox, membership: Membership) -> None:
        """Publish the outbox of the last commit, alone, with its own id: the same records, a new transaction."""
        dead = self._dead_bytes(partition, outbox)
        records = output_records(self._topics, partition, commit_id, outbox, dead)
        self._sink.publish(records, {partition: Committed(applied, commit_id)}, membership)

    def _dead_bytes(self, partition: int, outbox: Outbox) -> Mapping[int, InputRecord]:
        """Read the dead letters' bytes from the input again (A5)."""
        if not outbox.dead:
            return {}
        wanted = {refusal.offset for refusal in outbox.dead}
        earliest, end = self._reader.bounds(self._topics.input, partition)
        start, stop = max(min(wanted), earliest), min(max(wanted) + 1, end)
        read = self._reader.read(self._topics.input, partition, start, stop) if start < stop else ()
        return {record.offset: record for record in read if record.offset in wanted}

    def _skip(
        self, partition: int, claim: Claim, last: str, state: PartitionState, earliest: int, membership: Membership
    ) -> tuple[str, PartitionState]:
        """Go on behind input that retention took, in a commit of its own, as after a divergence (B4, FAULTS 26)."""
        gap = Gap(state.applied, earliest)
        commit_id = f"{claim.epoch}:{int(last.partition(':')[2]) + 1}"
        counters = state.counted({"skipped": gap.stop - gap.start})
        state = msgspec.structs.replace(state, applied=earliest, counters=counters, gaps=(*state.gaps, gap))
        commit = Commit(
            epoch=claim.epoch,
            owner=claim.owner,
            parent=last,
            id=commit_id,
            state=encode_state(state),
            outbox=encode_outbox(Outbox()),
            sweep=state.sweep.number,
        )
        self._store.commit(partition, commit)
        self._crash_point("after_skip")
        self._publish(partition, earliest, commit_id, Outbox(), membership)
        self._observer.skipped(partition, gap.start, gap.stop)
        return commit_id, state

    def _check_log(self, partition: int, applied: int) -> int:
        """Return where the log begins. Raises `Stop` where what is wanted is gone, or was never there."""
        earliest, end = self._source.bounds(frozenset({partition}))[partition]
        if applied < earliest and not self._skip_lost_input:
            raise Stop(ExitCode.INPUT_LOST, lost_input(RetentionGap(partition, applied, earliest)))
        if applied > end:
            raise another_log(LogCutShort(self._topics.input, partition, applied, end))
        return earliest

    def _lane(self, partition: int, claim: Claim, last: str, state: PartitionState) -> Lane:
        bundle = self._model(state.sweep.version, state.sweep.model_hash)
        previous = None if state.sweep.previous_version is None else self._registry.load(state.sweep.previous_version)
        statistics = self._statistics(partition)
        if statistics is not None and bundle is not None and statistics.shape != (bundle.k, len(bundle.features)):
            raise InvalidKey(self._store.key(partition, "statistics"), f"is {statistics.shape}, its model is not")
        return Lane(partition, *claim, last, state, statistics or Statistics.zeros(1, 1), bundle, previous)

    def _statistics(self, partition: int) -> Statistics | None:
        data = self._store.statistics(partition)
        try:
            return None if data is None else decode_statistics(data)
        except StatisticsError as error:
            raise InvalidKey(self._store.key(partition, "statistics"), str(error)) from error

    def _model(self, version: int, model_hash: str) -> Bundle | None:
        bundle = self._registry.load(version)
        return bundle if bundle is not None and content_hash(bundle) == model_hash else None


def lost_input(gap: RetentionGap) -> str:
    """Return what to say of input that retention took unread."""
    return (
        f"{gap}; a history brings them back (`segmenter bootstrap --replace`), `segmenter run --on-input-loss=skip` "
        "goes on without them; see docs/operations.md, exit code 3"
    )


def another_log(error: LogCutShort) -> Stop:
    """Return how to end where the log is not the one that the state was made from."""
    return Stop(ExitCode.TOPOLOGY, f"{error}; see docs/operations.md, exit code 4")


def _lost(partition: int, found: Found) -> str:
    committed = found.committed.metadata if found.committed is not None else "nothing"
    return (
        f"partition {partition}: Redis is at commit {found.fence.last} but the group committed {committed}: Kafka lost "
        "commits, or somebody reset the offsets; see docs/operations.md, exit code 3"
    )
