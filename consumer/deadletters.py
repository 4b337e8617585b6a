"""Dead letters after they were written: what is there, what became of it, and sending it to the input once more.

    letter    a refused record's own key and bytes; headers reason, detail, topic, partition, offset, timestamp, epoch
    receipt   neither; headers redriven_at and the letter's topic, partition, offset, timestamp: it went to the input

    open      the one transactional id of the namespace's redrives: what an earlier one left half-done is ended, and
              one that still runs is fenced out
    survey    read letters and receipts to the uncommitted end, waiting for transactions in doubt
    send      originals and their receipts, in transactions of some hundred

Guarantee: a letter goes once. Its receipt is in the transaction that sends it, and whoever sends has seen all receipts
of those before: none can be added by another afterwards, for he is fenced.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from consumer.partition import Rewind
from consumer.ports import InputRecord, OutputRecord, TopicReader, TransportError
from consumer.publication import REDRIVEN, Topics
from consumer.traceparent import carried

BATCH = 500
BATCH_BYTES = 4 << 20
DECIDED_WITHIN_S = 30.0
"""Twice a worker's transaction timeout: by then its coordinator has ended what a dead one left open."""
RECEIPT = "redriven_at"


class Source(NamedTuple):
    """Which input record was refused. timestamp: milliseconds, of publishing; None where its bytes were gone."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None


class Fate(StrEnum):
    """What became of a letter, and with that what a redrive does with it."""

    WAITS = "waits"
    """It would go."""
    REDRIVEN = "redriven"
    FAILED_AGAIN = "failed_again"
    """It was redriven before it was refused: goes only when asked for."""
    HEADERS_ONLY = "headers_only"
    """Retention had taken its bytes: nothing can be sent."""
    READ_AGAIN = "read_again"
    """Redis lost writes, and a worker has read its record once more since: what became of that counts."""
    OTHER_TOPIC = "other_topic"
    """Its record came from an input topic of another name."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its bytes. at: its own partition and offset; refused_ms: when; redriven: how it came."""

    at: tuple[int, int]
    source: Source
    reason: str
    detail: str
    epoch: int
    refused_ms: int
    bare: bool
    redriven: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """Every letter, oldest first in each partition, with its fate."""

    letters: tuple[tuple[Letter, Fate], ...]
    ends: Mapping[int, tuple[int, int]]
    """(first, end) of each partition of the topic, as it was read."""

    def chosen(self, reason: str | None = None, *, again: bool = False) -> list[Letter]:
        """Return the letters that would go. again: also those that failed again."""
        going = {Fate.WAITS, Fate.FAILED_AGAIN} if again else {Fate.WAITS}
        return [letter for letter, fate in self.letters if fate in going and reason in (None, letter.reason)]


class Writer(Protocol):
    """A transactional producer under the redrives' own id (consumer.transport.kafka_sink)."""

    def open(self) -> None:
        """Fence out whoever wrote under this id before."""

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Write records in one transaction; returns only when it is committed."""


def letter_of(partition: int, record: InputRecord) -> Letter | None:
    """Return the letter that a record is; None for a receipt, or where it is none of ours."""
    headers = dict(record.headers)
    if not {"reason", "topic", "partition", "offset"} <= headers.keys():
        return None
    told = headers.get(REDRIVEN)
    return Letter(
        at=(partition, record.offset),
        source=_source(headers),
        reason=headers["reason"].decode(),
        detail=headers.get("detail", b"").decode(),
        epoch=int(headers.get("epoch", b"0")),
        refused_ms=record.timestamp,
        bare="timestamp" not in headers,
        redriven=None if told is None else told.decode(errors="replace"),
    )


def _source(headers: Mapping[str, bytes]) -> Source:
    when = headers.get("timestamp")
    partition, offset = int(headers["partition"]), int(headers["offset"])
    return Source(headers["topic"].decode(), partition, offset, None if when is None else int(when))


def survey(
    reader: TopicReader, topics: Topics, partitions: int, rewinds: Mapping[int, Sequence[Rewind]] | None = None
) -> Survey:
    """Read all dead letters. rewinds: of each partition's state (PROTOCOL B4). Raises `TransportError`."""
    letters: list[Letter] = []
    receipts: set[Source] = set()
    ends = {}
    for partition in range(partitions):
        ends[partition] = _decided(reader, topics.dead_letters, partition)
        for record in _read(reader, topics.dead_letters, partition, ends[partition]):
            letter = letter_of(partition, record)
            if letter is not None:
                letters.append(letter)
            elif RECEIPT in dict(record.headers):
                receipts.add(_source(dict(record.headers)))
    return Survey(fates(letters, receipts, topics.input, rewinds or {}), ends)


