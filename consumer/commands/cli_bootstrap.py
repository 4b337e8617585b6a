"""What `bootstrap` does and prints: the funnel, the choice of k, the segments."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from rich.console import RenderableType

from consumer import service
from consumer.commands.cli_model import segments_table
from consumer.commands.cli_options import moment
from consumer.commands.cli_output import Output, table
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.history.bootstrap import Prepared
from consumer.history.csv_cleaning import WHY_TWO_VIEWS, Funnel
from consumer.history.csv_source import History
from consumer.history.history_files import HistoryFiles
from consumer.history.profile import Profile, of_bootstrap
from consumer.partition import iso


class Report(msgspec.Struct, frozen=True):
    """What `bootstrap --json` prints; times are seconds."""

    files: list[str]
    lines: int
    until: str
    customers: int
    day: str
    k: int
    model_version: int
    seen_dropped: int
    funnel: list[dict[str, Any]]
    unreadable: list[dict[str, Any]]
    k_table: list[dict[str, Any]]
    segments: tuple[Profile, ...]
    seconds: dict[str, float]


def run_bootstrap(
    place: Place, files: HistoryFiles, output: Output, *, until: str | None, k: int | None, replace: bool
) -> None:
    """Load a history, print what became of it."""
    for sentence in files.sentences():
        output.note(sentence)
    with output.progress() as progress:
        history, prepared, seconds = load(place, files, progress, until=until, k=k, replace=replace)
    report = _report(history, prepared, seconds)
    output.result(report, *shown(history.funnel, prepared, report))


class TopicReport(msgspec.Struct, frozen=True):
    """What `bootstrap --from-topic --json` prints. records: of the topic, by what became of them.

    missing: customers that the output knows and of whom the topic holds no line; partitions: (number, first, cut).
    """

    files: list[str]
    records: dict[str, int]
    partitions: list[tuple[int, int, int]]
    missing: int
    customers: int
    day: str
    k: int
    k_table: list[dict[str, Any]]
    segments: tuple[Profile, ...]
    seconds: float


def run_from_topic(
    place: Place, files: HistoryFiles, output: Output, *, k: int | None, replace: bool, accept: bool
) -> None:
    """Make a state from the input topic, and files beside it where paths are given; print what became of it."""
    from consumer.history.rebuild import Rebuild, gap_text

    settings, kafka = place.settings, place.broker()
    began = time.monotonic()
    client = service.connect_redis(settings)
    start = service.begin_bootstrap(settings, kafka, client, replace=replace)
    with output.progress() as progress:
        history = files.read(settings, progress) if files.paths else None
        rebuild = Rebuild(settings, kafka, client, start, accept=accept, now=time.time())
        done = rebuild.run(history, k=k, progress=progress)
    prepared = done.prepared
    report = TopicReport(
        files=[] if history is None else list(history.files),
        records={name: n for name, n in sorted(done.counts.items()) if n},
        partitions=[(p, done.first[p], cut) for p, cut in sorted(done.cut.items())],
        missing=done.missing,
        customers=len(prepared.customers),
        day=iso(prepared.day),
        k=prepared.bundle.k,
        k_table=k_rows(prepared),
        segments=of_bootstrap(prepared),
        seconds=round(time.monotonic() - began, 2),
    )
    rows = list(report.records.items())
    shown: list[RenderableType] = [table("What became of the topic's records", ["", "records>"], rows), ""]
    shown += [*k_table(prepared), "", segments_table(report.segments, "Segments")]
    losses = [gap_text(done.first), f"{done.missing} customers of the output are in no state" if done.missing else None]
    shown += [f"Accepted: {loss}" for loss in losses if loss]
    shown.append(
        f"\n{report.records.get('lines', 0):,} lines make {report.customers:,} customers as of {report.day}; "
        f"loaded in {report.seconds:.1f} s. Next: segmenter run"
    )
    output.result(report, *shown)


def load(
    place: Place, files: HistoryFiles, progress: Any, *, until: str | None, k: int | None, replace: bool
) -> tuple[History, Prepared, dict[str, float]]:
    """Read, cluster and load; return the lines before `until`, what was loaded, and the seconds it took."""
    settings, kafka = place.settings, place.broker()
    stop = moment(until, "--until", settings)
    began = time.monotonic()
    client = service.connect_redis(settings)
    start = service.begin_bootstrap(settings, kafka, client, replace=replace)
    history = files.read(settings, progress)
    read = time.monotonic()
    chosen = history if stop is None else history.split(stop - 1)[0]
    if stop is not None and not len(chosen):
        raise Stop(ExitCode.USAGE, f"--until {until}: the history has no line before it")
    prepared = service.bootstrap(settings, kafka, client, chosen, start, k=k, progress=progress, now=time.time())
    ended = time.monotonic()
    seconds = {"reading": round(read - began, 2), "loading": round(ended - read, 2), "all": round(ended - began, 2)}
    return chosen, prepared, seconds


def _report(history: History, prepared: Prepared, seconds: dict[str, float]) -> Report:
    return Report(
        files=list(history.files),
        lines=len(history),
        until=history.take(history.time == history.time.max()).iso_times()[0],
        customers=len(prepared.customers),
        day=iso(prepared.day),
        k=prepared.bundle.k,
        model_version=prepared.bundle.version,
        seen_dropped=prepared.seen_dropped,
        funnel=[row._asdict() for row in history.funnel.rows()],
        unreadable=[each._asdict() for each in history.funnel.unreadable[:100]],
        k_table=k_rows(prepared),
        segments=of_bootstrap(prepared),
        seconds=seconds,
    )


def k_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """Return what was measured for each k, empty where k was given."""
    if prepared.choice is None:
        return []
    return [row._asdict() for row in prepared.choice.table]


def shown(funnel: Funnel, prepared: Prepared, report: Report) -> list[RenderableType]:
    """Return the tables for people."""
    parts: list[RenderableType] = [funnel_table(funnel), f"[dim]{WHY_TWO_VIEWS}[/dim]"]
    if funnel.unreadable:
        parts.append(f"Unreadable: {funnel.unreadable_text()}")
    parts += ["", *k_table(prepared), "", segments_table(report.segments, "Segments")]
    parts.append(
        f"\n{report.lines:,} lines up to {report.until} make {report.customers:,} customers as of {report.day}; "
        f"loaded in {report.seconds['all']:.1f} s. Next: segmenter run"
    )
    return parts


def funnel_table(funnel: Funnel) -> RenderableType:
    """Return what became of every line, with the two views that people compare."""
    mark = {"read": "", "out": "- ", "view": "= ", "kept": "  of them: "}
    rows = [(mark[row.kind] + row.name, row.lines, row.customers, row.value) for row in funnel.rows()]
    return table("What became of the lines", ["", "lines>", "customers>", "value>"], rows)


def k_table(prepared: Prepared) -> list[RenderableType]:
    """Return the table by which k was chosen, and why."""
    if prepared.choice is None:
        return [f"k = {prepared.bundle.k}, as given."]
    rows = k_rows(prepared)
    names = list(rows[0])
    body = [[round(v, 3) if isinstance(v, float) else v for v in row.values()] for row in rows]
    return [table("Choice of k", [f"{name}>" for name in names], body), prepared.choice.reason]
