"""The dashboard as a process: where it listens, Streamlit's settings, and its end.

SIGTERM, SIGINT   open pages lose their connection, what reads ends, the embedded store ends in good order, exit 0

Guarantee: it talks to Kafka, Redis and its visitors, and to nobody else: no usage statistics, no fonts, no look for a
public address; nothing that a visitor sees is a stack trace.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from streamlit import net_util
from streamlit.web import bootstrap

from consumer.commands.cli_output import Output
from consumer.commands.place import Place, Tenancy
from consumer.dashboard import app
from consumer.dashboard.board import Board
from consumer.dashboard.held import hold
from consumer.exits import ExitCode, Stop
from consumer.serving.listening import LOOPBACK, address, listening, tokens_for
from consumer.serving.tokens import SETTING
from consumer.telemetry.telemetry import configure_logs

LOOK_S = 0.2
"""An embedded pair is looked at so often: a run that wants the store waits no longer."""

SETTINGS: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.hideWelcomeMessage": True,
    "logger.level": "error",
    "runner.magicEnabled": False,
    "server.disconnectedSessionTTL": 30,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
    "server.showEmailPrompt": False,
    "theme.light.primaryColor": "#0B5C8E",
    "theme.dark.primaryColor": "#56B4E9",
}


class Tenant:
    """Keeps a place on an embedded pair, in a thread that lives as long as it is wanted."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._place: Place | None = None
        self._trouble: Exception | None = None
        self._settled, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tenant", daemon=True)

    def __call__(self) -> Place:
        """Return the place, as it was last seen. Raises what hindered the first look."""
        if self._place is None:
            raise self._trouble or Stop(ExitCode.USAGE, "the embedded pair is being looked for")
        return self._place

    @contextmanager
    def kept(self) -> Iterator[Tenant]:
        """Begin, and return after the first look; leave at the end."""
        self._thread.start()
        try:
            self._settled.wait()
            yield self
        finally:
            self._ending.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._place = self._tenancy.place()
                except Exception as error:  # noqa: BLE001 -- the pages say it; the next look may find it mended
                    self._trouble = error
                self._settled.set()
                self._ending.wait(LOOK_S)
        finally:
            self._tenancy.leave()


def serve(where: Any, path: str | None, host: str, port: int, output: Output) -> None:
    """Serve until told to end. where: gives the place; path: of the file of tokens.

    Raises `Stop` where it may not listen there, or cannot.
    """
    tokens = tokens_for(host, path, "look")
    listening(host, port).close()  # Streamlit takes another port where this one is not free
    board = Board(where, tokens)
    configure_logs()
    hold(board)
    at = address(host, port)
    output.note(f"{board.place.settings.namespace} at {at}")
    if tokens is None:
        output.note(f"no {SETTING}: everything is shown, on this machine alone, and nothing can be changed")
    try:
        _run(host, port)
    finally:
        board.close()
    output.result({"served": at}, "stopped in good order")


def _run(host: str, port: int) -> None:
    """Run Streamlit in this process until a signal."""
    # A page of another origin makes Streamlit ask a public address who we are; nobody outside is asked.
    net_util.get_external_ip = lambda: None
    own = {"server.address": host, "server.port": port}
    if host in LOOPBACK:  # a page in a browser may have a name of its own made out to 127.0.0.1
        own["server.allowedHosts"] = ["localhost", "127.0.0.1", "::1"]
    flags = {name.replace(".", "_"): value for name, value in (SETTINGS | own).items()}
    bootstrap.load_config_options(flags)
    with redirect_stdout(sys.stderr):  # Streamlit says that it stops; stdout is for the result
        bootstrap.run(str(Path(app.__file__)), False, [], flags)
