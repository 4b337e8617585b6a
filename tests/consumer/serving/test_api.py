"""The API over a real store: the commands' figures, who may ask, what is refused and how."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from consumer.commands.lookup import describe, grouped, opened, read_rows
from consumer.serving.queries import Queries
from consumer.serving.tokens import Tokens
from features.redis_store import connect
from tests.consumer.serving.conftest import ERASER, READER, Shop, WithoutKafka, app_of, shop_at
from tests.harness.exports import KNOWN, small_export
from tests.harness.store import OwnStore
from tests.harness.swept import swept_shop

LONG_ID = "x" * 513
CUSTOMERS = "/v1/customers/"


def problem(answer: Any) -> tuple[int, str]:
    """Return the status and the kind of a refusal, which must be a whole problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told.keys() == {"type", "title", "status", "detail"}
    assert told["status"] == answer.status_code
    assert len(told["detail"]) > 10
    return answer.status_code, told["type"].removeprefix("urn:segmenter:problem:")


class TestFigures:
    def test_a_customer_is_what_lookup_prints_and_the_age_of_it(
        self, api: TestClient, shop: Shop, lookup_as_printed: Callable[[str], dict[str, Any]]
    ) -> None:
        today = datetime.now(UTC).date()
        for customer in (KNOWN, *shop.ids[::17]):
            found = api.get(CUSTOMERS + customer, headers=READER).json()
            assert (today - date.fromisoformat(found["as_of"])).days - found.pop("age_days") in (0, -1)  # midnight
            assert found == lookup_as_printed(customer)

    def test_an_id_is_read_as_the_command_reads_it(self, api: TestClient) -> None:
        assert api.get(f"{CUSTOMERS}%20{KNOWN}.0", headers=READER).json()["customer_id"] == KNOWN

    def test_an_explanation_is_what_explain_prints(self, api: TestClient, shop: Shop) -> None:
        printed = shop.shell(["explain", KNOWN, "--json"]).json
        assert api.get(f"{CUSTOMERS}{KNOWN}:explain", headers=READER).json() == printed

    def test_model_and_segments_are_what_model_show_prints(self, api: TestClient, shop: Shop) -> None:
        printed = shop.shell(["model", "show", "--json"]).json
        assert api.get("/v1/model", headers=READER).json() == printed
        found = api.get("/v1/segments", headers=READER).json()
        assert found["segments"] == printed["segments"]
        assert (found["customers"], found["as_of"], found["model_version"]) == (len(shop.ids), "2011-06-10", 1)

    def test_several_are_answered_as_each_alone_and_the_unknown_are_named(
        self, api: TestClient, lookup_as_printed: Callable[[str], dict[str, Any]], shop: Shop
    ) -> None:
        asked = [shop.ids[3], "nobody", KNOWN, shop.ids[3], "nobody/else"]
        found = api.post("/v1/customers:lookup", json={"ids": asked}, headers=READER).json()
        for each in found["customers"]:
            del each["age_days"]
        assert found["customers"] == [lookup_as_printed(shop.ids[3]), lookup_as_printed(KNOWN)]
        assert found["unknown"] == ["nobody", "nobody/else"]

    def test_everybody_described_at_once_is_everybody_described_alone(self, shop: Shop) -> None:
        state = opened(shop.settings)
        together = {
            each.customer_id: each for group in grouped(state, read_rows(state, shop.ids)) for each in describe(group)
        }
        alone = {name: describe(grouped(state, read_rows(state, [name]))[0])[0] for name in shop.ids}
        assert together == alone

    def test_pages_hold_everybody_once_under_his_segment(
        self, api: TestClient, shop: Shop, lookup_as_printed: Callable[[str], dict[str, Any]]
    ) -> None:
        segments = api.get("/v1/segments", headers=READER).json()["segments"]
        seen: list[str] = []
        for segment in segments:
            path, members = f"/v1/segments/{segment['id']}/customers", []
            cursor: str | None = ""
            while cursor is not None:
                page = api.get(
                    path, params={"limit": 7} | ({"cursor": cursor} if cursor else {}), headers=READER
                ).json()
                assert len(page["customers"]) <= 7
                members += page["customers"]
                cursor = page["next"]
            assert len(members) == segment["customers"]
            told = lookup_as_printed(members[0]["customer_id"])
            assert members[0] == {name: told[name] for name in ("customer_id", "entered_on", "revision")}
            assert told["segment"]["id"] == segment["id"]
            seen += [each["customer_id"] for each in members]
        assert sorted(seen) == sorted(shop.ids)

    def test_an_erasure_says_where_it_stands(self, api: TestClient) -> None:
        answer = api.post(f"{CUSTOMERS}{KNOWN}:erase", headers=ERASER)
        assert (answer.status_code, answer.json()["customer_id"]) == (202, KNOWN)


