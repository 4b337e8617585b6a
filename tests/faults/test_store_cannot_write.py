"""Redis is there but cannot write, or cannot be reached: all waits, nobody is lost, it resumes by itself (FAULTS 12).

Each outage is a real one of a real server, but for the two of the network, which the proxy makes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import pytest
import redis

from consumer.ports import Committed
from consumer.transport.kafka_admin import KafkaAdmin, admin
from features.redis_store import connect
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.proxy import Proxy
from tests.harness.served import Served
from tests.harness.store import OwnStore, Program, find_store
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
DAY = FIRST_DAY + timedelta(days=8)
JUNK = 20_000
"""Keys whose loading takes some seconds, at 0.1 ms and a context switch each."""


@dataclass(frozen=True)
class Site:
    """A store of our own behind a proxy, and a client that does not go through it."""

    store: OwnStore
    proxy: Proxy
    client: redis.Redis


@pytest.fixture
def site() -> Iterator[Site]:
    program = find_store({name: value for name, value in os.environ.items() if name != "SEGMENTER_TEST_REDIS"})
    assert isinstance(program, Program)
    store = OwnStore(program.path, "--key-load-delay", "100", "--busy-reply-threshold", "50")
    store.start()
    try:
        with Proxy.to_redis(store.url) as proxy, connect(store.url) as client:
            yield Site(store, proxy, client)
    finally:
        store.close()


@contextlib.contextmanager
def configured(client: redis.Redis, name: str, value: str, back: str) -> Iterator[None]:
    client.config_set(name, value)
    yield
    client.config_set(name, back)


@contextlib.contextmanager
def failing_snapshots(site: Site) -> Iterator[None]:
    """Where its snapshot is to be written stands a folder: the snapshot fails, and the server takes no more writes."""
    in_the_way = site.store.directory / "dump.rdb"
    (in_the_way / "full").mkdir(parents=True)
    site.client.config_set("save", "3600 1")
    site.client.bgsave()
    wait_until(lambda: site.client.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed snapshot")
    yield
    site.client.config_set("save", "")


@contextlib.contextmanager
def endless_script(site: Site) -> Iterator[None]:
    def run() -> None:
        with connect(site.store.url) as client, contextlib.suppress(redis.RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    site.client.script_kill()
    thread.join()


@contextlib.contextmanager
def replica_of_nobody(site: Site) -> Iterator[None]:
    site.client.replicaof("127.0.0.1", 1)  # nobody listens there: it keeps its data and takes no writes
    yield
    site.client.replicaof("NO", "ONE")


@contextlib.contextmanager
def loading(site: Site) -> Iterator[None]:
    """A clean restart that loses nothing, with much to load."""
    pipe = site.client.pipeline(transaction=False)
    for number in range(JUNK):
        pipe.set(f"junk:{number}", "")
    pipe.execute()
    site.store.stop()
    site.store.launch()
    yield
    site.store.await_answers()


@dataclass(frozen=True)
class Outage:
    """How it begins and ends, a word by which /readyz tells it, and how long it lasts at least.

    Longer than the group's session where the worker's loop stands still in a call, and once where it does not: whoever
    sends no heartbeats meanwhile is put out.
    """

    of: Callable[[Site], AbstractContextManager[None]]
    word: str
    seconds: float = 0.5


OUTAGES = {
    "OOM": Outage(lambda site: configured(site.client, "maxmemory", "1", "0"), "maxmemory", 2.5),
    "MISCONF": Outage(failing_snapshots, "MISCONF"),
    "NOREPLICAS": Outage(lambda site: configured(site.client, "min-replicas-to-write", "1", "0"), "NOREPLICAS"),
    "BUSY": Outage(endless_script, "BUSY"),
    "LOADING": Outage(loading, "loading the dataset"),
    "READONLY": Outage(replica_of_nobody, "read only replica"),
    "black hole": Outage(lambda site: site.proxy.black_hole(), "Timeout", 2.5),
    "connections reset": Outage(lambda site: site.proxy.down(), "Connection"),
}


class Group:
    """What the broker knows of a world's group."""

    def __init__(self, live: Live, asked: KafkaAdmin) -> None:
        self._live, self._asked = live, asked

    def members(self) -> set[str]:
        name = self._live.settings.group_id
        return {each["member_id"] for each in self._asked._client.describe_groups([name])[name]["members"]}

    def committed(self) -> dict[int, Committed]:
        return self._asked.group_offsets(self._live.settings.group_id, self._live.settings.transactions_topic)

    def caught_up(self) -> bool:
        return sum(at.offset for at in self.committed().values()) == self._live.ends()


@dataclass(frozen=True)
class Scene:
    """Where an outage takes place."""

    site: Site
    live: Live
    worker: Served
    group: Group
    number: int


def epochs_of(live: Live) -> list[int]:
    return [fence.epoch for fence in live.store().fences(range(live.partitions)).values()]


@pytest.mark.fault(12)
def test_while_redis_cannot_write_everything_waits_and_then_goes_on(lives: LIVES, fault: Fault, site: Site) -> None:
    live = lives(redis=site.store.url)
    live.bootstrap(list(shopping(12, customers=40, days=8, per_day=16)))
    live.tick(DAY)
    worker = Served(live, redis_url=site.proxy.url_of(site.store.url))
    live.settle()
    with admin(live.kafka) as asked:
        group = Group(live, asked)
        members, epochs = group.members(), epochs_of(live)
        for number, (name, outage) in enumerate(OUTAGES.items()):
            goes_on_after(outage, name, fault, Scene(site, live, worker, group, number))
        # Nothing was taken over meanwhile, neither by others nor again by this one.
        assert (group.members(), epochs_of(live)) == (members, epochs)
    assert worker.metric("segmenter_takeovers_total") == live.partitions
    live.end()
    outcome = live.verdict()
    fault.judge(outcome)
    assert outcome.events == live.partitions + 12 * len(OUTAGES)


def goes_on_after(outage: Outage, name: str, fault: Fault, scene: Scene) -> None:
    """Let it happen while there is something to write; see that all waits; see that it goes on."""
    worker, group = scene.worker, scene.group
    wait_until(lambda: worker.ready().status == 200, f"a ready worker before {name}", 60)
    offsets, members = group.committed(), group.members()
    fault.inject()
    with outage.of(scene.site):
        began = time.monotonic()
        scene.live.publish(line(f"c{n}", DAY, invoice_no=f"{scene.number}-{n}") for n in range(12))
        wait_until(lambda: outage.word in worker.ready().reasons, f"{name} told by /readyz", 60)
        assert worker.ready().status == 503
        fault.fired()
        time.sleep(max(0.0, began + outage.seconds - time.monotonic()))
        assert group.committed() == offsets, f"{name}: no offset moves meanwhile"
        assert group.members() == members, f"{name}: heartbeats go on"
    fault.ended()
    wait_until(lambda: group.caught_up() and worker.ready().status == 200, f"all as before {name}", 60)
    fault.recovered()
