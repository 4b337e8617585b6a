"""The sweep's order in buckets: the same customers in the same order, whatever their number, in less memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.identity import POSITION_BITS, position
from features.redis_generation import GenerationLoader, LoadEnded
from features.redis_index import PER_BUCKET, SCHEMA_OF_BUCKETS, bucket_name, bucket_of, buckets_for
from features.redis_store import RedisStore, connect, fence_checksum
from features.store import Commit, InvalidKey, OutOfStep, StoreRefused
from tests.harness.bindings import a_binding
from tests.harness.memory_store import MemoryStore

NAMES = [f"c{n}" for n in range(900)]
FIRST = Commit(epoch=1, parent="0:0", id="1:1", state=b"s1", outbox=b"o1", sweep=1)
LAST = (1 << POSITION_BITS) - 1


@given(st.integers(0, LAST), st.integers(0, LAST), st.integers(0, 40))
def test_buckets_are_in_the_order_of_positions(one: int, other: int, power: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= bucket_of(low, 1 << power) <= bucket_of(high, 1 << power) < 1 << power
    assert bucket_of(LAST, 1 << power) == bucket_of(LAST + 1, 1 << power) == (1 << power) - 1
    assert bucket_of(0, 1 << power) == bucket_of(-1, 1 << power) == 0


@given(st.integers(0, 10**8))
def test_there_are_as_few_buckets_as_hold_so_many_each(customers: int) -> None:
    found = buckets_for(customers)
    assert found.bit_count() == 1
    assert customers <= found * PER_BUCKET
    assert found == 1 or customers > found * PER_BUCKET // 2


def test_one_bucket_is_the_key_that_there_always_was() -> None:
    assert (bucket_name(0, 1), bucket_name(0, 2), bucket_name(31, 32)) == ("index", "index:0", "index:31")
    assert [buckets_for(n) for n in (0, 1, 64, 65, 128, 129)] == [1, 1, 1, 2, 2, 4]


@pytest.fixture(params=["server", "cluster"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    found = connect(request.getfixturevalue("redis_server" if request.param == "server" else "redis_cluster").url)
    yield found
    found.close()


@pytest.fixture
def store(client: Any, namespace: str) -> RedisStore:
    """Return a partition of 900 customers in 16 buckets."""
    loader = GenerationLoader(client, namespace, "1")
    loader.divide(0, len(NAMES), SCHEMA_OF_BUCKETS)
    loader.load(0, NAMES, [position(name) for name in NAMES], [name.encode() for name in NAMES])
    loader.put_state(0, b"s0")
    loader.finish(a_binding(partitions=1, generation="1"))
    return RedisStore(client, namespace, "1")


@pytest.fixture
def oracle() -> MemoryStore:
    """Return the same partition, sorted as a whole."""
    fake = MemoryStore()
    fake.begin(0, b"s0")
    for name in NAMES:
        fake.put(0, name, position(name), name.encode())
    return fake


def indexes(client: Any, namespace: str) -> dict[bytes, tuple[bytes, int]]:
    """Return encoding and size of each sorted set."""
    keys = sorted(client.scan_iter(match=f"{{{namespace}:0}}:1:index*"))
    return {key: (client.object("ENCODING", key), client.zcard(key)) for key in keys}


def same_walk(store: RedisStore, oracle: MemoryStore, limit: int) -> None:
    """Compare all chunks of one size."""
    after, more = -1, True
    while more:
        found = store.chunk(0, after, limit)
        assert found == oracle.chunk(0, after, limit)
        more = len(found.ids) >= limit
        after = found.positions[-1] if found.ids else after


@pytest.mark.parametrize("limit", [1, 7, PER_BUCKET, 500, 900, 100_000])
def test_chunks_are_those_of_one_sorted_set(store: RedisStore, oracle: MemoryStore, limit: int) -> None:
    same_walk(store, oracle, limit)
    for after in (0, position("c7") - 1, position("c7"), LAST // 2, LAST - 1, LAST):
        assert store.chunk(0, after, limit) == oracle.chunk(0, after, limit)


def test_all_buckets_are_small_lists(store: RedisStore, client: Any, namespace: str) -> None:
    found = indexes(client, namespace)
    assert len(found) == 16
    assert {encoding for encoding, _ in found.values()} == {b"listpack"}
    assert sum(size for _, size in found.values()) == len(NAMES)
    assert store.fences([0])[0].state == b"s0"


def test_those_who_come_and_go_do_so_in_their_bucket_and_one_that_grows_large_stays_right(
    store: RedisStore, oracle: MemoryStore, client: Any, namespace: str
) -> None:
    new = {f"n{n}": position(f"n{n}") for n in range(4_321)}
    gone = NAMES[::3]
    commits = [
        replace(FIRST, states=dict.fromkeys(new, b"new"), created=new, deleted=gone),
        replace(FIRST, parent="1:1", id="1:2", deleted=[*list(new)[:50], NAMES[1]], states={NAMES[2]: b"changed"}),
    ]
    for each in (store, oracle):
        each.raise_epoch(0, 1)
        for commit in commits:
            each.commit(0, commit)
            each.commit(0, commit)
    for limit in (40, 1_000, 10_000):
        same_walk(store, oracle, limit)
    sizes = indexes(client, namespace)
    assert len(sizes) == 16
    assert {encoding for encoding, _ in sizes.values()} == {b"skiplist"}, "about 300 each"
    assert sum(size for _, size in sizes.values()) == len(oracle.parts[0].index)


def test_another_store_object_finds_the_buckets_without_being_told(
    store: RedisStore, oracle: MemoryStore, client: Any, namespace: str
) -> None:
    fresh = RedisStore(client, namespace, "1")
    assert fresh.chunk(0, -1, 100) == oracle.chunk(0, -1, 100)
    store.raise_epoch(0, 1)
    RedisStore(client, namespace, "1").commit(0, replace(FIRST, states={"x": b"X"}, created={"x": position("x")}))
    assert "x" in store.chunk(0, position("x") - 1, 1).ids


def test_a_bucket_of_a_wrong_type_stops_a_commit_before_it_writes_and_is_named_by_who_reads_it(
    store: RedisStore, client: Any
) -> None:
    store.raise_epoch(0, 1)
    key = store.keys.bucket(0, bucket_of(position("x"), 16), 16)
    client.delete(key)
    client.set(key, "ours?")
    other = next(name for name in NAMES if bucket_of(position(name), 16) != bucket_of(position("x"), 16))
    for commit in (
        replace(FIRST, states={"x": b"X"}, created={"x": position("x")}),
        replace(FIRST, deleted=[other, "x"]),
    ):
        with pytest.raises(InvalidKey) as caught:
            store.commit(0, commit)
        assert caught.value.key.encode() == key
        assert store.fences([0])[0].last == "0:0"
        assert store.load({0: ["x", other]}) == {0: [None, other.encode()]}
    with pytest.raises(InvalidKey) as caught:
        store.chunk(0, -1, 10_000)
    assert caught.value.key.encode() == key


def test_a_commit_laid_out_for_another_number_of_buckets_is_refused(store: RedisStore, client: Any) -> None:
    """Redis was emptied and the same generation loaded anew, while a worker knew the old number."""
    store.raise_epoch(0, 1)
    store.fences([0])
    fence = store.keys.of(0, "fence")
    last, parent, state = client.hmget(fence, "last", "parent", "state")
    client.hset(fence, mapping={"buckets": 32, "crc": fence_checksum(last, parent, state, 32)})
    with pytest.raises(OutOfStep):
        store.commit(0, FIRST)
    assert store.fences([0])[0].last == "0:0", "whoever takes over reads the number"
    store.commit(0, FIRST)


@pytest.mark.parametrize("number", ["0", "3", "-1", "x", "9" * 12])
def test_a_number_of_buckets_that_cannot_be_is_refused(
    store: RedisStore, client: Any, namespace: str, number: str
) -> None:
    client.hset(store.keys.of(0, "fence"), "buckets", number)
    for call in (lambda: store.fences([0]), lambda: RedisStore(client, namespace, "1").chunk(0, -1, 5)):
        with pytest.raises(InvalidKey, match="buckets") as caught:
            call()
        assert caught.value.key == store.key(0, "fence")


def test_another_number_than_was_written_is_refused(store: RedisStore, client: Any) -> None:
    """A power of two as well, by which the sweep would look for most customers where they are not."""
    client.hset(store.keys.of(0, "fence"), "buckets", 8)
    with pytest.raises(InvalidKey, match="checksum"):
        store.fences([0])


def test_tasks_elsewhere_load_the_same_buckets(store: RedisStore, client: Any, namespace: str) -> None:
    loader = GenerationLoader(client, namespace, "2")
    loader.divide(0, len(NAMES), SCHEMA_OF_BUCKETS)
    loader.admit(0, "token")
    for part in (NAMES[:400], NAMES[400:]):
        task = GenerationLoader(client, namespace, "2")
        task.load_admitted(0, part, [position(name) for name in part], [name.encode() for name in part], "token")
    loader.expect(0, len(NAMES))
    with pytest.raises(LoadEnded):
        task.load_admitted(0, ["x"], [1], [b"x"], "another")
    loader.put_state(0, b"s0")
    theirs = RedisStore(client, namespace, "2")
    assert theirs.chunk(0, -1, 1_000) == store.chunk(0, -1, 1_000)
    first = theirs.chunk(0, -1, 1)
    client.zrem(theirs.keys.bucket(0, bucket_of(first.positions[0], 16), 16), first.ids[0])
    with pytest.raises(StoreRefused, match="holds 899 of the 900"):
        loader.finish(a_binding(partitions=1, generation="2"))


@pytest.mark.parametrize("schema", [None, SCHEMA_OF_BUCKETS - 1])
def test_a_generation_that_says_nothing_or_is_of_an_older_schema_has_its_one_sorted_set(
    client: Any, namespace: str, schema: int | None
) -> None:
    loader = GenerationLoader(client, namespace, "1")
    if schema is not None:
        loader.divide(0, len(NAMES), schema)
    loader.load(0, NAMES, [position(name) for name in NAMES], [b"x"] * len(NAMES))
    loader.put_state(0, b"s0")
    loader.finish(a_binding(partitions=1, generation="1"))
    store = RedisStore(client, namespace, "1")
    store.raise_epoch(0, 1)
    store.commit(0, replace(FIRST, states={"x": b"X"}, created={"x": position("x")}))
    assert [size for _, size in indexes(client, namespace).values()] == [len(NAMES) + 1]
    positions = store.chunk(0, -1, 10_000).positions
    assert all(a <= b for a, b in pairwise(positions))
    assert len(positions) == len(NAMES) + 1
