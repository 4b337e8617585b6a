"""A worker process with a fault built in: `python -m tests.harness.crashing_worker POINT N [ACTION] [OPTION ...]`.

It is `segmenter run OPTION ...` with a crash point: at the Nth time POINT is reached it sends itself, by ACTION,

    kill    SIGKILL: it dies where it stands
    stop    SIGSTOP: it stands still, sockets open, until somebody sends SIGCONT
    term    SIGTERM: it is told to end in the middle of what it does
    twice   SIGTERM, and at once another

The settings come from the environment, as ever. `fired` is written to the file named by CRASH_FILE just before.
With FIXED_MODEL its learner learns nothing. EXPIRING and STALLING build faults into the Kafka client: see
tests.harness.client_faults. With CLOCK_FILE its wall clock differs from the host's by the seconds that stand in that
file; what it read last stands beside it, in a file that ends with .read.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from consumer import cli, service
from tests.harness.client_faults import let_expire, let_stall
from tests.harness.fixed_learner import FixedLearner

ACTIONS = {
    "kill": [signal.SIGKILL],
    "stop": [signal.SIGSTOP],
    "term": [signal.SIGTERM],
    "twice": [signal.SIGTERM, signal.SIGTERM],
}


class SignalAt:
    """Counts the times a point is reached, and signals this very process at the Nth."""

    def __init__(self, point: str, times: int, numbers: Sequence[signal.Signals]) -> None:
        self.point, self.left, self.numbers = point, times, numbers

    def __call__(self, point: str) -> None:
        if point != self.point:
            return
        self.left -= 1
        if self.left == 0:
            Path(os.environ["CRASH_FILE"]).write_text("fired", "utf-8")
            for number in self.numbers:
                os.kill(os.getpid(), number)


def wall_clock() -> float:
    """Return POSIX seconds by the clock that the test sets."""
    if not (named := os.environ.get("CLOCK_FILE")):
        return time.time()
    off = Path(named).read_text("utf-8")
    Path(named).with_suffix(".read").write_text(off, "utf-8")
    return time.time() + float(off or 0)


def main() -> None:
    """Run until told to stop, or until the crash."""
    point, times, *rest = sys.argv[1:]
    action = rest.pop(0) if rest and rest[0] in ACTIONS else "kill"
    at = SignalAt(point, int(times), ACTIONS[action])
    service.open_worker = partial(service.open_worker, crash_point=at, now=wall_clock)
    if os.environ.get("FIXED_MODEL"):
        vars(service)["learner_named"] = lambda _name: FixedLearner()
    if topic := os.environ.get("EXPIRING"):
        let_expire(topic, Path(os.environ["EXPIRING_WHILE"]))
    if begins := os.environ.get("STALLING"):
        let_stall(Path(begins))
    sys.exit(cli.run(["run", *rest]))


if __name__ == "__main__":
    main()
