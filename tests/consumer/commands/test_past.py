"""`history` and `trend` on real servers: what they show is what was published and what is stored, through a crash and a
repartition; and what they say of a state that remembers nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumer import cli
from consumer.commands.moves import Names
from consumer.commands.trend import sparkline
from consumer.exits import ExitCode
from features.redis_generation import Binding
from models.bundle import Segment
from reports.verify_states import State, read_state
from tests.harness.broker import Broker
from tests.harness.live import Live, wait_until
from tests.harness.world import FIRST_DAY, MemoryRegistry, first_model, shopping

LINES = [each | {"event_id": f"e{n}"} for n, each in enumerate(shopping(3, customers=40, days=9, per_day=25))]
CUT = f"{FIRST_DAY + timedelta(days=6)}"


@pytest.fixture
def live(kafka: Broker, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Live]:
    made = Live(kafka.bootstrap, redis_url, namespace, tmp_path, partitions=2, horizon_days=20)
    yield made
    made.close()


def commanded(live: Live, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command in this process, and return its exit code and stdout."""
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
            patched.delenv(name)
        for name, value in live.environment().items():
            patched.setenv(name, value)
        code = cli.run(words)
    return code, capsys.readouterr().out


def stored(live: Live) -> dict[str, State]:
    found = {customer: read_state(blob) for customer, blob in live.customers().items()}
    return {customer: state for customer, state in found.items() if isinstance(state, State)}


def add_up(days: list[dict[str, Any]]) -> None:
    """Follow the table from nobody: each day's customers are those before, plus flows in, minus flows out."""
    running: Counter[int] = Counter()
    for day in days:
        for flow in day["flows"]:
            running[flow["from"]["id"] if flow["from"] else 0] -= flow["customers"]
            running[flow["to"]["id"] if flow["to"] else 0] += flow["customers"]
        sizes = {each["id"]: each["customers"] for each in day["segments"]}
        assert sizes == {segment: n for segment, n in running.items() if segment and n}, day["day"]


def moves_as_published(live: Live, capsys: pytest.CaptureFixture[str], customer: str) -> list[dict[str, Any]]:
    """Return what `history` shows of a customer, which is what his records told."""
    records = [json.loads(record.value) for record in live.output() if record.key == customer.encode() and record.value]
    code, out = commanded(live, capsys, "history", customer, "--json")
    assert code == 0
    found = json.loads(out)
    told = [(r["as_of"], r["segment"], r["cause"], r["model_version"], r["revision"]) for r in records]
    assert [(m["day"], m["to"], m["cause"], m["model_version"], m["revision"]) for m in found["moves"]] == told
    assert found["complete"]
    moves: list[dict[str, Any]] = found["moves"]
    return moves


def test_the_past_is_what_was_published_and_what_is_stored(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.bootstrap([each for each in LINES if each["invoice_date"] < CUT])
    worker = live.start("mid_sweep", 5)
    live.publish(each for each in LINES if each["invoice_date"] >= CUT)
    live.publish([{"type": "erase", "customer_id": "c2"}])
    live.tick(FIRST_DAY + timedelta(days=12))
    assert worker.wait(60) != 0, "it was to die within a sweep"
    live.start()
    live.settle()
    live.end()
    live.verify()

    states = stored(live)
    customer = max(states, key=lambda name: len(states[name].moves))
    before = moves_as_published(live, capsys, customer)
    assert len(before) > 2
    assert commanded(live, capsys, "history", "c2")[0] == ExitCode.DIFFERENCES, "an erasure takes his moves along"

    code, out = commanded(live, capsys, "trend", "--json")
    days = json.loads(out)["days"]
    assert code == 0
    assert [day["swept"] for day in days] == [2] * 8, "from the last day of the history on"
    add_up(days)
    assert {f["cause"] for day in days for f in day["flows"]} >= {"bootstrap", "purchase", "erasure"}
    counted = Counter(state.segment for state in states.values())
    assert {each["id"]: each["customers"] for each in days[-1]["segments"]} == counted
    net = sum(record.net for state in states.values() for record in state.records)
    assert sum(each["revenue"] for each in days[-1]["segments"]) == pytest.approx(net / 10_000, abs=1e-6)
    wide = [text for text in commanded(live, capsys, "trend", "--days", "7")[1].splitlines() if len(text.rstrip()) > 80]
    assert wide == []

    assert commanded(live, capsys, "repartition", "--partitions", "3")[0] == 0
    live.partitions = 3
    live.writer.__exit__(None, None, None)
    live.open()  # a writer that knows of the third one
    live.start()
    live.tick(FIRST_DAY + timedelta(days=14))
    wait_until(lambda: len(json.loads(commanded(live, capsys, "trend", "--json")[1])["days"]) == 10, "two more days")
    live.settle()
    live.end()
    after = json.loads(commanded(live, capsys, "trend", "--json")[1])["days"]
    add_up(after)
    assert after[:7] == days[:7], "the table goes on where partitions are added"
    moves = json.loads(commanded(live, capsys, "history", customer, "--json")[1])["moves"]
    assert moves[: len(before)] == before


def test_a_state_that_remembers_nothing_is_told_how_to_begin(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.bootstrap([each for each in LINES if each["invoice_date"] < CUT])
    key = f"{{{live.settings.namespace}:model}}:binding"
    client: Any = live.client
    binding = json.loads(client.get(key))
    client.set(key, json.dumps(binding | {"schema": 1}))
    for words in (("history", "c1"), ("trend",)):
        code, out = commanded(live, capsys, *words, "--json")
        assert code == ExitCode.USAGE
        assert "segmenter upgrade" in json.loads(out)["error"]
    client.set(key, json.dumps(binding))
    code, out = commanded(live, capsys, "trend", "--json")
    assert code == ExitCode.USAGE
    assert "no sweep" in json.loads(out)["error"]


def test_a_binding_of_an_older_version_began_without_moves() -> None:
    assert Binding.__struct_defaults__[-1] == 1


def test_a_small_picture_ends_with_the_newest_day_and_spans_least_to_most() -> None:
    assert sparkline([5]) == "▁"
    assert sparkline([0, 7, 14]) == "▁▄█"
    assert sparkline(list(range(60)))[-1] == "█"
    assert len(sparkline(list(range(60)))) == 20


def test_a_segment_that_a_model_has_not_keeps_its_number() -> None:
    names = Names(MemoryRegistry(first_model()))  # type: ignore[arg-type]  # it only loads
    assert names.of(11, 1) == Segment(11, "Active")
    assert names.of(19, 1) == Segment(19, "Segment 19")
    assert names.of(11, 7) == Segment(11, "Segment 11")
