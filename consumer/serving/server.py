"""The API as a process: where it listens, what is checked before, and its end.

SIGTERM, SIGINT   no new requests, those that run are answered, streams end, exit 0; what hangs is cut off
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from consumer.commands.cli_output import Output
from consumer.commands.place import Place
from consumer.serving.api import Parts, make_app
from consumer.serving.feed import Feed
from consumer.serving.guard import Guard
from consumer.serving.listening import address, listening, tokens_for
from consumer.serving.queries import Queries
from consumer.serving.tokens import SETTING
from consumer.telemetry.telemetry import configure_logs
from consumer.transport.kafka_tail import KafkaTail

END_WITHIN_S = 10
SWITCH_S = 0.001
"""How long a thread that computes keeps the one that answers waiting (CPython's default is 5 ms)."""


def serve(place: Place, host: str, port: int, output: Output) -> None:
    """Serve until told to end. Raises `Stop` where it may not listen there, or cannot."""
    tokens = tokens_for(host, place.settings.api_tokens_file, "ask")
    configure_logs()
    sys.setswitchinterval(SWITCH_S)
    feed = Feed(lambda: KafkaTail(place.broker().again(), place.settings.segments_topic))
    app = make_app(Parts(Queries(place), feed, tokens))
    with listening(host, port) as listener:
        where = address(host, port)
        output.note(f"{place.settings.namespace} at {where}, its documentation at {where}/docs")
        if tokens is None:
            output.note(f"no {SETTING}: one customer at a time may be looked up, from this machine, and nothing else")
        gc.collect()
        gc.freeze()  # what is loaded by now stays: the collector need not walk it while somebody waits for an answer
        _Server(app, feed).run(sockets=[listener])
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
