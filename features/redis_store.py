"""The store in Redis or Valkey. Every key and its type stands at the head of commit.lua.

Guarantee: a commit is written as a whole or not at all, by the worker that holds the partition's epoch,
on top of the commit that it knows; a repeated call (its reply was lost) changes nothing.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias, TypeVar
from zlib import crc32

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisClusterException
from redis.retry import Retry

from features.identity import position
from features.orders import binding_key, frozen_key, orders_of, paused_key, promoted_key
from features.redis_cluster import addresses, first_cause, open_cluster
from features.redis_index import FIELD, PER_BUCKET, bucket_name, bucket_of
from features.store import (
    Chunk,
    Commit,
    Fence,
    Fenced,
    GenerationGone,
    InvalidKey,
    Orders,
    OutOfStep,
    SlotMoving,
    Snapshot,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

T = TypeVar("T")

Client: TypeAlias = redis.Redis | redis.RedisCluster
"""What `connect` returns; the shell passes it on without knowing the library."""

Request: TypeAlias = tuple[list[bytes], list[Any]]
"""A script's KEYS and ARGV."""

TIMEOUT_S = 5.0
_NOT_NOW = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterError,  # CLUSTERDOWN, MASTERDOWN, and whoever was sent to and fro too often
    redis.exceptions.SlotNotCoveredError,
)
_PAUSING = re.compile(r"(?:^|[ :]-?)(?:OOM|MISCONF|NOREPLICAS|BUSY|LOADING|READONLY|CLUSTERDOWN|MASTERDOWN)\b")
"""Words of an answer that says "not now": the first, or inside what a script met. Some have no class in redis-py."""
_MOVING = (redis.exceptions.TryAgainError, NoScriptError)
"""What a slot on its way answers; NOSCRIPT that of a node without slots, to which no script was sent."""
_BUCKETS_AT_ONCE = 256
_COMMIT_ID = re.compile(rb"\d{1,18}:\d{1,18}")
_CLUSTER = "redis+cluster:// (rediss+cluster:// for TLS)"
_OF_PIPELINE = " of pipeline caused error: "
"""Before it redis-py quotes the command, and with it customers' ids."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """How Redis is reached. cafile: who may vouch for a `rediss://` server; the system's authorities if None.

    url: as redis-py takes it, or a cluster's (features.redis_cluster).
    """

    url: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None


def connect(address: RedisAddress | str, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client that never repeats a command by itself: our own code decides what may be repeated.

    A `rediss://` server must show a certificate of a known authority, made out to the host in its address. A cluster is
    asked at once where its slots are: raises `StoreError`.
    """
    at = RedisAddress(address) if isinstance(address, str) else address
    urls = addresses(at.url)
    given: dict[str, Any] = {k: v for k, v in (("username", at.username), ("password", at.password)) if v}
    if at.cafile and urls[0].startswith("rediss:"):
        given["ssl_ca_certs"] = at.cafile
    given |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    if urls != [at.url]:
        return guarded(lambda: open_cluster(urls, given))
    return redis.Redis.from_url(at.url, retry=Retry(NoBackoff(), 0), **given)


def ping(address: RedisAddress, *, timeout_s: float = 1.0) -> str | None:
    """Ask over connections of its own whether the store answers; return what is wrong, None where nothing is."""
    try:
        with closing(connect(address, timeout_s=timeout_s)) as client:
            for server in _servers(client).values():
                server.ping()
    except (StoreError, redis.RedisError) as error:
        return f"{type(error).__name__}: {error}"
    return None


class ServerFacts(NamedTuple):
    """What a server says of itself; append_only: None where it does not say. at: host:port of a cluster's, else ""."""

    name: str
    version: str
    append_only: bool | None
    eviction: str
    at: str = ""


def server_facts(client: Client) -> list[ServerFacts]:
    """Ask the server what it is, or each primary of a cluster. Raises `StoreError`."""
    return [_facts(at, guarded(server.info)) for at, server in _servers(client).items()]


def _facts(at: str, told: Mapping[str, Any]) -> ServerFacts:
    valkey = "valkey_version" in told
    number = told.get("valkey_version" if valkey else "redis_version", "of an unknown version")
    append_only = bool(told["aof_enabled"]) if "aof_enabled" in told else None
    return ServerFacts("Valkey" if valkey else "Redis", str(number), append_only, str(told.get("maxmemory_policy")), at)


