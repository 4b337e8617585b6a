"""`topics`, `config`, `doctor` and `erase`: what surrounds the work."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace


def add_to(app: typer.Typer, topics: typer.Typer, _model: typer.Typer, config: typer.Typer) -> None:
    """Add the verbs."""
    topics.command("create", epilog="Example: segmenter topics create --partitions 4")(create)
    topics.command("show", epilog="Example: segmenter topics show")(show)
    config.command("show", epilog="Example: segmenter config show")(config_show)
    app.command(epilog="Example: segmenter doctor")(doctor)
    app.command(epilog="Example: segmenter repartition --partitions 24 --dry-run")(repartition)
    app.command(epilog="Example: segmenter erase 12815")(erase)


def create(
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=10_000, help="Of each topic; never fewer again.")
    ] = 4,
    replication: Annotated[int, typer.Option("--replication", help="-1: the brokers' default.")] = -1,
    as_json: Json = False,
) -> None:
    """Create the four topics where they are missing, with the settings that they need; change none that exists.

    Exits with 1 where an existing one differs from what is needed.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.cli_topics import create_topics
    from consumer.commands.place import settings_from

    create_topics(settings_from(), partitions, replication, Output(as_json=as_json))


def show(as_json: Json = False) -> None:
    """Show the four topics, and what differs from what they need; exits with 1 where something does."""
    from consumer.commands.cli_output import Output
    from consumer.commands.cli_topics import show_topics
    from consumer.commands.place import settings_from

    show_topics(settings_from(), Output(as_json=as_json))


def config_show(embedded: Embedded = False, directory: Directory = DIRECTORY, as_json: Json = False) -> None:
    """Show every setting that is in force and where it comes from; secrets are masked."""
    from consumer.commands.cli_output import Output
    from consumer.commands.configuration import show_config

    show_config(embedded, directory, Output(as_json=as_json))


def doctor(
    namespace: Namespace = None, embedded: Embedded = False, directory: Directory = DIRECTORY, as_json: Json = False
) -> None:
    """Ask every part whether it can be reached and is fit, and say how to mend what is not; exits with 1 if so."""
    from consumer.commands.cli_output import Output
    from consumer.commands.doctor import run_doctor

    run_doctor(embedded, directory, namespace, Output(as_json=as_json))


def erase(
    customer: Annotated[str, typer.Argument(metavar="ID", help="A customer's id.")],
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for a worker.")] = 60.0,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Erase a customer and print a receipt: what is gone, store by store, and what no erasure reaches.

    Publishes the erasure to the input, under the customer's key, and waits until a worker has applied and published
    it. Exits with 1 where that takes longer, or where a store is not as the receipt should say. For good: only new
    lines, dated later, make a new state.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.erasing import run_erase
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        run_erase(place, customer, timeout, Output(as_json=as_json))


def repartition(
    partitions: Annotated[
        int | None,
        typer.Option("--partitions", min=1, max=10_000, help="How many; as many as the input topic has if not given."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and say what would move, change nothing.")] = False,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Move the customers' states to more partitions; adds them to the topics where they are missing.

    Stop the producers, let the workers apply everything, stop the workers. Exits with 2 where workers run, input is
    not applied, Redis and Kafka are not in step, or the partitions stand on different days (`segmenter run --drain`
    mends the last three), with 4 where the topic is another one. Interrupted, it is begun again by the same command;
    until it has ended no worker starts.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.cli_repartition import run_repartition
    from consumer.commands.place import DEFAULT_DIRECTORY, placed

    with placed(False, DEFAULT_DIRECTORY, namespace=namespace) as place:
        run_repartition(place, partitions, Output(as_json=as_json), dry_run=dry_run)
