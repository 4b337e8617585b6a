"""The command line: `segmenter VERB`, in groups; each verb's file says what it does, this one what they share.

    cli_demo      demo
    cli_history   bootstrap, replay, model compare-learners
    cli_run       run
    cli_inspect   status, lookup, explain, forecast, export, model show, model check, verify
    cli_past      history, trend
    cli_serve     serve
    cli_dashboard dashboard
    cli_workbench report, origin
    cli_versions  model list, diff, refit, promote, rollback, freeze, name, export, import
    cli_dlq       dlq list, dlq show, dlq redrive
    cli_operate   pause, resume, upgrade
    cli_admin     topics, config, doctor, erase, repartition

Guarantee: an error is one sentence on stderr and an exit code of consumer.exits; secrets are never printed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from consumer.exits import ExitCode

app = typer.Typer(
    name="segmenter",
    help="Customer segments from a stream of purchases, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="Topics in Kafka.", no_args_is_help=True)
model_app = typer.Typer(help="The model and its quality.", no_args_is_help=True)
config_app = typer.Typer(help="Settings.", no_args_is_help=True)


@app.callback()
def _every_command(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Where an unexpected error happened, beside the sentence.")
    ] = False,
) -> None:
    """Customer segments from a stream of purchases, exactly once."""
    del traceback  # read from the arguments by `run`, which also sees errors before any command


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors become sentences here and nowhere else."""
    _load()
    try:
        code = app(args=list(arguments), prog_name="segmenter", standalone_mode=False)
        return int(code or 0)
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 128 + 2
    except Exception as error:  # noqa: BLE001 -- the rim: whatever went wrong is said in a sentence
        return _failed(error, arguments)


def main() -> None:
    """Run the command line of this process."""
    # scikit-learn's threads else spin while they wait for each other, on cores that a broker or a store may need.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run(sys.argv[1:]))


def _load() -> None:
    """Let every group add its verbs."""
    from consumer.commands.cli_admin import add_to as add_admin
    from consumer.commands.cli_dashboard import add_to as add_dashboard
    from consumer.commands.cli_demo import add_to as add_demo
    from consumer.commands.cli_dlq import add_to as add_dlq
    from consumer.commands.cli_history import add_to as add_history
    from consumer.commands.cli_inspect import add_to as add_inspect
    from consumer.commands.cli_operate import add_to as add_operate
    from consumer.commands.cli_past import add_to as add_past
    from consumer.commands.cli_run import add_to as add_run
    from consumer.commands.cli_serve import add_to as add_serve
    from consumer.commands.cli_versions import add_to as add_versions
    from consumer.commands.cli_workbench import add_to as add_workbench

    if not app.registered_groups:
        for add in (
            add_demo,
            add_history,
            add_run,
            add_inspect,
            add_admin,
            add_operate,
            add_dlq,
            add_versions,
            add_past,
            add_serve,
            add_dashboard,
            add_workbench,
        ):
            add(app, topics_app, model_app, config_app)
        app.add_typer(topics_app, name="topics")
        app.add_typer(model_app, name="model")
        app.add_typer(config_app, name="config")


def _failed(error: Exception, arguments: Sequence[str]) -> int:
    from consumer.commands.cli_output import Output

    show = getattr(error, "show", None)  # a usage error of the library, which shows the usage line too
    if show is not None:
        show()
        return int(ExitCode.USAGE)
    if "--traceback" in arguments:
        traceback.print_exception(error)
    code, sentence = _explained(error)
    Output(as_json="--json" in arguments).error(code, sentence)
    return int(code)


def _explained(error: Exception) -> tuple[ExitCode, str]:
    from consumer.history.csv_columns import CsvError
    from consumer.service import explain

    if isinstance(error, CsvError):
        return ExitCode.USAGE, str(error)
    code, sentence = explain(error)
    if code is ExitCode.INTERNAL and sentence.startswith(type(error).__name__):
        sentence += " (unexpected: `segmenter --traceback ...` shows where)"
    return code, sentence


if __name__ == "__main__":
    main()
