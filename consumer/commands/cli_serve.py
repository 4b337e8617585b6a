"""`serve`: the look-up API."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.commands.cli_options import DIRECTORY, Directory, Embedded, Json, Namespace, without_extra


def add_to(app: typer.Typer, *_groups: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: segmenter serve --port 8080")(serve)


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The port.")] = 8080,
    namespace: Namespace = None,
    embedded: Embedded = False,
    directory: Directory = DIRECTORY,
    as_json: Json = False,
) -> None:
    """Answer look-ups over HTTP until SIGTERM or Ctrl-C: customers, segments, the model, moves as they come, erasures.

    SEGMENTER_API_TOKENS_FILE says who may ask for what. Without it the API listens on this machine alone and looks up
    one customer at a time, and nothing else. It starts where there is no state yet, or Redis is away, and says so on
    /readyz. Its documentation is at /docs, and in docs/api.md.

    Needs the extra `serve`: pip install 'segmenter[serve]'.
    """
    from consumer.commands.cli_output import Output
    from consumer.commands.place import placed, settings_from

    try:
        from consumer.serving.server import serve as serve_place
    except ModuleNotFoundError as error:
        raise without_extra(error, "serve") from None
    tokens = settings_from().api_tokens_file  # which is no part of what stays with an embedded state
    with placed(embedded, directory, namespace=namespace, api_tokens_file=tokens) as place:
        serve_place(place, host, port, Output(as_json=as_json))
