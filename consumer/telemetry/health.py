"""The worker's HTTP side: /livez, /readyz, /metrics.

/livez    200 while the process serves; it asks nobody: restarting a worker mends neither Kafka nor Redis
/readyz   200 when Kafka and Redis answer, a state is there and nothing stands still, else 503; JSON says what
/metrics  Prometheus' text format

No password guards it, so it listens on this machine alone unless told otherwise, tells of nobody by name, and never
makes HTML. Who is slow to ask holds up nobody else: so many at a time are heard, each for so long.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from consumer.partition import iso
from consumer.telemetry.telemetry import Telemetry

REQUEST_S = 5.0
"""A request that is not whole by then is cut off, however steadily it drips."""
CONNECTIONS = 64
"""Heard at the same time; who comes then is turned away at once. Slow ones make room within REQUEST_S."""

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
    states = {p: s for p, s in telemetry.partitions.copy().items() if p in held}
    return Health(
        ready=not any(parts.values()) and not paused and telemetry.trouble_now is None,
        parts=parts,
        paused=paused,
        trouble=telemetry.trouble_now,
        partitions={
            p: {
                "day": iso(s.day),
                "applied": s.applied,
                "sweep": "ended" if s.sweep.ended else "running",
                "model_version": s.sweep.version,
            }
            for p, s in sorted(states.items())
        },
    )


class HealthServer:
    """Serves the three addresses from threads of its own; port 0 takes a free one."""

    def __init__(self, host: str, port: int, ask: Callable[[], Health], registry: CollectorRegistry) -> None:
        self._server = _Server((host, port), _handler(ask, registry, time.monotonic()))
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # The library's own timeout begins anew with every byte.
        cut = threading.Timer(REQUEST_S, partial(_cut_off, request))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """Leave broken connections out of the log."""


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):  # it ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _handler(ask: Callable[[], Health], registry: CollectorRegistry, began: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "segmenter", ""
        error_content_type, error_message_format = "text/plain; charset=utf-8", "%(code)d\n"

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
                self._answer(404, "text/plain; charset=utf-8", b"there are /livez, /readyz and /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Leave probes out of the log."""

    return Handler
