"""What `bootstrap` does and prints: the funnel, the choice of k, the segments."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec
import numpy as np
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
from consumer.history.csv_splitting import LARGE, fold_in_parts, unpacked_bytes
from consumer.history.history_files import HistoryFiles
from consumer.history.loading import Bootstrap, Loaded, told
from consumer.history.profile import Profile, of_bootstrap
from consumer.partition import iso

Engine = Literal["here", "spark"]
"""Who reads, folds and loads: this machine, or the tasks of a Spark cluster."""


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
    place: Place,
    files: HistoryFiles,
    output: Output,
    *,
    until: str | None,
    k: int | None,
    replace: bool,
    engine: Engine = "here",
) -> None:
    """Load a history, print what became of it."""
    for sentence in files.sentences():
        output.note(sentence)
    with output.progress() as progress:
        loaded, seconds = load(place, files, progress, until=until, k=k, replace=replace, engine=engine)
    report = _report(loaded, seconds)
    output.result(report, *shown(loaded, report))


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
    place: Place,
    files: HistoryFiles,
    progress: Any,
    *,
    until: str | None,
    k: int | None,
    replace: bool,
    engine: Engine = "here",
) -> tuple[Loaded, dict[str, float]]:
    """Read, cluster and load; return what was loaded of the lines before `until`, and the seconds it took."""
    settings, kafka = place.settings, place.broker()
    moment_of_end = moment(until, "--until", settings)
    stop = None if moment_of_end is None else moment_of_end - 1
    began = time.monotonic()
    client = service.connect_redis(settings)
    start = service.begin_bootstrap(settings, kafka, client, replace=replace)
    run = Bootstrap(settings, kafka, client, start, k, time.time(), progress)
    if engine == "spark":
        loaded = _by_spark(run, files, stop)
    elif unpacked_bytes(files.files()) > LARGE:
        loaded = run.in_parts(
            lambda terms: fold_in_parts(
                files.files(),
                files.options(settings),
                terms,
                told(progress, "reading"),
                folding=told(progress, "folding"),
            ),
            stop,
        )
    else:
        loaded = run.whole(_before(files.read(settings, progress), stop, until))
    return loaded, {"all": round(time.monotonic() - began, 2)}


def _by_spark(run: Bootstrap, files: HistoryFiles, stop: int | None) -> Loaded:
    try:
        from consumer.history.spark_bootstrap import load_by_spark
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("pyspark"):
            raise
        raise Stop(ExitCode.USAGE, "--engine spark needs Spark: pip install 'segmenter[spark]', and Java") from None
    return load_by_spark(run, files.files(), files.options(run.settings), stop)


def _before(history: History, stop: int | None, until: str | None) -> History:
    chosen = history if stop is None else history.split(stop)[0]
    if not len(chosen):
        raise Stop(ExitCode.USAGE, f"--until {until}: the history has no line before it")
    return chosen


def _report(loaded: Loaded, seconds: dict[str, float]) -> Report:
    return Report(
        files=list(loaded.files),
        lines=loaded.lines,
        until=str(np.datetime64(loaded.newest, "s")),
        customers=loaded.customers,
        day=iso(loaded.day),
        k=loaded.bundle.k,
        model_version=loaded.bundle.version,
        seen_dropped=loaded.seen_dropped,
        funnel=[row._asdict() for row in loaded.funnel.rows()],
        unreadable=[each._asdict() for each in loaded.funnel.unreadable[:100]],
        k_table=k_rows(loaded),
        segments=loaded.segments,
        seconds=seconds,
    )


def k_rows(prepared: Prepared | Loaded) -> list[dict[str, Any]]:
    """Return what was measured for each k, empty where k was given."""
    if prepared.choice is None:
        return []
    return [row._asdict() for row in prepared.choice.table]


def shown(loaded: Loaded, report: Report) -> list[RenderableType]:
    """Return the tables for people."""
    funnel = loaded.funnel
    parts: list[RenderableType] = [funnel_table(funnel), f"[dim]{WHY_TWO_VIEWS}[/dim]"]
    if funnel.unreadable:
        parts.append(f"Unreadable: {funnel.unreadable_text()}")
    parts += ["", *k_table(loaded), "", segments_table(report.segments, "Segments")]
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


def k_table(prepared: Prepared | Loaded) -> list[RenderableType]:
    """Return the table by which k was chosen, and why."""
    if prepared.choice is None:
        return [f"k = {prepared.bundle.k}, as given."]
    rows = k_rows(prepared)
    names = list(rows[0])
    body = [[round(v, 3) if isinstance(v, float) else v for v in row.values()] for row in rows]
    return [table("Choice of k", [f"{name}>" for name in names], body), prepared.choice.reason]
