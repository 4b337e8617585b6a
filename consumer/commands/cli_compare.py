"""What `model compare-learners` does and prints: learners beside batch, on anybody's own history."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from consumer.commands.cli_options import day
from consumer.commands.cli_output import Output, Tell, table
from consumer.commands.place import settings_from
from consumer.exits import ExitCode, Stop
from consumer.history.csv_source import History
from consumer.history.history_files import HistoryFiles
from consumer.partition import iso
from consumer.settings import Settings
from models.learner import DEFAULT
from models.selection import Terms, choose_k
from reports.learners import CHECK_EVERY, Comparison, Course, comparison, contestants, days_of, replayed


class Report(msgspec.Struct, frozen=True):
    """What `model compare-learners --json` prints. first: the day of the bootstrap; events: lines from it on."""

    files: list[str]
    customers: int
    first: str
    until: str
    events: int
    k: int
    margin: float
    recency_offset: int
    learners: tuple[Comparison, ...]


def compare_learners(files: HistoryFiles, start: str | None, k: int | None, output: Output) -> None:
    """Replay a history through each learner and a frozen model, and print how near each stays to batch."""
    settings = settings_from()
    for sentence in files.sentences():
        output.note(sentence)
    with output.progress() as progress:
        report = compared(files, settings, start, k, progress)
    rows = [
        (
            each.learner,
            f"{each.inertia_ratio:.4f}",
            f"{each.worst_inertia_ratio:.4f}",
            f"{each.ari:.3f}",
            f"{each.worst_ari:.3f}",
            f"{each.ari_published:.3f}",
            f"{each.moves_per_100_events:.2f}",
            f"{each.returns / max(each.moves, 1):.1%}",
            f"{each.cpu_s:.1f}",
        )
        for each in report.learners
    ]
    columns = ["learner", "inertia>", "worst>", "ARI>", "worst>", "published>", "moves/100>", "back in 7 d>", "CPU s>"]
    output.result(
        report,
        f"{report.events:,} lines from {report.first} on, {report.customers:,} customers, k = {report.k}; each week "
        "against the best of 20 batch fits of the same vectors",
        table(None, columns, rows),
        "inertia: ratio to batch's; ARI: of nearest centroids to batch's segments; published: of the labels sent out; "
        "moves: of these labels between segments a 100 lines, and the share of them that goes back within 7 days",
    )


def compared(files: HistoryFiles, settings: Settings, start: str | None, k: int | None, progress: Tell) -> Report:
    """Read, bootstrap, replay. Raises `Stop`, and CsvError for what cannot be read."""
    history = files.read(settings, progress)
    course = course_of(history, settings, day(start, "--from"))
    try:
        if k is None:
            (coordinates, clustered, _) = next(days_of(course)).turn
            k = choose_k(coordinates[clustered], progress=lambda done, of: progress("choosing k", done, of)).k
        replays = replayed(
            course,
            k,
            contestants(),
            (settings.margin,),
            time.process_time,
            lambda done, of: progress("replaying", done, of),
        )
    except ValueError as error:
        raise Stop(
            ExitCode.USAGE, f"as of {iso(course.first)}: {error}; choose a later --from or a smaller --k"
        ) from error
    events = int((course.lines.day >= course.first).sum())
    return Report(
        files=list(history.files),
        customers=course.customers,
        first=iso(course.first),
        until=iso(course.until),
        events=events,
        k=k,
        margin=settings.margin,
        recency_offset=settings.recency_offset_days,
        learners=tuple(comparison(replay, events) for replay in replays),
    )


def course_of(history: History, settings: Settings, first: int | None) -> Course:
    """Return what is replayed, by default from the middle day of the history to the day after its last line."""
    lines = history.take(np.argsort(history.time, kind="stable")).lines(with_ids=False)
    begins, ends = int(lines.day[0]), int(lines.day[-1])
    first = (begins + ends + 1) // 2 if first is None else first
    until = ends + 1
    if not begins < first <= until - CHECK_EVERY:
        raise Stop(
            ExitCode.USAGE,
            f"--from {iso(first)}: the history goes from {iso(begins)} to {iso(ends)}; the bootstrap needs lines "
            f"before that day, and the comparison {CHECK_EVERY} days from it on",
        )
    terms = Terms(
        first, settings.features, DEFAULT, settings.horizon_days, settings.margin, settings.recency_offset_days
    )
    return Course(lines, len(history.customers), until, terms, settings.refine_every_days)
