"""Run two halves of the tests beside each other: fault tests mostly wait, for sessions to end and servers to come back.

    python -m tests.side_by_side            make test: the fault tests beside all others
    python -m tests.side_by_side --faults   make faults: the long computations beside the tests that wait

One pytest shows its progress; what the other one said is printed when both have ended. Exit code 0 if both passed.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from types import FrameType

PYTEST = [sys.executable, "-m", "pytest"]
FAULTS = "tests/faults"
COMPUTED = [f"{FAULTS}/{name}.py" for name in ("test_soak", "test_handoff", "test_state_machine")]
"""The longest of the fault tests, one after the other; the soak, which measures memory, comes first."""


def halves(*, faults: bool) -> tuple[list[str], list[str]]:
    """Return what the two are told: the one that is shown, and the one beside it."""
    if not faults:
        return [f"--ignore={FAULTS}"], [FAULTS]
    everything = ["-m", "long or not long"]
    return [FAULTS, *everything, *(f"--ignore={path}" for path in COMPUTED)], [*COMPUTED, *everything]


def main() -> int:
    """Run both; return the exit code of `make test` or `make faults`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true")
    shown, beside = halves(faults=parser.parse_args().faults)
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        other = subprocess.Popen([*PYTEST, *beside], stdout=log, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run([*PYTEST, *shown], check=False).returncode
            print(f"\nBeside it ran: pytest {' '.join(beside)}", flush=True)  # noqa: T201 -- its output is the terminal's
            other.wait()
        finally:  # Ctrl-C reaches both; whatever else ends this one ends the other too
            other.terminate()
            other.wait()
            log.seek(0)
            print(log.read(), flush=True)  # noqa: T201 -- its output is the terminal's
    return code or other.returncode


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