class TestWhoMayAsk:
    def test_every_path_but_the_probes_asks_for_a_token(self, api: TestClient) -> None:
        paths = api.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for method, operation in operations.items():
                there = path.format(customer_id=KNOWN, segment_id=11, version=1)
                if operation.get("security") == []:
                    assert path in ("/livez", "/readyz")
                    continue
                for headers in ({}, {"authorization": "Bearer a guess"}, {"authorization": "Basic a reader's"}):
                    answer = api.request(method, there, headers=headers)
                    assert problem(answer) == (401, "token"), path
                    assert answer.headers["www-authenticate"] == "Bearer"

    def test_who_may_read_may_not_erase(self, api: TestClient) -> None:
        assert problem(api.post(f"{CUSTOMERS}{KNOWN}:erase", headers=READER)) == (403, "role")

    def test_who_may_read_and_erase_may_not_promote_nor_see_whom_it_would_move(self, api: TestClient) -> None:
        for headers in (READER, ERASER):
            for query in ("", "?preview=true"):
                assert problem(api.post(f"/v1/model/1:promote{query}", headers=headers)) == (403, "role")

    def test_without_tokens_one_id_is_looked_up_from_this_machine_and_nothing_else(self, shop: Shop) -> None:
        app = app_of(WithoutKafka(shop.place), None)
        for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost"):
            here = TestClient(app, base_url=f"http://{host}")
            assert here.get(CUSTOMERS + KNOWN).status_code == 200
        assert here.get(f"{CUSTOMERS}{KNOWN}:explain").status_code == 200
        assert problem(here.post("/v1/customers:lookup", json={"ids": [KNOWN]})) == (403, "no-tokens")
        for path in ("/v1/segments", "/v1/segments/11/customers", "/v1/model", "/v1/moves"):
            assert problem(here.get(path)) == (403, "no-tokens")
        assert problem(here.post("/v1/model/1:promote?preview=true")) == (403, "no-tokens")
        # A page whose name was made out to 127.0.0.1 comes with that name.
        assert problem(TestClient(app, base_url="http://evil.example").get(CUSTOMERS + KNOWN)) == (403, "host")


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "found"),
        [
            ("GET", CUSTOMERS + "nobody", (404, "unknown-customer")),
            ("GET", CUSTOMERS + "a%2Fb", (404, "unknown-customer")),
            ("GET", CUSTOMERS + "%3Cscript%3Ealert(1)%3C%2Fscript%3E", (404, "unknown-customer")),
            ("GET", CUSTOMERS + "nobody:explain", (404, "unknown-customer")),
            ("GET", CUSTOMERS + "%20", (400, "id")),
            ("GET", CUSTOMERS + LONG_ID, (400, "id")),
            ("GET", f"{CUSTOMERS}{KNOWN}:erase", (405, "method")),
            ("DELETE", CUSTOMERS + KNOWN, (405, "method")),
            ("GET", "/v1/segments/99/customers", (404, "unknown-segment")),
            ("GET", "/v1/segments/eleven/customers", (400, "parameter")),
            ("GET", "/v1/segments/11/customers?limit=0", (400, "parameter")),
            ("GET", "/v1/segments/11/customers?limit=1001", (400, "parameter")),
            ("GET", "/v1/segments/11/customers?cursor=nonsense", (400, "cursor")),
            ("GET", "/v2", (404, "address")),
        ],
    )
    def test_what_is_wrong_is_said_as_a_problem(
        self, api: TestClient, method: str, path: str, found: tuple[int, str]
    ) -> None:
        assert problem(api.request(method, path, headers=READER)) == found

    @pytest.mark.parametrize(
        ("body", "found"),
        [
            (b"", (400, "body")),
            (b"{", (400, "body")),
            (b'{"ids": []}', (400, "body")),
            (b'{"ids": [12748]}', (400, "body")),
            (b'{"ids": ["\\ud800"]}', (400, "body")),
            (b"\xff", (400, "body")),
            (b'{"ids": [" "]}', (400, "body")),
            (b'{"ids": [' + b",".join(b'"%d"' % i for i in range(501)) + b"]}", (400, "body")),
            (b" " * (2 << 20) + b"{}", (413, "too-large")),
        ],
        ids=range(9),
    )
    def test_a_body_that_is_not_one_is_refused(self, api: TestClient, body: bytes, found: tuple[int, str]) -> None:
        assert problem(api.post("/v1/customers:lookup", content=body, headers=READER)) == found

    def test_500_ids_are_answered(self, api: TestClient, shop: Shop) -> None:
        asked = [*shop.ids, *map(str, range(500 - len(shop.ids)))]
        found = api.post("/v1/customers:lookup", json={"ids": asked}, headers=READER).json()
        assert (len(found["customers"]), len(found["unknown"])) == (len(shop.ids), 500 - len(shop.ids))

    def test_a_cursor_is_of_one_segment(self, api: TestClient) -> None:
        cursor = api.get("/v1/segments/11/customers?limit=1", headers=READER).json()["next"]
        answer = api.get(f"/v1/segments/12/customers?cursor={cursor}", headers=READER)
        assert problem(answer) == (400, "cursor")

    def test_an_unexpected_error_tells_neither_the_asker_nor_the_log_of_the_customer(
        self, shop: Shop, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: Queries, customer: str) -> None:
            raise ValueError(f"something about {customer}")

        monkeypatch.setattr(Queries, "explanation", broken)
        client = TestClient(app_of(WithoutKafka(shop.place), tokens))
        with structlog.testing.capture_logs() as logged:
            answer = client.get(f"{CUSTOMERS}{KNOWN}:explain", headers=READER)
        assert problem(answer) == (500, "internal")
        assert KNOWN not in answer.text
        assert [(each["event"], each["kind"]) for each in logged] == [("request failed", "ValueError")]
        assert KNOWN not in str(logged)

    def test_a_damaged_state_is_refused_alone(self, shop: Shop, tokens: Tokens) -> None:
        settings = shop.settings.model_copy(update={"namespace": f"{shop.settings.namespace}-damaged"})
        swept_shop(settings, small_export(shop.folder))
        state = opened(settings)
        key = state.store.keys.customer(state.home(KNOWN), KNOWN)
        client = connect(settings.redis())
        client.set(key, b"\x02 no state")
        damaged = Shop(settings, shop.ids, shop.folder)
        api = TestClient(app_of(WithoutKafka(damaged.place), tokens))
        assert problem(api.get(CUSTOMERS + KNOWN, headers=READER)) == (500, "damaged-state")
        assert api.get(CUSTOMERS + shop.ids[0], headers=READER).status_code == 200


