"""Server processes that do not outlive the one that started them.

    start -> wait_until(answers) -> ... -> stop          by its owner, a context manager
                                    |
    owner's interpreter ends  ------+-> stop             by atexit
    owner killed with -9      ------+-> SIGKILL          by the Linux kernel (PR_SET_PDEATHSIG)

The last line is Linux's alone. Elsewhere (macOS) a server survives a kill -9 of its owner; whoever starts the next
one finds the lock that it still holds (see `embedded.EmbeddedStore`) and names the process to end.

Two rules follow for the caller. The kernel looks at the *thread* that started the child, so start it on a thread that
lives as long as the child should: the main one. And the child leads a session and a process group of its own, so a
Ctrl-C in the terminal reaches the owner only, which then ends the child in good order.
"""

import atexit
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Run by a bare interpreter that becomes the server: no code runs between fork and exec in an owner that has threads
# (librdkafka's, Arrow's), which is what preexec_fn would do. 1 is PR_SET_PDEATHSIG. The owner may have died before
# the call; then the parent is already another one.
_TIE_TO_OWNER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or sys.exit("the owner is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_LOWEST_PORT, _HIGHEST_PORT = 15_000, 30_000


class ChildFailedError(RuntimeError):
    """A server did not come up: it ended, or did not answer in time. The message holds the end of its output."""


class Child:
    """One server process: its command, and where its output goes.

    It may be started again after `stop` or `kill`; the output is appended to `log`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """`directory` is the server's working directory; `keep_open` are file descriptors that it inherits."""
        self._command = list(command)
        self._directory = directory
        self._log = log
        self._environment = environment
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process; raises RuntimeError if it runs already."""
        if self.running:
            raise RuntimeError(f"{self._command[0]} runs already")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is the caller's own, never a user's text
                _tied_to_this_process(self._command),
                cwd=self._directory,
                env=None if self._environment is None else dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._keep_open,
            )
        atexit.register(self.stop)

    def wait_until(self, answers: Callable[[], bool], *, seconds: float) -> None:
        """Returns when `answers()` is true; ends the process and raises ChildFailedError if it dies or is too late."""
        deadline = time.monotonic() + seconds
        while not answers():
            if not self._lives_on(0.05):
                raise ChildFailedError(f"{self._command[0]} ended while starting:\n{self.output()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ChildFailedError(f"{self._command[0]} did not answer within {seconds:g} s:\n{self.output()}")

    def stop(self, *, seconds: float = 15.0) -> None:
        """Asks it to end and waits; after `seconds` it is killed. Does nothing if it does not run."""
        if self.running:
            self.signal(signal.SIGTERM)
            self._lives_on(seconds)
        self.kill()

    def kill(self) -> None:
        """Ends the whole process group at once (-9) and waits for it. Does nothing if it does not run."""
        if self._process is None:
            return
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        atexit.unregister(self.stop)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process group, e.g. SIGSTOP and SIGCONT."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself: whoever waits for it will see
            os.killpg(self.pid, number)

    def output(self, *, lines: int = 20) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _lives_on(self, seconds: float) -> bool:
        """Waits for its end, at most `seconds`; false if it ended."""
        if self._process is None:
            return False
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


def free_port() -> int:
    """A port of the loopback interface on which nobody listens.

    It lies below the range from which systems draw the ports of outgoing connections. In that range a client that
    redials a stopped server can be given the server's own port and connect to itself, and the server cannot return.
    """
    for _ in range(200):
        port = _LOWEST_PORT + secrets.randbelow(_HIGHEST_PORT - _LOWEST_PORT)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on 127.0.0.1 between {_LOWEST_PORT} and {_HIGHEST_PORT}")


def _tied_to_this_process(command: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE_TO_OWNER, str(os.getpid()), *command]
