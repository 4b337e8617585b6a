"""What an answer of Redis means to a worker: wait, or a person is needed; it quotes no customer's id (FAULTS 12, 13).

The errors are made by redis-py's own parser, from the bytes that servers send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis._parsers.base import BaseParser

from features.redis_store import RedisStore, connect, guarded
from features.store import InvalidKey, StoreError, StoreRefused, StoreUnavailable

NOT_NOW = [
    "OOM command not allowed when used memory > 'maxmemory'. script: 8a1, on @user_script:52.",
    "ERR Error running script (call to f_8a1): @user_script:52: @user_script: 52: -OOM command not allowed",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist on disk.",
    "NOREPLICAS Not enough good replicas to write.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
]
REFUSED = [
    "NOPERM this user has no permissions to run the 'evalsha' command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "BUSYKEY Target key name already exists.",
]


def answer(text: str, *, in_pipeline: bool) -> StoreError:
    """Return what a server's answer becomes."""
    parser: Any = BaseParser
    error = parser.parse_error(text)
    if in_pipeline:
        pipeline: Any = connect("redis://127.0.0.1:1").pipeline()
        pipeline.annotate_exception(error, 1, ["MGET", "{ns:0}:1:c:OOM secret-id"])

    def call() -> None:
        raise error

    with pytest.raises(StoreError) as caught:
        guarded(call)
    return caught.value


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("text", NOT_NOW)
def test_what_passes_by_itself_is_waited_for(text: str, in_pipeline: bool) -> None:
    found = answer(text, in_pipeline=in_pipeline)
    assert isinstance(found, StoreUnavailable)
    assert "secret-id" not in str(found)


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_is_refused_whatever_the_customers_id(text: str, in_pipeline: bool) -> None:
    found = answer(text, in_pipeline=in_pipeline)
    assert isinstance(found, StoreRefused)
    assert "secret-id" not in str(found)


@pytest.mark.parametrize("error", [redis.ConnectionError("refused"), redis.TimeoutError("Timeout reading from socket")])
def test_no_answer_is_waited_for(error: Exception) -> None:
    def call() -> None:
        raise error

    with pytest.raises(StoreUnavailable):
        guarded(call)


def unreachable(cause: Exception) -> Exception:
    """Return what redis-py raises where the last node of a cluster that it asked for the slots answered so."""
    error = redis.exceptions.RedisClusterException("Redis Cluster cannot be connected.")
    error.__cause__ = cause
    return error


def no_cluster() -> Exception:
    error = redis.exceptions.RedisClusterException("Cluster mode is not enabled on this node")
    error.__context__ = redis.ResponseError("This instance has cluster support disabled")
    return unreachable(error)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (redis.exceptions.ClusterError("TTL exhausted."), StoreUnavailable, "cannot do it now"),
        (redis.exceptions.SlotNotCoveredError("Slot 7 not covered"), StoreUnavailable, "cannot do it now"),
        (unreachable(redis.ConnectionError("refused")), StoreUnavailable, "does not answer: refused"),
        (unreachable(redis.exceptions.BusyLoadingError("loading")), StoreUnavailable, "does not answer"),
        (unreachable(redis.AuthenticationError("WRONGPASS")), StoreRefused, "credentials"),
        (no_cluster(), StoreRefused, "a server by itself"),
        (redis.exceptions.MovedError("7 127.0.0.1:1"), StoreRefused, r"must begin with redis\+cluster"),
    ],
)
def test_a_cluster_that_nobody_tells_of_is_waited_for_unless_a_person_is_needed(
    error: Exception, kind: type[StoreError], says: str
) -> None:
    def call() -> None:
        raise error

    with pytest.raises(kind, match=says):
        guarded(call)


@pytest.mark.parametrize("name", ["fence", "index", "erased", "snapshots", "statistics", "outbox", "sample:1"])
def test_a_key_of_a_wrong_type_is_named_when_it_is_read(name: str, each_redis: str, namespace: str) -> None:
    client, store = connect(each_redis), RedisStore(connect(each_redis), namespace, "1")
    client.set(store.keys.generation(0), "1")
    client.rpush(store.keys.of(0, name), "not ours")
    read: Callable[[], object] = {
        "fence": lambda: store.fences([0]),
        "index": lambda: store.chunk(0, -1, 10),
        "erased": lambda: store.marks(0, ["h"]),
        "snapshots": lambda: store.snapshot(0, 1),
        "statistics": lambda: store.statistics(0),
        "outbox": lambda: store.outbox(0),
        "sample:1": lambda: store.rows(0, "sample", 1),
    }[name]
    with pytest.raises(InvalidKey) as caught:
        read()
    assert caught.value.key.encode() == store.keys.of(0, name)


@pytest.mark.parametrize("field", ["epoch", "last", "parent"])
def test_a_fence_that_is_none_of_ours_is_named(field: str, each_redis: str, namespace: str) -> None:
    client, store = connect(each_redis), RedisStore(connect(each_redis), namespace, "1")
    client.set(store.keys.generation(0), "1")
    for name, value in {"epoch": "1", "last": "1:2", "parent": "1:1", "state": "{}"}.items():
        client.hset(store.keys.of(0, "fence"), name, "x" if name == field else value)
    with pytest.raises(InvalidKey, match="fence"):
        store.fences([0])
