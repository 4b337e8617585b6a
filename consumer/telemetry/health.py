"""The worker's HTTP side: /livez, /readyz, /metrics.

/livez    200 while the process serves; it asks nobody: restarting a worker mends neither Kafka nor Redis
/readyz   200 when Kafka and Redis answer, a state is there and nothing stands still, else 503; JSON says what
/metrics  Prometheus' text format
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from consumer.partition import iso
from consumer.telemetry.telemetry import Telemetry

Probe = Callable[[], str | None]
"""Asks one part whether it answers; returns what is wrong, None where nothing is."""


class Health(msgspec.Struct, frozen=True):
    """What /readyz answers. paused: partition -> reason; parts: name -> what is wrong, None where it answers."""

    ready: bool
    parts: dict[str, str | None]
    paused: dict[int, str]
    trouble: str | None
    partitions: dict[int, dict[str, Any]]


def health(
    telemetry: Telemetry, probes: Mapping[str, Probe], held: frozenset[int], blocked: Mapping[int, str]
) -> Health:
    """Ask every part and put the answer together."""
    parts = {name: probe() for name, probe in probes.items()}
    paused = telemetry.paused_for | {p: telemetry.redacted(reason) for p, reason in blocked.items()}
    paused = {p: reason for p, reason in paused.items() if p < 0 or p in held or p in blocked}
    standings = {p: s for p, s in telemetry.partitions.copy().items() if p in held}
    return Health(
        ready=not any(parts.values()) and not paused and telemetry.trouble_now is None,
        parts=parts,
        paused=paused,
        trouble=telemetry.trouble_now,
        partitions={
            p: {
                "day": iso(s.state.day),
                "applied": s.state.applied,
                "sweep": "ended" if s.state.sweep.ended else "running",
                "model_version": s.state.sweep.version,
            }
            for p, s in sorted(standings.items())
        },
    )


class HealthServer:
    """Serves the three addresses from a thread of its own; port 0 takes a free one."""

    def __init__(
        self,
        port: int,
        ask: Callable[[], Health],
        registry: CollectorRegistry,
        host: str = "0.0.0.0",  # noqa: S104 -- probes and Prometheus come from other hosts
    ) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(ask, registry, time.monotonic()))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(ask: Callable[[], Health], registry: CollectorRegistry, began: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            path = self.path.partition("?")[0]
            if path == "/livez":
                self._answer(
                    200, "application/json", msgspec.json.encode({"alive": round(time.monotonic() - began, 1)})
                )
            elif path == "/readyz":
                found = ask()
                self._answer(200 if found.ready else 503, "application/json", msgspec.json.encode(found))
            elif path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
            else:
                self._answer(404, "text/plain", b"there are /livez, /readyz and /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Leave probes out of the log."""

    return Handler
