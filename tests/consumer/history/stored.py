"""All that a bootstrap has written, so that two of them can be compared."""

from typing import Any

from features.redis_store import Client


def stored(client: Client, namespace: str) -> dict[bytes, Any]:
    """Every key of a namespace with its value; the namespace is taken out of the key."""
    asked: Any = client
    reads = {
        b"string": asked.get,
        b"hash": asked.hgetall,
        b"zset": lambda key: asked.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: asked.lrange(key, 0, -1),
    }
    keys = list(asked.scan_iter(match=f"{{{namespace}:*", count=1000))
    return {key.replace(namespace.encode(), b""): reads[asked.type(key)](key) for key in keys}
