"""`dlq list`, `dlq show`, `dlq redrive`: dead letters are not a grave."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace
from features.transaction import Reason

Why = Annotated[Reason | None, typer.Option("--reason", help="Only letters that were refused for this reason.")]


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the group with its verbs."""
    dlq = typer.Typer(help="Dead letters: refused records.", no_args_is_help=True)
    dlq.command("list", epilog="Example: segmenter dlq list")(list_letters)
    dlq.command("show", epilog="Example: segmenter dlq show --partition 3 --offset 81234")(show)
    dlq.command("redrive", epilog="Example: segmenter dlq redrive --reason foreign_partition --dry-run")(redrive)
    app.add_typer(dlq, name="dlq")


def list_letters(
    reason: Why = None,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Count dead letters by reason and partition: how many, how many would be redriven, the oldest and the newest."""
    from consumer.commands.cli_output import Output
    from consumer.commands.dlq import list_all
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        list_all(place, reason, Output(as_json=as_json))


def show(
    reason: Why = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Of the input.")] = None,
    offset: Annotated[int | None, typer.Option("--offset", min=0, help="In the input.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many letters at most, the oldest first.")] = 1,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show dead letters with their headers and the record as it came; exits with 1 where there is none.

    A record holds personal data: it is printed here and nowhere else. What a terminal would obey, control characters
    and text that runs backwards, is escaped.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.dlq import show_some
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_some(place, reason, partition, offset, limit, Output(as_json=as_json))


def redrive(
    reason: Why = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, send nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven before and refused once more.")
    ] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Send refused records to the input once more, each once: key and bytes as they came, partition by the key.

    Whatever was to be mended comes first: they are judged as any other record, by the present day and settings. A
    letter that went is never sent a second time, also after a crash half-way. Two at a time: the later goes on, the
    earlier ends with exit code 5. Workers may run.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.dlq import redrive_all
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        redrive_all(place, reason, Output(as_json=as_json), dry_run=dry_run, again=again)
