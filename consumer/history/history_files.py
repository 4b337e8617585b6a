"""The files that a command names, read as one history under the settings' zone and currency."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from consumer.commands.cli_options import paths_or_default
from consumer.commands.cli_output import Tell
from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_columns import CsvError, CsvOptions, parse_map
from consumer.history.csv_source import History, files_of, find, read_history
from consumer.settings import PREFIX, Settings
from features.transaction import DAY_SECONDS, today_in


@dataclass(frozen=True, slots=True)
class HistoryFiles:
    """Paths and how to read them, as the options give them."""

    paths: list[Path] | None = None
    mapping: str | None = None
    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    date_format: str | None = None
    drop_repeats: bool = False
    drop_non_products: bool = False

    def sentences(self) -> list[str]:
        """Return, a path, which files it stands for and why."""
        return [find(path).sentence for path in paths_or_default(self.paths)]

    def files(self) -> list[Path]:
        """Return the files that the paths stand for. Raises CsvError for one that is not there, or twice."""
        return files_of(paths_or_default(self.paths))

    def options(self, settings: Settings) -> CsvOptions:
        """Return how the files are read. Raises CsvError for what cannot be."""
        return CsvOptions(
            columns=parse_map(self.mapping) if self.mapping else {},
            separator="\t" if self.separator == "\\t" else self.separator,
            decimal=self.decimal,
            encoding=self.encoding,
            date_format=self.date_format,
            zone=settings.timezone,
            currency=settings.currency,
            repeats="drop" if self.drop_repeats else "keep",
            non_products="drop" if self.drop_non_products else "keep",
            latest=(today_in(settings.zone, time.time()) + 2) * DAY_SECONDS - 1,
        )

    def read(self, settings: Settings, progress: Tell, *, everything: bool = False) -> History:
        """Read the files (everything: see `read_history`). Raises CsvError naming the file, the row and the remedy.

        progress: told (stage, done, of).
        """

        def tell(done: int, of: int) -> None:
            progress("reading", done, of)
            if done >= of:
                progress("cleaning", 0, 1)

        history = read_history(paths_or_default(self.paths), self.options(settings), tell, everything=everything)
        progress("cleaning", 1, 1)
        if not len(history):
            raise CsvError(f"{', '.join(history.files)}: {_nothing(history.funnel, settings.currency)}")
        return history


def _nothing(funnel: Funnel, currency: str) -> str:
    """Say why no row is left."""
    if not funnel.lines:
        return "row 2: there is none, a header alone is no history; export its rows too"
    why = funnel.unreadable_text(most=3) or ", ".join(f"{n} {name}" for name, _, n, _ in funnel.rules if n)
    ours = f"; {PREFIX}CURRENCY is {currency}: set it to the file's" if funnel.count("foreign currency") else ""
    return f"none of {funnel.lines:,} rows can be counted: {why}{ours}"
