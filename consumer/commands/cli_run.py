"""`run`: the worker as a service, embedded, or dry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from consumer.commands.cli_options import DIRECTORY, Clock, Directory, Embedded, Json, Namespace


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: segmenter run --metrics-port 9100")(run)


def run(  # noqa: PLR0913 -- each argument is an option of the command line
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and decide what waits now, write nothing, say what would be.")
    ] = False,
    on_input_loss: Annotated[
        Literal["stop", "skip"],
        typer.Option(
            "--on-input-loss",
            help="Where retention took unread input: `stop` with exit code 3, or `skip` it, logged and counted.",
        ),
    ] = "stop",
    drain: Annotated[
        bool,
        typer.Option("--drain", help="End when all is applied, under the state's number of partitions."),
    ] = False,
    clock: Clock = None,
    namespace: Namespace = None,
    group: Annotated[str | None, typer.Option("--group", help="Another consumer group than the namespace's.")] = None,
    segments_topic: Annotated[str | None, typer.Option("--segments-topic", help="Another output topic.")] = None,
    dead_letters_topic: Annotated[
        str | None, typer.Option("--dead-letters-topic", help="Another topic of refusals.")
    ] = None,
    erasures_topic: Annotated[
        str | None, typer.Option("--erasures-topic", help="Another topic of erasure marks.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve /metrics, /livez and /readyz on this port.")
    ] = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Turn events into segments until SIGTERM or Ctrl-C, which end it in good order within 25 s (a second one at once).

    Waits for `segmenter bootstrap` where there is no state yet. Several workers share a group's partitions.

    A shadow run beside a live one has its own --namespace (bootstrap it first), and with it its own group, and its
    own --segments-topic, --dead-letters-topic and --erasures-topic: it reads the same events and touches nothing of
    the other.

    --drain applies what waits, alone, and exits with 0 when every partition stands at the end of its log and of one
    day. Partitions that were added to the topic are left alone: what stands in them waits for `segmenter repartition`.

    --dry-run reads the state and what waits, in a group of its own, and prints what would be applied, refused and
    moved; run it while no worker runs, for the state that it reads moves on with them.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import hosted, placed
    from consumer.commands.rebinding import begin_embedded
    from consumer.commands.running import run_dry, run_worker

    output = Output(as_json=as_json)
    given: dict[str, Any] = {
        "clock": clock,
        "namespace": namespace,
        "group": group,
        "segments_topic": segments_topic,
        "dead_letters_topic": dead_letters_topic,
        "erasures_topic": erasures_topic,
        "metrics_port": metrics_port,
    }
    if dry_run:
        with placed(embedded, directory, **given) as place:
            run_dry(place, output)
    elif embedded:
        with hosted(directory, **given) as place:
            begin_embedded(place)
            run_worker(place, output, skip_lost_input=on_input_loss == "skip", drain=drain)
    else:
        with placed(False, directory, **given) as place:
            run_worker(place, output, skip_lost_input=on_input_loss == "skip", drain=drain)
