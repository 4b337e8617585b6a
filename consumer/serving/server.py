"""The API as a process: where it listens, what is checked before, and its end.

SIGTERM, SIGINT   no new requests, those that run are answered, streams end, exit 0; what hangs is cut off
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from consumer.commands.cli_output import Output
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.serving.api import Parts, make_app
from consumer.serving.feed import Feed
from consumer.serving.guard import Guard
from consumer.serving.queries import Queries
from consumer.serving.tokens import SETTING, read_tokens
from consumer.telemetry.telemetry import configure_logs
from consumer.transport.kafka_tail import KafkaTail

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
END_WITHIN_S = 10
SWITCH_S = 0.001
"""How long a thread that computes keeps the one that answers waiting (CPython's default is 5 ms)."""


def serve(place: Place, host: str, port: int, output: Output) -> None:
    """Serve until told to end. Raises `Stop` where it may not listen there, or cannot."""
    path = place.settings.api_tokens_file
    tokens = read_tokens(path) if path else None
    if tokens is None and host not in LOOPBACK:
        raise Stop(
            ExitCode.USAGE,
            f"without {SETTING} nobody but this machine may ask: give a file of tokens, or --host 127.0.0.1",
        )
    configure_logs()
    sys.setswitchinterval(SWITCH_S)
    feed = Feed(lambda: KafkaTail(place.broker().again(), place.settings.segments_topic))
    app = make_app(Parts(Queries(place), feed, tokens))
    with _listening(host, port) as listening:
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        output.note(f"{place.settings.namespace} at {where}, its documentation at {where}/docs")
        if tokens is None:
            output.note(f"no {SETTING}: one customer at a time may be looked up, from this machine, and nothing else")
        gc.collect()
        gc.freeze()  # what is loaded by now stays: the collector need not walk it while somebody waits for an answer
        _Server(app, feed).run(sockets=[listening])
    output.result({"served": where}, "stopped in good order")


class _Server(uvicorn.Server):
    """Ends in good order, with exit code 0; the library's own would end by the signal."""

    def __init__(self, app: Guard, feed: Feed) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,  # paths hold customers' ids
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=END_WITHIN_S,
            )
        )
        self._feed = feed

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to SIGTERM and SIGINT."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._feed.close()
        self.handle_exit(number, frame)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise Stop(ExitCode.USAGE, f"cannot listen on {host}, port {port}: {error}; choose another --port") from None
