"""What only a cluster can do to a store: slots on their way, masters that are gone, an address of the wrong kind.

What it has in common with one server is in the contract (tests/features/test_store_contract.py), run over both.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.crc import key_slot

from consumer.commands.doctor import findings
from consumer.commands.place import Place, settings_from
from consumer.exits import ExitCode, Stop
from consumer.service import connect_redis
from consumer.settings import Settings
from features.redis_generation import GenerationLoader
from features.redis_store import RedisAddress, RedisStore, connect, ping
from features.store import Commit, InvalidKey, StoreRefused, StoreUnavailable
from tests.harness.bindings import a_binding
from tests.harness.certificates import make_certificates
from tests.harness.commands import REPOSITORY
from tests.harness.live import wait_until
from tests.harness.proxy import Proxy
from tests.harness.redis_cluster import StoreCluster

ACL = REPOSITORY / "deploy" / "redis-users.acl"
PARTITIONS = 12
FIRST = Commit(epoch=1, parent="0:0", id="1:1", state=b"s1", outbox=b"o1", sweep=1)
SECOND = replace(FIRST, parent="1:1", id="1:2", state=b"s2")
CUSTOMERS = [f"c{n}" for n in range(40)]
BINDING = a_binding(partitions=PARTITIONS)


def loaded(address: RedisAddress | str, namespace: str) -> RedisStore:
    """Return a store of twelve partitions, each with the same customers and its epoch raised to 1."""
    client = connect(address)
    loader = GenerationLoader(client, namespace, "1")
    blobs = [customer.encode() for customer in CUSTOMERS]
    for partition in range(PARTITIONS):
        loader.load(partition, CUSTOMERS, list(range(len(CUSTOMERS))), blobs)
        loader.put_state(partition, b"s%d" % partition)
    loader.finish(BINDING)
    store = RedisStore(client, namespace, "1")
    for partition in range(PARTITIONS):
        store.raise_epoch(partition, 1)
    return store


def slot(store: RedisStore, partition: int) -> int:
    return int(key_slot(store.keys.generation(partition)))


def asked(call: Callable[[], object], seconds: float = 20.0) -> None:
    """Ask again and again, as a worker does, until the store can."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            call()
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline, f"not available within {seconds:.0f} s"
            time.sleep(0.05)


def test_partitions_lie_on_every_master_and_are_read_in_the_order_in_which_they_were_asked_for(
    redis_cluster: StoreCluster, namespace: str
) -> None:
    store = loaded(redis_cluster.url, namespace)
    homes = {redis_cluster.home(store.keys.generation(p)).url for p in range(PARTITIONS)}
    assert len(homes) == 3, "twelve tags over three masters"
    order = [7, 0, 11, 3, 2, 10, 1, 9, 4, 8, 6, 5]
    assert {p: fence.state for p, fence in store.fences(order).items()} == {p: b"s%d" % p for p in order}
    wanted = {p: [CUSTOMERS[p], "nobody", CUSTOMERS[-1]] for p in order} | {12: []}
    assert store.load(wanted) == {p: [CUSTOMERS[p].encode(), None, b"c39"] for p in order} | {12: []}


def test_of_partitions_on_several_masters_the_damaged_one_is_named(redis_cluster: StoreCluster, namespace: str) -> None:
    store = loaded(redis_cluster.url, namespace)
    client: Any = connect(redis_cluster.url)
    client.delete(store.keys.of(5, "fence"))
    client.rpush(store.keys.of(5, "fence"), "not ours")
    with pytest.raises(InvalidKey) as caught:
        store.fences(range(PARTITIONS))
    assert caught.value.key.encode() == store.keys.of(5, "fence")


