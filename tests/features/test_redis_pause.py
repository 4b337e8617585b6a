"""What an operator asks of all workers, in a real store: it belongs to the namespace, and is read in one round trip."""

from __future__ import annotations

import msgspec

from features.codec import SCHEMA
from features.orders import Pause, binding_key
from features.redis_generation import raise_schema, read_binding
from features.redis_pause import end_pause, read_pause, set_pause
from features.redis_store import RedisStore, connect
from features.store import Orders
from tests.harness.bindings import a_binding

BINDING = a_binding(partitions=2, clock="wall", schema=SCHEMA)


def test_a_pause_is_read_by_every_generation_until_it_is_taken_away(each_redis: str, namespace: str) -> None:
    with connect(each_redis) as client:
        stores = [RedisStore(client, namespace, generation) for generation in "12"]
        assert [store.orders() for store in stores] == [Orders(None, None)] * 2
        set_pause(client, namespace, Pause("a reason", "2026-11-25T12:00:00+00:00"))
        said = "paused by an operator since 2026-11-25T12:00:00+00:00: a reason; `segmenter resume` lets it go on"
        assert [store.orders().paused for store in stores] == [said] * 2
        assert read_pause(client, namespace) == Pause("a reason", "2026-11-25T12:00:00+00:00")
        end_pause(client, namespace)
        end_pause(client, namespace)
        assert read_pause(client, namespace) is None
        assert stores[0].orders() == Orders(None, None)


def test_a_schema_is_raised_only_of_the_binding_that_was_read(each_redis: str, namespace: str) -> None:
    with connect(each_redis) as client:
        client.set(binding_key(namespace), msgspec.json.encode(BINDING))
        store = RedisStore(client, namespace, "1")
        assert store.orders() == Orders(None, SCHEMA)
        replaced = msgspec.structs.replace(BINDING, generation="2")
        assert not raise_schema(client, namespace, replaced, SCHEMA + 1)
        assert raise_schema(client, namespace, BINDING, SCHEMA + 1)
        assert store.orders() == Orders(None, SCHEMA + 1)
        assert read_binding(client, namespace) == msgspec.structs.replace(BINDING, schema=SCHEMA + 1)
        client.delete(binding_key(namespace))
