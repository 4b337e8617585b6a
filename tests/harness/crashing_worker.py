"""A worker process that dies by its own hand: `python -m tests.harness.crashing_worker POINT N`.

It is the product's worker with a crash point that sends SIGKILL at the Nth time POINT is reached; the
settings come from the environment, as ever. `fired` is written to the file named by CRASH_FILE just before.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from consumer.observer import Silence
from consumer.service import open_worker
from consumer.settings import Settings


class KillAt:
    """Counts the times a point is reached, and kills this very process at the Nth."""

    def __init__(self, point: str, times: int) -> None:
        self.point, self.left = point, times

    def __call__(self, point: str) -> None:
        if point != self.point:
            return
        self.left -= 1
        if self.left <= 0:
            Path(os.environ["CRASH_FILE"]).write_text("fired", "utf-8")
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run until told to stop, or until the crash."""
    point, times = sys.argv[1], int(sys.argv[2])
    worker = open_worker(Settings(), Silence(), crash_point=KillAt(point, times))
    assert worker is not None
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()
