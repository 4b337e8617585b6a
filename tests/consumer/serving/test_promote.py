"""A model promoted over HTTP: what the command foretells and does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from consumer.serving.tokens import Tokens
from tests.consumer.serving.conftest import OWNER, Shop, WithoutKafka, app_of, shop_at
from tests.consumer.serving.test_api import problem
from tests.harness.store import Store


@pytest.fixture(scope="module")
def shop(redis_server: Store, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop of its own, with a candidate that has another k than the live model."""
    made = shop_at(redis_server.url, tmp_path_factory.mktemp("promoting"))
    assert made.shell(["model", "refit", "--k", "2"]).code == 0
    return made


@pytest.fixture(scope="module")
def api(shop: Shop, tokens: Tokens) -> Iterator[TestClient]:
    with TestClient(app_of(WithoutKafka(shop.place), tokens), headers=OWNER) as client:
        yield client


def test_a_preview_is_what_the_dry_run_prints_and_promoting_does_just_that(api: TestClient, shop: Shop) -> None:
    printed = shop.shell(["model", "promote", "c1", "--dry-run", "--json"]).json
    before = api.get("/v1/model").json()["version"]
    foretold = api.post("/v1/model/c1:promote?preview=true")
    assert foretold.status_code == 200
    assert foretold.json() == printed
    assert foretold.json()["moves"] > 0
    assert [v["name"] for v in shop.shell(["model", "list", "--json"]).json["versions"] if v["live"]] == [str(before)]
    done = api.post("/v1/model/c1:promote").json()
    assert done == printed | {"published": True}
    live = [v["name"] for v in shop.shell(["model", "list", "--json"]).json["versions"] if v["live"]]
    assert live == [str(done["version"])] == [str(before + 1)]
    assert api.get("/v1/model").json()["version"] == done["version"], "the count of before is not told any more"
    assert problem(api.post(f"/v1/model/{done['version']}:promote")) == (409, "not-promotable")


@pytest.mark.parametrize("name", ["99", "c99", "x7", "0", "%3Cscript%3E", "9" * 5_000, "%ED%A0%80"])
@pytest.mark.parametrize("query", ["", "?preview=true"])
def test_a_model_that_is_none_is_not_found(api: TestClient, name: str, query: str) -> None:
    assert problem(api.post(f"/v1/model/{name}:promote{query}")) == (404, "unknown-model")


@pytest.mark.parametrize("preview", ["1", "yes", "", "True", "null"])
def test_a_preview_is_asked_for_in_one_word(api: TestClient, preview: str) -> None:
    assert problem(api.post(f"/v1/model/c1:promote?preview={preview}")) == (400, "parameter")
