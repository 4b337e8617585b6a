"""The store in Redis or Valkey. Every key and its type stands at the head of commit.lua.

Guarantee: a commit is written as a whole or not at all, by the worker that holds the partition's epoch,
on top of the commit that it knows; a repeated call (its reply was lost) changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from features.store import (
    Chunk,
    Commit,
    Fence,
    Fenced,
    GenerationGone,
    InvalidKey,
    OutOfStep,
    Snapshot,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

T = TypeVar("T")

Client = redis.Redis
"""What `connect` returns; the shell passes it on without knowing the library."""

TIMEOUT_S = 5.0
_PAUSING = ("OOM", "MISCONF", "NOREPLICAS", "BUSY", "LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN")
"""First words of answers that say "not now"; redis-py raises several of them as a plain ResponseError."""


def connect(url: str, username: str | None = None, password: str | None = None) -> redis.Redis:
    """Return a client that never repeats a command by itself: our own code decides what may be repeated."""
    given = {k: v for k, v in (("username", username), ("password", password)) if v}
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        **given,
    )


def ping(url: str, username: str | None = None, password: str | None = None, *, timeout_s: float = 1.0) -> str | None:
    """Ask over a connection of its own whether the store answers; return what is wrong, None where nothing is."""
    client = connect(url, username, password)
    client.connection_pool.connection_kwargs |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    try:
        client.ping()
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        client.close()
    return None


class ServerFacts(NamedTuple):
    """What a server says of itself; append_only: None where it does not say."""

    name: str
    version: str
    append_only: bool | None


def server_facts(client: Client) -> ServerFacts:
    """Ask a server what it is. Raises `StoreError`."""
    told: Mapping[str, Any] = guarded(client.info)
    valkey = "valkey_version" in told
    number = told.get("valkey_version" if valkey else "redis_version", "of an unknown version")
    append_only = bool(told["aof_enabled"]) if "aof_enabled" in told else None
    return ServerFacts("Valkey" if valkey else "Redis", str(number), append_only)


def guarded(call: Callable[[], T]) -> T:
    """Run a call to Redis and raise what it means in the terms of `features.store`."""
    try:
        return call()
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError) as error:
        if isinstance(error, redis.AuthenticationError):
            raise StoreRefused(f"Redis refused the credentials: {error}") from None
        raise StoreUnavailable(f"Redis does not answer: {error}") from None
    except redis.ResponseError as error:
        text = str(error)
        if (
            isinstance(error, redis.ReadOnlyError | redis.OutOfMemoryError)
            or text.split(" ", maxsplit=1)[0] in _PAUSING
        ):
            raise StoreUnavailable(f"Redis cannot write now: {text}") from None
        if "OOM" in text or "READONLY" in text or "MISCONF" in text or "NOREPLICAS" in text:
            raise StoreUnavailable(f"Redis cannot write now: {text}") from None  # raised inside a script
        raise StoreRefused(f"Redis refused a command: {text}") from None


class Keys:
    """The names of a namespace's keys; the hash tag comes first, so no id can move a key's slot."""

    def __init__(self, namespace: str, generation: str) -> None:
        self.namespace, self.generation_name = namespace, generation

    def generation(self, partition: int) -> bytes:
        return f"{{{self.namespace}:{partition}}}:generation".encode()

    def of(self, partition: int, name: str) -> bytes:
        return f"{{{self.namespace}:{partition}}}:{self.generation_name}:{name}".encode()

    def customer(self, partition: int, customer: str) -> bytes:
        return self.of(partition, "c:" + customer)


class RedisStore:
    """Implements `features.store.Store`."""

    def __init__(self, client: redis.Redis, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self.keys = Keys(namespace, generation)
        self._generation = generation.encode()
        folder = files("features")
        self._commit = client.register_script((folder / "commit.lua").read_text("utf-8"))
        self._fence = client.register_script((folder / "fence.lua").read_text("utf-8"))

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        def read() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for partition in partitions:
                pipe.get(self.keys.generation(partition))
                pipe.hmget(self.keys.of(partition, "fence"), "epoch", "last", "parent", "state")
            return list(pipe.execute())

        answers = guarded(read)
        fences = {}
        for i, partition in enumerate(partitions):
            generation, (epoch, last, parent, state) = answers[2 * i], answers[2 * i + 1]
            if generation != self._generation or None in (epoch, last, parent, state):
                raise GenerationGone(
                    f"partition {partition}: Redis holds no state of generation {self.keys.generation_name}",
                    replaced=generation not in (None, self._generation),
                )
            fences[partition] = Fence(int(epoch), last.decode(), parent.decode(), state)
        return fences

    def raise_epoch(self, partition: int, epoch: int) -> None:
        keys = [self.keys.generation(partition), self.keys.of(partition, "fence")]
        self._judge(partition, guarded(lambda: self._fence(keys=keys, args=[self._generation, epoch])))

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        asked = [(partition, ids) for partition, ids in wanted.items() if ids]

        def read() -> list[list[bytes | None]]:
            pipe = self._redis.pipeline(transaction=False)
            for partition, ids in asked:
                prefix = self.keys.customer(partition, "")
                pipe.mget([prefix + customer.encode() for customer in ids])
            return list(pipe.execute())

        found = guarded(read) if asked else []
        return {p: [] for p in wanted} | {p: blobs for (p, _), blobs in zip(asked, found, strict=True)}

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        key = self.keys.of(partition, "erased")
        return list(guarded(lambda: self._redis.hmget(key, list(hashes)))) if hashes else []

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        key = self.keys.of(partition, "index")
        found = guarded(lambda: self._redis.zrangebyscore(key, f"({after}", "+inf", 0, limit, withscores=True))
        if len(found) == limit:  # the last position may go on beyond the limit
            last = int(found[-1][1])
            tail = guarded(lambda: self._redis.zrangebyscore(key, last, last, withscores=True))
            found = [pair for pair in found if int(pair[1]) != last] + tail
        ids = [member.decode() for member, _ in found]
        blobs = self.load({partition: ids})[partition]
        return Chunk(ids, [int(score) for _, score in found], blobs)

    def statistics(self, partition: int) -> bytes | None:
        return self._get(partition, "statistics")

    def outbox(self, partition: int) -> bytes:
        return self._get(partition, "outbox") or b""

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        key = self.keys.of(partition, "snapshots")
        found: bytes | None = guarded(lambda: self._redis.hget(key, str(sweep)))
        return found

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        return self._get(partition, f"{name}:{sweep}") or b""

    def day_log(self, partition: int) -> list[bytes]:
        return list(guarded(lambda: self._redis.lrange(self.keys.of(partition, "days"), 0, -1)))

    def commit(self, partition: int, commit: Commit) -> None:
        keys, args = self._request(partition, commit)
        self._judge(partition, guarded(lambda: self._commit(keys=keys, args=args)))

    def _get(self, partition: int, name: str) -> bytes | None:
        found: bytes | None = guarded(lambda: self._redis.get(self.keys.of(partition, name)))
        return found

    def _request(self, partition: int, c: Commit) -> tuple[list[bytes], list[Any]]:
        """Lay a commit out as commit.lua's KEYS and ARGV."""
        of = self.keys.of
        fixed = ["fence", "outbox", "statistics", "index", "days", "snapshots", "erased"]
        rows = [f"sample:{c.sweep}", f"touched:{c.sweep}", f"sample:{c.sweep - 2}", f"touched:{c.sweep - 3}"]
        order = list(c.created) + [customer for customer in c.states if customer not in c.created]
        prefix = self.keys.customer(partition, "")
        keys = [self.keys.generation(partition), *(of(partition, name) for name in fixed + rows)]
        keys += [prefix + customer.encode() for customer in (*order, *c.deleted)]
        keys += [of(partition, name) for name in c.replaced]
        snapshot = c.snapshot or Snapshot(0, b"")
        args: list[Any] = [self._generation, c.epoch, c.parent, c.id, c.state, c.outbox]
        args += [c.statistics or b"", c.day_entry or b"", c.sample, c.touched, int(c.begins)]
        args += [snapshot.sweep if c.snapshot else b"", snapshot.statistics, snapshot.sweep - 2]
        args += [len(order), len(c.created), len(c.deleted), len(c.marks), len(c.replaced), c.follows or c.parent]
        args += [c.states[customer] for customer in order]
        for customer, position in c.created.items():
            args += [position, customer.encode()]
        args += [customer.encode() for customer in c.deleted]
        for hashed, mark in c.marks.items():
            args += [hashed, mark]
        return keys, args + list(c.replaced.values())

    def _judge(self, partition: int, answer: bytes) -> None:
        verdict = answer.decode()
        if verdict == "GENERATION":
            live = guarded(lambda: self._redis.get(self.keys.generation(partition)))
            raise GenerationGone(f"partition {partition}: its state was replaced or is gone", replaced=live is not None)
        if verdict != "OK":
            raise _refusal(partition, verdict)


def _refusal(partition: int, verdict: str) -> StoreError:
    if verdict == "FENCED":
        return Fenced(f"partition {partition}: another worker holds a higher epoch")
    if verdict == "STEP":
        return OutOfStep(f"partition {partition}: Redis is not at the commit that this one follows")
    return InvalidKey(verdict.removeprefix("KEY "), "holds something that is not ours; nothing was written")
