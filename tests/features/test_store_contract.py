"""What every store promises, run over the fake, a real server and a real cluster of three."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from features.redis_generation import Binding, GenerationLoader, read_binding
from features.redis_store import RedisStore, connect
from features.store import (
    Commit,
    DailyRow,
    Fenced,
    GenerationGone,
    InvalidKey,
    OutOfStep,
    Snapshot,
    Store,
    StoreRefused,
)
from tests.harness.bindings import a_binding
from tests.harness.memory_store import MemoryStore

FIRST = Commit(epoch=1, parent="0:0", id="1:1", state=b"s1", outbox=b"o1", sweep=1)


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        fake = MemoryStore()
        fake.begin(0, b"s0")
        yield fake
        return
    client = connect(request.getfixturevalue("redis_server" if request.param == "server" else "redis_cluster").url)
    namespace = request.getfixturevalue("namespace")
    _loaded(client, namespace, "1")
    yield RedisStore(client, namespace, "1")
    client.close()


def _loaded(client: Any, namespace: str, generation: str) -> GenerationLoader:
    loader = GenerationLoader(client, namespace, generation)
    loader.put_state(0, b"s0")
    loader.finish(_binding(generation))
    return loader


def _put_state(store: RedisStore, partition: int) -> None:
    """Load one partition more than the generation was made for."""
    client = store._redis
    GenerationLoader(client, store.keys.namespace, "1").put_state(partition, b"s0")
    client.set(store.keys.generation(partition), "1")


def _two_partitions(client: Any, namespace: str) -> RedisStore:
    """Return a store of partitions 0 and 1, both taken over."""
    _loaded(client, namespace, "1")
    store = RedisStore(client, namespace, "1")
    _put_state(store, 1)
    for partition in range(2):
        store.raise_epoch(partition, 1)
    return store


def _binding(generation: str) -> Binding:
    return a_binding(partitions=1, generation=generation)


def test_a_partition_begins_at_commit_0_0(store: Store) -> None:
    fence = store.fences([0])[0]
    assert (fence.epoch, fence.last, fence.parent, fence.state) == (0, "0:0", "0:0", b"s0")


def test_a_partition_without_state_is_named(store: Store) -> None:
    with pytest.raises(GenerationGone, match="partition 7"):
        store.fences([7])


def test_an_epoch_only_rises(store: Store) -> None:
    store.raise_epoch(0, 3)
    for epoch in (3, 2):
        with pytest.raises(Fenced):
            store.raise_epoch(0, epoch)
    assert store.fences([0])[0].epoch == 3


def test_a_commit_writes_everything(store: Store) -> None:
    store.raise_epoch(0, 1)
    store.commit(
        0,
        replace(
            FIRST,
            states={"a": b"A", "b": b"B"},
            created={"b": 20, "a": 10},
            statistics=b"st",
            day_entry=b"d1",
            begins=True,
            sample=b"sa",
            touched=b"to",
            snapshot=Snapshot(1, b"sn"),
            marks={"h": b"m"},
        ),
    )
    fence = store.fences([0])[0]
    assert (fence.last, fence.parent, fence.state) == ("1:1", "0:0", b"s1")
    assert store.load({0: ["a", "b", "c"]}) == {0: [b"A", b"B", None]}
    assert (store.statistics(0), store.outbox(0), store.day_log(0)) == (b"st", b"o1", [b"d1"])
    assert (store.rows(0, "sample", 1), store.rows(0, "touched", 1), store.snapshot(0, 1)) == (b"sa", b"to", b"sn")
    assert store.marks(0, ["h", "i"]) == [b"m", None]
    chunk = store.chunk(0, -1, 10)
    assert (chunk.ids, chunk.positions, chunk.blobs) == (["a", "b"], [10, 20], [b"A", b"B"])


def test_a_repeated_commit_changes_nothing(store: Store) -> None:
    store.raise_epoch(0, 1)
    commit = replace(FIRST, day_entry=b"d", sample=b"x")
    store.commit(0, commit)
    store.commit(0, commit)
    assert (store.day_log(0), store.rows(0, "sample", 1)) == ([b"d"], b"x")


def test_a_commit_needs_the_epoch(store: Store) -> None:
    store.raise_epoch(0, 2)
    with pytest.raises(Fenced):
        store.commit(0, FIRST)
    assert store.fences([0])[0].last == "0:0"


def test_two_owners_of_one_epoch_are_told_apart(store: Store) -> None:
    """Redis may lose the raise of an epoch: then the next owner comes to the same number (docs/decisions/0011)."""
    store.raise_epoch(0, 1, "theirs")
    assert store.fences([0])[0].owner == "theirs"
    with pytest.raises(Fenced):
        store.commit(0, replace(FIRST, owner="ours"))
    with pytest.raises(Fenced):
        store.commit(0, FIRST)
    store.commit(0, replace(FIRST, owner="theirs"))
    with pytest.raises(Fenced):
        store.commit(0, replace(FIRST, owner="ours", outbox=b"another of the same id"))
    assert (store.outbox(0), store.fences([0])[0].owner) == (b"o1", "theirs")


def test_a_state_that_knows_no_owners_is_taken_over(store: Store) -> None:
    fence = store.fences([0])[0]
    assert fence.owner == ""
    store.raise_epoch(0, fence.epoch + 1, "ours")
    store.commit(0, replace(FIRST, owner="ours"))
    assert store.fences([0])[0].last == "1:1"


class TestSeveralPartitionsAtOnce:
    """What one round trip writes is what as many would; the partitions of a cluster lie on several servers."""

    @pytest.fixture
    def stores(self, store: Store) -> Store:
        for partition in range(1, 5):
            if isinstance(store, MemoryStore):
                store.begin(partition, b"s0")
            else:
                assert isinstance(store, RedisStore)
                _put_state(store, partition)
        for partition in range(5):
            store.raise_epoch(partition, 1)
        return store

    def test_each_is_written_and_once(self, stores: Store) -> None:
        commits = {p: replace(FIRST, state=b"s%d" % p, states={"a": b"%d" % p}, created={"a": p}) for p in range(5)}
        for _ in range(2):
            assert stores.commit_each(commits) == {}
        fences = stores.fences(range(5))
        assert {p: (fence.last, fence.state) for p, fence in fences.items()} == {
            p: ("1:1", b"s%d" % p) for p in range(5)
        }
        assert stores.load({p: ["a"] for p in range(5)}) == {p: [b"%d" % p] for p in range(5)}
        assert [stores.chunk(p, -1, 9).positions for p in range(5)] == [[p] for p in range(5)]

    def test_one_that_is_refused_keeps_no_other_from_being_written(self, stores: Store) -> None:
        stores.raise_epoch(1, 2)
        commits = dict.fromkeys(range(5), FIRST) | {3: replace(FIRST, parent="1:4", id="1:5")}
        failures = stores.commit_each(commits)
        assert {p: type(failure) for p, failure in failures.items()} == {1: Fenced, 3: OutOfStep}
        assert [fence.last for _, fence in sorted(stores.fences(range(5)).items())] == [
            "1:1",
            "0:0",
            "1:1",
            "0:0",
            "1:1",
        ]

    def test_where_one_has_no_state_the_others_are_written(self, stores: Store) -> None:
        failures = stores.commit_each({0: FIRST, 7: FIRST, 4: FIRST})
        assert {p: type(failure) for p, failure in failures.items()} == {7: GenerationGone}
        assert {fence.last for fence in stores.fences([0, 4]).values()} == {"1:1"}


def test_a_commit_needs_its_parent(store: Store) -> None:
    store.raise_epoch(0, 1)
    with pytest.raises(OutOfStep):
        store.commit(0, replace(FIRST, parent="1:4", id="1:5"))
    assert store.outbox(0) == b""


def test_a_commit_may_follow_what_kafka_knows(store: Store) -> None:
    store.raise_epoch(0, 9)
    store.commit(0, replace(FIRST, epoch=9, id="9:13", follows="3:12"))
    fence = store.fences([0])[0]
    assert (fence.last, fence.parent) == ("9:13", "3:12")


def test_deleted_customers_leave_the_sweep(store: Store) -> None:
    store.raise_epoch(0, 1)
    store.commit(0, replace(FIRST, states={"a": b"A", "b": b"B"}, created={"a": 1, "b": 2}))
    store.commit(0, replace(FIRST, parent="1:1", id="1:2", deleted=["a"]))
    assert store.chunk(0, -1, 10).ids == ["b"]
    assert store.load({0: ["a"]}) == {0: [None]}


def test_chunks_go_through_everyone_once_and_never_part_a_position(store: Store) -> None:
    store.raise_epoch(0, 1)
    places = {"a": 5, "b": 5, "c": 5, "d": 9, "e": 1}
    store.commit(0, replace(FIRST, states=dict.fromkeys(places, b"x"), created=places))
    first = store.chunk(0, -1, 2)
    assert first.positions == [1, 5, 5, 5]
    rest = store.chunk(0, first.positions[-1], 2)
    assert (rest.ids, store.chunk(0, 9, 2).ids) == (["d"], [])


def test_rows_and_snapshots_of_old_sweeps_go(store: Store) -> None:
    store.raise_epoch(0, 1)
    for n in range(1, 6):
        store.commit(
            0,
            replace(
                FIRST,
                parent=f"{min(n - 1, 1)}:{n - 1}",
                id=f"1:{n}",
                sweep=n,
                begins=True,
                sample=b"s%d" % n,
                touched=b"t%d" % n,
                snapshot=Snapshot(n, b"n%d" % n),
            ),
        )
    assert [store.rows(0, "sample", n) for n in range(1, 6)] == [b"", b"", b"", b"s4", b"s5"]
    assert [store.rows(0, "touched", n) for n in range(1, 6)] == [b"", b"", b"t3", b"t4", b"t5"]
    assert [store.snapshot(0, n) for n in range(1, 6)] == [None, None, None, b"n4", b"n5"]


def test_rows_of_the_daily_table_are_kept_from_a_day_on(store: Any) -> None:
    store.raise_epoch(0, 1)
    given = [(1, 10, -5), (2, 11, -5), (3, 11, 10), (4, 13, 11)]
    for n, day, first_day in given:
        row = DailyRow(day, b'{"number":%d}' % n, first_day)
        commit = replace(FIRST, parent=f"{min(n - 1, 1)}:{n - 1}", id=f"1:{n}", row=row)
        store.commit(0, commit)
        store.commit(0, commit)
    assert store.daily(0, -700_000) == [b'{"number":2}', b'{"number":3}', b'{"number":4}']
    assert store.daily(0, 12) == [b'{"number":4}']


def test_thousands_of_customers_fit_into_one_commit(store: Store) -> None:
    store.raise_epoch(0, 1)
    names = [f"c{i}" for i in range(4_321)]
    store.commit(
        0,
        replace(
            FIRST, states={n: n.encode() for n in names}, created={n: i for i, n in enumerate(names) if i % 3 == 0}
        ),
    )
    assert store.load({0: names})[0] == [n.encode() for n in names]
    assert len(store.chunk(0, -1, 5_000).ids) == 1_441


@pytest.mark.parametrize("customer", ["{x}", "a}b", "é", "e\u0301", "\u202eabc", "😀", "a\nb\x00c", "x" * 512])
def test_any_id_is_its_own_key(store: Store, customer: str) -> None:
    store.raise_epoch(0, 1)
    store.commit(
        0, replace(FIRST, states={customer: b"1", customer + " ": b"2"}, created={customer: 1, customer + " ": 2})
    )
    assert store.load({0: [customer, customer + " "]})[0] == [b"1", b"2"]
    assert store.chunk(0, -1, 5).ids == [customer, customer + " "]


class TestRedisAlone:
    """What only a real store can do wrong."""

    def test_a_key_of_a_wrong_type_stops_the_commit_before_it_writes(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        store.raise_epoch(0, 1)
        for key, commit in [
            (store.keys.customer(0, "a"), replace(FIRST, states={"a": b"A"}, created={"a": 1})),
            (store.keys.of(0, "index"), FIRST),
            (store.keys.of(0, "outbox"), FIRST),
        ]:
            client.hset(key, "not", "ours")
            with pytest.raises(InvalidKey) as caught:
                store.commit(0, commit)
            assert caught.value.key.encode() == key
            assert store.fences([0])[0].last == "0:0"
            client.delete(key)
        store.commit(0, FIRST)

    @pytest.mark.parametrize(
        ("name", "read"),
        [
            ("fence", lambda store: store.fences([0])),
            ("outbox", lambda store: store.outbox(0)),
            ("statistics", lambda store: store.statistics(0)),
            ("index", lambda store: store.chunk(0, -1, 5)),
            ("days", lambda store: store.day_log(0)),
            ("snapshots", lambda store: store.snapshot(0, 1)),
            ("erased", lambda store: store.marks(0, ["h"])),
            ("sample:1", lambda store: store.rows(0, "sample", 1)),
            ("daily", lambda store: store.daily(0, 1)),
        ],
    )
    def test_a_key_of_a_wrong_type_is_named_by_who_reads_it(
        self, each_redis: str, namespace: str, name: str, read: Callable[[RedisStore], object]
    ) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        key = store.keys.of(0, name)
        client.delete(key)
        client.xadd(key, {"not": "ours"})
        with pytest.raises(InvalidKey) as caught:
            read(store)
        assert caught.value.key.encode() == key

    def test_of_several_partitions_the_damaged_one_is_named(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        loader = _loaded(client, namespace, "1")
        loader.put_state(1, b"s0")
        store = RedisStore(client, namespace, "1")
        key = store.keys.generation(1)
        client.rpush(key, "not ours")
        for call in (lambda: store.fences([0, 1]), lambda: store.raise_epoch(1, 1), lambda: store.commit(1, FIRST)):
            with pytest.raises(InvalidKey) as caught:
                call()
            assert caught.value.key.encode() == key

    @pytest.mark.parametrize("field", ["last", "parent", "state", "crc"])
    def test_a_fence_of_which_a_bit_flipped_is_refused(self, each_redis: str, namespace: str, field: str) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        store.raise_epoch(0, 1)
        store.commit(0, FIRST)
        key = store.keys.of(0, "fence")
        data: Any = client.hget(key, field)
        client.hset(key, field, bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(InvalidKey) as caught:
            store.fences([0])
        assert caught.value.key.encode() == key

    @pytest.mark.parametrize("damaged", [b"o2", b"o1 ", None])
    def test_an_outbox_that_is_not_the_one_committed_is_refused(
        self, each_redis: str, namespace: str, damaged: bytes | None
    ) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        store.raise_epoch(0, 1)
        store.commit(0, FIRST)
        assert store.outbox(0) == b"o1"
        key = store.keys.of(0, "outbox")
        client.delete(key) if damaged is None else client.set(key, damaged)
        with pytest.raises(InvalidKey) as caught:
            store.outbox(0)
        assert caught.value.key == store.key(0, "outbox")

    def test_a_server_that_forgot_its_scripts_is_given_them_again(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        store = _two_partitions(client, namespace)
        client.script_flush()
        assert store.commit_each({0: FIRST, 1: FIRST}) == {}
        assert {fence.last for fence in store.fences([0, 1]).values()} == {"1:1"}

    def test_of_several_commits_the_one_with_a_damaged_key_fails(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        store = _two_partitions(client, namespace)
        key = store.keys.of(1, "outbox")
        client.delete(key)
        client.hset(key, "not", "ours")
        failures = store.commit_each({0: FIRST, 1: FIRST})
        assert list(failures) == [1]
        assert isinstance(failures[1], InvalidKey)
        assert failures[1].key.encode() == key
        assert {p: fence.last for p, fence in store.fences([0, 1]).items()} == {0: "1:1", 1: "0:0"}

    def test_a_state_from_before_the_checksums_is_read(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        client.hdel(store.keys.of(0, "fence"), "crc")
        client.set(store.keys.of(0, "outbox"), b"old")
        assert (store.fences([0])[0].state, store.outbox(0)) == (b"s0", b"old")

    def test_another_generation_is_refused(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        old = RedisStore(client, namespace, "1")
        old.raise_epoch(0, 1)
        _loaded(client, namespace, "2")
        with pytest.raises(GenerationGone):
            old.commit(0, FIRST)
        with pytest.raises(GenerationGone):
            old.raise_epoch(0, 2)
        with pytest.raises(GenerationGone):
            old.fences([0])

    def test_a_generation_that_lost_customers_while_it_was_loaded_is_not_flipped_in(
        self, each_redis: str, namespace: str
    ) -> None:
        """A shard that restarts without its last second, or a replica that lagged, while others are written."""
        client = connect(each_redis)
        _loaded(client, namespace, "1")
        loader = GenerationLoader(client, namespace, "2")
        names = [f"c{n}" for n in range(2_500)]
        for partition in range(2):
            loader.load(partition, names, list(range(len(names))), [b"state"] * len(names))
            loader.put_state(partition, b"s0")
        keys = RedisStore(client, namespace, "2").keys
        client.delete(*(keys.customer(1, name) for name in names[2_000:]))
        client.zrem(keys.of(1, "index"), *names[2_000:])
        with pytest.raises(StoreRefused, match="partition 1: Redis holds 2,000 of the 2,500 customers"):
            loader.finish(_binding("2"))
        assert RedisStore(client, namespace, "1").fences([0])[0].state == b"s0"

    def test_an_unfinished_generation_is_dropped_and_the_old_one_too(self, each_redis: str, namespace: str) -> None:
        client = connect(each_redis)
        loader = GenerationLoader(client, namespace, "1")
        loader.load(0, ["left", "over"], [1, 2], [b"1", b"2"])
        assert read_binding(client, namespace) is None
        loader.drop(0)
        _loaded(client, namespace, "1")
        store = RedisStore(client, namespace, "1")
        assert store.chunk(0, -1, 5).ids == []
        _loaded(client, namespace, "2")
        left = set(client.scan_iter(match=f"{{{namespace}:*".encode()))
        prefix = f"{{{namespace}:0}}:".encode()
        binding = f"{{{namespace}:model}}:binding".encode()
        assert left == {prefix + b"generation", prefix + b"2:fence", binding}
