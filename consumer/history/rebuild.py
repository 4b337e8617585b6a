"""A state from the input topic itself, where Redis lost it and nobody has the history's files any more (FAULTS 9).

    marks, output, dead letters -> [earliest, cut) of every partition -> TopicHistory -> a new generation at the cut

The cut is where the group's last transaction ended: what came later was never applied, and the workers apply it as
ever, with its dead letters and tombstones. Where Kafka has forgotten that, it is the log's end, captured first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import msgspec

from consumer import service
from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.history.bootstrap import Prepared, Progress
from consumer.history.csv_source import History
from consumer.history.topic_history import TopicHistory
from consumer.ports import Committed, InputRecord
from consumer.recovery import parse_commit_id
from consumer.service import NewGeneration, Start
from consumer.settings import Settings
from consumer.step import Mark
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings
from features.decoding import decode
from features.redis_store import Client
from features.transaction import Batch, today_in

CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a topic became. counts: of its records; missing: customers of the output of whom it holds no line."""

    prepared: Prepared
    counts: dict[str, int]
    first: dict[int, int]
    cut: dict[int, int]
    missing: int


@dataclass(frozen=True, slots=True)
class _Output:
    """What the output topic knows: who has a segment, and how many partitions there once were."""

    customers: frozenset[str]
    former: tuple[int, ...]


class Rebuild:
    """One rebuild. accept: go on although input is lost."""

    def __init__(
        self, settings: Settings, kafka: KafkaSettings, client: Client, start: Start, *, accept: bool, now: float
    ) -> None:
        self._settings, self._kafka, self._client = settings, kafka, client
        self._start, self._accept, self._now = start, accept, now
        self._partitions = start.facts.partitions

    def run(self, files: History | None, *, k: int | None, progress: Progress) -> Rebuilt:
        """Read, fold, load and flip. Raises `Stop`, `StoreError`, `TransportError`."""
        settings = self._settings
        marks = service.erasure_marks(settings, self._kafka, self._partitions)
        if files is not None:
            files = service.without_erased(files, marks, settings.erasure_key_bytes)
        by_hash = {hashed: mark for part in marks.values() for hashed, mark in part.items()}
        reader = KafkaReader(self._kafka)
        try:
            self._check_beginning(reader, files)
            output = self._output(reader)
            counts = [self._partitions, *reversed(output.former)]
            topic = TopicHistory([service.local_partition_of(count) for count in counts])
            committed = self._committed()
            cut = {}
            for partition in range(self._partitions):
                progress("reading the topic", partition, self._partitions)
                cut[partition] = self._read(reader, topic, partition, committed.get(partition), by_hash)
            progress("reading the topic", self._partitions, self._partitions)
        finally:
            reader.close()
        key, rules = settings.erasure_key_bytes, settings.rules
        try:
            folded, day = topic.fold(
                files, lambda name: _mark(by_hash.get(keyed_hash(key, name))), rules, today_in(settings.zone, self._now)
            )
        except ValueError as error:
            raise Stop(ExitCode.USAGE, str(error)) from error
        missing = len(output.customers.difference(folded.customers))
        if missing and not self._accept:
            raise Stop(
                ExitCode.INPUT_LOST,
                f"{missing} customers that {settings.segments_topic} knows have no line in "
                f"{settings.transactions_topic}: files brought them, or what they did is gone. Give the files of the "
                "first bootstrap along, or accept the loss: --on-input-loss=accept",
            )
        new = NewGeneration(
            facts=self._start.facts,
            day=day,
            cutoff=folded.cutoff,
            has_ids=files is not None and files.has_ids,
            applied=cut,
            marks=marks,
            from_topic=tuple(self._start.earliest[p] for p in range(self._partitions)),
            former=output.former,
            # A worker of the lost state that wakes must not take this one for its own.
            number=int(self._now),
        )
        prepared = service.make_generation(settings, self._client, folded, new, k=k, progress=progress)
        return Rebuilt(prepared, dict(topic.counts), dict(self._start.earliest), cut, missing)

    def _check_beginning(self, reader: KafkaReader, files: History | None) -> None:
        """Stop where the log no longer begins at its first offset, and no history covers what is missing (H2)."""
        if self._accept:
            return
        gone = {p: first for p, first in self._start.earliest.items() if first > 0}
        if gone and files is not None and len(files):
            for partition, first in gone.items():
                service.check_gap(self._settings, reader, partition, first, int(files.time.max()))
        elif gone:
            which = ", ".join(f"{first} of partition {p}" for p, first in gone.items())
            raise Stop(
                ExitCode.INPUT_LOST,
                f"the log of {self._settings.transactions_topic} no longer begins at 0: the first {which} are gone. "
                "Give a history that covers them (files), restore a backup of Redis, or accept the loss: "
                "--on-input-loss=accept",
            )

    def _output(self, reader: KafkaReader) -> _Output:
        """Read who has a segment now, over all partitions: by the highest revision, a tombstone ends one."""
        last: dict[str, tuple[int, bool]] = {}
        former: dict[int, None] = {}
        topic = self._settings.segments_topic
        for partition in range(self._partitions):
            first, end = reader.bounds(topic, partition)
            for record in reader.read(topic, partition, first, end) if first < end else ():
                headers = dict(record.headers)
                if "partitions" in headers:
                    former[int(headers["partitions"])] = None
                if record.key is None:
                    continue
                customer = record.key.decode()
                revision, _ = last.get(customer, (0, False))
                if record.value is None:
                    last[customer] = (revision, False)
                elif (found := msgspec.json.decode(record.value, type=_Revision).revision) >= revision:
                    last[customer] = (found, True)
        living = frozenset(customer for customer, (_, lives) in last.items() if lives)
        return _Output(living, tuple(sorted(former)))

    def _committed(self) -> dict[int, Committed]:
        if self._kafka.embedded:
            return {}
        with admin(self._kafka) as asked:
            found = asked.group_offsets(self._settings.group_id, self._settings.transactions_topic)
        return {p: at for p, at in found.items() if parse_commit_id(at.metadata) is not None}

    def _read(
        self,
        reader: KafkaReader,
        topic: TopicHistory,
        partition: int,
        committed: Committed | None,
        marks: Mapping[str, bytes],
    ) -> int:
        """Take a partition's records in, up to where the workers go on; return that offset."""
        settings = self._settings
        first, end = self._start.earliest[partition], self._start.ends[partition]
        cut = end if committed is None else max(first, min(committed.offset, end))
        dead = dead_letters(reader, settings, partition)
        records = reader.read(settings.transactions_topic, partition, first, cut) if first < cut else ()
        for chunk in _chunks(records):
            batch = self._decoded(chunk)
            unknown = self._unmarked(batch, marks) if committed is None else None
            if unknown is not None:
                batch = batch.split(unknown)[0]
            refused = {r.offset for r in chunk if dead.get(r.offset) == digest(r.key, r.value)}
            topic.add(partition, batch, {r.offset: r.timestamp for r in chunk}, refused)
            if unknown is not None:
                return unknown
        return cut

    def _decoded(self, records: Sequence[InputRecord]) -> Batch:
        settings = self._settings
        return decode(
            [record.offset for record in records],
            [record.key for record in records],
            [record.value for record in records],
            [record.timestamp for record in records],
            zone=settings.zone,
            currency=settings.currency,
            today=today_in(settings.zone, self._now),
        )

    def _unmarked(self, batch: Batch, marks: Mapping[str, bytes]) -> int | None:
        """Return the offset of the first erasure that has left no mark: no worker has carried it out yet."""
        key = self._settings.erasure_key_bytes
        for control in batch.controls:
            if control.kind == "erase":
                mark = _mark(marks.get(keyed_hash(key, control.customer)))
                if mark is None or (control.at is not None and mark.at < control.at):
                    return control.offset
        return None


