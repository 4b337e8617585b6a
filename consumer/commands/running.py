"""A worker in this process: signals, telemetry, health, and its end.

SIGTERM, SIGINT   finish the turn, leave the group, exit 0; what hangs is cut off after 25 s
a second one      exit at once: what was not published is taken over by whoever comes next
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import FrameType

from consumer import service
from consumer.commands.cli_output import Output, table
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.observer import Turn
from consumer.settings import Settings
from consumer.telemetry.health import Health, HealthServer, Probe, health
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.telemetry import Telemetry, configure_logs
from consumer.worker import Worker

END_WITHIN_S = 24.0
"""After the first signal; the process is gone within 25 s whatever hangs."""
PROBE_S = 1.0
COLLECT_AT = 50_000, 20, 20
"""Thresholds of Python's cyclic collector. Batches are made of many short-lived objects, all free of cycles: at the
defaults the collector walked the whole heap, scikit-learn included, every few batches, for a seventh of the CPU time.
"""


def give_back() -> None:
    """Give memory that is free back to the system: glibc keeps what a sweep's records took."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Ending:
    """What signals ask of the worker."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Say whether the end was asked for."""
        return self._asked.is_set()

    def of(self, worker: Worker) -> None:
        """Stop this worker when asked to."""
        self._worker = worker
        if self._asked.is_set():
            worker.stop()

    def ask(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask for the end; the second time it is now."""
        if self._asked.is_set():
            os._exit(int(ExitCode.DONE))
        self._asked.set()
        if self._worker is not None:
            self._worker.stop()
        watchdog = threading.Timer(END_WITHIN_S, os._exit, (int(ExitCode.INTERNAL),))
        watchdog.daemon = True
        watchdog.start()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT."""
        before = {number: signal.signal(number, self.ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                # Once asked, the process ends by itself; a late second signal must not spoil its exit code.
                signal.signal(number, signal.SIG_IGN if self() else handler)


def run_worker(place: Place, output: Output, *, skip_lost_input: bool = False, drain: bool = False) -> None:
    """Run until told to stop, or drain until nothing is left, then say in a line what was done."""
    configure_logs()
    gc.set_threshold(*COLLECT_AT)
    settings = place.settings
    ending = Ending()
    running: list[Worker] = []
    metrics = Metrics(
        lambda: running[0].assigned if running else frozenset(),
        info={"version": _version(), "clock": settings.clock},
        zone=settings.zone,
        ready=lambda: ask().ready,
    )

    def ask() -> Health:
        worker = running[0] if running else None
        held = worker.assigned if worker else frozenset()
        return health(telemetry, probes(settings), held, worker.blocked() if worker else {})

    with ending.on_signals(), ExitStack() as stack:
        on_turn = [metrics.turned, *traces(settings, stack)]
        telemetry = Telemetry(settings.erasure_key_bytes, on_turn=on_turn, on_swept=give_back)
        metrics.of(telemetry)
        if settings.metrics_port is not None:
            stack.enter_context(HealthServer(settings.metrics_host, settings.metrics_port, ask, metrics.registry))
        worker = service.open_worker(
            settings,
            telemetry,
            embedded=place.embedded,
            stopping=ending,
            skip_lost_input=skip_lost_input,
            draining=drain,
        )
        if worker is not None:
            telemetry.resumed(-1) if -1 in telemetry.paused_for else None
            running.append(worker)
            ending.of(worker)
            worker.run(until=worker.drained if drain else None)
    counts = sum((Counter(state.counters) for state in telemetry.partitions.values()), Counter[str]())
    output.result({"counters": dict(counts)}, "stopped in good order")


def traces(settings: Settings, stack: ExitStack) -> list[Callable[[Turn], None]]:
    """Return what makes traces until the stack ends; nothing where no collector is set. Raises `Stop`."""
    if settings.otel_endpoint is None:
        return []
    try:
        from consumer.telemetry.otel_spans import exporting
    except ModuleNotFoundError as error:
        raise Stop(
            ExitCode.USAGE,
            f"SEGMENTER_OTEL_ENDPOINT is set, {error.name} is not installed: pip install 'segmenter[otel]' brings it",
        ) from None
    return [stack.enter_context(exporting(settings.otel_endpoint, settings.transactions_topic, settings.group_id))]


def _version() -> str:
    try:
        return version("segmenter")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


def probes(settings: Settings) -> dict[str, Probe]:
    """Return the questions that readiness asks of Kafka and Redis, each within a second."""
    return {"kafka": lambda: _kafka_answers(settings.kafka_bootstrap), "redis": lambda: _redis_answers(settings)}


def _kafka_answers(bootstrap: str) -> str | None:
    """Say whether any broker takes a connection; what it answers is the worker's to find out."""
    problem = "no broker is configured"
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S):
                return None
        except (OSError, ValueError) as error:
            problem = f"{server.strip()}: {error}"
    return problem


def _redis_answers(settings: Settings) -> str | None:
    from features.redis_store import ping

    return ping(settings.redis(), timeout_s=PROBE_S)


def run_dry(place: Place, output: Output) -> None:
    """Decide what waits now, write nothing, and print what would become of it."""
    from consumer.commands.dry_run import dry_run

    configure_logs()
    place.broker()
    ending = Ending()
    with ending.on_signals():
        found = dry_run(place.settings, embedded=place.embedded, stopping=ending)
    rows = [(name, n) for name, n in sorted(found.counters.items())]
    rows += [(f"published to {topic}", n) for topic, n in sorted(found.records.items())]
    shown = table(f"What {found.read:,} records would do (nothing was written)", ["", "count>"], rows)
    output.result(found, shown)
