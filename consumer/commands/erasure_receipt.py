"""The receipt of an erasure: what each store holds of a customer now, and what no erasure reaches (PROTOCOL H4).

Redis    state, index, outbox, samples, statistics, mark         each is read again, nothing is taken on trust
topics   tombstone, mark                                         found by the erasure's offset in their headers
beyond   input, older output, dead letters, models, backups      named, with the offsets that may hold him
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import numpy as np

from consumer.commands.place import Place
from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.leader import made_for
from consumer.messages import decode_outbox
from consumer.partition import START, PartitionState, SnapshotRecord, decode_state
from consumer.ports import InputRecord
from consumer.scoring import first_days, within_horizon
from consumer.step import Mark, read_rows
from consumer.transport.kafka_reader import KafkaReader
from features.codec import decode_states
from features.identity import position
from features.redis_generation import Binding
from features.redis_store import RedisStore
from features.store import Fence
from models.bundle import Bundle
from models.population import Statistics
from models.population import decode as decode_statistics
from models.redis_registry import RedisRegistry
from models.scoring import score

CHUNK = 5_000
LOOKS_AT_STATISTICS = 5
"""A worker may write between two reads; then the sums are read again, so often."""

Verdict = Literal["gone", "kept", "wrong", "unchecked"]


class Reached(msgspec.Struct, frozen=True):
    """One store that the erasure reaches. verdict: gone; kept, as a mark must be; wrong; unchecked, with the reason."""

    store: str
    verdict: Verdict
    what: str


class NotReached(msgspec.Struct, frozen=True):
    """One place that no erasure reaches. start, stop: the offsets [start, stop) of the partition that may hold him."""

    place: str
    what: str
    topic: str | None = None
    partition: int | None = None
    start: int | None = None
    stop: int | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What an erasure did. offset: of the erasure in the input; had_state: whether anything of his was kept before it.

    refused_until: lines of his dated at or before it are refused from now on; last_model: the last version that may
    have known him; complete: whether every claim was seen to be true.
    """

    customer_id: str
    namespace: str
    partition: int
    offset: int
    had_state: bool
    revision: int
    refused_until: str | None
    last_model: int
    complete: bool
    reached: list[Reached]
    not_reached: list[NotReached]


@dataclass(frozen=True, slots=True)
class Case:
    """One erasure on its way."""

    place: Place
    customer: str
    partition: int
    store: RedisStore
    registry: RedisRegistry
    binding: Binding
    reader: KafkaReader
    offset: int
    had_state: bool
    output_from: int
    erasures_from: int

    @property
    def state(self) -> PartitionState:
        return decode_state(self.fence.state)

    @property
    def fence(self) -> Fence:
        return self.store.fences([self.partition])[self.partition]


def receipt_of(case: Case, tombstone: InputRecord) -> Receipt:
    """Look at every store. Raises `StoreError`, `TransportError`, and `Stop` where a model cannot be read."""
    mark = _mark(case)
    reached = [
        _state(case),
        _index(case),
        _outbox(case),
        _samples(case),
        _statistics(case),
        _redis_mark(mark),
        Reached("output", "kept", f"tombstone at offset {tombstone.offset} of {case.place.settings.segments_topic}"),
        _topics_mark(case, mark),
    ]
    last_model, models = _models(case)
    return Receipt(
        customer_id=case.customer,
        namespace=case.place.settings.namespace,
        partition=case.partition,
        offset=case.offset,
        had_state=case.had_state,
        revision=mark.revision if mark else 0,
        refused_until=None if mark is None else _local_time(mark.at),
        last_model=last_model,
        complete=all(each.verdict in ("gone", "kept") for each in reached),
        reached=reached,
        not_reached=[*_topics(case, tombstone), models, *_elsewhere()],
    )


def _state(case: Case) -> Reached:
    key = case.store.keys.customer(case.partition, case.customer).decode()
    if case.store.load({case.partition: [case.customer]})[case.partition][0] is None:
        was = "it was deleted" if case.had_state else "there was none"
        return Reached("state", "gone", f"{key}: orders, event ids, segment, moves; {was}")
    return Reached("state", "wrong", f"{key} exists: did he buy again since? `segmenter lookup` shows it")


def _index(case: Case) -> Reached:
    """The sweep's order: customers of one position come in one chunk, whatever its limit."""
    place = position(case.customer)
    found = case.customer in case.store.chunk(case.partition, place - 1, 1).ids
    return Reached("index", "wrong" if found else "gone", "his place in the sweep's order")


def _outbox(case: Case) -> Reached:
    emissions = decode_outbox(case.store.outbox(case.partition)).emissions
    if any(each.key == case.customer.encode() for each in emissions):
        return Reached("outbox", "wrong", "the last commit's records name him: the partition's next commit ends that")
    return Reached("outbox", "gone", "the tombstone's commit was followed by another")


def _samples(case: Case) -> Reached:
    number, width = case.state.sweep.number, len(_model(case, case.state).features)
    place = position(case.customer)
    kept = [
        f"{name}:{n}"
        for name in ("sample", "touched")
        for n in range(max(number - 2, 0), number + 1)
        if place in read_rows(case.store.rows(case.partition, name, n), width)[0]
    ]
    if kept:
        return Reached("samples", "wrong", f"his vector stands in {', '.join(kept)}")
    return Reached("samples", "gone", "rows of vectors that wait for the learner")


