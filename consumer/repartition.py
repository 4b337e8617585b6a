"""Move the states of all customers to more partitions (PROTOCOL H5, FAULTS 27).

    check      nobody works; Redis == committed, all old input applied, one day, everywhere
    topics     all four get the new number of partitions, the input last
    copies     the last output record of everybody who moves, and all erasure marks, go to the new partitions
    load       a new generation beside the old one: states, marks, models, and what `verify` needs of the old one
    flip       partition by partition, then the binding, which alone says what is live

Guarantee: until the binding is written nothing runs, for the topics do not fit the old state (exit code 4), and the
same command begins again: copies that are there are not written twice, what was loaded is dropped. A customer's old
record stays where it is and is never answered with a tombstone, which would mean erasure: readers take the highest
revision.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from consumer.cloudevents import carried
from consumer.erasure import with_revision
from consumer.exits import ExitCode, Stop
from consumer.guards import TopicGuard
from consumer.partition import START, PartitionState, Sweep, decode_state, encode_state, iso
from consumer.ports import Committed, InputRecord, TransportError
from consumer.recovery import Verdict, judge, parse_commit_id, tail_of
from consumer.service import local_partition_of
from consumer.settings import Settings
from consumer.step import Mark
from consumer.stored import FIRST_DAY, read_json
from consumer.tally import Row, Tally, by_day
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings
from consumer.transport.kafka_writer import EventWriter
from features.codec import SCHEMA_OF_MOVES, decode_states, encode_states
from features.redis_generation import Binding, Former, GenerationLoader, read_former
from features.redis_store import Client, RedisStore
from features.store import Fence
from models.redis_registry import RedisRegistry

CHUNK = 2_000
GROWN_WITHIN_S = 20.0

Progress = Callable[[str, int, int], None]
"""Told a stage's name, how much of it is done, and of how much."""


def never(point: str) -> None:
    """Stand in for the points at which tests interrupt the work."""


@dataclass(frozen=True, slots=True)
class Move:
    """So many customers go from one partition to another (or stay)."""

    source: int
    target: int
    customers: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was moved, or would be. copied: output records; marks: erasures that every new partition knows."""

    before: int
    after: int
    day: str
    customers: int
    moved: int
    copied: int
    marks: int
    moves: tuple[Move, ...]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Last:
    """A customer's last record: in which partition, of which revision."""

    partition: int
    revision: int
    record: InputRecord


