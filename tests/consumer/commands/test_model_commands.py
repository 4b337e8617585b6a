"""Models in a person's hands, on real servers: what a dry run foretells is what a promotion does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from features.codec import decode_states
from features.transaction import date_of
from models.bundle import decode
from tests.harness.broker import Broker
from tests.harness.commands import Inside
from tests.harness.live import Live, wait_until
from tests.harness.world import FIRST_DAY, between, line, shopping

LINES = [each | {"unit_price": 3.0 * (1 + n % 5) ** 2} for n, each in enumerate(shopping(6, customers=120, days=14))]


@pytest.fixture(scope="module")
def live(kafka: Broker, redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("models")
    made = Live(kafka.bootstrap, redis_server.url, f"models-{directory.name}", directory, partitions=3)
    made.bootstrap(between(LINES, 0, 10))
    made.publish(between(LINES, 10, 14))
    made.tick(FIRST_DAY + timedelta(days=15))
    made.start()
    made.settle()
    yield made
    made.close()


@pytest.fixture
def segmenter(live: Live) -> Inside:
    return Inside(live.directory, live.environment())


def labels(live: Live) -> dict[str, int]:
    found = live.customers()
    heads = decode_states(list(found.values())).heads
    return dict(zip(found, heads["segment"].tolist(), strict=True))


def swept_under(live: Live, version: int) -> None:
    wait_until(
        lambda: all(s.sweep.version >= version and s.sweep.ended for s in live.states().values()),
        f"everybody swept under version {version}",
    )
    live.settle()


def published(live: Live, version: int) -> list[dict[str, Any]]:
    values = [json.loads(record.value) for record in live.output() if record.value is not None]
    return [value for value in values if value["model_version"] == version]


def flows(told: dict[str, Any]) -> dict[tuple[int, int], int]:
    return {(flow["source"]["id"], flow["target"]["id"]): flow["customers"] for flow in told["flows"]}


def test_promotion_makes_exactly_the_moves_of_its_dry_run_and_a_rollback_takes_them_back(
    live: Live, segmenter: Inside
) -> None:
    before = labels(live)
    candidate = segmenter("model refit --k 5 --json")
    assert candidate.code == 0, candidate.err
    assert candidate.json["k"] == 5
    name = candidate.json["name"]
    waiting = segmenter("model list --json").json["candidates"][-1]  # the leader may have proposed a challenger before
    assert (waiting["name"], waiting["pending"], waiting["gain"]) == (name, True, candidate.json["gain"])
    assert 0 < waiting["stability"] <= 1, "another k comes with how steady it is"
    assert waiting["look"] == f"segmenter model promote {name} --dry-run"
    assert waiting in segmenter("model check --json").json["pending"]
    for shown in (segmenter("model list").out, segmenter("model check").out):
        assert f"{name} waits for a person: `{waiting['look']}`" in " ".join(shown.split())
    assert candidate.json["gain"] > 1, "five clusters have less inertia than three"

    dry = segmenter(f"model promote {name} --dry-run --json").json
    assert not dry["published"]
    assert labels(live) == before
    done = segmenter(f"model promote {name} --json").json
    assert done | {"published": False} == dry
    swept_under(live, done["version"])
    after = labels(live)
    records = published(live, done["version"])
    assert {record["cause"] for record in records} == {"model"}
    assert Counter((r["previous"]["id"], r["segment"]["id"]) for r in records) == flows(dry)
    assert sum(r["features"]["monetary"] for r in records) == pytest.approx(dry["revenue"], abs=0.01)
    assert {c for c in before if before[c] != after[c]} == {record["customer_id"] for record in records}
    assert dry["moves"] == len(records) > 0

    # An order changes one customer for good; everybody else gets his label back.
    buyer = next(customer for customer, label in after.items() if label != before[customer])
    live.publish([line(buyer, FIRST_DAY + timedelta(days=15), invoice_no="big", quantity=900, unit_price=99.0)])
    live.settle()
    dry = segmenter("model rollback --dry-run --json").json
    back = segmenter("model rollback --json")
    assert back.code == 0, back.err
    assert back.json | {"published": False} == dry
    swept_under(live, back.json["version"])
    again = labels(live)
    assert {c: again[c] for c in before if c != buyer} == {c: label for c, label in before.items() if c != buyer}
    assert Counter((r["previous"]["id"], r["segment"]["id"]) for r in published(live, back.json["version"])) == flows(
        dry
    )

    refused = segmenter("model rollback")
    assert refused.code == 2
    assert "taken back already" in refused.err
    listed = segmenter("model list --json").json
    live_one = next(version for version in listed["versions"] if version["live"])
    assert live_one["created_by"] in {"rollback", "recentre", "refine"}
    by_number = {version["name"]: version for version in listed["versions"]}
    fates = Counter(change["fate"] for change in by_number[str(done["version"])]["changes"])
    assert fates["split"] + fates["born"] >= 2
    assert (name, False) in [(each["name"], each["pending"]) for each in listed["candidates"]]


def test_a_model_goes_through_a_file_and_back(live: Live, segmenter: Inside) -> None:
    written = segmenter("model export --out model.json --json")
    assert written.code == 0, written.err
    file = live.directory / "model.json"
    assert decode(file.read_bytes()).version == written.json["version"]
    read = segmenter("model import model.json --json")
    assert read.code == 0, read.err
    assert read.json["hash"] == written.json["hash"]
    same = segmenter(f"model promote {read.json['name']} --dry-run --json").json
    assert same["moves"] == 0
    assert {change["fate"] for change in same["changes"]} == {"continued"}

    damaged = file.read_text().replace('"margin":0.95', '"margin":7')
    (live.directory / "bad.json").write_text(damaged)
    refused = segmenter("model import bad.json")
    assert refused.code == 2
    assert "margin 7.0 is not in (0, 1]" in refused.err


def test_a_name_given_by_hand_stands_on_the_record(live: Live, segmenter: Inside) -> None:
    shown = segmenter("model show --json").json
    old = shown["segments"][0]
    done = segmenter(["model", "name", str(old["id"]), "Best friends", "--json"])
    assert done.code == 0, done.err
    assert done.json["before"] == {"id": old["id"], "name": old["name"]}
    assert done.json["after"] == {"id": old["id"], "name": "Best friends"}
    assert segmenter("model show --json").json["segments"][0]["name"] == "Best friends"
    for name, reason in (("Lapsed", "repeat"), (" ", "1 to 64"), ("x" * 65, "1 to 64")):
        refused = segmenter(["model", "name", str(old["id"]), name])
        assert (refused.code, reason in refused.err) == (2, True), refused.err
    assert "no cluster has the id 99" in segmenter("model name 99 x").err


def test_the_leader_s_checkups_are_shown_beside_their_versions(live: Live, segmenter: Inside) -> None:
    shown, listed = segmenter("model show --json").json, segmenter("model list --all --json").json["versions"]
    newest = shown["checkup"]
    row = next(version for version in listed if version["name"] == str(newest["version"]))
    assert row["created_by"] in {"refine", "recentre"}
    assert row["day"] == date_of(newest["day"]).isoformat()
    assert newest["customers"] <= len(live.customers())
    assert (newest["silhouette"], newest["inertia_ratio"]) == (None, None), "120 customers are too few"
    words = " ".join(segmenter("model show").out.split())
    assert f"checkup of version {newest['version']} on {row['day']}: {newest['customers']} customers" in words
    assert "inertia / batch" in segmenter("model list").out


def test_two_models_are_compared_by_centroids_and_customers(segmenter: Inside) -> None:
    told = segmenter("model diff 1 1 --json").json
    assert (told["differ"], told["flows"]) == (0, [])
    assert all(segment["before"] == segment["after"] for segment in told["segments"])
    found = segmenter("model diff 1 c1 --json").json
    assert found["differ"] == sum(flow["customers"] for flow in found["flows"]) > 0
    assert "nearest to another segment" in segmenter("model diff 1 c1").out


def test_a_freeze_is_an_order_with_an_end(live: Live, segmenter: Inside) -> None:
    done = segmenter("model freeze --until 2030-01-01 --reason campaign --json").json
    assert (done["until"], done["reason"]) == ("2030-01-01", "campaign")
    live.tick(FIRST_DAY + timedelta(days=17))
    live.settle()
    wait_until(
        lambda: segmenter("model list --json").json["versions"][0]["created_by"] == "freeze", "a model held still", 30
    )
    assert segmenter("model freeze --end --json").json["until"] is None
    assert segmenter("model freeze").code == 2


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("model promote seventeen", "names no model"),
        ("model promote 4711", "there is no version 4711"),
        ("model promote c77", "there is no candidate c77"),
        ("model import nowhere.json", "No such file"),
        ("model export --out model.txt", "ends with .json"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(segmenter: Inside, command: str, reason: str) -> None:
    refused = segmenter(command)
    assert refused.code == 2
    assert reason in refused.err


def test_the_file_of_a_model_names_no_customer(live: Live, segmenter: Inside) -> None:
    segmenter("model export --out public.json")
    text = (live.directory / "public.json").read_text()
    assert not [customer for customer in live.customers() if f'"{customer}"' in text]
    assert Path(live.directory / "public.json").stat().st_mode & 0o077 == 0


def test_after_all_of_it_everything_is_as_recomputed(live: Live) -> None:
    live.end()
    live.verify()
