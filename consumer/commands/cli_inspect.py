"""Looking at what is there: `status`, `lookup`, `explain`, `forecast`, `export`, `model show` and `check`, `verify`."""

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


def add_to(app: typer.Typer, _topics: typer.Typer, model: typer.Typer, _config: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog="Example: segmenter status")(status)
    app.command(epilog="Example: segmenter lookup 12748")(lookup)
    app.command(epilog="Example: segmenter explain 12748")(explain)
    app.command(epilog="Example: segmenter forecast --days 30")(forecast)
    app.command(epilog="Example: segmenter export --out segments.csv")(export)
    model.command("show", epilog="Example: segmenter model show --quality")(model_show)
    model.command("check", epilog="Example: segmenter model check --days 7")(model_check)
    app.command(epilog="Example: segmenter verify Dataset/")(verify)


def status(
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", help="Where a worker serves /readyz, e.g. http://10.0.0.7:9100; may be repeated."),
    ] = None,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show where every partition stands: lag, day, epoch, sequence, sweep, counters, and what stands still.

    Read from Redis and Kafka. Why a partition is paused only its worker knows: those named are asked, else the one
    of this machine where SEGMENTER_METRICS_PORT is set. Their logs say it too.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.status import show_status

    with placed(embedded, directory, namespace=namespace) as place:
        show_status(place, worker or (), Output(as_json=as_json))


def lookup(
    customer: Annotated[str, typer.Argument(metavar="ID", help="A customer's id.")],
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show a customer: segment, next move, features, where the state is; exits with 1 for an unknown id.

    The next move is that of a customer who stays silent, under the present model; none within 400 days is null.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.lookup import show_customer
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_customer(place, customer, Output(as_json=as_json))


def explain(
    customer: Annotated[str, typer.Argument(metavar="ID", help="A customer's id.")],
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show why a customer is in his segment, what changed since his last move, and the least that would move him.

    What each feature adds to the difference of the squared distances to the two nearest clusters; then the least
    order that moves him, and until when, or how long he may be silent, both within 90 days and under the present
    model. Exits with 1 for an unknown id.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.explain import show_explanation
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_explanation(place, customer, Output(as_json=as_json))


def forecast(
    days: Annotated[int, typer.Option("--days", min=1, max=400, help="How many days of silence.")] = 30,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="So many customers at most, the greatest revenue first.")
    ] = 20,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show who leaves which segment if nobody buys any more, and the revenue at stake.

    Each customer's first move within so many days after his partition's day, under the model of its last sweep.
    Revenue is what he bought in the horizon, net of returns. Read from Redis as it is; workers may run.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.forecast import show_forecast
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_forecast(place, days, limit, Output(as_json=as_json))


def export(
    out: Annotated[Path, typer.Option("--out", help="The file; CSV or Parquet by its name.")],
    opt_out: Annotated[
        Path | None, typer.Option("--opt-out", help="Ids to leave out, one a line in UTF-8; they are counted.")
    ] = None,
    segments: Annotated[bool, typer.Option("--segments", help="A row a segment in place of a row a customer.")] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Write everybody to a file: segment, since when, the one before, revision, features and model, a row a customer.

    --segments writes a row a segment: customers, their shares, net revenue, and the median of each feature.
    Read from Redis as it is; workers may run. The file is readable by its owner alone and takes its place when it is
    whole; one of that name is replaced. In CSV a text that a spreadsheet would take for a formula (it begins with = + -
    @, a tab or a line end), and one that begins with an apostrophe, gets an apostrophe in front; numbers stay.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.csv_export import SUFFIXES
    from consumer.commands.export import run_export
    from consumer.commands.place import placed
    from consumer.commands.whole_file import check_place

    check_place(out, "--out", SUFFIXES)
    with placed(embedded, directory, namespace=namespace) as place:
        if segments:
            from consumer.commands.csv_profiles import run_export_segments

            run_export_segments(place, out, opt_out, Output(as_json=as_json))
        else:
            run_export(place, out, opt_out, Output(as_json=as_json))


def model_show(
    quality: Annotated[
        bool, typer.Option("--quality", help="Measure against the best of 20 batch fits, and the silhouette.")
    ] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show the live model: version, centroids, segments with their sizes and medians."""
    from consumer.commands.cli_model import show_model
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_model(place, Output(as_json=as_json), quality=quality)


def model_check(
    days: Annotated[int, typer.Option("--days", min=1, help="So many of the last complete days' inputs.")] = 7,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Look for what is odd about the last days' orders, the population and the model; exits with 1 on an alarm.

    Each day's orders against the eight weeks before (docs/monitoring.md), customers against a week before, the
    clusters against the best of ten batch fits on a sample. Read from Redis as it is; workers may run.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.model_check import run_check
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        run_check(place, days, Output(as_json=as_json))


def verify(  # noqa: PLR0913 -- each argument is an option of the command line
    paths: Paths = None,
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Recompute every customer from files and input, by independent code, and compare; exits with 1 on differences.

    PATH: the files of the bootstrap. Stop the workers first, for state and output move on with them.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.cli_verify import run_verify
    from consumer.commands.place import placed
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
    with placed(embedded, directory, namespace=namespace) as place:
        run_verify(place, files, Output(as_json=as_json))
