r"""`report`: a history, or the running service's state, as a page and a folder of tables.

    paths --History--> study \
    the store --States--> study --reports.workbench--> DIR/report.html, DIR/tables/*.csv
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from consumer.commands.cli_options import day as day_from
from consumer.commands.cli_output import Output, Tell
from consumer.commands.place import Place, settings_from
from consumer.commands.whole_file import whole_file
from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.history.csv_study import study_of
from consumer.history.history_files import HistoryFiles
from consumer.partition import iso
from consumer.settings import Settings
from reports.spreadsheet import csv_of
from reports.workbench.action.recommended_actions import Action, ActionsError, with_own
from reports.workbench.page import TABLES
from reports.workbench.report import html, sections, tables
from reports.workbench.study import Study, pseudonymous

PAGE = "report.html"
HASH_CHARACTERS = 12
"""Hex characters that stand for a customer: 48 bits keep a million apart."""


class Reported(msgspec.Struct, frozen=True):
    """What `report --json` prints. lines: readable ones, 0 for the running service; bytes: of the page."""

    file: str
    bytes: int
    day: str
    customers: int
    lines: int
    k: int
    sections: int
    plots: int
    tables: int
    hashed: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What the options say. compare: (a day, the day of the report); k: None to choose it; actions: a CSV."""

    out: Path
    k: int | None = None
    compare: tuple[str, str] | None = None
    hash_ids: bool = False
    actions: Path | None = None

    def actions_for(self, study: Study) -> Mapping[str, Action] | None:
        """Return a person's own table of actions over the packaged one. Raises `Stop` for one that cannot be read."""
        if self.actions is None:
            return None
        try:
            text = self.actions.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise Stop(ExitCode.USAGE, f"--actions {self.actions}: {error}") from error
        try:
            return with_own(text, f"--actions {self.actions}", study.segments)
        except ActionsError as error:
            raise Stop(ExitCode.USAGE, str(error)) from error


def report_files(files: HistoryFiles, plan: ReportPlan, output: Output) -> None:
    """Write the report of a history."""
    settings = settings_from()
    for sentence in files.sentences():
        output.note(sentence)
    began = time.monotonic()
    _check(plan.out)
    before, until = (None, None) if plan.compare is None else _compared(*plan.compare)
    with output.progress() as progress:
        history = files.read(settings, progress, everything=True)
        if until is not None:
            history = history.take(history.day < until)
        if not history.kept.any():
            when = "" if until is None else f" before {iso(until)}"
            raise Stop(ExitCode.USAGE, f"no line of the history can be counted{when}")
        try:
            study = study_of(history, settings, k=plan.k, progress=progress)
        except ValueError as error:
            raise Stop(ExitCode.USAGE, f"{error}; give other files, or a smaller --k") from error
        _write(study, before, plan, settings, output, progress, began)


def report_live(place: Place, plan: ReportPlan, output: Output) -> None:
    """Write the report of the running service."""
    from consumer.commands.live_study import live_study, past_of

    if plan.compare is not None or plan.k is not None:
        raise Stop(ExitCode.USAGE, "--live reports on the service's own model as of today: leave --k and --compare out")
    began = time.monotonic()
    _check(plan.out)
    with output.progress() as progress:
        study = replace(live_study(place, progress), past=past_of(place))
        _write(study, None, plan, place.settings, output, progress, began)


def _compared(earlier: str, later: str) -> tuple[int, int]:
    first, second = day_from(earlier, "--compare"), day_from(later, "--compare")
    assert first is not None, "a text was given"
    assert second is not None, "a text was given"
    if first >= second:
        raise Stop(ExitCode.USAGE, f"--compare {earlier} {later}: the earlier day comes first")
    return first, second


def _write(
    study: Study, before: int | None, plan: ReportPlan, settings: Settings, output: Output, progress: Tell, began: float
) -> None:
    if plan.hash_ids:
        study = pseudonymous(study, namer(settings, output))
    found = sections(study, progress, before=before, own_actions=plan.actions_for(study))
    text = html(study, found).encode()
    sheets = tables(study, found)
    folder = _emptied(plan.out / TABLES)
    with whole_file(plan.out / PAGE, "--out") as file:
        file.write(text)
    for done, (key, data) in enumerate(sheets.items()):
        progress("writing tables", done, len(sheets))
        with whole_file(folder / f"{key}.csv", "--out") as file:
            file.write(csv_of(data))
    progress("writing tables", len(sheets), len(sheets))
    exhibits = [exhibit for section in found for exhibit in section.exhibits]
    report = Reported(
        file=str(plan.out / PAGE),
        bytes=len(text),
        day=iso(study.day),
        customers=len(study.customers),
        lines=0 if study.lines is None else len(study.lines),
        k=study.bundle.k,
        sections=len(found),
        plots=sum(exhibit.figure is not None for exhibit in exhibits),
        tables=len(sheets),
        hashed=plan.hash_ids,
        seconds=round(time.monotonic() - began, 2),
    )
    output.result(
        report,
        *found[0].points,
        "",
        f"{report.sections} sections, {report.plots} plots and {report.tables} tables about {report.customers:,} "
        f"customers as of {report.day}, in {report.seconds:.1f} s",
        f"Open {report.file} ({report.bytes / 1e6:.1f} MB, needs no network); the tables are in {folder}",
    )


def namer(settings: Settings, output: Output) -> Callable[[str], str]:
    """Return what stands for a customer id: its keyed hash; no key, no secret, so then one of this report's own."""
    if settings.erasure_key is None:
        output.note("--hash-ids: SEGMENTER_ERASURE_KEY is not set, so the names hold for this report alone")
        key = secrets.token_bytes(32)
    else:
        key = settings.erasure_key_bytes
    return lambda customer: keyed_hash(key, customer)[:HASH_CHARACTERS]


def _check(out: Path) -> None:
    """Raise `Stop` where a report cannot be put: it takes a new folder, an empty one, or an earlier report's."""
    problem = None
    if out.is_symlink():
        problem = "this is a link; name the folder itself"
    elif out.exists() and not out.is_dir():
        problem = "this is no folder"
    elif out.exists() and any(out.iterdir()) and not (out / PAGE).exists():
        problem = "it is not empty and holds no report; name another folder"
    elif not out.exists() and not out.parent.is_dir():
        problem = f"there is no folder {out.parent}; make it first"
    if problem is not None:
        raise Stop(ExitCode.USAGE, f"--out {out}: {problem}")


def _emptied(folder: Path) -> Path:
    """Return a folder of ours without what an earlier report left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("*.csv"):
        earlier.unlink()
    return folder
