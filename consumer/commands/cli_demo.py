"""`demo`: the main job from end to end with nothing installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.commands.cli_options import (
    DIRECTORY,
    DateFormat,
    Decimal,
    Directory,
    DropNonProducts,
    DropRepeats,
    Encoding,
    Json,
    Map,
    Separator,
)


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: segmenter demo")(demo)


def demo(  # noqa: PLR0913 -- each argument is an option of the command line
    dataset: Annotated[Path, typer.Option("--dataset", help="A file or folder of order lines.")] = Path("Dataset"),
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    directory: Directory = DIRECTORY,
    report: Annotated[Path, typer.Option("--report", help="Where the figures go.")] = Path("demo.json"),
    k: Annotated[int, typer.Option("--k", min=2, max=10, help="Clusters.")] = 4,
    as_json: Json = False,
) -> None:
    """Bootstrap on the first part of a history, send the rest through Kafka, verify all that came out.

    Needs no Kafka and no Redis: both run embedded. Of the settings only SEGMENTER_CURRENCY and SEGMENTER_TIMEZONE
    count: they say what the file means. The state stays in --directory until `make clean`.
    """
    from consumer.commands.cli_output import Output
    from consumer.demo.demo import run_demo
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles([dataset], mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
    run_demo(files, directory, report, k, Output(as_json=as_json))
