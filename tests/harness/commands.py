"""The command line as a user calls it: in a process of its own, in a folder and an environment of its own."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout as the one JSON document that it should be."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """Where commands run: nothing of the caller's SEGMENTER_ variables reaches them."""

    folder: Path
    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEGMENTER_", "COV_"))}
        return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"} | dict(self.variables)

    @property
    def module(self) -> str:
        """What stands for the installed command; CLI_MODULE names another version of it."""
        return self.variables.get("CLI_MODULE", "consumer.cli")

    def __call__(self, command: str | Sequence[str], *, timeout: float = 120.0) -> Done:
        """Run `segmenter ...` to its end."""
        arguments = shlex.split(command) if isinstance(command, str) else list(command)
        found = subprocess.run(
            [sys.executable, "-m", self.module, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(found.returncode, found.stdout, found.stderr)

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command beside what the block does; it is told to end with the block, and killed if it does not."""
        log = self.folder / f"{re.sub('[^a-z]+', '-', command)[:40]}.log"
        with log.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, *shlex.split(command)],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
                text=True,
            )
            try:
                yield process
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            except BaseException as error:
                error.add_note(f"{command} (exit code {process.poll()}) had said:\n{log.read_text()[-4000:]}")
                raise
            finally:
                process.kill()
                process.wait()

    def until_caught_up(self, *options: str) -> dict[str, Any]:
        """Return the status as soon as nothing lags and nobody sweeps."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = self(["status", "--json", *options])
            if found.code == 0:
                status: dict[str, Any] = found.json
                swept = all(p["swept"] == 1.0 and p["sequence"] for p in status["partitions"])
                if status["lag"] == 0 and swept and len({p["day"] for p in status["partitions"]}) == 1:
                    return status
        raise AssertionError(f"not caught up within {WAIT_S:g} s: {found}")


class Inside(Shell):
    """Runs commands in this process, one after the other: the seconds that Python's start takes are saved.

    For commands that end by themselves; `running` still starts a process.
    """

    def __call__(self, command: str | Sequence[str], *, timeout: float = 120.0) -> Done:
        from consumer import cli

        del timeout
        arguments = shlex.split(command) if isinstance(command, str) else list(command)
        out, err = io.StringIO(), io.StringIO()
        before, here = dict(os.environ), Path.cwd()
        try:
            os.environ.clear()
            os.environ.update(self.environment)
            os.chdir(self.folder)
            with redirect_stdout(out), redirect_stderr(err):
                code = cli.run(arguments)
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)
        return Done(code, out.getvalue(), err.getvalue())
