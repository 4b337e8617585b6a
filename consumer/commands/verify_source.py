"""Gather what `verify` compares: from Kafka or a recording, from Redis, from the history's files.

    fences, day logs, models, history -> a partition's states, marks, input, output, dead letters -> fences again
                                      ^                                                                         |
                                      +--------- the next partition, once the judge is done with this one ------+

The judge itself (reports.verify) knows nothing of ours; this is its clerk, and knows where things lie. Fences that are
as they were say that nothing moved. In memory are the history and one partition; where partitions were added, or the
history was in the topic, what one of them says is about customers of others, and all are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from consumer.commands.cli_output import Tell
from consumer.exits import ExitCode, Stop
from consumer.partition import START, DayEntry, PartitionState, decode_state
from consumer.ports import TopicReader
from consumer.publication import Topics
from consumer.settings import Settings
from features.codec import SCHEMA_OF_MOVES
from features.redis_generation import Binding, Former, read_binding, read_former
from features.redis_store import RedisStore
from features.store import Fence, InvalidKey
from features.transaction import DAY_SECONDS, today_in
from models.bundle import Bundle, encode
from models.redis_registry import RedisRegistry
from reports import verify_input
from reports.verify import verify
from reports.verify_history import Reading, read_history

CHUNK = 5_000
TOLD_EVERY = 10_000
STEPS = 100
"""Of each partition, for whoever looks at the progress."""

Evidence = tuple[
    verify_input.Facts,
    verify_input.History,
    dict[int, bytes],
    list[verify_input.Partition],
    Sequence[verify_input.Chapter],
]
"""What `reports.verify.verify` takes, in its order."""

_Opened = tuple[
    verify_input.Facts,
    verify_input.History,
    dict[int, bytes],
    Iterable[verify_input.Partition],
    Sequence[verify_input.Chapter],
]
"""The same before its partitions are read."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a namespace's parts are. client: of Redis; committed: the group's offsets, None where they are forgotten.

    completeness: what the output topic is known to hold; None finds out (`_completeness`).
    """

    settings: Settings
    client: Any
    reader: TopicReader
    committed: Mapping[int, int] | None
    completeness: verify_input.Completeness | None = None


def verified(
    where: Where, files: Sequence[Path], reading: Reading, now: float, tell: Tell = lambda *_: None
) -> verify_input.Verdict:
    """Gather and verify, a partition at a time. Raises `Stop` where there is no state, or where it moves.

    tell: told (stage, done, of).
    """
    facts, history, models, partitions, chapters = _opened(where, files, reading, now, tell)
    of = STEPS * facts.partitions

    def told(judged: float) -> None:
        tell("verifying", int(STEPS * judged), of)

    return verify(facts, history, models, partitions, chapters, told)


def gather(where: Where, files: Sequence[Path], reading: Reading, now: float) -> Evidence:
    """Return the evidence of a namespace at rest. files: the history's, () without one; now: POSIX seconds."""
    facts, history, models, partitions, chapters = _opened(where, files, reading, now, lambda *_: None)
    return facts, history, models, list(partitions), chapters


def _opened(where: Where, files: Sequence[Path], reading: Reading, now: float, tell: Tell) -> _Opened:
    """Return the evidence, its partitions yet to be read: each when it is asked for."""
    settings, client = where.settings, where.client
    binding = read_binding(client, settings.namespace)
    if binding is None:
        raise Stop(ExitCode.USAGE, f"namespace {settings.namespace} holds no state: there is nothing to verify yet")
    store = RedisStore(client, settings.namespace, binding.generation)
    before = store.fences(range(binding.partitions))
    former = read_former(client, settings.namespace, binding.generation)
    spans = [_spans(each, former[i - 1].epoch if i else 0) for i, each in enumerate(former)]
    since = former[-1].epoch if former else 0
    live = [_Span(p, binding, decode_state(f.state), _entries(store.day_log(p)), since) for p, f in before.items()]
    partitions: Iterable[verify_input.Partition] = _at_rest(where, live, store, before, tell)
    chapters: Sequence[verify_input.Chapter] = ()
    if former:
        partitions = list(partitions)
        chapters = _chapters(where, former, spans, partitions, now)
        if where.completeness is None:
            chapters, partitions = _as_complete(chapters, partitions)
    facts = facts_of(settings, binding, now, spans[-1] if spans else ())
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    versions = sorted({entry.version for span in (*live, *chain(*spans)) for entry in span.days})
    models = {version: encode(bundle) for version in versions if (bundle := _readable(registry, version)) is not None}
    first = former[0].binding if former else binding
    cutoff = None if first.from_topic is not None else binding.cutoff  # beside a topic every id was compared
    ids_from = 0 if cutoff is None else cutoff // DAY_SECONDS - settings.dedupe_days
    rows = verify_input.History()
    if files:
        tell("reading the history", 0, 1)
        rows = read_history(files, reading, binding.cutoff, ids_from)
        tell("reading the history", 1, 1)
    return facts, rows, models, partitions, chapters