def test_of_a_slot_on_its_way_nothing_is_half_written_and_nothing_is_read_as_absent(
    own_cluster: StoreCluster, namespace: str
) -> None:
    store = loaded(own_cluster.url, namespace)
    empty = own_cluster.add()  # a cluster tells of a node only when it has a slot
    other = next(node for node in own_cluster.nodes if node is not own_cluster.home(slot(store, 1)))
    commit = replace(FIRST, states={"c3": b"new"})
    for partition, to in ((0, empty), (1, other)):
        with own_cluster.moving(slot(store, partition), to) as carry:
            assert carry(len(CUSTOMERS) // 2) == len(CUSTOMERS) // 2
            for customer in CUSTOMERS:  # each is found, wherever he is
                assert store.load({partition: [customer]}) == {partition: [customer.encode()]}
            cannot_now(
                lambda: store.load({partition: CUSTOMERS}),  # noqa: B023
                lambda: store.chunk(partition, -1, len(CUSTOMERS)),  # noqa: B023
                lambda: store.commit(partition, commit),  # noqa: B023
            )
            while carry(100):
                pass
            assert store.load({partition: ["nobody"]}) == {partition: [None]}
            cannot_now(lambda: store.load({partition: ["c4", "nobody"]}), lambda: store.commit(partition, commit))  # noqa: B023
            fence = store.fences(range(PARTITIONS))[partition]
            assert (fence.epoch, fence.last) == (1, "0:0")
        for _ in range(2):
            store.commit(partition, commit)
        assert store.load({partition: ["c3", "c4", "nobody"]}) == {partition: [b"new", b"c4", None]}
        assert len(store.chunk(partition, -1, 100).ids) == len(CUSTOMERS)


def cannot_now(*calls: Callable[[], object]) -> None:
    for call in calls:
        with pytest.raises(StoreUnavailable, match="cannot do it now"):
            call()


def test_a_master_that_is_gone_is_waited_for_and_its_states_are_there_again(
    own_cluster: StoreCluster, namespace: str
) -> None:
    store = loaded(own_cluster.url, namespace)
    for partition in range(PARTITIONS):
        store.commit(partition, FIRST)
    gone = own_cluster.home(slot(store, 0))
    gone.kill()
    began = time.monotonic()
    calls: list[Callable[[], object]] = [
        lambda: store.fences(range(PARTITIONS)),
        lambda: store.load(dict.fromkeys(range(PARTITIONS), CUSTOMERS)),
        lambda: store.commit(0, SECOND),
        lambda: store.raise_epoch(0, 2),
        lambda: store.outbox(0),
        lambda: store.chunk(0, -1, 5),
        lambda: connect_redis(settings(own_cluster.url)),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    assert time.monotonic() - began < 5, "a port where nobody listens is no timeout"
    assert ping(RedisAddress(own_cluster.url)) is not None
    gone.start()
    asked(lambda: store.commit(0, SECOND))
    own_cluster.await_ok()
    assert {p: fence.last for p, fence in store.fences(range(PARTITIONS)).items()} == {0: "1:2"} | dict.fromkeys(
        range(1, PARTITIONS), "1:1"
    )
    assert ping(RedisAddress(own_cluster.url)) is None


def test_a_master_that_is_silent_is_given_up_after_the_timeout(own_cluster: StoreCluster, namespace: str) -> None:
    store = loaded(own_cluster.url, namespace)
    quick = RedisStore(connect(own_cluster.url, timeout_s=0.5), namespace, "1")
    silent = own_cluster.home(slot(store, 0))
    silent.freeze()
    for call in (
        lambda: quick.commit(0, FIRST),
        lambda: quick.fences(range(PARTITIONS)),
        lambda: quick.load({0: ["c1"]}),
    ):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()
        assert time.monotonic() - began < 4
    assert ping(RedisAddress(own_cluster.url), timeout_s=0.3) is not None
    silent.thaw()
    own_cluster.await_ok()
    asked(lambda: quick.commit(0, FIRST))
    assert quick.fences([0])[0].last == "1:1", "what was sent before the silence was the same commit"


def test_a_replica_takes_over_and_is_found(own_cluster: StoreCluster, namespace: str) -> None:
    store = loaded(own_cluster.url, namespace)
    store.commit(0, FIRST)
    master = own_cluster.home(slot(store, 0))
    replica = own_cluster.add_replica(master)
    assert own_cluster.client(master).execute_command("WAIT", 1, 5_000) >= 1
    master.kill()
    asked(lambda: store.commit(0, SECOND))
    assert own_cluster.home(slot(store, 0)) is replica
    assert store.fences(range(PARTITIONS))[0].last == "1:2"


def test_when_nobody_answers_it_is_waited_for(own_cluster: StoreCluster, namespace: str) -> None:
    store = loaded(own_cluster.url, namespace)
    for node in own_cluster.nodes:
        node.kill()
    for call in (lambda: store.commit(0, FIRST), lambda: store.fences(range(3)), lambda: connect(own_cluster.url)):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()
    for node in own_cluster.nodes:
        node.start()
    asked(lambda: store.commit(0, FIRST))
    assert store.fences([0])[0].last == "1:1"


def test_each_commit_is_sent_once_and_only_where_it_lies(own_cluster: StoreCluster, namespace: str) -> None:
    """The library would ask its default node for the keys first, with all that is to be written."""
    store = loaded(own_cluster.url, namespace)
    assert store.commit_each(dict.fromkeys(range(PARTITIONS), FIRST)) == {}, "brings the script"
    servers = [own_cluster.client(node) for node in own_cluster.nodes]
    for server in servers:
        server.config_resetstat()
    assert store.commit_each(dict.fromkeys(range(PARTITIONS), SECOND)) == {}
    asked_of = [server.info("commandstats") for server in servers]
    assert not any("cmdstat_command|getkeys" in each for each in asked_of)
    assert sum(each["cmdstat_evalsha"]["calls"] for each in asked_of) == PARTITIONS


def test_commits_find_a_master_that_took_over_from_the_one_that_the_client_asks_by_default(
    own_cluster: StoreCluster, namespace: str
) -> None:
    """Nothing but commits is asked for: every partition has one whose outcome is unknown."""
    client: Any = connect(own_cluster.url)
    loaded(own_cluster.url, namespace)
    store = RedisStore(client, namespace, "1")
    assert store.commit_each(dict.fromkeys(range(PARTITIONS), FIRST)) == {}
    default = client.get_default_node().name
    gone = next(node for node in own_cluster.nodes if node.url.removeprefix("redis://").startswith(default))
    own_cluster.add_replica(gone)
    gone.kill()

    def second() -> None:
        for failure in store.commit_each(dict.fromkeys(range(PARTITIONS), SECOND)).values():
            raise failure

    asked(second)
    assert {fence.last for fence in store.fences(range(PARTITIONS)).values()} == {"1:2"}


def test_a_script_is_brought_to_a_master_that_forgot_it_while_another_one_is_silent(
    own_cluster: StoreCluster, namespace: str
) -> None:
    loaded(own_cluster.url, namespace)
    store = RedisStore(connect(own_cluster.url, timeout_s=1.0), namespace, "1")
    silent, *others = own_cluster.nodes
    there = {p: FIRST for p in range(PARTITIONS) if own_cluster.home(slot(store, p)) is not silent}
    for node in others:
        own_cluster.client(node).config_set("cluster-require-full-coverage", "no")
        own_cluster.client(node).script_flush()
    silent.freeze()
    try:
        assert store.commit_each(there) == {}
    finally:
        silent.thaw()


def test_an_address_of_the_other_kind_is_told_as_such(
    redis_cluster: StoreCluster, redis_url: str, namespace: str
) -> None:
    store = RedisStore(connect(redis_cluster.nodes[0].url), namespace, "1")
    everywhere = range(PARTITIONS)
    for call in (lambda: [store.statistics(p) for p in everywhere], lambda: store.load(dict.fromkeys(everywhere, "c"))):
        with pytest.raises(
            StoreRefused, match=r"node of a cluster: SEGMENTER_REDIS_URL must begin with redis\+cluster"
        ):
            call()
    with pytest.raises(StoreRefused, match=r"begins with redis\+cluster.*a server by itself"):
        connect(redis_url.replace("redis://", "redis+cluster://"))


def test_each_primary_is_asked_and_the_one_that_is_wrong_is_named(own_cluster: StoreCluster) -> None:
    with connect_redis(settings(own_cluster.url)):
        pass
    wrong = own_cluster.nodes[1]
    place = wrong.url.removeprefix("redis://").removesuffix("/0")
    own_cluster.client(wrong).config_set("appendonly", "no")
    found = [each for each in findings(Place(settings(own_cluster.url), None)) if each.part == "Redis"]
    assert sum(each.mark == "ok" for each in found) == 3
    (told,) = [each.what for each in found if each.mark == "wrong"]
    assert told == f"appendonly is off at {place}: a restart loses what the last snapshot does not hold"
    own_cluster.client(wrong).config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(Stop, match=f"Redis at {place} has maxmemory-policy allkeys-lru") as stopped:
        connect_redis(settings(own_cluster.url))
    assert stopped.value.code is ExitCode.INCOMPATIBLE


@pytest.mark.parametrize("user", ["segmenter-run", "segmenter-commands"])
def test_the_published_users_need_what_the_file_says_of_a_cluster(
    own_cluster: StoreCluster, namespace: str, user: str
) -> None:
    text = ACL.read_text("utf-8")
    rules = next(line for line in text.splitlines() if line.startswith(f"user {user} ")).split()[2:]
    rules = [rule.replace("{segmenter:", f"{{{namespace}:") for rule in rules if not rule.startswith("#")]
    told = re.search(r"# In a cluster each needs (.*) too", text)
    assert told
    address = RedisAddress(own_cluster.url, user, "secret")

    def allow(*words: str) -> None:
        for node in own_cluster.nodes:
            own_cluster.ask(node, "ACL SETUSER", user, *words)

    allow(*rules, ">secret", *told[1].split())
    with pytest.raises(StoreRefused, match="credentials"):
        connect(RedisAddress(own_cluster.url, user, "wrong"))
    loaded(address if user == "segmenter-commands" else own_cluster.url, namespace)
    store = RedisStore(connect(address), namespace, "1")
    store.commit(0, FIRST)
    home = own_cluster.home(slot(store, 0))
    with own_cluster.moving(slot(store, 0), next(node for node in own_cluster.nodes if node is not home)):
        assert store.load({0: ["nobody"]}) == {0: [None]}, "asked of the other node"
        allow("-asking")
        with pytest.raises(StoreRefused, match="'asking' command"):
            store.load({0: ["nobody"]})
    store.commit(0, SECOND)
    if user == "segmenter-commands":
        GenerationLoader(connect(address), namespace, "1").drop(0)
        assert not [*connect(own_cluster.url).scan_iter(f"{{{namespace}:0}}:1:*")]
    for word in ("cluster|slots", "command"):
        allow(f"-{word}")
        with pytest.raises(StoreRefused, match=f"no permissions.*'{re.escape(word)}' command"):
            connect(address)
        allow(f"+{word}")


def test_each_node_proves_who_it_is(own_cluster: StoreCluster, namespace: str, tmp_path: Path) -> None:
    """The nodes tell at which ports they speak TLS; the name of one is enough to find the others."""
    ours, strange = make_certificates(tmp_path / "ours"), make_certificates(tmp_path / "strange")
    with ExitStack() as stack:
        ways = [stack.enter_context(Proxy.to_redis(node.url, certificate=ours.server)) for node in own_cluster.nodes]
        for node, way in zip(own_cluster.nodes, ways, strict=True):
            own_cluster.client(node).config_set("cluster-announce-port", way.port)
        wait_until(lambda: own_cluster.ports() == {way.port for way in ways}, "nodes that know of each other's TLS")
        url = f"rediss+cluster://{ways[0].host}:{ways[0].port}"
        store = loaded(RedisAddress(url, cafile=str(ours.authority)), namespace)
        store.commit(0, FIRST)
        assert store.fences(range(PARTITIONS))[0].last == "1:1"
        assert all(way.connections for way in ways)
        with pytest.raises(StoreUnavailable, match="SEGMENTER_REDIS_SSL_CAFILE must hold the authority"):
            connect(RedisAddress(url, cafile=str(strange.authority)))


def settings(url: str) -> Settings:
    return settings_from(redis_url=SecretStr(url), kafka_bootstrap="localhost:1")