def _model(case: Case, state: PartitionState) -> Bundle:
    bundle = case.registry.load(state.sweep.version)
    if bundle is None:
        raise Stop(ExitCode.INCOMPATIBLE, f"model version {state.sweep.version} cannot be read")
    return bundle


def _statistics(case: Case) -> Reached:
    """Add everybody up again who is there now, and compare number by number (PROTOCOL C4)."""
    for _ in range(LOOKS_AT_STATISTICS):
        before = case.fence
        stored = decode_statistics(case.store.statistics(case.partition) or b"")
        counted, everybody = _added_up(case, decode_state(before.state))
        if case.fence != before:
            continue
        if stored == everybody:
            return Reached(
                "statistics",
                "gone",
                f"sums equal those of the {counted:,} customers counted there now, to the last bit",
            )
        return Reached("statistics", "wrong", "sums are not those of the customers there now: `segmenter verify`")
    return Reached("statistics", "unchecked", "the partition is written all the time; `segmenter verify` at rest tells")


def _added_up(case: Case, state: PartitionState) -> tuple[int, Statistics]:
    bundle = _model(case, state)
    total, cursor = Statistics.zeros(bundle.k, len(bundle.features)), state.sweep.cursor
    after, more = START, True
    while more:
        chunk = case.store.chunk(case.partition, after, CHUNK)
        more = len(chunk.ids) >= CHUNK
        if not chunk.ids:
            break
        after = chunk.positions[-1]
        states = decode_states(chunk.blobs)
        ledger = within_horizon(states, state.day - case.binding.horizon_days)
        scores = score(ledger, first_days(states, state.day), state.day, bundle)
        swept = np.array(chunk.positions) <= (cursor if cursor is not None else chunk.positions[-1])
        total = total + scores.statistics(swept | (states.heads["sweep"] == state.sweep.number))
    return total.total, total


def _local_time(seconds: int) -> str:
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001 -- local wall clock, as lines are dated
    return moment.isoformat()


def _mark(case: Case) -> Mark | None:
    hashed = keyed_hash(case.place.settings.erasure_key_bytes, case.customer)
    found = case.store.marks(case.partition, [hashed])[0]
    return None if found is None else msgspec.json.decode(found, type=Mark)


def _redis_mark(mark: Mark | None) -> Reached:
    if mark is None:
        return Reached(
            "mark",
            "wrong",
            "none under this command's SEGMENTER_ERASURE_KEY: the worker has another, set the same here",
        )
    return Reached(
        "mark", "kept", "keyed hash of the id, moment, last revision: it keeps replays from bringing him back"
    )


def _topics_mark(case: Case, mark: Mark | None) -> Reached:
    topic = case.place.settings.erasures_topic
    hashed = keyed_hash(case.place.settings.erasure_key_bytes, case.customer).encode()
    _, end = case.reader.bounds(topic, case.partition)
    ours = ("offset", b"%d" % case.offset)
    read = case.reader.read(topic, case.partition, case.erasures_from, end) if case.erasures_from < end else ()
    found = [record.offset for record in read if record.key == hashed and ours in record.headers]
    if mark is None or not found:
        return Reached("erasures topic", "wrong", f"no mark of his in {topic}, partition {case.partition}")
    return Reached("erasures topic", "kept", f"the same mark at offset {found[0]} of {topic}: it outlives Redis")


# what it does not reach --------------------------------------------------------------------------------------


def _topics(case: Case, tombstone: InputRecord) -> Iterator[NotReached]:
    t, reader, partition = case.place.settings, case.reader, case.partition
    first, _ = reader.bounds(t.transactions_topic, partition)
    yield NotReached(
        "input",
        "lines of his stay until retention takes them; a replay of them is refused",
        t.transactions_topic,
        partition,
        first,
        case.offset + 1,
    )
    first, _ = reader.bounds(t.segments_topic, partition)
    yield NotReached(
        "output",
        "records of his before the tombstone stay until compaction",
        t.segments_topic,
        partition,
        first,
        tombstone.offset,
    )
    first, end = reader.bounds(t.dead_letters_topic, partition)
    yield NotReached(
        "dead letters", "refused lines of his, until retention", t.dead_letters_topic, partition, first, end
    )


def _models(case: Case) -> tuple[int, NotReached]:
    """Return the last model that may have known him: the live one, or the next where its snapshot is taken already."""
    number = case.state.sweep.number
    snapshots = [data for n in (number, number - 1) if (data := case.store.snapshot(case.partition, n)) is not None]
    live = case.registry.current()
    bundle = None if live is None else case.registry.load(live)
    last = live or 0
    if snapshots and bundle is not None:
        taken = msgspec.msgpack.decode(snapshots[0], type=SnapshotRecord).day
        last += 0 if made_for(bundle, taken) else 1
    what = f"versions up to {last} are means over everybody, made while he was one of them; they stay"
    return last, NotReached("models", what)


def _elsewhere() -> Iterator[NotReached]:
    yield NotReached("daily table", "rows of days past are counts by segment, with him in them")
    yield NotReached("append-only file", "Redis' file and its replicas' backlogs hold him until the next rewrite")
    yield NotReached(
        "backups", "of Redis, Kafka and disks, until they expire; docs/privacy.md says what a restore does"
    )
    yield NotReached("history files", "a bootstrap leaves him out; the files themselves are yours to mend")
    yield NotReached("readers", "whoever reads the output, and your own warehouse")