class TestOutages:
    def test_while_redis_is_away_a_look_up_is_refused_for_now_and_then_answered(
        self, own_redis: OwnStore, tokens: Tokens, tmp_path: Any
    ) -> None:
        shop = shop_at(own_redis.url, tmp_path)
        api = TestClient(app_of(WithoutKafka(shop.place), tokens))
        assert api.get("/readyz").json() == {"ready": True, "trouble": None}
        assert api.get(CUSTOMERS + KNOWN, headers=READER).status_code == 200
        own_redis.stop()
        answer = api.get(CUSTOMERS + KNOWN, headers=READER)
        assert problem(answer) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (api.get("/readyz").status_code, api.get("/livez").status_code) == (503, 200)
        own_redis.start()
        assert api.get("/readyz").status_code == 200
        assert api.get(CUSTOMERS + KNOWN, headers=READER).status_code == 200

    def test_it_starts_before_there_is_a_state(self, shop: Shop, tokens: Tokens) -> None:
        settings = shop.settings.model_copy(update={"namespace": f"{shop.settings.namespace}-later"})
        later = Shop(settings, [], shop.folder)
        api = TestClient(app_of(WithoutKafka(later.place), tokens))
        assert problem(api.get(CUSTOMERS + KNOWN, headers=READER)) == (503, "unavailable")
        assert "segmenter bootstrap" in api.get("/readyz").json()["trouble"]
        swept_shop(settings, small_export(shop.folder))
        assert api.get(CUSTOMERS + KNOWN, headers=READER).status_code == 200

    def test_the_very_next_question_is_answered_from_a_state_that_was_flipped_in(
        self, shop: Shop, tokens: Tokens
    ) -> None:
        settings = shop.settings.model_copy(update={"namespace": f"{shop.settings.namespace}-flipped"})
        swept_shop(settings, small_export(shop.folder))
        flipped = Shop(settings, shop.ids, shop.folder)
        api = TestClient(app_of(WithoutKafka(flipped.place), tokens))
        cursor = api.get("/v1/segments/11/customers?limit=1", headers=READER).json()["next"]
        assert len(api.get("/v1/model", headers=READER).json()["centroids"]) == 3
        swept_shop(settings, small_export(shop.folder), k=4)
        assert ":2:c:" in api.get(CUSTOMERS + KNOWN, headers=READER).json()["key"]
        assert len(api.get("/v1/model", headers=READER).json()["centroids"]) == 4
        answer = api.get(f"/v1/segments/11/customers?cursor={cursor}", headers=READER)
        assert problem(answer) == (400, "cursor")
