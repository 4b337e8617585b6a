"""A swept shop in a real store, and its pages run without a browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from consumer.commands.place import Place
from consumer.dashboard.board import Board
from consumer.serving.tokens import Tokens
from tests.consumer.serving.conftest import Shop, shop_at
from tests.harness.store import Store

Show = Callable[[Board], None]
TAG = re.compile(r"<[^>]*>")


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """AppTest puts the page in the place of __main__, from which processes that are forked later would begin."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@dataclass(frozen=True)
class Seen:
    """What a page showed. app: to click on."""

    app: AppTest

    @property
    def html(self) -> str:
        return "".join(each.value for each in self.app.html)

    @property
    def text(self) -> str:
        """Everything that is read, without marks."""
        titles = [each.value for each in (*self.app.title, *self.app.subheader)]
        return " ".join((" ".join(titles) + " " + unescape(TAG.sub("", self.html.replace("><", "> <")))).split())

    @property
    def cells(self) -> list[list[str]]:
        """The rows of all tables."""
        found = re.findall(r"<tr>(.*?)</tr>", self.html)
        return [[unescape(TAG.sub("", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in found]

    @property
    def figures(self) -> dict[str, str]:
        """The value of each tile by its label."""
        pairs = re.findall(r'<p class="sg-label">([^<]*)</p><p class="sg-value">([^<]*)</p>', self.html)
        return {unescape(name): unescape(value) for name, value in pairs}


def _script(show, board):  # type: ignore[no-untyped-def]  # its source is run alone, where no type is known
    show(board)


def opened(show: Show, board: Board, address: dict[str, str] | None = None, **session: Any) -> Seen:
    """Run a page as the address asks for it. session: what the visitor's session holds already."""
    app = AppTest.from_function(_script, args=(show, board), default_timeout=60)
    for name, value in (address or {}).items():
        app.query_params[name] = value
    for name, value in session.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception, [each.value for each in app.exception]
    return Seen(app)


@pytest.fixture(autouse=True)
def no_foreign_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of a page looks through every installed package for components; we use none, and it takes a second."""
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)


@pytest.fixture(scope="session")
def shop(redis_server: Store, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shop_at(redis_server.url, tmp_path_factory.mktemp("dashboard"))


def kept_place(shop: Shop) -> Place:
    """The shop as a kept state: no broker runs, and nothing was recorded."""
    return Place(shop.settings, None, shop.folder)


def board_of(place: Place, tokens: Tokens | None = None) -> Board:
    return Board(lambda: place, tokens)


@pytest.fixture(scope="session")
def board(shop: Shop) -> Board:
    return board_of(kept_place(shop))
