"""The tests' proxy passes all on unharmed, breaks what it is told to break, counts it, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from features.redis_store import connect
from tests.harness.live import wait_until
from tests.harness.proxy import Proxy, anything, holding, kafka_request, redis_request
from tests.harness.store import Store


@pytest.fixture
def proxy(redis_server: Store) -> Iterator[Proxy]:
    with Proxy.to_redis(redis_server.url) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy, redis_server: Store) -> Iterator[redis.Redis]:
    made = connect(proxy.url_of(redis_server.url), timeout_s=0.3)
    assert isinstance(made, redis.Redis)
    yield made
    made.close()


# --- requests in a stream ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffer", "length"),
    [
        (b"", None),
        (b"*1\r\n$4\r\nPING\r\n", 14),
        (b"*1\r\n$4\r\nPING\r\n*1\r\n$4", 14),
        (b"*1\r\n$4\r\nPIN", None),
        (b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb", None),
        (b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n", 23),
        (b"PING\r\n", 6),
    ],
)
def test_a_redis_command_is_found_whole(buffer: bytes, length: int | None) -> None:
    assert redis_request(buffer) == length


@pytest.mark.parametrize(
    ("buffer", "length"), [(b"\0\0", None), (b"\0\0\0\2a", None), (b"\0\0\0\2ab", 6), (b"\0\0\0\2ab\0", 6)]
)
def test_a_kafka_request_is_found_whole(buffer: bytes, length: int | None) -> None:
    assert kafka_request(buffer) == length


# --- passing and breaking ---------------------------------------------------------------------------------------------


def test_everything_passes_unharmed(client: redis.Redis, proxy: Proxy, namespace: str) -> None:
    blob = os.urandom(3_000_000)
    client.set(namespace, blob)
    assert client.get(namespace) == blob
    pipe = client.pipeline(transaction=False)
    for _ in range(500):
        pipe.strlen(namespace)
    assert pipe.execute() == [3_000_000] * 500
    client.delete(namespace)
    assert (proxy.connections, proxy.cuts, proxy.swallowed) == (1, 0, 0)


def test_cut_connections_are_reset_and_new_ones_pass(client: redis.Redis, proxy: Proxy) -> None:
    with socket.create_connection((proxy.host, proxy.port)) as plain:
        plain.sendall(b"PING\r\n")
        assert plain.recv(9) == b"+PONG\r\n"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            plain.recv(1)
    assert client.ping()
    assert (proxy.connections, proxy.cuts) == (2, 1)


def test_while_it_is_down_nobody_gets_through(client: redis.Redis, proxy: Proxy) -> None:
    client.ping()
    with proxy.down():
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                client.ping()
    assert client.ping()


def test_a_black_hole_takes_new_and_open_connections_and_answers_neither(
    client: redis.Redis, proxy: Proxy, redis_server: Store, namespace: str
) -> None:
    client.ping()
    with proxy.black_hole():
        for _ in range(2):  # the open connection, then one that is made meanwhile
            with pytest.raises(redis.TimeoutError):
                client.set(namespace, "lost")
        assert proxy.swallowed == 2
    assert client.exists(namespace) == 0
    assert client.ping()


def test_the_reply_of_the_request_meant_is_dropped_and_its_effect_stays(
    client: redis.Redis, proxy: Proxy, namespace: str
) -> None:
    rule = proxy.drop_reply(holding(b"INCR", namespace.encode()), at=(2, 3))
    assert client.incr(namespace) == 1
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.incr(namespace)
    assert client.incr(namespace) == 4
    client.delete(namespace)
    assert (rule.seen, rule.fired) == (4, 2)


def test_a_delay_holds_each_piece(client: redis.Redis, proxy: Proxy) -> None:
    client.ping()
    with proxy.delay(0.05):
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began >= 0.1
    assert proxy.delayed == 2


def test_it_can_point_at_another_server(proxy: Proxy, own_redis: Store, redis_server: Store, namespace: str) -> None:
    with connect(proxy.url_of(redis_server.url)) as through, connect(own_redis.url) as other:
        through.ping()
        other.set(namespace, "here")
        proxy.point_at("127.0.0.1", int(own_redis.url.rpartition(":")[2].partition("/")[0]))
        assert through.get(namespace) == b"here"
        assert (proxy.connections, proxy.cuts) == (2, 1)


def test_without_a_server_a_client_is_turned_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            Proxy("127.0.0.1", unused.getsockname()[1], frame=anything) as proxy,
            connect(f"redis://127.0.0.1:{proxy.port}/0") as client,
        ):
            with pytest.raises(redis.ConnectionError):
                client.ping()
            assert proxy.cuts == 1


def test_it_ends_without_a_thread_or_a_socket_left(redis_server: Store) -> None:
    def sockets() -> set[str]:
        found = set()
        for each in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile, as others' may be at any time
                found.add(str(each.readlink()))
        return {name for name in found if name.startswith("socket:")}

    threads, before = set(threading.enumerate()), sockets()
    with Proxy.to_redis(redis_server.url) as proxy:
        clients = [connect(proxy.url_of(redis_server.url)) for _ in range(5)]
        for each in clients:
            each.ping()
        wait_until(lambda: proxy.open == 5, "five connections")
        assert len(sockets() - before) > 10, "clients, both ways of the proxy, and its ear"
    for each in clients:
        each.close()
    assert set(threading.enumerate()) - threads == set()
    assert sockets() - before == set()
