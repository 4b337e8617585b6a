"""Run the tests in parts beside each other: those on servers mostly wait, for sessions to end and servers to come back.

    python -m tests.side_by_side            make test: on servers, with faults, and what only computes
    python -m tests.side_by_side --faults   make faults: the tests that wait, and the long computations

One pytest shows its progress; what the others said is printed when all have ended. Exit code 0 if all passed. What only
computes has lower priority: no server that is waited for comes late because of it.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
from types import FrameType

PYTEST = [sys.executable, "-m", "pytest"]
GIVES_WAY = ["nice", "-n", "10"]
FAULTS = "tests/faults"
LONGEST = [f"{FAULTS}/{name}.py" for name in ("test_soak", "test_handoff", "test_state_machine")]
"""The longest of the fault tests, one after the other; the soak, which measures memory, comes first."""

ON_SERVERS = [
    "tests/contracts",
    *(f"tests/consumer/{folder}" for folder in ("commands", "dashboard", "demo", "serving", "transport")),
    *(f"tests/test_{name}.py" for name in ("contracts", "docs_run", "harness", "harness_proxy", "readme")),
]
"""What starts servers, beside the fault tests."""


def parts(*, faults: bool) -> list[list[str]]:
    """Return the commands; the first one is shown."""
    if faults:
        without = [f"--ignore={path}" for path in LONGEST]
        everything = ["-m", "long or not long"]
        return [[*PYTEST, FAULTS, *everything, *without], [*PYTEST, *LONGEST, *everything]]
    elsewhere = [f"--ignore={path}" for path in (FAULTS, *ON_SERVERS)]
    return [
        [*PYTEST, *ON_SERVERS],
        [*PYTEST, FAULTS],
        [*GIVES_WAY, *PYTEST, "tests", *elsewhere],
    ]


def main() -> int:
    """Run all parts; return the exit code of `make test` or `make faults`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true")
    shown, *beside = parts(faults=parser.parse_args().faults)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as ends:
        running = [_started(ends, command) for command in beside]
        codes = [subprocess.run(shown, check=False).returncode]
        codes += [process.wait() for process in running]
    return max(map(abs, codes))


def _started(ends: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[str]:
    """Start a part; Ctrl-C reaches it too, and whatever else ends this process ends it and prints what it said."""
    log = ends.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115 -- the stack closes it
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)

    def end() -> None:
        process.terminate()
        process.wait()
        log.seek(0)
        print(f"\nBeside it ran: {' '.join(command)}\n{log.read()}", flush=True)  # noqa: T201 -- the terminal's

    ends.callback(end)
    return process


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
