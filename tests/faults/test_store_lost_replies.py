"""The reply to a write is lost after the write was done: it is tried again, and done once (FAULTS 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.resources import files

import pytest

from features.redis_generation import read_binding
from features.redis_store import connect
from features.store import StoreUnavailable
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.proxy import Proxy, holding
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, shopping

LIVES = Callable[..., Live]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy.to_redis(redis_url) as made:
        yield made


def script(live: Live, name: str) -> bytes:
    """Return the digest by which a script is called; the server knows it already, so that the first call counts."""
    return str(live.client.script_load((files("features") / name).read_text("utf-8"))).encode()


@pytest.mark.fault(11)
def test_commits_and_epochs_whose_reply_is_lost_count_once(
    lives: LIVES, fault: Fault, proxy: Proxy, redis_url: str
) -> None:
    live = lives()
    lines = list(shopping(11, customers=60, days=14, per_day=12))
    live.bootstrap([x for x in lines if x["invoice_date"] < f"{FIRST_DAY + timedelta(days=8)}"])
    live.publish(x for x in lines if x["invoice_date"] >= f"{FIRST_DAY + timedelta(days=8)}")
    live.tick(FIRST_DAY + timedelta(days=15))
    epochs = proxy.drop_reply(holding(b"EVALSHA", script(live, "fence.lua")), at=(1, 3))
    # Up to four go in one round trip, and with one reply those behind it are lost: a trip each, some of them retries.
    commits = proxy.drop_reply(holding(b"EVALSHA", script(live, "commit.lua")), at=(2, 7, 12, 17, 22, 27))
    fault.inject(8)
    worker = Served(live, redis_url=proxy.url_of(redis_url))
    live.settle()
    fault.recovered()
    fault.fired(epochs.fired + commits.fired)
    assert worker.metric("segmenter_troubles_total", error="StoreUnavailable") >= 8
    # Each time the very same commit was found done: nothing was taken over again, nothing fenced itself out.
    assert worker.metric("segmenter_takeovers_total") == live.partitions
    assert worker.metric("segmenter_troubles_total") == worker.metric(
        "segmenter_troubles_total", error="StoreUnavailable"
    )
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(11)
def test_a_bootstrap_whose_reply_is_lost_is_repeated_and_loads_once(
    lives: LIVES, fault: Fault, proxy: Proxy, redis_url: str
) -> None:
    live = lives()
    lines = list(shopping(12, customers=40, days=12, per_day=16))
    history = [x for x in lines if x["invoice_date"] < f"{FIRST_DAY + timedelta(days=8)}"]
    direct, live.client = live.client, connect(proxy.url_of(redis_url))
    steps = {
        "states": holding(b"MSET", b":c:"),
        "where a partition begins": holding(b"HSET", b":fence"),
        "the model": holding(b"EVALSHA", b":model}:"),
        "a partition's flip": holding(b"SET", b":generation"),
    }
    for step, matches in steps.items():
        rule = proxy.drop_reply(matches)
        fault.inject()
        with pytest.raises(StoreUnavailable):
            live.bootstrap(history)
        fault.fired(rule.fired)
        assert read_binding(direct, live.settings.namespace) is None, f"after {step} nothing may be live"
    live.bootstrap(history)
    live.client.close()
    live.client = direct
    live.publish(x for x in lines if x["invoice_date"] >= f"{FIRST_DAY + timedelta(days=8)}")
    live.tick(FIRST_DAY + timedelta(days=14))
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())
