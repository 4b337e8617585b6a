"""Options that several commands share, each with its help, and how texts of the command line become values."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from consumer.commands.place import DEFAULT_DIRECTORY
from consumer.exits import ExitCode, Stop
from consumer.settings import Settings
from features.transaction import day_of, local_seconds

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Embedded = Annotated[bool, typer.Option("--embedded", help="Use the embedded pair of --directory: no Kafka, no Redis.")]
Directory = Annotated[Path, typer.Option("--directory", help="Where the embedded pair keeps its state.")]
Namespace = Annotated[str | None, typer.Option("--namespace", help="Another namespace than SEGMENTER_NAMESPACE.")]
Clock = Annotated[
    str | None, typer.Option("--clock", help="`wall`: today turns the day; `event`: the events' dates do (old data).")
]
Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATH]...", help="Files or folders; default Dataset/: a real file there goes before the sample."
    ),
]
Map = Annotated[
    str | None, typer.Option("--map", help="Columns: customer_id=Client,invoice_date=Day,...", metavar="F=H,..")
]
Separator = Annotated[
    str | None, typer.Option("--separator", help="What separates cells; found by itself if not given.")
]
Decimal = Annotated[str, typer.Option("--decimal", help="Decimal mark: . or ,")]
Encoding = Annotated[str, typer.Option("--encoding", help="utf-8, cp1252, latin-1, ...")]
DateFormat = Annotated[str | None, typer.Option("--date-format", help="As strptime's, e.g. '%d.%m.%Y %H:%M'.")]
DropRepeats = Annotated[bool, typer.Option("--drop-repeats", help="Drop rows equal to an earlier one in every column.")]
DropNonProducts = Annotated[bool, typer.Option("--drop-non-products", help="Drop postage, fees, discounts, samples.")]

DEFAULT_PATH = Path("Dataset")
DIRECTORY = DEFAULT_DIRECTORY


def without_extra(error: ModuleNotFoundError, extra: str) -> Stop:
    """Return what is said where an extra that a verb of the same name needs is not installed."""
    what = f"pip install 'segmenter[{extra}]' brings what `{extra}` needs"
    return Stop(ExitCode.USAGE, f"{error.name} is not installed: {what}")


def paths_or_default(paths: list[Path] | None) -> list[Path]:
    """Return the given paths, else Dataset/."""
    return paths or [DEFAULT_PATH]


def moment(text: str | None, option: str, settings: Settings) -> int | None:
    """Return local seconds of a date or time as the option gives it; a date is its midnight."""
    if text is None:
        return None
    try:
        return local_seconds(datetime.fromisoformat(text), settings.zone)
    except ValueError:
        raise Stop(
            ExitCode.USAGE, f"{option} {text}: write a date or time such as 2011-06-01 or 2011-06-01T08:30"
        ) from None


def day(text: str | None, option: str) -> int | None:
    """Return the day of a date, counted from 1970-01-01."""
    if text is None:
        return None
    try:
        return day_of(text)
    except ValueError:
        raise Stop(ExitCode.USAGE, f"{option} {text}: write a date such as 2011-12-10") from None
