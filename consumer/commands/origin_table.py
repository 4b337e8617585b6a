"""What `origin` does and prints: the origin's figures, reproduced, corrected, and why."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.markup import escape

from consumer.commands.cli_output import Output, Tell, table
from consumer.commands.place import settings_from
from consumer.exits import ExitCode, Stop
from consumer.history.csv_study import study_of
from consumer.history.history_files import HistoryFiles
from consumer.settings import Settings
from reports.workbench.origin.origin import STARTS, comparison
from reports.workbench.origin.origin_recorded import is_recorded_file
from reports.workbench.origin.origin_rows import Figure, Row

NOT_THEIRS = (
    "The recorded figures belong to another file (UCI Online Retail, 541,909 lines), so they are not shown: these are "
    "the same steps on this file."
)


class Report(msgspec.Struct, frozen=True):
    """What `origin --json` prints. recorded_file: whether the figures were recorded on this file; starts: seeds a k.

    rows: as `reports.workbench.origin.origin.Row`, with `differs`.
    """

    source: str
    day: str
    recorded_file: bool
    starts: int
    rows: tuple[dict[str, Any], ...]
    differing: tuple[str, ...]


def show_origin(files: HistoryFiles, output: Output) -> None:
    """Print the table; raise `Stop` with `DIFFERENCES` where a figure that can be reproduced was not."""
    settings = settings_from()
    for sentence in files.sentences():
        output.note(sentence)
    with output.progress() as progress:
        report, rows = compared(files, settings, progress)
    shown: list[RenderableType] = []
    for part in dict.fromkeys(row.part for row in rows):
        shown += [part_table(part, [row for row in rows if row.part == part], report.recorded_file), ""]
    shown.append(closing(report))
    output.result(report, *shown)
    if report.differing:
        raise Stop(ExitCode.DIFFERENCES, f"not as recorded: {', '.join(report.differing)}")


def compared(
    files: HistoryFiles, settings: Settings, progress: Tell, starts: int = STARTS
) -> tuple[Report, tuple[Row, ...]]:
    """Read, cluster, take the origin's steps. Raises `Stop`, and CsvError for what cannot be read."""
    history = files.read(settings, progress, everything=True)
    try:
        study = study_of(history, settings, k=None, progress=progress)
    except ValueError as error:
        raise Stop(ExitCode.USAGE, f"{', '.join(history.files)}: {error}") from error
    rows = comparison(study, progress, starts)
    assert study.lines is not None
    report = Report(
        source=study.source,
        day=study.date.isoformat(),
        recorded_file=is_recorded_file(study.lines),
        starts=starts,
        rows=tuple(dataclasses.asdict(row) | {"differs": row.differs} for row in rows),
        differing=tuple(f"{row.part}, {row.what}" for row in rows if row.differs),
    )
    return report, rows


def part_table(part: str, rows: list[Row], recorded_file: bool) -> RenderableType:
    """Return one part's table; without the column of recorded figures where there are none."""
    columns = ["", *(["recorded>", "reproduced>"] if recorded_file else ["by its steps>"]), "corrected", "why"]
    cells = [
        [
            escape(row.what),
            *([figure(row.recorded, row.digits)] if recorded_file else []),
            figure(row.reproduced, row.digits) + (" (differs)" if row.differs else ""),
            escape(figure(row.corrected, row.digits)),
            escape(row.why),
        ]
        for row in rows
    ]
    return table(part, columns, cells)


def figure(value: Figure, digits: int) -> str:
    """Return a figure with so many decimals, thousands set apart; texts as they are, nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.{digits}f}"


def closing(report: Report) -> str:
    """Return the sentence below the tables."""
    if not report.recorded_file:
        return NOT_THEIRS
    recorded = [row for row in report.rows if row["recorded"] is not None]
    lucky = sum(row["within"] is None for row in recorded)
    return (
        f"{len(recorded) - lucky - len(report.differing)} of {len(recorded)} recorded figures come out again. {lucky} "
        "belong to local optima whose seed is not known: the nearest run that was found stands there."
    )
