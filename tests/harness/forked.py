"""Processes forked from a server that has everything imported: there in 30 ms, where Python takes seconds of a core.

    process = fork("consumer.cli", ["run"], environment, folder, log); process.kill(); process.wait(5)

What runs is `main` of the module, with these words, in a session, a folder and an environment of its own, as if started
with `python -m`. A process is told of as `subprocess.Popen` would tell.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnProcess
from pathlib import Path
from typing import TypeAlias

REPOSITORY = Path(__file__).parents[2]
Given: TypeAlias = tuple[str, list[str], dict[str, str], str, str]
PRELOADED = [
    "consumer.commands.running",
    "consumer.service",
    "models.sklearn_refine",
    "pytest",
    "tests.harness.broker",
    "tests.harness.crashing_worker",
    "tests.harness.forked",
    "tests.harness.live",
    "tests.harness.shop",
    "tests.harness.store",
]
"""What workers need, and what whoever starts them has imported, which a new process looks at first."""


def fork(module: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Forked:
    """Start `module`'s main; what it says is appended to `log`."""
    return _started(_context().Process(target=_become, args=_given(module, words, environment, folder, log)))


def spawn(module: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Forked:
    """Start it in a Python that has imported nothing yet."""
    context = multiprocessing.get_context("spawn")
    return _started(context.Process(target=_become, args=_given(module, words, environment, folder, log)))


def _given(module: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Given:
    log.touch()
    return module, list(words), dict(environment), str(folder), str(log)


def _started(process: ForkServerProcess | SpawnProcess) -> Forked:
    process.start()
    return Forked(process)


def _context() -> ForkServerContext:
    # The server looks for modules where this variable says: on Python 3.11 it does not hear of our path.
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _become(module: str, words: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *words]
    importlib.import_module(module).main()


class Forked:
    """One such process."""

    def __init__(self, process: ForkServerProcess | SpawnProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid: int = process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def stopped(self) -> bool:
        """Say whether a signal made it stand still."""
        told = subprocess.run(["ps", "-o", "state=", "-p", str(self.pid)], capture_output=True, text=True, check=False)
        return told.stdout.strip().startswith("T")
