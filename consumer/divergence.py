"""What a partition does first whose Redis lost writes that Kafka knows of (PROTOCOL B4; docs/decisions/0006, 0012).

output      -> revision, segment and entered day of each customer raised to what was published
erasures    -> marks; who was erased behind `applied` is taken out at once, the replay must not show him again
a commit of its own, with an empty outbox, that follows the commit that Kafka knows
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import msgspec

from consumer.erasure import keyed_hash, taken_out, with_revision, without
from consumer.messages import Outbox, encode_outbox
from consumer.partition import START, PartitionState, Rewind, encode_state
from consumer.plan import Parts, Plan
from consumer.ports import InputRecord, TopicReader, TransportError
from consumer.preparation import learning_rows
from consumer.recovery import Claim, Found, Published, parse_commit_id, published, raised
from consumer.step import Context
from consumer.tally import Tally
from features.codec import InvalidState
from features.store import Commit, InvalidKey
from models.bundle import Bundle
from models.population import Statistics
from models.population import encode as encode_statistics

LOAD_CHUNK = 2_000


def decided(reader: TopicReader, topic: str, partition: int) -> Iterator[InputRecord]:
    """Read all of a partition, but not while a transaction in it is in doubt (B3, B4).

    A dead worker's may be open until the coordinator ends it; of one that the group's offsets already tell of,
    the marker may still be on its way here. A reader of committed records would stop before either and miss
    what follows. The high watermark is asked for first: all that stood below it must be decided.
    """
    end = reader.high_watermark(topic, partition)
    start, stop = reader.bounds(topic, partition)
    if stop < end:
        raise TransportError(
            f"{topic}-{partition}: a transaction that began at offset {stop} is in doubt; its coordinator ends it "
            "within the transaction timeout",
            retriable=True,
        )
    return reader.read(topic, partition, start, stop)


class Gone(NamedTuple):
    """Who is taken out, and what is left: tally, statistics (None: unchanged) and learning rows that change."""

    customers: list[str]
    tally: Tally | None
    statistics: bytes | None
    rows: dict[str, bytes]


class Divergence:
    """Catches one partition up with what Kafka knows of it."""

    def __init__(self, parts: Parts, plan: Plan) -> None:
        self._reader, self._store, self._topics = parts.reader, parts.store, plan.topics
        self._erasure_key, self._rules, self._history = plan.erasure_key, plan.rules, plan.history

    def catch_up(
        self, partition: int, found: Found, claim: Claim, statistics: Statistics | None, bundle: Bundle | None
    ) -> tuple[str, PartitionState]:
        """Raise what Redis lost from what was published, and commit that; return the commit's id and the state.

        statistics, bundle: of the sweep; where one is missing a new sweep makes the statistics from nothing.
        """
        state = found.state
        last = published(decided(self._reader, self._topics.output, partition))
        marks, again = self._erasures(partition, state.applied)
        context = None
        if statistics is not None and bundle is not None:
            context = Context(state, statistics, bundle, None, self._rules, self._history)
        gone = self._taken_out(partition, again, state, context)
        found = replace(found, state=msgspec.structs.replace(state, tally=gone.tally))
        states, tally = self._raised(partition, found, last, gone.customers, marks)
        known, here = found.known or (0, 0), parse_commit_id(found.fence.last) or (0, 0)
        commit_id = f"{claim.epoch}:{max(known[1], here[1]) + 1}"
        rewind = Rewind(claim.epoch, state.applied, state.sweep.number, state.sweep.cursor)
        state = msgspec.structs.replace(
            state,
            erased=state.erased + len(marks),
            counters=state.counted({"erased_customers": len(gone.customers)}),
            rewinds=(*state.rewinds, rewind),
            tally=tally,
        )
        commit = Commit(
            epoch=claim.epoch,
            owner=claim.owner,
            parent=found.fence.last,
            follows=f"{known[0]}:{known[1]}",
            id=commit_id,
            state=encode_state(state),
            outbox=encode_outbox(Outbox()),
            sweep=state.sweep.number,
            states=states,
            deleted=gone.customers,
            statistics=gone.statistics,
            marks=marks,
            replaced=gone.rows,
        )
        self._store.commit(partition, commit)
        return commit_id, state

    def _erasures(self, partition: int, applied: int) -> tuple[dict[str, bytes], frozenset[str]]:
        """Read the erasure marks of a partition from their topic: they outlive Redis (H4).

        Returns (marks by keyed hash, the hashes of those whom the replay will meet).
        """
        marks: dict[str, bytes] = {}
        again: set[str] = set()
        for record in decided(self._reader, self._topics.erasures, partition):
            if record.key and record.value:
                hashed = record.key.decode()
                marks[hashed] = record.value
                if int(dict(record.headers).get("offset", b"-1")) >= applied:
                    again.add(hashed)
        return marks, frozenset(again)

    def _taken_out(self, partition: int, again: frozenset[str], state: PartitionState, context: Context | None) -> Gone:
        """Take those out whom the replay would show again before it erases them again (docs/decisions/0012)."""
        customers: list[str] = []
        rows: dict[str, bytes] = {}
        for customer, blob in self._everybody(partition) if again else ():
            if keyed_hash(self._erasure_key, customer) not in again:
                continue
            customers.append(customer)
            with self._trusted([customer]):
                tally = without(state, customer, blob, self._rules.horizon_days)
                state = msgspec.structs.replace(state, tally=tally)
            if context is not None:
                kept = learning_rows(self._store, partition, state.sweep.number) | rows
                with self._trusted([customer]):
                    statistics, fewer = taken_out(context, customer, blob, kept)
                context, rows = replace(context, statistics=statistics), rows | fewer
        changed = encode_statistics(context.statistics) if customers and context is not None else None
        return Gone(customers, state.tally, changed, rows)

    def _everybody(self, partition: int) -> Iterator[tuple[str, bytes | None]]:
        after, more = START, True
        while more:
            chunk = self._store.chunk(partition, after, LOAD_CHUNK)
            yield from zip(chunk.ids, chunk.blobs, strict=True)
            more = len(chunk.ids) >= LOAD_CHUNK
            after = chunk.positions[-1] if more else after

    def _raised(
        self,
        partition: int,
        found: Found,
        known: Mapping[str, Published],
        gone: Collection[str],
        marks: dict[str, bytes],
    ) -> tuple[dict[str, bytes], Tally | None]:
        """Return states and tally raised to what was published; who is lost or gone keeps his revision in `marks`."""
        state = found.state
        same_generation = found.fence.last != "0:0"
        states: dict[str, bytes] = {}
        customers, ended = list(known), frozenset(gone)
        for low in range(0, len(customers), LOAD_CHUNK):
            names = customers[low : low + LOAD_CHUNK]
            loaded = self._store.load({partition: names})[partition]
            blobs = [None if name in ended else blob for name, blob in zip(names, loaded, strict=True)]
            with self._trusted(names):
                made = raised(names, blobs, known, state, self._rules, same_generation=same_generation)
            states |= made.states
            state = msgspec.structs.replace(state, tally=made.tally)
            for customer, revision in made.lost.items():
                hashed = keyed_hash(self._erasure_key, customer)
                marks[hashed] = with_revision(marks.get(hashed), revision)
        return states, state.tally

    @contextmanager
    def _trusted(self, names: Sequence[str]) -> Iterator[None]:
        """Name the customer, by his keyed hash, whose state turns out not to be one."""
        try:
            yield
        except InvalidState as error:
            hashed = keyed_hash(self._erasure_key, names[error.index])[:16]
            raise InvalidKey(f"the state of customer {hashed} (keyed hash)", error.problem) from error
