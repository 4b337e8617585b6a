"""An erasure reaches all it says it reaches, and nothing brings him back (FAULTS S5, PROTOCOL H4).

The control is a second world with the same input but for one customer: what is left of the first must equal it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from features.identity import position
from models.bundle import encode
from models.redis_registry import RedisRegistry
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, line, shopping

CANARY = "kanarienvogel-7f3a"
LIVES = Callable[..., Live]
HISTORY_DAYS, DAYS = 8, 10
LAST = FIRST_DAY + timedelta(days=DAYS)


def shop(seed: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a history and what is bought after it, up to the day before LAST."""
    lines = list(shopping(seed, customers=40, days=DAYS, per_day=25))
    cut = f"{FIRST_DAY + timedelta(days=HISTORY_DAYS)}"
    return [x for x in lines if x["invoice_date"] < cut], [x for x in lines if x["invoice_date"] >= cut]


def his(*days: int) -> list[dict[str, Any]]:
    """Return purchases of the canary, days after the first, with invoices and event ids of his."""
    return [
        line(CANARY, FIRST_DAY + timedelta(days=n), invoice_no=f"k{n}", event_id=f"{CANARY}-{n}", quantity=n + 1)
        for n in days
    ]


def holding(live: Live, text: bytes) -> dict[bytes, bytes]:
    """Return every key of the namespace in which a text stands, in its name or its value."""
    client: Any = live.client
    read: Mapping[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    keys = list(client.scan_iter(match=f"{{{live.settings.namespace}:*", count=1_000))
    assert keys
    values = {key: read[client.type(key)](key) for key in keys}
    return {key: text for key, value in values.items() if text in key or any(text in each for each in _flat(value))}


def _flat(value: Any) -> Iterator[bytes]:
    yield from [value] if isinstance(value, bytes) else [*value, *(value.values() if isinstance(value, dict) else ())]


def sums(live: Live) -> list[bytes | None]:
    return [live.store().statistics(partition) for partition in range(live.partitions)]


def models(live: Live) -> list[bytes]:
    registry = RedisRegistry(live.client, live.settings.namespace, "1")
    newest = registry.current()
    assert newest is not None
    found = [registry.load(version) for version in range(1, newest + 1)]
    return [encode(bundle) for bundle in found if bundle is not None]


def by_store(receipt: dict[str, Any]) -> dict[str, str]:
    return {each["store"]: each["verdict"] for each in receipt["reached"]}


def beyond(receipt: dict[str, Any], place: str) -> dict[str, Any]:
    (found,) = [each for each in receipt["not_reached"] if each["place"] == place]
    return dict(found)


@pytest.mark.fault("S5")
def test_what_is_left_equals_a_run_in_which_he_never_was(lives: LIVES, fault: Fault) -> None:
    live, control = lives(partitions=2), lives(partitions=2)
    history, stream = shop()
    for each in (live, control):
        each.bootstrap(history)
        each.publish(stream)
        each.publish([line("c1", LAST, invoice_no="last", event_id="last")])
        each.tick(LAST)
        each.start()
    for each in (live, control):
        each.settle()
    assert sums(live) == sums(control)
    assert models(live) == models(control)
    live.publish([*his(DAYS), line(CANARY, LAST, invoice_no="k-late", event_id="k-late", unit_price=99.0)])
    live.publish([line(CANARY, LAST, quantity=0, event_id="poison")])  # to the dead letters
    live.settle()
    assert len(holding(live, CANARY.encode())) >= 2, "the scan must see what it looks for"
    assert sums(live) != sums(control)

    fault.inject()
    done = live.shell()(["erase", CANARY, "--json"])
    assert done.code == 0, done.err
    receipt = done.json
    partition, place = receipt["partition"], position(CANARY).to_bytes(8, "little")
    fault.fired(live.counted("erased_customers"))
    fault.recovered()

    # Redis: state, index, outbox, samples, statistics; of the mark he is not to be read.
    assert receipt["complete"]
    assert by_store(receipt) == {
        **dict.fromkeys(("state", "index", "outbox", "samples", "statistics"), "gone"),
        **dict.fromkeys(("mark", "output", "erasures topic"), "kept"),
    }
    assert holding(live, CANARY.encode()) == {}
    assert holding(live, place) == {}
    assert sums(live) == sums(control)
    # Topics: his lines and records stand within the ranges that are named, and nowhere behind them.
    topics = live.settings.topics
    for place_, topic in (("input", topics.input), ("output", topics.output), ("dead letters", topics.dead_letters)):
        named = beyond(receipt, place_)
        assert (named["topic"], named["partition"]) == (topic, partition)
        where = [r.offset for r in live.records(topic, partition) if r.key == CANARY.encode()]
        tombstone = place_ == "output"
        assert where[:-1] if tombstone else where, f"{place_}: a range without him proves nothing"
        assert all(named["start"] <= offset < named["stop"] + tombstone for offset in where)
    newest = [r for r in live.records(topics.output, partition) if r.key == CANARY.encode()][-1]
    assert newest.value is None
    assert (newest.offset, dict(newest.headers)["offset"]) == (
        beyond(receipt, "output")["stop"],
        b"%d" % receipt["offset"],
    )
    (mark,) = live.records(topics.erasures, partition)
    assert json.loads(mark.value or b"") == {"at": DAYS * 86_400 + _midnight() + 43_200, "revision": 1}
    assert receipt["refused_until"] == f"{LAST}T12:00:00"
    # Models: those up to the named one stay; the following ones are those of the control.
    for each in (live, control):
        each.tick(LAST + timedelta(days=2))
    for each in (live, control):
        each.settle()
    assert models(live) == models(control)
    assert len(models(live)) > receipt["last_model"]
    assert sums(live) == sums(control)

    other = control.shell(SEGMENTER_ERASURE_KEY="not the worker's")(["erase", "nobody", "--json"])
    assert (other.code, by_store(other.json)["mark"], other.json["had_state"]) == (1, "wrong", False)
    live.end()
    control.end()
    fault.judge(live.verdict())


def _midnight() -> int:
    return (FIRST_DAY - FIRST_DAY.fromisoformat("1970-01-01")).days * 86_400


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    "how", ["a new generation", pytest.param("Redis lost everything", marks=pytest.mark.long)], ids=["replace", "loss"]
)
def test_no_replay_brings_him_back(lives: LIVES, fault: Fault, how: str) -> None:
    live = lives(partitions=2)
    history, stream = shop()
    history = sorted([*history, *his(1, 4)], key=lambda each: str(each["invoice_date"]))
    live.bootstrap(history)
    live.publish([*stream, *his(8, 9)])
    live.tick(LAST)

    fault.inject()
    alone = live.shell()(["erase", CANARY, "--timeout", "0.3"])
    assert alone.code == 1
    assert "no worker runs" in alone.err
    assert "will be applied" in alone.err
    live.start()
    live.settle()
    fault.fired(live.counted("erased_customers"))
    assert holding(live, CANARY.encode()) == {}
    again = live.shell()(["erase", CANARY, "--json"])
    assert (again.code, again.json["had_state"], again.json["complete"]) == (0, False, True)
    revision = again.json["revision"]
    assert revision >= 1

    # From the same files, over the same input: in both he still stands.
    live.end()
    live.await_empty_group()
    if how == "Redis lost everything":
        live.client.delete(*live.client.scan_iter(match=f"{{{live.settings.namespace}:*", count=1_000))
    live.bootstrap(history, replace=how == "a new generation")
    assert holding(live, CANARY.encode()) == {}
    live.start()
    live.settle()
    assert holding(live, CANARY.encode()) == {}
    assert live.counted("refused.erased") == 2
    fault.recovered()

    # What he buys later is a new life, which begins after the last revision of the old one.
    live.publish(his(DAYS + 1))
    live.tick(LAST + timedelta(days=2))
    live.settle()
    assert live.shell()(["lookup", CANARY, "--json"]).json["revision"] > revision
    live.end()
    fault.judge(live.verdict())
