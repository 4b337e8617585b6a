"""Run the fault tests beside all others: they mostly wait (for sessions to end, for servers to come back).

    python -m tests.side_by_side

One pytest shows its progress; what the other one said is printed when both have ended. Exit code 0 if both passed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from types import FrameType

PYTEST = [sys.executable, "-m", "pytest"]


def main() -> int:
    """Run both; return the exit code of `make test`."""
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        faults = subprocess.Popen([*PYTEST, "tests/faults"], stdout=log, stderr=subprocess.STDOUT)
        try:
            others = subprocess.run([*PYTEST, "--ignore=tests/faults"], check=False).returncode
            print("\nThe fault tests, beside them:", flush=True)  # noqa: T201 -- its output is the terminal's
            code = faults.wait()
        finally:  # Ctrl-C reaches both; whatever else ends this one ends the other too
            faults.terminate()
            faults.wait()
            log.seek(0)
            print(log.read(), flush=True)  # noqa: T201 -- its output is the terminal's
    return others or code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
