"""`dlq list`, `dlq show` and `dlq redrive`: what they ask, and what they print (consumer.deadletters does the work)."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
from rich.console import RenderableType

from consumer.commands.cli_output import Output, plain, table
from consumer.commands.place import Place
from consumer.deadletters import Fate, Letter, Survey, find, send, survey
from consumer.exits import ExitCode, Stop
from consumer.partition import Rewind, decode_state
from consumer.ports import InputRecord, TransportError
from consumer.service import check_binding, open_state
from consumer.transport.clients import CLIENTS
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_reader import KafkaReader

SHOWN_CHARACTERS = 4_000
"""More of a record is not put on a screen; --json has it all."""
NAMED = 20
"""So many letters that cannot go are named."""
LEFT = {
    Fate.REDRIVEN: "redriven before",
    Fate.FAILED_AGAIN: "refused again after a redrive (--again sends them)",
    Fate.HEADERS_ONLY: "headers only: retention had taken the bytes",
    Fate.READ_AGAIN: "read again since, after Redis lost writes: what became of them then counts",
    Fate.OTHER_TOPIC: "from an input topic of another name",
}


class Group(msgspec.Struct, frozen=True):
    """Letters of one reason in one partition. oldest, newest: when they were refused (RFC 3339)."""

    reason: str
    partition: int
    letters: int
    waiting: int
    oldest: str
    newest: str


class Listing(msgspec.Struct, frozen=True):
    """All dead letters. fates: what became of them; what `waits` would be redriven."""

    topic: str
    letters: int
    fates: dict[str, int]
    groups: list[Group]


class Shown(msgspec.Struct, frozen=True):
    """One letter. key, value: as text, what is no UTF-8 escaped; value_base64: the very bytes."""

    reason: str
    detail: str
    fate: str
    partition: int
    offset: int
    refused: str
    headers: dict[str, str]
    key: str | None
    value: str | None
    value_base64: str | None


class Redriven(msgspec.Struct, frozen=True):
    """What a redrive sent, or would send, by reason; what it left, by fate; which of these can never go."""

    topic: str
    dry_run: bool
    sent: dict[str, int]
    left: dict[str, int]
    headers_only: list[tuple[int, int]]


def list_all(place: Place, reason: str | None, output: Output) -> None:
    """Count the letters and print the counts."""
    listing = listing_of(place, reason)
    rows = [(g.reason, g.partition, g.letters, g.waiting, g.oldest, g.newest) for g in listing.groups]
    columns = ["reason", "partition>", "letters>", "waiting>", "oldest", "newest"]
    output.result(listing, f"Dead letters in {listing.topic}: {listing.letters:,}", table(None, columns, rows))


def listing_of(place: Place, reason: str | None = None) -> Listing:
    """Count the letters, all of them or those of a reason. Raises `Stop`, `TransportError`."""
    with _reading(place) as reader:
        found = _survey(place, reader)
    chosen = [(letter, fate) for letter, fate in found.letters if reason in (None, letter.reason)]
    return Listing(
        topic=place.settings.dead_letters_topic,
        letters=len(chosen),
        fates=dict(Counter(fate.value for _, fate in chosen)),
        groups=_groups(chosen),
    )


def _groups(chosen: list[tuple[Letter, Fate]]) -> list[Group]:
    parts: dict[tuple[str, int], list[tuple[Letter, Fate]]] = {}
    for letter, fate in chosen:
        parts.setdefault((letter.reason, letter.source.partition), []).append((letter, fate))
    return [
        Group(
            reason=reason,
            partition=partition,
            letters=len(part),
            waiting=sum(fate is Fate.WAITS for _, fate in part),
            oldest=_time(min(letter.refused_ms for letter, _ in part)),
            newest=_time(max(letter.refused_ms for letter, _ in part)),
        )
        for (reason, partition), part in sorted(parts.items())
    ]


def show_some(
    place: Place, reason: str | None, partition: int | None, offset: int | None, limit: int, output: Output
) -> None:
    """Print some letters with their bytes; exit with 1 where none is as asked for."""
    with _reading(place) as reader:
        found = [
            (letter, fate)
            for letter, fate in _survey(place, reader).letters
            if reason in (None, letter.reason)
            and partition in (None, letter.source.partition)
            and offset in (None, letter.source.offset)
        ]
        topic = place.settings.dead_letters_topic
        shown = [_shown(letter, fate, find(reader, topic, letter)) for letter, fate in found[:limit]]
    if not shown:
        raise Stop(ExitCode.DIFFERENCES, f"no dead letter in {topic} is as asked for; `segmenter dlq list` counts them")
    output.result(shown, *(part for each in shown for part in _printed(each)))


def _shown(letter: Letter, fate: Fate, record: InputRecord) -> Shown:
    value = None if letter.bare else record.value
    return Shown(
        reason=letter.reason,
        detail=letter.detail,
        fate=fate.value,
        partition=letter.source.partition,
        offset=letter.source.offset,
        refused=_time(letter.refused_ms),
        headers={name: _text(data) for name, data in record.headers},
        key=None if record.key is None else _text(record.key),
        value=None if value is None else _text(value),
        value_base64=None if value is None else b64encode(value).decode(),
    )


def _printed(letter: Shown) -> Iterator[RenderableType]:
    yield f"[bold]{letter.reason}[/bold], partition {letter.partition}, offset {letter.offset}: {letter.fate}"
    yield table(None, ["header", "value"], [(plain(name), plain(text)) for name, text in letter.headers.items()])
    yield f"key:   {'none' if letter.key is None else plain(letter.key)}"
    value = letter.value
    if value is None:
        yield "value: gone; retention had taken it before it was written here"
    else:
        more = len(value) - SHOWN_CHARACTERS
        yield f"value: {plain(value[:SHOWN_CHARACTERS])}" + (f" ... and {more:,} characters more" if more > 0 else "")
    yield ""


def redrive_all(place: Place, reason: str | None, output: Output, *, dry_run: bool, again: bool) -> None:
    """Send what waits, or say what would go."""
    settings, kafka = place.settings, place.broker()
    topics = settings.topics
    _, binding, _ = open_state(settings)
    sink = CLIENTS[settings.kafka_client].sink(
        kafka, f"{settings.namespace}-dlq:redrive", settings.group_id, topics.input
    )
    sent: Counter[str] = Counter()
    with _reading(place) as reader:
        home = partial(partition_of, partitions=binding.partitions)
        check_binding(binding, reader.facts(topics.input), settings)
        try:
            if not dry_run:
                sink.open()
            found = _survey(place, reader)
            chosen = found.chosen(reason, again=again)
            if dry_run:
                sent.update(letter.reason for letter in chosen)
            else:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                with output.progress() as tell:
                    for part in send(reader, sink, topics, home, found, chosen, now):
                        sent += part
                        tell("redriving", sent.total(), len(chosen))
        except TransportError as error:
            raise _failed(error, sent.total()) from error
        finally:
            sink.close()
    _print(_redriven(found, chosen, sent, settings.transactions_topic, reason, dry_run=dry_run), output)


def _failed(error: TransportError, sent: int) -> Exception:
    """Say how far it came; what was sent is known to the next one."""
    if error.fenced:
        return Stop(
            ExitCode.FENCED,
            f"another `dlq redrive` has begun and goes on with the rest; this one sent {sent:,} letters",
        )
    return TransportError(
        f"{error}; {sent:,} letters went for certain. Run it again: none goes twice", retriable=error.retriable
    )


def _redriven(
    found: Survey, chosen: list[Letter], sent: Counter[str], topic: str, reason: str | None, *, dry_run: bool
) -> Redriven:
    going = {letter.at for letter in chosen}
    left = [(each, fate) for each, fate in found.letters if each.at not in going and reason in (None, each.reason)]
    bare = [(each.source.partition, each.source.offset) for each, fate in left if fate is Fate.HEADERS_ONLY]
    return Redriven(topic, dry_run, dict(sent), dict(Counter(fate.value for _, fate in left)), bare)


def _print(done: Redriven, output: Output) -> None:
    rows = [(reason, n) for reason, n in sorted(done.sent.items())]
    total = sum(done.sent.values())
    title = f"{total:,} letters {'would go' if done.dry_run else 'went'} to {done.topic}"
    parts: list[RenderableType] = [title, *([table(None, ["reason", "letters>"], rows)] if rows else [])]
    parts += [f"left: {n:,} {LEFT[Fate(fate)]}" for fate, n in sorted(done.left.items())]
    named = ", ".join(f"partition {partition} offset {offset}" for partition, offset in done.headers_only[:NAMED])
    if named:
        parts.append(f"headers only: {named}{', ...' if len(done.headers_only) > NAMED else ''}")
    output.result(done, *parts)


@contextmanager
def _reading(place: Place) -> Iterator[KafkaReader]:
    reader = KafkaReader(place.broker())
    try:
        yield reader
    finally:
        reader.close()


def _survey(place: Place, reader: KafkaReader) -> Survey:
    settings = place.settings
    _, binding, store = open_state(settings)
    fences = store.fences(range(binding.partitions))
    rewinds: dict[int, tuple[Rewind, ...]] = {p: decode_state(fence.state).rewinds for p, fence in fences.items()}
    return survey(reader, settings.topics, binding.partitions, rewinds)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
