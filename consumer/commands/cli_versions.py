"""`model list, diff, refit, promote, rollback, freeze, name, export, import`: the models' life in a person's hands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A version such as 17, or a candidate such as c3.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say who would move, publish nothing.")]


def add_to(_app: typer.Typer, _topics: typer.Typer, model: typer.Typer, _config: typer.Typer) -> None:
    """Add the verbs."""
    model.command("list", epilog="Example: segmenter model list")(list_)
    model.command(epilog="Example: segmenter model diff 1 2")(diff)
    model.command(epilog="Example: segmenter model refit --k 4")(refit)
    model.command(epilog="Example: segmenter model promote c1 --dry-run")(promote)
    model.command(epilog="Example: segmenter model rollback --dry-run")(rollback)
    model.command(epilog="Example: segmenter model freeze --until 2011-12-24 --reason 'christmas campaign'")(freeze)
    model.command(epilog="Example: segmenter model name 11 'Best friends'")(name)
    model.command("export", epilog="Example: segmenter model export --out model.json")(export)
    model.command("import", epilog="Example: segmenter model import model.json")(import_)


def list_(
    everything: Annotated[bool, typer.Option("--all", help="Every version; there is one a day.")] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """List the versions, the newest first, with what became of the segments, and the candidates to promote."""
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.versions import list_models

    with placed(embedded, directory, namespace=namespace) as place:
        list_models(place, Output(as_json=as_json), everything=everything)


def diff(
    before: Model,
    after: Model,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Compare two models: their centroids, and which of today's customers are nearest to another segment."""
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.versions import show_difference

    with placed(embedded, directory, namespace=namespace) as place:
        show_difference(place, before, after, Output(as_json=as_json))


def refit(
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=10, help="How many segments; chosen as at a bootstrap if not given.")
    ] = None,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Fit from scratch to everybody and keep the model as a candidate: it segments nobody until it is promoted."""
    from consumer.commands import model_changes
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        model_changes.refit(place, k, Output(as_json=as_json))


def promote(
    model: Model,
    dry_run: DryRun = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Make a version or a candidate the live model; the workers sweep everybody under it at once.

    A candidate's clusters get the ids of the segments whose customers they have; an older version brings its own back.
    What a dry run tells is what happens, unless input comes between.
    """
    from consumer.commands import promotion
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        promotion.promote(place, model, Output(as_json=as_json), dry_run=dry_run)


def rollback(
    dry_run: DryRun = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Take back the last promotion, adopted challenger or rescue, under a new number; revisions go on growing.

    Each customer gets the label back that he had, unless an event has changed it since. Run again, it takes back the
    one before.
    """
    from consumer.commands import promotion
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        promotion.roll_back(place, Output(as_json=as_json), dry_run=dry_run)


def freeze(
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The last day on which the centroids stand still.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever looks; no personal data.")] = "",
    end: Annotated[bool, typer.Option("--end", help="Let the model learn again.")] = False,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Let the centroids stand still for a campaign: customers move by what they do, not by what the model learns."""
    from consumer.commands import model_changes
    from consumer.commands.cli_options import day
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.exits import ExitCode, Stop

    if end == (until is not None):
        raise Stop(ExitCode.USAGE, "give either --until DATE or --end")
    with placed(embedded, directory, namespace=namespace) as place:
        model_changes.freeze(place, day(until, "--until"), reason, Output(as_json=as_json))


def name(
    segment: Annotated[int, typer.Argument(metavar="ID", help="A cluster's id.")],
    text: Annotated[str, typer.Argument(metavar="NAME", help="Its name from now on.")],
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Name a segment by hand; the name wins over the rule's as long as the segment lives, and the model says so."""
    from consumer.commands import model_changes
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        model_changes.rename(place, segment, text, Output(as_json=as_json))


def export(
    out: Annotated[Path, typer.Option("--out", help="The file, which ends with .json.")],
    model: Annotated[
        str | None, typer.Option("--model", help="A version or candidate; the live one by default.")
    ] = None,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Write a model to a JSON file, to be kept or imported elsewhere; it holds aggregates, no customer."""
    from consumer.commands import model_changes
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.whole_file import check_place

    check_place(out, "--out", (".json",))
    with placed(embedded, directory, namespace=namespace) as place:
        model_changes.export_model(place, model, out, Output(as_json=as_json))


def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `model export` wrote.")],
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Read a model from a file into a candidate; what is no model is refused, and why."""
    from consumer.commands import model_changes
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        model_changes.import_model(place, path, Output(as_json=as_json))