def _at_rest(
    where: Where, live: Sequence[_Span], store: RedisStore, before: Mapping[int, Fence], tell: Tell
) -> Iterator[verify_input.Partition]:
    """Gather partitions one by one, and hold on to none of them. Raises `Stop` where anything has moved."""
    of = STEPS * len(live)

    def read(i: int, span: _Span) -> verify_input.Partition:
        found = _partition(where, span, store, lambda share: tell("reading", int(STEPS * (i + share)), of))
        if store.fences(range(len(live))) != before:
            moves = "a worker is at work, and what is compared must stand still: stop it, then verify"
            raise Stop(ExitCode.USAGE, moves)
        tell("reading", STEPS * (i + 1), of)
        return found

    yield from map(read, range(len(live)), live)


def _readable(registry: RedisRegistry, version: int) -> Bundle | None:
    """Return a model; one that is damaged is none, and the verdict says so where the day log names it."""
    try:
        return registry.load(version)
    except InvalidKey:
        return None


def facts_of(settings: Settings, binding: Binding, now: float, came_from: Sequence[_Span] = ()) -> verify_input.Facts:
    """Return the rules that a generation ran under; came_from: the partitions that its customers moved from."""
    rules = settings.rules
    return verify_input.Facts(
        partitions=binding.partitions,
        timezone=binding.timezone,
        currency=binding.currency,
        clock="event" if binding.clock == "event" else "wall",
        first_day=binding.day,
        today=today_in(settings.zone, now),
        cutoff=binding.cutoff,
        has_ids=binding.has_ids,
        horizon_days=binding.horizon_days,
        dedupe_days=rules.dedupe_days,
        forget_after_days=rules.forget_after_days,
        ahead_days=rules.ahead_days,
        ahead_events=rules.ahead_events,
        ahead_customers=rules.ahead_customers,
        emit=rules.emit,
        erasure_key=settings.erasure_key_bytes,
        from_topic=binding.from_topic is not None,
        former=binding.former,
        first_version=max((span.state.sweep.version for span in came_from), default=None),
        keeps_moves=binding.first_schema >= SCHEMA_OF_MOVES,
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """One partition of one generation: its output has epochs from `since` on, and below `until` where it has ended."""

    number: int
    binding: Binding
    state: PartitionState
    days: Sequence[DayEntry]
    since: int
    until: int | None = None


def _entries(days: Iterable[bytes]) -> list[DayEntry]:
    return [msgspec.json.decode(entry, type=DayEntry) for entry in days]


def _spans(former: Former, since: int) -> list[_Span]:
    return [
        _Span(p, former.binding, decode_state(state), _entries(days), since, former.epoch)
        for p, (state, days) in enumerate(zip(former.states, former.days, strict=True))
    ]


def _chapters(
    where: Where,
    former: Sequence[Former],
    spans: Sequence[Sequence[_Span]],
    live: Sequence[verify_input.Partition],
    now: float,
) -> list[verify_input.Chapter]:
    """Return the generations before partitions were added. All marks are known there: nobody knows whose is where."""
    marks = {hashed: mark for partition in live for hashed, mark in partition.marks.items()}
    chapters = []
    for i, each in enumerate(former):
        facts = facts_of(where.settings, each.binding, now, spans[i - 1] if i else ())
        parts = [replace(_partition(where, span, None), marks=marks) for span in spans[i]]
        chapters.append(verify_input.Chapter(facts, parts))
    return chapters


def _as_complete(
    chapters: Sequence[verify_input.Chapter], live: Sequence[verify_input.Partition]
) -> tuple[list[verify_input.Chapter], list[verify_input.Partition]]:
    """Give all partitions one completeness: a customer's first record may be in another one than his last."""
    parts = [*(partition for chapter in chapters for partition in chapter.partitions), *live]
    least = _completeness([record for partition in parts for record in partition.output])
    return (
        [
            verify_input.Chapter(chapter.facts, [replace(part, completeness=least) for part in chapter.partitions])
            for chapter in chapters
        ],
        [replace(part, completeness=least) for part in live],
    )


def _partition(
    where: Where, span: _Span, store: RedisStore | None, told: Callable[[float], None] = lambda _: None
) -> verify_input.Partition:
    """Gather one partition; store: None where its generation has ended, and only its topics tell of it.

    told: the share of the input that is read.
    """
    topics, reader, number, state = where.settings.topics, where.reader, span.number, span.state
    sweep, binding = state.sweep, span.binding
    days = span.days
    start = days[0].applied if days else state.applied
    earliest, end = reader.bounds(topics.input, number)
    first = max(start, earliest)
    stop = min(state.applied, end)
    told(0.0)
    given = list(_records(reader, topics.input, number, first, stop, told))
    before_from = None if binding.from_topic is None else binding.from_topic[number]
    before = (
        [] if before_from is None else list(_records(reader, topics.input, number, max(before_from, earliest), start))
    )
    dead = _dead(reader, topics, number)
    output, moved = _split(_output(reader, topics, number), span)
    ended = where.committed is None or store is None
    return verify_input.Partition(
        number=number,
        start=start,
        committed=state.applied if ended else (where.committed or {}).get(number, start),
        input_from=earliest,
        input=given,
        output=output,
        days=[verify_input.DayEntry(e.number, e.day, e.version, e.model_hash, e.applied) for e in days],
        states={} if store is None else dict(_states(store, number)),
        standing=verify_input.Standing(
            state.applied,
            sweep.number,
            sweep.day,
            sweep.version,
            sweep.cursor,
            state.counters,
            [verify_input.Rewind(r.epoch, r.applied, r.sweep, r.cursor) for r in state.rewinds],
            [(gap.start, gap.stop) for gap in state.gaps],
            None if state.tally is None else [msgspec.structs.astuple(total) for total in state.tally.totals],
        ),
        completeness=where.completeness or _completeness_of(span, output),
        statistics=None if store is None else store.statistics(number),
        marks={} if store is None else store.all_marks(number),
        dead={r.offset: dead[r.offset].reason for r in given if _is_of(dead.get(r.offset), r)},
        before=before,
        before_from=before_from,
        before_dead=frozenset(r.offset for r in before if _is_of(dead.get(r.offset), r)),
        moved=moved,
    )


def _split(
    records: Iterator[verify_input.OutputRecord], span: _Span
) -> tuple[list[verify_input.OutputRecord], list[verify_input.OutputRecord]]:
    """Return what a generation published in a partition, and the copies of those who moved there before it began."""
    own, moved = [], []
    for record in records:
        epoch = int(record.headers["epoch"]) if "epoch" in record.headers else span.since
        if "moved_from" in record.headers:
            moved += [record] if epoch == span.since else []
        elif "moved_to" not in record.headers and span.since <= epoch < (span.until or epoch + 1):
            own.append(record)
    return own, moved


def _records(
    reader: TopicReader, topic: str, number: int, first: int, stop: int, told: Callable[[float], None] = lambda _: None
) -> Iterator[verify_input.InputRecord]:
    for offset, timestamp, key, value, _ in reader.read(topic, number, first, stop) if first < stop else ():
        if offset % TOLD_EVERY == 0:
            told((offset - first) / (stop - first))
        yield verify_input.InputRecord(offset, timestamp, key, value)


def _states(store: RedisStore, number: int) -> Iterator[tuple[str, bytes]]:
    after, more = START, True
    while more:
        chunk = store.chunk(number, after, CHUNK)
        more = len(chunk.ids) >= CHUNK
        after = chunk.positions[-1] if chunk.positions else after
        yield from ((name, blob) for name, blob in zip(chunk.ids, chunk.blobs, strict=True) if blob is not None)


def _output(reader: TopicReader, topics: Topics, number: int) -> Iterator[verify_input.OutputRecord]:
    first, end = reader.bounds(topics.output, number)
    for record in reader.read(topics.output, number, first, end) if first < end else ():
        yield verify_input.OutputRecord(record.offset, record.key, record.value, dict(record.headers))


def _completeness(output: Sequence[verify_input.OutputRecord]) -> verify_input.Completeness:
    """Say whether a compacted topic still has everything: then it begins at 0, and everybody with a revision 1.

    The two go together, but for a first record that was never published: it counts as compacted away.
    """
    seen: set[bytes | None] = set()
    for record in output:
        if record.key not in seen and record.value is not None:
            seen.add(record.key)
            if msgspec.json.decode(record.value, type=_Revision).revision != 1:
                return "compacted"
    return "whole" if not output or output[0].offset <= 1 else "compacted"


def _completeness_of(span: _Span, output: Sequence[verify_input.OutputRecord]) -> verify_input.Completeness:
    """Say the same of a partition; where others had its first records, and which is forgotten, some are gone."""
    unknown = bool(span.binding.former) and not span.since
    return "compacted" if unknown else _completeness(output)


class _Revision(msgspec.Struct):
    revision: int = 0


@dataclass(frozen=True, slots=True)
class _Letter:
    """A dead letter: the refused record, and why."""

    reason: str
    key: bytes | None
    value: bytes | None


def _is_of(letter: _Letter | None, record: verify_input.InputRecord) -> bool:
    """Say whether a letter is of this record: in a topic that was made anew others have had its offset.

    A letter may lack its bytes, where retention had taken them.
    """
    if letter is None:
        return False
    bare = letter.key is None and not letter.value
    return bare or (letter.key, letter.value or b"") == (record.key, record.value or b"")


def _dead(reader: TopicReader, topics: Topics, number: int) -> dict[int, _Letter]:
    """Return the dead letters that are still there, the newest of each input offset."""
    first, end = reader.bounds(topics.dead_letters, number)
    found = {}
    for record in reader.read(topics.dead_letters, number, first, end) if first < end else ():
        headers = dict(record.headers)
        if "offset" in headers and "reason" in headers:
            found[int(headers["offset"])] = _Letter(headers["reason"].decode(), record.key, record.value)
    return found


def reading_of(settings: Settings, **options: Any) -> Reading:
    """Return how the history's files are read: the command's options, under the settings' zone and currency."""
    return Reading(zone=settings.timezone, currency=settings.currency, **options)
