"""What `verify` does and prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from consumer.commands.cli_options import paths_or_default
from consumer.commands.cli_output import Output, Tell, table
from consumer.commands.place import Place
from consumer.commands.verify_source import Where, reading_of, verified
from consumer.demo.recording import RecordedReader
from consumer.exits import ExitCode, Stop
from consumer.history.csv_columns import parse_map
from consumer.history.csv_source import find
from consumer.history.history_files import HistoryFiles
from consumer.ports import TopicReader
from consumer.service import connect_redis, refuse_newer
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_reader import KafkaReader
from features.redis_generation import read_binding
from reports.verify_input import Completeness, Verdict

RECORDED = "recorded"
"""Where a demo keeps what went through its broker, under its directory."""
REBOUND = "rebound"
"""Marks a directory whose state has met a second broker: what the first one held is gone."""


def run_verify(place: Place, files: HistoryFiles, output: Output) -> None:
    """Compare everything and print the verdict; exit with 1 on differences."""
    with output.progress() as progress:
        found = judged(place, files, output.note, progress)
    rows = [(d.bucket, d.partition, d.kind, str(d.expected)[:64], str(d.found)[:64]) for d in found.differences]
    columns = ["where", "partition>", "what", "expected", "found"]
    verdict = "nothing differs" if found.ok else "[red]differs[/red]"
    text = (
        f"{found.customers:,} customers, {found.events:,} events, {found.records:,} records recomputed: {verdict}; "
        f"states {found.state_differences:,}, records {found.output_differences:,}, revisions {found.revision_errors:,}"
    )
    output.result(found.report(), text, *_limits(found), *([table(None, columns, rows)] if rows else []))
    if not found.ok:
        raise typer.Exit(int(ExitCode.DIFFERENCES))


def judged(
    place: Place, files: HistoryFiles, note: Callable[[str], None] | None = None, tell: Tell = lambda *_: None
) -> Verdict:
    """Gather and compare. A customer's id is in the differences: they are for the one who runs this, not for logs.

    tell: told (stage, done, of).
    """
    settings = place.settings
    reading = reading_of(
        settings,
        columns=parse_map(files.mapping) if files.mapping else {},
        separator=files.separator,
        decimal=files.decimal,
        encoding=files.encoding,
        date_format=files.date_format,
        drop_repeats=files.drop_repeats,
        drop_non_products=files.drop_non_products,
    )
    client = connect_redis(settings)
    binding = read_binding(client, settings.namespace)
    if binding is None:
        raise Stop(ExitCode.USAGE, f"namespace {settings.namespace} holds no state: there is nothing to verify yet")
    refuse_newer(binding)
    needless = binding.from_topic is not None and binding.cutoff is None and not files.paths
    paths: list[Path] = []
    if not needless:
        if note is not None:
            list(map(note, files.sentences()))
        paths = [path for given in paths_or_default(files.paths) for path in find(given).paths]
    if place.directory is not None and (place.directory / REBOUND).exists():
        raise Stop(
            ExitCode.USAGE,
            f"the state in {place.directory} has outlived the broker that its first events came through: "
            "what it was made from is gone, so it cannot be verified; `segmenter demo` makes another",
        )
    reader, committed = _read_from(place, binding.partitions)
    whole: Completeness | None = "whole" if isinstance(reader, RecordedReader) else None
    try:
        return verified(Where(settings, client, reader, committed, whole), paths, reading, time.time(), tell)
    finally:
        reader.close()


def _read_from(place: Place, partitions: int) -> tuple[TopicReader, Mapping[int, int] | None]:
    """Return where the topics are read, and the group's offsets: a broker forgets neither, an embedded one both."""
    recorded = _recorded(place.directory)
    if recorded is not None:
        return RecordedReader(recorded, partitions), None
    kafka = place.broker()
    if kafka.embedded:
        return KafkaReader(kafka), None
    with admin(kafka) as asked:
        offsets = asked.group_offsets(place.settings.group_id, place.settings.transactions_topic)
    return KafkaReader(kafka), {p: committed.offset for p, committed in offsets.items()}


def _recorded(directory: Path | None) -> Path | None:
    if directory is None or not (directory / RECORDED).exists():
        return None
    return directory / RECORDED


def _limits(found: Verdict) -> list[str]:
    """Say what could not be compared, for it was not there any more."""
    said = [
        f"partition {partition}: offsets {first} to {after - 1} were gone unread and are in no state, as "
        "--on-input-loss=skip allowed"
        for partition, first, after in found.gaps
    ]
    for each in found.verified_from:
        if not each.states:
            said.append(
                f"partition {each.partition}: input before offset {each.input_offset} is gone: states unverified"
            )
        if each.unseen:
            said.append(f"partition {each.partition}: first revisions of {each.unseen} customers were compacted away")
        if each.unread:
            said.append(f"partition {each.partition}: {each.unread} customers without a record in what is left")
    return said
