"""A swept shop in a real store, and the API over it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from consumer.commands.place import Place
from consumer.serving.api import Parts, make_app
from consumer.serving.feed import Feed
from consumer.serving.guard import Guard
from consumer.serving.queries import Erasure, Queries
from consumer.serving.tokens import Tokens, read_tokens
from consumer.settings import Settings
from tests.harness.commands import Inside, Shell
from tests.harness.exports import small_export
from tests.harness.store import Store
from tests.harness.swept import swept_shop

READER = {"Authorization": "Bearer a reader's"}
ERASER = {"Authorization": "Bearer an eraser's"}
OWNER = {"Authorization": "Bearer the owner's"}
"""He has every role."""


@dataclass(frozen=True)
class Shop:
    """Where it is, and who is in it."""

    settings: Settings
    ids: list[str]
    folder: Path

    @property
    def place(self) -> Place:
        return Place(self.settings, self.settings.kafka())

    @property
    def shell(self) -> Shell:
        """Where `segmenter` reads the same shop."""
        address = self.settings.redis_url.get_secret_value()
        variables = {"REDIS_URL": address, "NAMESPACE": self.settings.namespace, "CLOCK": "event"}
        return Inside(self.folder, {f"SEGMENTER_{name}": value for name, value in variables.items()})


class WithoutKafka(Queries):
    """Notes erasures instead of publishing them."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.erased: list[str] = []

    def erase(self, customer: str) -> Erasure:
        self.erased.append(customer)
        return Erasure(customer, "transactions", 0, len(self.erased), had_state=True)


class SilentTail:
    """A topic to which nothing is written; it ends at once."""

    def poll(self, timeout_s: float) -> list[Any]:
        from consumer.ports import TransportError

        del timeout_s
        raise TransportError("the topic is gone", retriable=True)

    def close(self) -> None:
        """Hold nothing."""


def shop_at(url: str, folder: Path) -> Shop:
    """Make a shop of 80 customers in a namespace of its own."""
    settings = Settings(
        _env_file=None, redis_url=SecretStr(url), namespace=f"serving-{uuid.uuid4().hex[:8]}", clock="event"
    )
    return Shop(settings, swept_shop(settings, small_export(folder)), folder)


@pytest.fixture(scope="session")
def shop(redis_server: Store, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shop_at(redis_server.url, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    hashes = [sha256(token).hexdigest() for token in (b"a reader's", b"an eraser's", b"the owner's")]
    lines = (
        "# who",
        f"read {hashes[0]} shop",
        f"read,erase  {hashes[1].upper()}  privacy desk",
        f"read,erase,promote {hashes[2]} owner",
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_tokens(str(path))


def app_of(queries: Queries, tokens: Tokens | None) -> Guard:
    """Return the API over some queries, without Kafka."""
    return make_app(Parts(queries, Feed(SilentTail), tokens))  # type: ignore[arg-type]  # a tail as the feed uses it


@pytest.fixture(scope="session")
def api(shop: Shop, tokens: Tokens) -> Iterator[TestClient]:
    """The API with tokens; its requests need the headers `READER` or `ERASER`."""
    with TestClient(app_of(WithoutKafka(shop.place), tokens), base_url="http://localhost:8080") as client:
        yield client


@pytest.fixture(scope="session")
def lookup_as_printed(shop: Shop) -> Callable[[str], dict[str, Any]]:
    """What `lookup --json` prints."""
    known: dict[str, dict[str, Any]] = {}

    def printed(customer: str) -> dict[str, Any]:
        if customer not in known:
            known[customer] = shop.shell(["lookup", customer, "--json"]).json
        return known[customer]

    return printed