class Repartition:
    """One change of the number of partitions; `run` does it or begins it again."""

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaSettings,
        client: Client,
        binding: Binding,
        *,
        partitions: int | None = None,
        interrupt: Callable[[str], None] = never,
    ) -> None:
        """partitions: how many there shall be; None: as many as the input topic has."""
        self._settings, self._kafka, self._client, self._binding = settings, kafka, client, binding
        self._interrupt = interrupt
        self._reader = KafkaReader(kafka)
        self._facts = self._reader.facts(settings.transactions_topic)
        TopicGuard(settings.transactions_topic, binding.topic_id, self._facts.partitions).check(self._facts, (), 0.0)
        self.target = self._facts.partitions if partitions is None else partitions
        self._store = RedisStore(client, settings.namespace, binding.generation)
        self._home = local_partition_of(self.target)

    @property
    def finished(self) -> bool:
        """Whether the state has that many partitions already."""
        return self.target == self._binding.partitions

    def close(self) -> None:
        """Free the connection."""
        self._reader.close()

    def run(self, progress: Progress, *, dry_run: bool = False) -> Report:
        """Check, and unless dry move everything. Raises `Stop`, `StoreError`, `TransportError`."""
        self._check_target()
        self._check_nobody_works()
        old = GenerationLoader(self._client, self._settings.namespace, self._binding.generation)
        if not dry_run:
            old.hold(self._binding.partitions)
        fences = self._store.fences(range(self._binding.partitions))
        states = {p: decode_state(fence.state) for p, fence in fences.items()}
        committed = self._committed()
        self._check_in_step(fences, states, committed)
        moves = self._moves(progress)
        marks = self._marks()
        living = {customer for customers in moves.values() for customer in customers}
        last = self._last_records(progress)
        copies = [
            found
            for customer, found in last.items()
            if customer in living and found.partition != self._home(customer) and found.record.value is not None
        ]
        counted = self._counted(moves)
        report = Report(
            before=self._binding.partitions,
            after=self.target,
            day=iso(states[0].day),
            customers=len(living),
            moved=sum(move.customers for move in counted if move.source != move.target),
            copied=len(copies),
            marks=len(marks),
            moves=counted,
            dry_run=dry_run,
        )
        if not dry_run:
            epoch = max(*(fence.epoch for fence in fences.values()), *_epochs(committed)) + 1
            sequence = max(_sequence(fence.last) for fence in fences.values()) + 1
            self._grow_topics()
            self._interrupt("topics")
            self._copy(copies, epoch, sequence, progress)
            self._interrupt("copies")
            sizes = Counter(self._home(customer) for customer in living)
            self._load(fences, states, marks, sizes, epoch, sequence, progress)
        return report

    # What must be so ------------------------------------------------------------------------------------------

    def _check_target(self) -> None:
        now, have = self._binding.partitions, self._facts.partitions
        if self.target < max(now, have):
            raise Stop(
                ExitCode.USAGE,
                f"--partitions {self.target}: topic {self._settings.transactions_topic} has {have}, the state {now}; "
                "Kafka takes no partition away",
            )

    def _check_nobody_works(self) -> None:
        with admin(self._kafka) as asked:
            members = asked.group_members(self._settings.group_id)
        if members:
            raise Stop(
                ExitCode.USAGE, f"{members} workers are running in group {self._settings.group_id}: stop them first"
            )

    def _check_in_step(
        self, fences: Mapping[int, Fence], states: Mapping[int, PartitionState], committed: Mapping[int, Committed]
    ) -> None:
        """Stop where a partition has something left to do: workers of the new number could not do it."""
        problems = []
        topic = self._settings.transactions_topic
        for partition, fence in fences.items():
            state, known = states[partition], committed.get(partition)
            tail = None
            if known is None or parse_commit_id(known.metadata) is None:
                tail = tail_of(self._records(self._settings.segments_topic, partition))
            if judge(fence, known, tail) is not Verdict.IN_STEP:
                problems.append(f"partition {partition}: Redis is at commit {fence.last}, Kafka at another")
            if not state.sweep.ended or not state.sweep.number:
                problems.append(f"partition {partition}: its day's sweep has not ended")
            first, end = self._reader.bounds(topic, partition)
            left = self._reader.read(topic, partition, max(first, state.applied), end) if state.applied < end else ()
            if next(iter(left), None) is not None:
                problems.append(f"partition {partition}: offsets {state.applied} to {end - 1} are not applied yet")
        if len({state.day for state in states.values()}) > 1:
            problems.append("the partitions stand on different days")
        if problems:
            raise Stop(
                ExitCode.USAGE,
                f"{'; '.join(problems)}. Stop the producers; `segmenter run --drain` brings everything to one point",
            )

    # What there is --------------------------------------------------------------------------------------------

    def _committed(self) -> dict[int, Committed]:
        with admin(self._kafka) as asked:
            return asked.group_offsets(self._settings.group_id, self._settings.transactions_topic)

    def _records(self, topic: str, partition: int) -> Iterator[InputRecord]:
        first, end = self._reader.bounds(topic, partition)
        return self._reader.read(topic, partition, first, end) if first < end else iter(())

    def _moves(self, progress: Progress) -> dict[int, list[str]]:
        """Return the customers of each old partition."""
        found = {}
        for partition in range(self._binding.partitions):
            progress("looking", partition, self._binding.partitions)
            found[partition] = [name for names, _, _ in self._chunks(partition) for name in names]
        progress("looking", self._binding.partitions, self._binding.partitions)
        return found

    def _counted(self, customers: Mapping[int, list[str]]) -> tuple[Move, ...]:
        counts: dict[tuple[int, int], int] = {}
        for source, names in customers.items():
            for name in names:
                pair = source, self._home(name)
                counts[pair] = counts.get(pair, 0) + 1
        return tuple(Move(*pair, n) for pair, n in sorted(counts.items()))

    def _chunks(self, partition: int) -> Iterator[tuple[list[str], list[int], list[bytes]]]:
        after, more = START, True
        while more:
            chunk = self._store.chunk(partition, after, CHUNK)
            more = len(chunk.ids) >= CHUNK
            after = chunk.positions[-1] if chunk.positions else after
            if None in chunk.blobs:
                raise Stop(
                    ExitCode.INCOMPATIBLE,
                    f"partition {partition}: the index names a customer without a state; restore a backup of Redis",
                )
            yield chunk.ids, chunk.positions, [blob for blob in chunk.blobs if blob is not None]

    def _marks(self) -> dict[str, bytes]:
        """Return the marks of all partitions; whose they are nobody can tell, so each partition gets all."""
        found: dict[str, bytes] = {}
        for partition in range(self._binding.partitions):
            for hashed, mark in self._store.all_marks(partition).items():
                known = found.get(hashed)
                found[hashed] = mark if known is None else _later(known, mark)
        return found

    def _last_records(self, progress: Progress) -> dict[str, _Last]:
        """Return everybody's record of the highest revision, over all partitions; a tombstone ends him in its own."""
        found: dict[str, _Last] = {}
        topic = self._settings.segments_topic
        partitions = self._reader.facts(topic).partitions
        for partition in range(partitions):
            progress("reading the output", partition, partitions)
            for record in self._records(topic, partition):
                if record.key is None:
                    continue
                customer = record.key.decode()
                if record.value is None:
                    if customer in found and found[customer].partition == partition:
                        del found[customer]
                    continue
                revision = msgspec.json.decode(record.value, type=_Revision).revision
                known = found.get(customer)
                at_home = known is not None and revision == known.revision and partition == self._home(customer)
                if known is None or revision > known.revision or at_home:
                    found[customer] = _Last(partition, revision, record)
        progress("reading the output", partitions, partitions)
        return found

    # What is done ---------------------------------------------------------------------------------------------

    def _grow_topics(self) -> None:
        """Add partitions where a topic has fewer; the input comes last, for by it the state is bound."""
        topics = self._settings.topics
        with admin(self._kafka) as asked:
            for topic in (topics.output, topics.dead_letters, topics.erasures, topics.input):
                if self._reader.facts(topic).partitions < self.target:
                    asked.add_partitions(topic, self.target)
                deadline = time.monotonic() + GROWN_WITHIN_S
                while self._reader.facts(topic).partitions < self.target:
                    if time.monotonic() > deadline:
                        raise TransportError(f"topic {topic} was to have {self.target} partitions", retriable=True)
                    time.sleep(0.1)
        self._reader.close()
        self._reader = KafkaReader(self._kafka)  # the old one does not know them yet

    def _copy(self, copies: list[_Last], epoch: int, sequence: int, progress: Progress) -> None:
        """Write the last records of those who move, and the marks of the erased, to the new partitions."""
        settings = self._settings
        stamp = (("epoch", b"%d" % epoch), ("sequence", b"%d" % sequence), ("partitions", b"%d" % self._old))
        with EventWriter(self._kafka, settings.segments_topic) as writer:
            for n, found in enumerate(copies):
                progress("copying records", n, len(copies))
                key = found.record.key or b""
                headers = (*stamp, ("moved_from", b"%d" % found.partition), *carried(found.record.headers))
                writer.send(key, found.record.value, self._home(key.decode()), headers)
        progress("copying records", len(copies), len(copies))
        known = {p: self._erasures(p) for p in range(self.target)}
        everyone = {hashed: mark for marks in known.values() for hashed, mark in marks.items()}
        with EventWriter(self._kafka, settings.erasures_topic) as writer:
            for partition, marks in known.items():
                for hashed, mark in everyone.items():
                    if marks.get(hashed) != mark:
                        writer.send(hashed.encode(), mark, partition, stamp)

    @property
    def _old(self) -> int:
        return self._binding.partitions

    def _erasures(self, partition: int) -> dict[str, bytes]:
        records = self._records(self._settings.erasures_topic, partition)
        return {record.key.decode(): record.value for record in records if record.key and record.value}

    def _load(
        self,
        fences: Mapping[int, Fence],
        states: Mapping[int, PartitionState],
        marks: dict[str, bytes],
        sizes: Counter[int],
        epoch: int,
        sequence: int,
        progress: Progress,
    ) -> None:
        settings, binding = self._settings, self._binding
        generation = str(int(binding.generation) + 1)
        loader = GenerationLoader(self._client, settings.namespace, generation)
        for partition in range(self.target):
            loader.drop(partition)
            loader.divide(partition, sizes[partition], binding.schema)
        for source in range(self._old):
            progress("moving states", source, self._old)
            for names, positions, blobs in self._chunks(source):
                self._load_chunk(loader, names, positions, blobs)
            self._interrupt(f"load {source}")
        progress("moving states", self._old, self._old)
        newest = max(states.values(), key=lambda state: state.sweep.version)
        self._keep_models(generation)
        for partition in range(self.target):
            loader.put_marks(partition, marks)
            tally = Tally() if self._binding.schema >= SCHEMA_OF_MOVES else None
            if partition in states:
                loader.put_daily(partition, self._daily(partition))
                known = states[partition].tally
                # Nobody is counted before the first sweep; what moved since the last row is in the next one.
                tally = None if known is None else Tally(flows=known.flows)
            sweep = Sweep(0, newest.day, newest.sweep.version, newest.sweep.model_hash, cursor=None)
            applied = states[partition].applied if partition in states else 0
            watermark = max(state.watermark for state in states.values())
            state = PartitionState(applied, sweep, watermark, erased=len(marks), tally=tally)
            parent = fences[partition].last if partition in fences else "0:0"
            last = f"{epoch}:{sequence}"
            loader.put_state(partition, encode_state(state), epoch=epoch, last=last, parent=parent)
        kept = [fences[p].state for p in range(self._old)]
        days = [self._store.day_log(p) for p in range(self._old)]
        before = read_former(self._client, settings.namespace, binding.generation)
        loader.put_former([*before, Former(binding, kept, days, epoch)])
        self._interrupt("loaded")
        loader.finish(
            msgspec.structs.replace(
                binding,
                generation=generation,
                partitions=self.target,
                day=newest.day,
                from_topic=None,
                former=(*binding.former, self._old),
            )
        )
        self._interrupt("flipped")

    def _load_chunk(self, loader: GenerationLoader, names: list[str], positions: list[int], blobs: list[bytes]) -> None:
        """Write some customers to their new partitions. Sweeps are counted anew there: no head may name an old one."""
        states = decode_states(blobs)
        states.heads["sweep"] = 0
        encoded = encode_states(states, np.arange(len(names)), self._binding.schema)
        homes = np.array([self._home(name) for name in names], np.int64)
        for target in np.unique(homes).tolist():
            rows = np.flatnonzero(homes == target).tolist()
            loader.load(target, [names[i] for i in rows], [positions[i] for i in rows], [encoded[i] for i in rows])

    def _daily(self, partition: int) -> list[tuple[int, bytes]]:
        """Return the rows of the daily table, one a day, which come before all of the new generation's.

        They stay where they are, though customers move: of the table only the sum over all partitions is read.
        """
        rows = [read_json(data, Row) for data in self._store.daily(partition, FIRST_DAY)]
        return [(row.day, msgspec.json.encode(msgspec.structs.replace(row, number=0))) for row in by_day(rows)]

    def _keep_models(self, generation: str) -> None:
        """Take every version along, and its checkup: sweeps go on with the live one, `verify` needs those before."""
        namespace = self._settings.namespace
        old = RedisRegistry(self._client, namespace, self._binding.generation)
        new = RedisRegistry(self._client, namespace, generation)
        for version in range(1, (old.current() or 0) + 1):
            bundle = old.load(version)
            if bundle is not None:
                new.keep(bundle)
        for checkup in old.checkups().values():
            new.note(checkup)


class _Revision(msgspec.Struct):
    revision: int = 0


def _later(one: bytes, other: bytes) -> bytes:
    """Return the mark of the later of two erasures, with the higher revision."""
    first, second = (msgspec.json.decode(mark, type=Mark) for mark in (one, other))
    later = one if first.at >= second.at else other
    return with_revision(later, max(first.revision, second.revision))


def _sequence(commit_id: str) -> int:
    return (parse_commit_id(commit_id) or (0, 0))[1]


def _epochs(committed: Mapping[int, Committed]) -> list[int]:
    return [0, *(found[0] for each in committed.values() if (found := parse_commit_id(each.metadata)) is not None)]
