"""A broker that falls silent: the embedded one in a process of its own, which can be stopped where it stands.

A frozen process keeps its sockets open: connections are accepted and nothing ever answers, as behind a dead firewall.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

_SERVE = """
import sys
from consumer.transport.embedded import EmbeddedBroker
with EmbeddedBroker() as broker:
    print(broker.bootstrap, flush=True)
    sys.stdin.read()
"""


def until_stopped(pid: int) -> None:
    """Return when a child that was sent SIGSTOP has stopped, or ended.

    The signal is only asked for when it is sent: on a busy machine a thread may answer for a tenth of a second more.
    """
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class FreezableBroker:
    """An embedded broker at `bootstrap`, to be frozen and thawed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.bootstrap = self._process.stdout.readline().strip()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        until_stopped(self._process.pid)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.thaw()
        self._process.communicate(timeout=10)  # its standard input ends, and so does it
