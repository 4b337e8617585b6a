"""The pages over a real store: the API's figures to the digit, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from consumer.commands.place import Place
from consumer.dashboard import (
    page_customer,
    page_data,
    page_health,
    page_model,
    page_movement,
    page_overview,
    page_segments,
)
from consumer.dashboard.app import main
from consumer.dashboard.board import Board
from consumer.serving.queries import Queries
from consumer.serving.tokens import Tokens, read_tokens
from consumer.settings import Settings
from consumer.transport.child import free_port
from tests.consumer.dashboard.conftest import Seen, board_of, kept_place, opened
from tests.consumer.serving.conftest import Shop, app_of, shop_at
from tests.harness.exports import KNOWN
from tests.harness.live import wait_until
from tests.harness.store import OwnStore, Store

SCRIPT = "<script>alert(1)</script>"
EVERY = [page_overview, page_segments, page_movement, page_customer, page_model, page_data, page_health]
OWNER, READER = "an owner's token", "a reader's token"
each_page = pytest.mark.parametrize("page", EVERY, ids=lambda page: page.__name__.rpartition("_")[2])


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    lines = [("read,promote", OWNER), ("read", READER), ("erase", "no reader's")]
    path.write_text("\n".join(f"{roles} {sha256(token.encode()).hexdigest()} somebody" for roles, token in lines))
    return read_tokens(str(path))


@pytest.fixture(scope="module")
def api(shop: Shop, tokens: Tokens) -> Iterator[TestClient]:
    """The API over the same state."""
    app = app_of(Queries(shop.place), tokens)
    with TestClient(app, headers={"Authorization": f"Bearer {OWNER}"}) as client:
        yield client


def per_cent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f} %"


def row_of(profile: dict[str, Any]) -> list[str]:
    medians = [
        "" if profile[name] is None else f"{profile[name]:,.0f}" for name in ("recency", "frequency", "monetary")
    ]
    shares = [per_cent(profile["share_of_customers"]), per_cent(profile["share_of_revenue"])]
    return [profile["name"], f"{profile['customers']:,}", *shares, *medians]


class TestAgreement:
    def test_overview_and_segments_have_the_apis_figures(self, board: Board, api: TestClient) -> None:
        told = api.get("/v1/segments").json()
        for page in (page_overview, page_segments):
            seen = opened(page.show, board)
            assert [row_of(each) for each in told["segments"]] == [row for row in seen.cells if len(row) == 7]
        figures = opened(page_overview.show, board).figures
        assert figures["Customers"] == f"{told['customers']:,}"
        assert figures["Model version"] == str(told["model_version"])
        assert figures["Data as of"] == told["as_of"]

    def test_a_segment_has_the_apis_members(self, board: Board, api: TestClient) -> None:
        segment = api.get("/v1/segments").json()["segments"][0]
        seen = opened(page_segments.show, board, {"segment": str(segment["id"])})
        assert seen.figures["Customers"] == f"{segment['customers']:,}"
        told = api.get(f"/v1/segments/{segment['id']}/customers?limit=20").json()["customers"]
        assert [row for row in seen.cells if len(row) == 2] == [[m["customer_id"], m["entered_on"]] for m in told]

    def test_a_customer_has_the_apis_figures_and_the_commands_history(
        self, board: Board, api: TestClient, shop: Shop
    ) -> None:
        told, why = (api.get(f"/v1/customers/{KNOWN}{end}").json() for end in ("", ":explain"))
        seen = opened(page_customer.show, board, {"id": KNOWN})
        assert seen.figures["Customer"] == KNOWN
        assert seen.figures["Segment"] == told["segment"]["name"]
        assert seen.figures["Margin"] == f"{told['margin']:.2f}"
        shown = {row[0]: row[2] for row in seen.cells if len(row) == 3}
        assert shown == {n: "–" if v is None else f"{v:,.2f}".removesuffix(".00") for n, v in told["features"].items()}
        assert why["in_words"][1:] in seen.text
        moves = shop.shell(["history", KNOWN, "--json"]).json["moves"]
        assert [row[2] for row in seen.cells if len(row) == 5] == [m["to"]["name"] for m in reversed(moves)]

    def test_the_model_is_the_apis(self, board: Board, api: TestClient) -> None:
        told = api.get("/v1/model").json()
        seen = opened(page_model.show, board)
        assert (seen.figures["Version"], seen.figures["Made of"]) == (str(told["version"]), told["day"])
        assert seen.figures["Features"] == str(len(told["features"]))
        assert told["hash"][:8] in seen.text
        live = [row for row in seen.cells if row and row[0] == f"{told['version']} (live)"]
        assert len(live) == 1

    def test_quality_of_data_and_health_are_what_status_prints(self, board: Board, shop: Shop) -> None:
        told = Queries(kept_place(shop)).standing().status
        figures = opened(page_data.show, board).figures
        assert figures["Records read"] == f"{told.counters.get('lines', 0):,}"
        assert figures["Refused"] == f"{sum(told.refused.values()):,}"
        rows = [row for row in opened(page_health.show, board).cells if row]
        assert [row[:3] for row in rows] == [[str(p.partition), p.day, f"{p.applied:,}"] for p in told.partitions]


class TestStates:
    @each_page
    def test_without_a_worker_the_day_of_the_state_is_said(self, board: Board, page: ModuleType) -> None:
        seen = opened(page.show, board, {"id": KNOWN})
        assert "No worker is running: state as of 2011-06-10." in seen.text
        assert "segmenter run --embedded" in seen.text

    @each_page
    def test_without_a_state_it_is_said_how_one_is_made(
        self, redis_server: Store, namespace: str, tmp_path: Path, page: ModuleType
    ) -> None:
        settings = Settings(_env_file=None, redis_url=SecretStr(redis_server.url), namespace=namespace)
        seen = opened(page.show, board_of(Place(settings, None, tmp_path)), {"id": KNOWN})
        assert f"there is no state in namespace {namespace} yet" in seen.text
        assert "segmenter bootstrap" in seen.text

    @each_page
    def test_without_redis_it_is_said_what_to_ask(self, tmp_path: Path, page: ModuleType) -> None:
        nobody = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
        settings = Settings(_env_file=None, redis_url=nobody, namespace="gone")
        seen = opened(page.show, board_of(Place(settings, None, tmp_path)), {"id": KNOWN})
        assert "Redis cannot be asked now" in seen.text
        assert "segmenter doctor" in seen.text

    def test_what_was_read_stays_when_redis_goes_away_and_is_called_old(
        self, own_redis: OwnStore, tmp_path: Path
    ) -> None:
        shop = shop_at(own_redis.url, tmp_path)
        board = board_of(kept_place(shop))
        before = opened(page_overview.show, board).figures["Customers"]
        own_redis.stop()
        seen: list[Seen] = []

        def disconnected() -> bool:
            seen.append(opened(page_overview.show, board))
            return "Disconnected: Redis cannot be asked now" in seen[-1].text

        wait_until(disconnected, "a page that says it", 30)
        assert seen[-1].figures["Customers"] == before == f"{len(shop.ids):,}"
        assert "What is shown is of" in seen[-1].text
        own_redis.start()
        wait_until(lambda: "Disconnected" not in opened(page_overview.show, board).text, "a page that is well", 30)

    def test_where_nobody_moved_it_says_so_instead_of_an_empty_plot(self, board: Board) -> None:
        seen = opened(page_movement.show, board)
        assert "Nobody moved" in seen.text
        assert "No move has come yet" in seen.text

    @pytest.mark.parametrize("name", [SCRIPT, "nobody", "![](http://evil.example)", "x" * 512])
    def test_an_id_that_is_unknown_is_shown_as_text(self, board: Board, name: str) -> None:
        seen = opened(page_customer.show, board, {"id": name})
        assert f"Nobody is known as {name}." in seen.text
        assert "<script" not in seen.html
        assert not seen.app.markdown

    @pytest.mark.parametrize("page", [page_segments, page_movement, page_model])
    def test_a_filter_that_is_none_is_as_if_there_was_none(self, board: Board, page: ModuleType) -> None:
        wild = {"segment": "../99", "days": "-1", "cause": SCRIPT, "model": "c99"}
        assert "<script" not in opened(page.show, board, wild).html


class TestWhoMayLook:
    def test_without_a_file_of_tokens_everything_is_shown_and_nothing_changed(self, board: Board) -> None:
        seen = opened(page_model.show, board)
        assert "Without SEGMENTER_API_TOKENS_FILE nothing can be changed here." in seen.text
        assert not seen.app.button

    @pytest.mark.parametrize("token", ["", "a guess", "no reader's"])
    def test_with_one_nothing_is_shown_before_a_token_that_may_read(
        self, shop: Shop, tokens: Tokens, token: str
    ) -> None:
        app = opened(main, board_of(kept_place(shop), tokens)).app
        app.text_input[0].set_value(token)
        app.button[0].click().run()
        seen = Seen(app)
        assert "This token is not known, or has not the role read." in seen.text
        assert "Overview" not in seen.text
        assert shop.ids[0] not in seen.html

    def test_a_token_opens_the_pages_and_stands_in_no_address(self, shop: Shop, tokens: Tokens) -> None:
        app = opened(main, board_of(kept_place(shop), tokens)).app
        app.text_input[0].set_value(f" {READER} ")
        app.button[0].click().run()
        assert "Overview" in Seen(app).text
        assert not dict(app.query_params)

    def test_who_may_read_may_not_promote(self, shop: Shop, tokens: Tokens) -> None:
        seen = opened(page_model.show, board_of(kept_place(shop), tokens), roles=frozenset({"read"}))
        assert "Your token has not the role promote." in seen.text
        assert not seen.app.button

    def test_ids_lead_nowhere_where_a_new_page_would_ask_for_the_token_again(self, shop: Shop, tokens: Tokens) -> None:
        address = {"segment": "11"}
        guarded = opened(page_segments.show, board_of(kept_place(shop), tokens), address, roles=frozenset({"read"}))
        assert "<a " not in guarded.html
        assert "<a " in opened(page_segments.show, board_of(kept_place(shop)), address).html


def test_a_promotion_is_foretold_before_it_is_done(redis_server: Store, tmp_path: Path, tokens: Tokens) -> None:
    shop = shop_at(redis_server.url, tmp_path)
    assert shop.shell(["model", "refit", "--k", "2"]).code == 0
    printed = shop.shell(["model", "promote", "c1", "--dry-run", "--json"]).json
    board = board_of(kept_place(shop), tokens)
    app = opened(page_model.show, board, roles=frozenset({"read", "promote"})).app
    app.selectbox(key="model").select("c1").run()
    assert [each.key for each in app.button] == ["preview"]
    app.button(key="preview").click().run()
    assert f"{printed['moves']:,} of {printed['customers']:,} customers would move" in Seen(app).text
    live = board.report().value
    assert live is not None
    assert live.version == 1, "it was only shown"
    app.button(key="promote").click().run()
    assert f"{printed['moves']:,} of {printed['customers']:,} customers move" in Seen(app).text
    versions = shop.shell(["model", "list", "--json"]).json["versions"]
    assert [v["name"] for v in versions if v["live"]] == [str(printed["version"])]