def _chunks(records: Iterable[InputRecord]) -> Iterator[list[InputRecord]]:
    waiting = iter(records)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk


class _Revision(msgspec.Struct):
    revision: int = 0


def _mark(data: bytes | None) -> Mark | None:
    return None if data is None else msgspec.json.decode(data, type=Mark)


def digest(key: bytes | None, value: bytes | None) -> bytes:
    """Return what tells a record from another one at its offset, in a topic that was made anew."""
    return blake2b(repr(key).encode() + b"\0" + (value or b""), digest_size=16).digest()


def dead_letters(reader: KafkaReader, settings: Settings, partition: int) -> dict[int, bytes]:
    """Return the digest of each refused record of a partition whose dead letter is still there, by its offset."""
    topic = settings.dead_letters_topic
    first, end = reader.bounds(topic, partition)
    found = {}
    for letter in reader.read(topic, partition, first, end) if first < end else ():
        headers = dict(letter.headers)
        if "offset" in headers and "reason" in headers:  # the others are receipts (consumer.deadletters)
            found[int(headers["offset"])] = digest(letter.key, letter.value)
    return found


def gap_text(first: Mapping[int, int]) -> str | None:
    """Return what to say of a log that did not begin at 0 but was accepted."""
    gone = sum(first.values())
    return f"{gone} records before the log's beginning are in no state" if gone else None
