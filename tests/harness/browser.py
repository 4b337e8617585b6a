"""A real Chromium for pages: the one that is installed, else the package manager's.

Playwright drives it; what the browser would tell its makers is switched off, and nothing but the page is opened.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox",  # inside a container there is none to be had
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL_S = 300


class BrowserUnavailableError(RuntimeError):
    """There is no Chromium and none can be installed; the message says what to do."""


@dataclass(slots=True)
class Opened:
    """A page in the browser. troubles: console errors and uncaught exceptions; requests: all but the page's own."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def chromium() -> str:
    """Return the browser's path; a fresh machine with apt gets it installed, once."""
    if found := _installed():
        return found
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            if done.returncode:
                raise BrowserUnavailableError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
        if found := _installed():
            return found
    raise BrowserUnavailableError(f"no Chromium: install it so that one of {', '.join(NAMES)} is on the PATH")


@contextmanager
def running() -> Iterator[Browser]:
    """Start the browser; one at a time in a process."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, file: Path, *, width: int, dark: bool = False) -> Iterator[Opened]:
    """Open a file of this machine in a window `width` pixels wide."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    found, own = Opened(page), file.resolve().as_uri()
    page.on("console", lambda message: found.troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.troubles.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url) if request.url != own else None)
    try:
        page.goto(own)
        yield found
    finally:
        page.close()


def _installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)