def _servers(client: Client) -> dict[str, redis.Redis]:
    """Return the servers that hold states, by their place: the one (""), or the primaries of a cluster."""
    if isinstance(client, redis.Redis):
        return {"": client}
    primaries = client.get_primaries()  # type: ignore[no-untyped-call]  # redis-py gives this one no types
    return {node.name: client.get_redis_connection(node) for node in primaries}


def guarded(call: Callable[[], T], key: bytes | None = None) -> T:
    """Run a call to Redis and raise what it means in the terms of `features.store`; `key`: the one that it reads."""
    try:
        return call()
    except (redis.RedisError, RedisClusterException) as caught:
        error = first_cause(caught)
        text = str(error).rpartition(_OF_PIPELINE)[2]
        if isinstance(error, redis.AuthenticationError):
            raise StoreRefused(f"Redis refused the credentials: {text}") from None
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            raise StoreUnavailable(f"Redis does not answer: {text}{_remedy(text)}") from None
        if isinstance(error, _MOVING) or "TRYAGAIN" in text:
            raise SlotMoving(f"a slot of Redis' cluster is on its way: {text}") from None
        if isinstance(error, _NOT_NOW) or _PAUSING.search(text):
            raise StoreUnavailable(f"Redis cannot do it now: {text}") from None
        if isinstance(error, redis.exceptions.AskError):  # MOVED, too; a cluster's client follows either by itself
            raise StoreRefused(
                f"Redis is a node of a cluster: SEGMENTER_REDIS_URL must begin with {_CLUSTER}"
            ) from None
        if text.startswith("WRONGTYPE") and key is not None:
            raise InvalidKey(key.decode(), "holds a value of another type; nothing was written") from None
        raise StoreRefused(f"Redis refused a command: {text}{_remedy(text)}") from None


def _remedy(text: str) -> str:
    """Return what to do about what only a person can mend, "" for the rest."""
    if "no permissions" in text.lower():
        return "; deploy/redis-users.acl has all that is needed"
    if "CERTIFICATE" in text:
        return (
            "; SEGMENTER_REDIS_SSL_CAFILE must hold the authority behind the server's certificate, and that one must "
            "be made out to the host in SEGMENTER_REDIS_URL"
        )
    if "cluster support disabled" in text:
        return f"; SEGMENTER_REDIS_URL begins with {_CLUSTER}, and it is a server by itself"
    return ""


def checksum(*parts: bytes) -> bytes:
    """Return the CRC-32 of what a fence or an outbox holds, as 8 hexadecimal digits."""
    return b"%08x" % crc32(b"\n".join(parts))


def fence_checksum(last: bytes, parent: bytes, state: bytes, buckets: int) -> bytes:
    """Return the checksum of a partition's fence, its epoch aside: that is raised by who knows nothing of the rest.

    buckets: in how many the sweep's order lies; one is not written, nor covered.
    """
    return checksum(last, parent, state, *([b"%d" % buckets] if buckets > 1 else []))


def _answer(answer: Any, key: bytes | None = None) -> Any:
    """Return one answer of a pipeline; raise what it means where it is an error, which then is the key's."""

    def read() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return guarded(read, key)


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

    def bucket(self, partition: int, bucket: int, buckets: int) -> bytes:
        return self.of(partition, bucket_name(bucket, buckets))


def read_buckets(client: Client, keys: Keys, partition: int) -> int:
    """Ask how many buckets a partition's order lies in. Raises `InvalidKey`, `StoreError`."""
    key = keys.of(partition, "fence")
    found: Any = guarded(lambda: client.hget(key, FIELD), key)
    return _number_of_buckets(found, key)


def _number_of_buckets(found: bytes | None, fence: bytes) -> int:
    number = 1 if found is None else int(found) if found.isdigit() and len(found) <= 9 else 0
    if number.bit_count() != 1:
        raise InvalidKey(fence.decode(), "its number of buckets is none of ours")
    return number