def fates(
    letters: Sequence[Letter], receipts: set[Source], topic: str, rewinds: Mapping[int, Sequence[Rewind]]
) -> tuple[tuple[Letter, Fate], ...]:
    """Judge letters. A refusal that was repeated counts once, as its newest letter."""
    newest = {letter.source: letter for letter in sorted(letters, key=lambda letter: letter.epoch)}
    found = []
    for letter in letters:
        if newest[letter.source] is not letter:
            continue
        fate = Fate.WAITS
        if letter.source in receipts:
            fate = Fate.REDRIVEN
        elif letter.source.topic != topic:
            fate = Fate.OTHER_TOPIC
        elif letter.bare:
            fate = Fate.HEADERS_ONLY
        elif _read_again(letter, rewinds.get(letter.source.partition, ())):
            fate = Fate.READ_AGAIN
        elif letter.redriven is not None:
            fate = Fate.FAILED_AGAIN
        found.append((letter, fate))
    return tuple(found)


def _read_again(letter: Letter, rewinds: Sequence[Rewind]) -> bool:
    """Say whether a recovery went back to before the record after it was refused; a newer letter of it has won."""
    return any(rewind.epoch > letter.epoch and rewind.applied <= letter.source.offset for rewind in rewinds)


def send(
    reader: TopicReader,
    writer: Writer,
    topics: Topics,
    home: Callable[[bytes], int],
    found: Survey,
    chosen: Sequence[Letter],
    now: str,
) -> Iterator[Counter[str]]:
    """Send letters, each with its receipt; yields what each transaction has sent, by reason.

    home: key -> partition, as all producers choose it. The writer is open.
    """
    wanted = {letter.at: letter for letter in chosen}
    batch: list[OutputRecord] = []
    sent: Counter[str] = Counter()
    size = 0
    for partition in sorted({partition for partition, _ in wanted}):
        for record in _read(reader, topics.dead_letters, partition, found.ends[partition]):
            letter = wanted.get((partition, record.offset))
            if letter is None:
                continue
            batch += [_original(letter, record, topics.input, home), _receipt(letter, topics.dead_letters, now)]
            sent[letter.reason] += 1
            size += len(record.key or b"") + len(record.value or b"")
            if len(batch) >= 2 * BATCH or size >= BATCH_BYTES:
                writer.write(batch)
                yield sent
                batch, sent, size = [], Counter(), 0
    if batch:
        writer.write(batch)
        yield sent


def _original(letter: Letter, record: InputRecord, topic: str, home: Callable[[bytes], int]) -> OutputRecord:
    """Return the record as it came, in its key's partition; without a key in the one in which it was refused."""
    empty = dict(record.headers).get("value") == b"null"  # null in key and value: the library cannot write that
    target = letter.source.partition if record.key is None else home(record.key)
    told = f"{letter.source.partition}:{letter.source.offset}".encode()
    return OutputRecord(
        topic, target, record.key, None if empty else record.value, ((REDRIVEN, told), *carried(record.headers))
    )


def _receipt(letter: Letter, topic: str, now: str) -> OutputRecord:
    source = letter.source
    headers = (
        (RECEIPT, now.encode()),
        ("topic", source.topic.encode()),
        ("partition", b"%d" % source.partition),
        ("offset", b"%d" % source.offset),
        ("timestamp", b"%d" % (source.timestamp or 0)),
    )
    return OutputRecord(topic, letter.at[0], None, b"", headers)


def find(reader: TopicReader, topic: str, letter: Letter) -> InputRecord:
    """Read one letter with its bytes. Raises `TransportError` where retention has taken it meanwhile."""
    partition, offset = letter.at
    return next(iter(reader.read(topic, partition, offset, offset + 1)))


def _read(reader: TopicReader, topic: str, partition: int, bounds: tuple[int, int]) -> Iterator[InputRecord]:
    return iter(reader.read(topic, partition, *bounds) if bounds[0] < bounds[1] else ())


def _decided(reader: TopicReader, topic: str, partition: int) -> tuple[int, int]:
    """Return (first, end) of a partition, when all that stands in it now is committed or aborted."""
    end, deadline = reader.high_watermark(topic, partition), time.monotonic() + DECIDED_WITHIN_S
    while True:
        first, stop = reader.bounds(topic, partition)
        if stop >= end:
            return first, end
        if time.monotonic() > deadline:
            raise TransportError(f"{topic}-{partition}: the transaction at offset {stop} does not end", retriable=True)
        time.sleep(0.1)
