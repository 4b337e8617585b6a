"""`bootstrap`, `replay` and `model compare-learners`: a history becomes a state, a stream, or a comparison."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from consumer.commands.cli_options import (
    DIRECTORY,
    Clock,
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
    app.command(epilog="Example: segmenter bootstrap Dataset/ --clock event --k 4")(bootstrap)
    app.command(epilog="Example: segmenter replay Dataset/ --from 2011-06-01")(replay)
    model.command("compare-learners", epilog="Example: segmenter model compare-learners Dataset/ --k 3")(compare)


def bootstrap(  # noqa: PLR0913 -- each argument is an option of the command line
    paths: Paths = None,
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    until: Annotated[str | None, typer.Option("--until", help="Only lines before this date or time.")] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=2, max=10, help="Clusters; chosen by stability if not given.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new state beside the old one, then switch.")
    ] = False,
    from_topic: Annotated[
        bool, typer.Option("--from-topic", help="The history is the input topic itself, beside the files if any.")
    ] = False,
    engine: Annotated[
        Literal["here", "spark"],
        typer.Option("--engine", help="`spark`: files are read, folded and loaded by the tasks of a cluster."),
    ] = "here",
    on_input_loss: Annotated[
        Literal["stop", "accept"],
        typer.Option(
            "--on-input-loss",
            help="With --from-topic, where input is gone: `stop` with exit code 3, or `accept` it.",
        ),
    ] = "stop",
    clock: Clock = None,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Make states and a first model from order lines in files; exits with 2 where a state exists already.

    Prints what cleaning did to every line, how many clusters there are and why, and the segments.
    Stop the workers first; they go on with the new state by themselves when started again.

    A history above 1 GB is read in parts that fit into memory, spilled where temporary files go (TMPDIR).

    --from-topic makes the state from the input topic, for when Redis has lost it: all partitions, from where the log
    begins to where the group's last transaction ended. Exits with 3 where the log no longer begins at offset 0 and no
    file covers what is missing, or where the output knows customers of whom the topic holds no line.
    """
    from consumer.commands.cli_bootstrap import run_bootstrap, run_from_topic
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
    with placed(embedded, directory, clock=clock, namespace=namespace) as place:
        if from_topic:
            if engine == "spark":
                raise typer.BadParameter("it reads files, not the topic", param_hint="--engine")
            accept = on_input_loss == "accept"
            run_from_topic(place, files, Output(as_json=as_json), k=k, replace=replace, accept=accept)
        else:
            run_bootstrap(place, files, Output(as_json=as_json), until=until, k=k, replace=replace, engine=engine)


def replay(  # noqa: PLR0913 -- each argument is an option of the command line
    paths: Paths = None,
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    start: Annotated[str | None, typer.Option("--from", help="Only lines from this date or time on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only lines before this date or time.")] = None,
    speed: Annotated[str, typer.Option("--speed", help="max, or times real time: 1x, 3600x, 86400x.")] = "max",
    tick: Annotated[
        str | None, typer.Option("--tick", help="Date of the closing tick; the day after the last line if not given.")
    ] = None,
    no_tick: Annotated[bool, typer.Option("--no-tick", help="Leave the closing tick out: more is to come.")] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Publish order lines in files as events, with the ids that a bootstrap of the same files gives.

    What the history holds already counts once. With `--clock event` the workers' days follow the events'
    dates, and the closing tick to every partition ends the last day.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.cli_replay import ReplayPlan, run_replay
    from consumer.commands.place import placed
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
    plan = ReplayPlan(start=start, until=until, speed=speed, tick=tick, no_tick=no_tick)
    with placed(embedded, directory, namespace=namespace) as place:
        run_replay(place, files, plan, Output(as_json=as_json))


def compare(  # noqa: PLR0913 -- each argument is an option of the command line
    paths: Paths = None,
    mapping: Map = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    encoding: Encoding = "utf-8",
    date_format: DateFormat = None,
    drop_repeats: DropRepeats = False,
    drop_non_products: DropNonProducts = False,
    start: Annotated[
        str | None, typer.Option("--from", help="Day of the bootstrap; the middle of the history if not given.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=2, max=10, help="Clusters; chosen by stability if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a history through each learner and a frozen model, and show how near each stays to batch.

    Bootstraps on what lies before --from and takes the rest day by day as the worker does, without Kafka or Redis.
    Once a week all are compared with the best of 20 batch fits of the same customers: inertia, segments (ARI), how
    often published labels move and move back, and the CPU seconds of learning. Features, margin, horizon and recency
    offset are those of the settings.
    """
    from consumer.commands.cli_compare import compare_learners
    from consumer.commands.cli_output import Output
    from consumer.history.history_files import HistoryFiles

    files = HistoryFiles(paths, mapping, separator, decimal, encoding, date_format, drop_repeats, drop_non_products)
    compare_learners(files, start, k, Output(as_json=as_json))
