"""A worker process with a fault built in: `python -m tests.harness.crashing_worker POINT N [ACTION] [OPTION ...]`.

It is `segmenter run OPTION ...` with a crash point: at the Nth time POINT is reached it sends itself, by ACTION,

    kill    SIGKILL: it dies where it stands
    stop    SIGSTOP: it stands still, sockets open, until somebody sends SIGCONT
    term    SIGTERM: it is told to end in the middle of what it does
    twice   SIGTERM, and at once another

The settings come from the environment, as ever. `fired` is written to the file named by CRASH_FILE just before.
With FIXED_MODEL its learner learns nothing. With EXPIRING, a topic's name, batches of that topic reach their delivery
timeout at once while the file EXPIRING_WHILE is there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kafka.producer.producer_batch import ProducerBatch

from consumer import cli, service
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


def let_expire(topic: str, while_there: Path) -> None:
    """Let the library find batches of a topic too old, before they are sent or on their way."""
    truly = ProducerBatch.has_reached_delivery_timeout

    def reached(batch: Any, *args: Any, **named: Any) -> bool:
        return (batch.topic_partition.topic == topic and while_there.exists()) or truly(batch, *args, **named)

    ProducerBatch.has_reached_delivery_timeout = reached


def main() -> None:
    """Run until told to stop, or until the crash."""
    point, times, *rest = sys.argv[1:]
    action = rest.pop(0) if rest and rest[0] in ACTIONS else "kill"
    at = SignalAt(point, int(times), ACTIONS[action])
    service.open_worker = partial(service.open_worker, crash_point=at)
    if os.environ.get("FIXED_MODEL"):
        vars(service)["learner_named"] = lambda _name: FixedLearner()
    if topic := os.environ.get("EXPIRING"):
        let_expire(topic, Path(os.environ["EXPIRING_WHILE"]))
    sys.exit(cli.run(["run", *rest]))


if __name__ == "__main__":
    main()
