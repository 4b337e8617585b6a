"""`report`, `origin`: what an analyst opens, a history or the running service as a page; and what it all grew from."""

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
    Embedded,
    Encoding,
    Json,
    Map,
    Namespace,
    Paths,
    Separator,
)


def add_to(app: typer.Typer, _topics: typer.Typer, _model: typer.Typer, _config: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog="Example: segmenter report Dataset/ --out report --k 4")(report)
    app.command(epilog="Example: segmenter origin Dataset/")(origin)


def report(  # noqa: PLR0913 -- each argument is an option of the command line
    paths: Paths = None,
    out: Annotated[
        Path, typer.Option("--out", help="The folder: report.html and tables/ in it; an earlier report is replaced.")
    ] = Path("report"),
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    k: Annotated[
        int | None, typer.Option("--k", min=2, max=10, help="Clusters; chosen by stability if not given.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", help="Report as of the second day, with what moved since the first.", metavar="A B"),
    ] = None,
    hash_ids: Annotated[
        bool, typer.Option("--hash-ids", help="Keyed hashes in place of customer ids, for a report that is mailed.")
    ] = False,
    actions: Annotated[
        Path | None, typer.Option("--actions", help="A CSV of your own: segment,traits,campaign,channel,offer,kpi.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Report on the running service's state instead of files.")
    ] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Write a report that opens offline in any browser: data quality, sales, scores, segments, movement, what to do.

    Everything in it is worked out from the files by the code that the service runs; each plot has its figures as a CSV.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.reporting import ReportPlan, report_files, report_live
    from consumer.history.history_files import HistoryFiles

    plan, output = ReportPlan(out, k, compare, hash_ids, actions), Output(as_json=as_json)
    if live:
        with placed(embedded, directory, namespace=namespace) as place:
            report_live(place, plan, output)
    else:
        files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
        report_files(files, plan, output)


def origin(
    paths: Paths = None,
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    as_json: Json = False,
) -> None:
    """Show the notebook that this project grew from beside this project: its figures, reproduced, corrected, and why.

    Works on files alone, without Kafka or Redis. The recorded figures are those of UCI Online Retail: on that file they
    are shown, and the command exits with 1 where one that can be reproduced is not. On another file the same steps are
    taken, and there is nothing to compare them with.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.origin_table import show_origin
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format)
    show_origin(files, Output(as_json=as_json))
