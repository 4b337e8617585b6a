"""`dashboard`: the service as pages."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace, without_extra


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: segmenter dashboard --port 8501")(dashboard)


def dashboard(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The port.")] = 8501,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Show the service in a browser until SIGTERM or Ctrl-C: segments, moves as they come, customers, model, health.

    Without SEGMENTER_API_TOKENS_FILE it listens on this machine alone and changes nothing. With it everybody is asked
    for a token with the role read, and one with the role promote may put another model in charge.

    With --embedded it shows what a demo left, and goes on live as soon as `segmenter run --embedded` starts.

    Needs the extra `dashboard`: pip install 'segmenter[dashboard]'. docs/dashboard.md tells of the pages.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import Tenancy, kept_directory, placed, settings_from

    try:
        from consumer.dashboard.server import Tenant, serve
    except ModuleNotFoundError as error:
        raise without_extra(error, "dashboard") from None
    tokens = settings_from().api_tokens_file  # which is no part of what stays with an embedded state
    with ExitStack() as stack:
        if embedded:
            tenancy = Tenancy(kept_directory(directory), namespace=namespace)
            where = stack.enter_context(Tenant(tenancy).kept())
            serve(where, tokens, host, port, Output(as_json=as_json))
        else:
            place = stack.enter_context(placed(False, directory, namespace=namespace))
            serve(lambda: place, tokens, host, port, Output(as_json=as_json))