class RedisStore:
    """Implements `features.store.Store`."""

    def __init__(self, client: Client, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self.keys = Keys(namespace, generation)
        self._generation = generation.encode()
        folder = files("features")
        self._commit = client.register_script((folder / "commit.lua").read_text("utf-8"))
        self._fence = client.register_script((folder / "fence.lua").read_text("utf-8"))
        self._buckets: dict[int, int] = {}
        """How many each partition has; it never changes while a generation lives."""
        self._per_bucket: dict[int, float] = {}
        """How many customers one had when it was last read."""

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        def read() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for partition in partitions:
                pipe.get(self.keys.generation(partition))
                fields = ("epoch", "last", "parent", "state", "crc", "owner", FIELD)
                pipe.hmget(self.keys.of(partition, "fence"), *fields)
            return list(pipe.execute(raise_on_error=False))

        answers = guarded(read)
        fences = {}
        for i, partition in enumerate(partitions):
            generation = _answer(answers[2 * i], self.keys.generation(partition))
            found = _answer(answers[2 * i + 1], self.keys.of(partition, "fence"))
            if generation != self._generation or None in found[:4]:
                raise GenerationGone(
                    f"partition {partition}: Redis holds no state of generation {self.keys.generation_name}",
                    replaced=generation not in (None, self._generation),
                )
            buckets = _number_of_buckets(found[-1], self.keys.of(partition, "fence"))
            fences[partition] = self._checked(partition, found[:-1], buckets)
            self._buckets[partition] = buckets
        return fences

    def _checked(self, partition: int, found: Sequence[Any], buckets: int) -> Fence:
        epoch, last, parent, state, crc, owner = found
        if not (epoch.isdigit() and len(epoch) <= 18 and _COMMIT_ID.fullmatch(last) and _COMMIT_ID.fullmatch(parent)):
            raise InvalidKey(self.keys.of(partition, "fence").decode(), "its epoch or commits are none of ours")
        if crc is not None and crc != fence_checksum(last, parent, state, buckets):
            raise InvalidKey(self.keys.of(partition, "fence").decode(), "its checksum does not match")
        return Fence(int(epoch), last.decode(), parent.decode(), state, (owner or b"").decode("utf-8", "replace"))

    def _buckets_of(self, partition: int) -> int:
        if partition not in self._buckets:
            self._buckets[partition] = read_buckets(self._redis, self.keys, partition)
        return self._buckets[partition]

    def orders(self) -> Orders:
        namespace = self.keys.namespace
        asked = [
            paused_key(namespace),
            binding_key(namespace),
            frozen_key(namespace),
            promoted_key(namespace, self._generation.decode()),
        ]
        return orders_of(*guarded(lambda: self._redis.mget(asked)))

    def raise_epoch(self, partition: int, epoch: int, owner: str = "") -> None:
        keys = [self.keys.generation(partition), self.keys.of(partition, "fence")]
        answers = self._run(self._fence, {partition: (keys, [self._generation, epoch, owner])})
        self._judge(partition, _answer(answers[partition]))

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        asked = [(partition, ids) for partition, ids in wanted.items() if ids]

        def read() -> list[list[bytes | None]]:
            pipe = self._redis.pipeline(transaction=False)
            for partition, ids in asked:
                prefix = self.keys.customer(partition, "")
                pipe.execute_command(
                    "MGET", *(prefix + customer.encode() for customer in ids)
                )  # a cluster's pipeline has no mget
            return list(pipe.execute())

        found = guarded(read) if asked else []
        return {p: [] for p in wanted} | {p: blobs for (p, _), blobs in zip(asked, found, strict=True)}

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        key = self.keys.of(partition, "erased")
        return list(guarded(lambda: self._redis.hmget(key, list(hashes)), key)) if hashes else []

    def all_marks(self, partition: int) -> dict[str, bytes]:
        """Return every erasure mark of a partition, by keyed hash."""
        found: dict[bytes, bytes] = guarded(lambda: self._redis.hgetall(self.keys.of(partition, "erased")))
        return {hashed.decode(): mark for hashed, mark in found.items()}

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        buckets = self._buckets_of(partition)
        bucket, ids, positions = bucket_of(after + 1, buckets), list[str](), list[int]()
        while bucket < buckets and len(ids) < limit:
            missing = limit - len(ids)
            # One more: of the first a part lies behind `after`.
            likely = math.ceil(missing / self._per_bucket.get(partition, PER_BUCKET)) + 1
            asked = range(bucket, min(bucket + min(likely, _BUCKETS_AT_ONCE), buckets))
            keys = [self.keys.bucket(partition, each, buckets) for each in asked]
            answers = self._members(keys, f"({after}", "+inf", missing)
            if len(answers) > 2:  # few say little, and may be cut off
                self._per_bucket[partition] = max(1.0, sum(len(there) for there, _ in answers[1:]) / (len(answers) - 1))
            for there, at in answers:
                if len(ids) < limit:  # else the one before may have been cut off
                    ids += there
                    positions += at
            bucket = asked.stop
        if len(ids) >= limit:
            last = positions[limit - 1]
            stop = bisect_right(positions, last)
            if stop == len(ids):  # the last position may go on beyond what was read
                stop = bisect_left(positions, last)
                key = self.keys.bucket(partition, bucket_of(last, buckets), buckets)
                [(there, at)] = self._members([key], last, last)
                ids[stop:], positions[stop:] = there, at
                stop = len(ids)
            del ids[stop:], positions[stop:]
        return Chunk(ids, positions, self.load({partition: ids})[partition])

    def _members(
        self, keys: Sequence[bytes], low: str | int, high: str | int, limit: int = -1
    ) -> list[tuple[list[str], list[int]]]:
        """Return ids and positions of each bucket, in order, at most `limit` of each; one round trip.

        redis-py would walk all pairs once more to make floats of what mostly are some: a third of a sweep's reading.
        """

        def read() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.execute_command("ZRANGEBYSCORE", key, low, high, "WITHSCORES", "LIMIT", 0, limit)
            return list(pipe.execute(raise_on_error=False))

        members = []
        for key, answer in zip(keys, guarded(read), strict=True):
            found = _answer(answer, key)
            if found and isinstance(found[0], list):  # in pairs by RESP3
                found = [each for pair in found for each in pair]
            try:
                members.append(([member.decode() for member in found[::2]], [int(float(at)) for at in found[1::2]]))
            except (UnicodeDecodeError, OverflowError):
                raise InvalidKey(key.decode(), "holds what is no customer or no position of ours") from None
        return members

    def statistics(self, partition: int) -> bytes | None:
        return self._get(partition, "statistics")

    def outbox(self, partition: int) -> bytes:
        key, fence = self.keys.of(partition, "outbox"), self.keys.of(partition, "fence")

        def read() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            pipe.get(key)
            pipe.hget(fence, "outbox_crc")
            return list(pipe.execute(raise_on_error=False))

        data, crc = guarded(read)
        found: bytes = _answer(data, key) or b""
        crc = _answer(crc, fence)
        if crc is not None and crc != checksum(found):
            raise InvalidKey(key.decode(), "its checksum does not match")
        return found

    def key(self, partition: int, name: str) -> str:
        return self.keys.of(partition, name).decode()

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        key = self.keys.of(partition, "snapshots")
        found: bytes | None = guarded(lambda: self._redis.hget(key, str(sweep)), key)
        return found

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        return self._get(partition, f"{name}:{sweep}") or b""

    def day_log(self, partition: int) -> list[bytes]:
        key = self.keys.of(partition, "days")
        return list(guarded(lambda: self._redis.lrange(key, 0, -1), key))

    def daily(self, partition: int, first_day: int) -> list[bytes]:
        """Return the rows of the daily table from a day on, in the order of days; those of one day in any order."""
        key = self.keys.of(partition, "daily")
        return list(guarded(lambda: self._redis.zrangebyscore(key, first_day, "+inf"), key))

    def commit(self, partition: int, commit: Commit) -> None:
        for failure in self.commit_each({partition: commit}).values():
            raise failure

    def commit_each(self, commits: Mapping[int, Commit]) -> dict[int, StoreError]:
        try:
            answers = self._run(self._commit, {p: self._request(p, commit) for p, commit in commits.items()})
        except StoreError as error:  # every outcome is unknown
            return dict.fromkeys(commits, error)
        failures: dict[int, StoreError] = {}
        for partition, answer in answers.items():
            try:
                self._judge(partition, _answer(answer))
            except StoreError as error:
                failures[partition] = error
        return failures

    def _run(self, script: Script, requests: Mapping[int, Request]) -> dict[int, Any]:
        """Run a script for each partition, in one round trip; return answers and errors. Raises `StoreError`.

        Who lacks the script is given it; elsewhere in a cluster somebody may be silent.
        """
        answers = guarded(lambda: self._sent(script, requests))
        lacking = {p: requests[p] for p, answer in answers.items() if isinstance(answer, NoScriptError)}
        if lacking:
            try:
                guarded(lambda: self._bring(script, lacking))
                answers |= guarded(lambda: self._sent(script, lacking))
            except StoreError as error:
                answers |= dict.fromkeys(lacking, error)
        return answers

    def _sent(self, script: Script, requests: Mapping[int, Request]) -> dict[int, Any]:
        """Send scripts one behind the other. A pipeline of redis-py would ask for each first whether it is known."""
        pipe = self._redis.pipeline(transaction=False)
        for keys, args in requests.values():
            pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        return dict(zip(requests, pipe.execute(raise_on_error=False), strict=True))

    def _bring(self, script: Script, partitions: Iterable[int]) -> None:
        """Load a script where partitions lie."""
        if isinstance(self._redis, redis.Redis):
            self._redis.script_load(script.script)
            return
        for node in {self._redis.get_node_from_key(self.keys.generation(partition)) for partition in partitions}:
            self._redis.get_redis_connection(node).script_load(script.script)

    def _get(self, partition: int, name: str) -> bytes | None:
        key = self.keys.of(partition, name)
        found: bytes | None = guarded(lambda: self._redis.get(key), key)
        return found

    def _request(self, partition: int, c: Commit) -> Request:
        """Lay a commit out as commit.lua's KEYS and ARGV."""
        of = self.keys.of
        buckets = self._buckets_of(partition)
        places = _by_bucket(c, buckets)
        fixed = ["fence", "outbox", "statistics", bucket_name(0, buckets), "days", "snapshots", "erased"]
        rows = [f"sample:{c.sweep}", f"touched:{c.sweep}", f"sample:{c.sweep - 2}", f"touched:{c.sweep - 3}"]
        order = list(c.created) + [customer for customer in c.states if customer not in c.created]
        prefix = self.keys.customer(partition, "")
        keys = [self.keys.generation(partition), *(of(partition, name) for name in [*fixed, *rows, "daily"])]
        keys += [prefix + customer.encode() for customer in (*order, *c.deleted)]
        keys += [of(partition, name) for name in c.replaced]
        keys += [self.keys.bucket(partition, bucket, buckets) for bucket in places]
        snapshot = c.snapshot or Snapshot(0, b"")
        args: list[Any] = [self._generation, c.epoch, c.parent, c.id, c.state, c.outbox]
        args += [c.statistics or b"", c.day_entry or b"", c.sample, c.touched, int(c.begins)]
        args += [snapshot.sweep if c.snapshot else b"", snapshot.statistics, snapshot.sweep - 2]
        args += [len(order), len(c.created), len(c.deleted), len(c.marks), len(c.replaced), c.follows or c.parent]
        crc = fence_checksum(c.id.encode(), (c.follows or c.parent).encode(), c.state, buckets)
        args += [crc, checksum(c.outbox), c.owner]
        args += [c.row.data, c.row.day, c.row.first_day] if c.row else [b"", 0, 0]
        args += [buckets, len(places)]
        args += [c.states[customer] for customer in order]
        for hashed, mark in c.marks.items():
            args += [hashed, mark]
        args += c.replaced.values()
        for added, removed in places.values():
            args += [len(added) // 2, len(removed), *added, *removed]
        return keys, args

    def _judge(self, partition: int, answer: bytes) -> None:
        verdict = answer.decode()
        if verdict == "GENERATION":
            live = guarded(lambda: self._redis.get(self.keys.generation(partition)))
            raise GenerationGone(f"partition {partition}: its state was replaced or is gone", replaced=live is not None)
        if verdict != "OK":
            raise _refusal(partition, verdict)


def _by_bucket(c: Commit, buckets: int) -> dict[int, tuple[list[Any], list[bytes]]]:
    """Return by bucket the position and id of each new customer, one behind the other, and the ids that go."""
    found: dict[int, tuple[list[Any], list[bytes]]] = {}
    for customer, place in c.created.items():
        found.setdefault(bucket_of(place, buckets), ([], []))[0].extend((place, customer.encode()))
    for customer in c.deleted:
        found.setdefault(bucket_of(position(customer), buckets), ([], []))[1].append(customer.encode())
    return found


def _refusal(partition: int, verdict: str) -> StoreError:
    if verdict == "FENCED":
        return Fenced(f"partition {partition}: another worker holds a higher epoch")
    if verdict == "STEP":
        return OutOfStep(f"partition {partition}: Redis is not at the commit that this one follows")
    if verdict.startswith("RIGHT "):
        command = verdict.removeprefix("RIGHT ")
        text = f"its user has no permissions to run the '{command}' command; nothing was written"
        return StoreRefused(f"Redis refused a command: {text}{_remedy(text)}")
    return InvalidKey(verdict.removeprefix("KEY "), "holds something that is not ours; nothing was written")
