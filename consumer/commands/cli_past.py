"""`history`, `trend`: what was, of a customer and of the segments."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog="Example: segmenter history 12748")(history)
    app.command(epilog="Example: segmenter trend --days 30")(trend)


def history(
    customer: Annotated[str, typer.Argument(metavar="ID", help="A customer's id.")],
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show a customer's newest 16 moves between segments: day, from, to, cause, model; exits with 1 for an unknown id.

    They lie in his state and end with it: an erasure takes them along, `bootstrap --replace` begins anew. A state that
    an older version made has those since `segmenter upgrade`.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.moves import show_moves
    from consumer.commands.place import placed

    with placed(embedded, directory, namespace=namespace) as place:
        show_moves(place, customer, Output(as_json=as_json))


def trend(
    days: Annotated[int, typer.Option("--days", min=1, help="Days to show, up to the newest.")] = 30,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show the segments day by day: customers, net revenue in the horizon, and who went from where to where, and why.

    A day's figures are those of the end of its sweep, before its own events; flows are those since the day before. So
    customers = those of the day before + flows in - flows out, exactly. Kept for SEGMENTER_HISTORY_DAYS.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed
    from consumer.commands.trend import show_trend

    with placed(embedded, directory, namespace=namespace) as place:
        show_trend(place, days, Output(as_json=as_json))
