"""`pause`, `resume`, `upgrade`: what an operator asks of all workers at once, without deploying anything."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog="Example: segmenter pause --reason 'prices are wrong since noon'")(pause)
    app.command(epilog="Example: segmenter resume")(resume)
    app.command(epilog="Example: segmenter upgrade")(upgrade)


def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever looks at `status`; no personal data.")] = "",
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Let all workers of the namespace stand still, within about a second; also those that are started later.

    Each publishes what it has in hand and then writes nothing to Redis or Kafka. It stays in the group, keeps its
    partitions and is not ready. Nothing is lost: the input waits. Where all are paused already only the reason
    changes.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.operating import pause_all
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        pause_all(place, reason, Output(as_json=as_json))


def resume(
    namespace: Namespace = None, embedded: Embedded = False, directory: Directory = DIRECTORY, as_json: Json = False
) -> None:
    """Let all workers go on where `pause` stopped them; does nothing where none is paused."""
    from consumer.commands.cli_output import Output
    from consumer.commands.operating import resume_all
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        resume_all(place, Output(as_json=as_json))


def upgrade(
    namespace: Namespace = None, embedded: Embedded = False, directory: Directory = DIRECTORY, as_json: Json = False
) -> None:
    """Let states be written in the newest form that this version knows, once every worker runs this version.

    Until then a new version writes what the old one can read. Each worker writes the new form from its next start on.
    One of an older version that still runs ends with exit code 6, and so does one that is started later: there is no
    way back but `bootstrap --replace`. Does nothing where the state has that form already.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.operating import upgrade_state
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        upgrade_state(place, Output(as_json=as_json))
