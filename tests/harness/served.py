"""`segmenter run` as a user starts it, with its log, its metrics and its readiness.

served = Served(live, redis=proxy.url_of(url)); served.ready(); served.metric("segmenter_takeovers_total"); served.log()
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from typing import Any, NamedTuple

from consumer.transport.child import free_port
from tests.harness.forked import fork, spawn
from tests.harness.live import Live, wait_until

SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Readiness(NamedTuple):
    """What /readyz answered; status 0: nothing."""

    status: int
    said: dict[str, Any]

    @property
    def reasons(self) -> str:
        """All that is wrong, as one text."""
        parts = [f"{name}: {problem}" for name, problem in self.said.get("parts", {}).items() if problem]
        return "; ".join([*parts, *self.paused.values(), self.said.get("trouble") or ""])

    @property
    def paused(self) -> dict[str, str]:
        """Why partitions stand still, by their number."""
        return dict(self.said.get("paused", {}))


class Served:
    """One worker process of a live world; it ends with the world."""

    def __init__(self, live: Live, at: tuple[str, int, str] | None = None, **settings: str) -> None:
        """Settings given here are this worker's own, such as `redis_url`, the way to the store.

        at: a fault built in, as (point, times, kill or stop or term); see tests.harness.crashing_worker.
        """
        self.port = free_port()
        self.crash_file = live.directory / f"served-{len(live.processes)}.fired"
        self._log = live.directory / f"served-{len(live.processes)}.log"
        own = {f"SEGMENTER_{name.upper()}": value for name, value in settings.items()}
        environ = {**os.environ, **live.environment(), **own, "CRASH_FILE": str(self.crash_file)}
        module, *words = ["tests.harness.crashing_worker", *map(str, at)] if at else ["consumer.cli", "run"]
        start = fork
        if "CLI_MODULE" in live.given:  # another version: nothing of ours may have been imported before
            module, start = live.given["CLI_MODULE"], spawn
        words += ["--metrics-port", str(self.port)]
        self.process = start(module, words, environ, live.directory, self._log)
        live.processes.append(self.process)

    def ready(self) -> Readiness:
        """Ask /readyz."""
        status, body = self._get("/readyz")
        return Readiness(status, json.loads(body) if status else {})

    def alive(self) -> bool:
        """Ask /livez."""
        return self._get("/livez")[0] == 200

    def freeze(self) -> None:
        """Stop the process where it stands; its sockets stay open."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(self.frozen, "a process that stands still")

    def frozen(self) -> bool:
        """Say whether it stands still."""
        return self.process.stopped()

    def await_frozen(self) -> None:
        """Wait until it has stopped itself."""
        wait_until(lambda: self.frozen() or self.process.poll() is not None, "a process that stops itself")
        assert self.process.returncode is None, self.output()

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def end(self, seconds: float = 30.0) -> float:
        """Send SIGTERM and await exit code 0; return the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(seconds) == 0, self.output()
        return time.monotonic() - began

    @property
    def takeovers(self) -> int:
        """How many partitions it has taken over so far."""
        return len(self.log("partition taken over"))

    def await_takeover(self, after: int = 0) -> None:
        """Wait until it has taken more partitions over than `after`."""
        wait_until(lambda: self.takeovers > after or self.process.poll() is not None, "a worker that takes over")
        assert self.process.returncode is None, self.output()

    def metrics(self) -> str:
        """Ask /metrics."""
        return self._get("/metrics")[1]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels; 0 where there is none."""
        total = 0.0
        for line in self.metrics().splitlines():
            found = SAMPLE.match(line)
            if found and found["name"] == name and labels.items() <= dict(LABEL.findall(found["labels"] or "")).items():
                total += float(found["value"])
        return total

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log's events, or those of one name."""
        lines = [json.loads(line) for line in self.output().splitlines() if line[:1] + line[-1:] == "{}"]
        return [line for line in lines if event is None or line.get("event") == event]

    def found(self, verdict: str) -> int:
        """Return how often a partition was found so when it was taken over."""
        return sum(event["verdict"] == verdict for event in self.log("partition taken over"))

    def output(self) -> str:
        """Return all that it wrote, for the message of a failure."""
        return self._log.read_text("utf-8")

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()
