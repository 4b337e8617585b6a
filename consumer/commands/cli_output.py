"""How a command speaks: its result on stdout, progress and troubles on stderr, and `--json` for programs.

    result    a table for people, or with --json one JSON document; nothing else is on stdout
    progress  rich bars on a terminal, else a plain line a stage and then one every ten seconds

NO_COLOR and a stdout that is no terminal are respected (rich does both).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consumer.exits import ExitCode

Tell = Callable[[str, int, int], None]
"""Told a stage's name, how much of it is done, and of how much."""

LINE_EVERY_S = 10.0
WIDE = 240


class Output:
    """What one command prints, and where."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # What is no terminal has no width: lines are left whole, for grep.
        self.out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
        self.err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)

    def result(self, data: object, *shown: RenderableType) -> None:
        """Print a result: `data` as JSON where programs read, what is shown to people otherwise."""
        if self.as_json:
            self.out.out(as_json(data), highlight=False)
        else:
            for each in shown:
                self.out.print(each)

    def note(self, text: str) -> None:
        """Tell a person something beside the result."""
        self.err.print(text, markup=False, soft_wrap=True)

    def error(self, code: ExitCode, text: str) -> None:
        """Say in a sentence why the command failed."""
        if self.as_json:
            self.out.out(as_json({"error": text, "exit_code": int(code)}), highlight=False)
        self.err.print(f"segmenter: {text}", markup=False, soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Tell]:
        """Give a function that shows how far stages have come."""
        if self.err.is_terminal:
            with Progress(
                TextColumn("{task.description:<24}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=self.err,
                transient=self.as_json,
            ) as bars:
                yield _Bars(bars)
        else:
            yield _PlainLines(self.note)


def as_json(data: object) -> str:
    """Return one JSON document, indented; structs, dataclasses and enums are known to msgspec."""
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


class _Bars:
    """A bar a stage; a stage that begins anew (another partition's) goes on in its bar."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, of: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=of)
        self._bars.update(self._tasks[stage], completed=done, total=max(of, 1))


class _PlainLines:
    """A line when a stage begins, when it ends, and now and then between."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write, self._now = write, now
        self._began: dict[str, float] = {}
        self._ended: set[str] = set()
        self._next = 0.0

    def __call__(self, stage: str, done: int, of: int) -> None:
        now = self._now()
        if stage not in self._began:
            self._began[stage], self._next = now, now + LINE_EVERY_S
            self._write(f"{stage} ...")
        if done >= of and stage not in self._ended:
            self._ended.add(stage)
            self._write(f"{stage}: done in {now - self._began[stage]:.1f} s")
        elif done < of and now >= self._next:
            self._next = now + LINE_EVERY_S
            self._write(f"{stage}: {done / of:.0%}")


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return a plain table; columns whose name ends with > are numbers, set to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        right = name.endswith(">")
        made.add_column(name.rstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def plain(text: str) -> str:
    """Return a text of the data's, such as an id, that can neither colour the output nor steer the terminal."""
    return escape("".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text))


def in_per_cent(share: float | None) -> str:
    """Return a share in 0 .. 1 as a table shows it, an empty cell for none."""
    return "" if share is None else f"{share:.1%}"


def cell(value: Any) -> str:
    """Return a value as a table shows it: thousands set apart, an empty cell for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
