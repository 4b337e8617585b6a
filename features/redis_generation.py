"""Generations of state in Redis: loaded beside the live one, flipped in at the end (PROTOCOL H1).

    {<namespace>:model}:binding   string  JSON, `Binding`: the live generation and what it is bound to; the authority
    {<namespace>:model}:<g>:former  string  msgpack, a list of `Former`: what was before partitions were added
    <p>:generation                string  the generation that is live in partition p; the commit script checks it
    <p>:<g>:admitted              string  while tasks elsewhere load: whose writes are taken (`LoadEnded` for others)
    <p>:<g>:...                           the state itself, listed at the head of commit.lua

A load that did not finish leaves a generation that nothing names; the next load drops it first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

import msgspec

from features.orders import binding_key
from features.redis_index import FIELD, SCHEMA_OF_BUCKETS, bucket_of, buckets_for
from features.redis_store import Client, Keys, fence_checksum, guarded, read_buckets
from features.store import StoreRefused

CHUNK = 2_000


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What a state was made for (DESIGN section 5). A worker that finds another world stops.

    cutoff: local seconds of the newest row of the history, None without one; has_ids: its rows carried
    event ids of their own; day: the first day clock's value, from which refinements are counted.
    from_topic: where the history was the input topic itself, the first offset of each partition that was read.
    former: numbers of partitions that the topic had before (`segmenter repartition`), the oldest first.
    schema: in which states are written (features.codec); nothing older than what knows it may run. first_schema: in
    which the first ones were.
    """

    generation: str
    topic_id: str
    partitions: int
    partitioner: str = "murmur2"
    horizon_days: int
    timezone: str
    currency: str
    cutoff: int | None
    has_ids: bool
    day: int
    clock: str
    from_topic: tuple[int, ...] | None = None
    former: tuple[int, ...] = ()
    schema: int = 1
    first_schema: int = 1


class Former(msgspec.Struct, frozen=True):
    """A generation as it stood when its customers moved to more partitions: enough to recompute it all.

    states, days: a partition's state and day log, as stored. epoch: records of this epoch and above came after it.
    """

    binding: Binding
    states: list[bytes]
    days: list[list[bytes]]
    epoch: int


def former_key(namespace: str, generation: str) -> bytes:
    """Return the name of the list of former generations."""
    return f"{{{namespace}:model}}:{generation}:former".encode()


def read_former(client: Client, namespace: str, generation: str) -> list[Former]:
    """Return what was before partitions were added, the oldest first. Raises `StoreError`."""
    data: Any = guarded(lambda: client.get(former_key(namespace, generation)))
    if data is None:
        return []
    try:
        return msgspec.msgpack.decode(data, type=list[Former])
    except msgspec.DecodeError as error:
        name = former_key(namespace, generation).decode()
        raise StoreRefused(f"{name} is no list of generations of this version: {error}") from None


def read_binding(client: Client, namespace: str) -> Binding | None:
    """Return the live generation's binding; None before the first bootstrap. Raises `StoreError`."""
    data: Any = guarded(lambda: client.get(binding_key(namespace)))
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Binding)
    except msgspec.DecodeError as error:
        raise StoreRefused(f"{binding_key(namespace).decode()} is no binding of this version: {error}") from None


def raise_schema(client: Client, namespace: str, binding: Binding, schema: int) -> bool:
    """Let states be written in a newer schema; False where the binding is another one by now. Raises `StoreError`."""
    key = binding_key(namespace)
    raised = msgspec.json.encode(msgspec.structs.replace(binding, schema=schema))
    replace = client.register_script(_REPLACE)
    return bool(guarded(lambda: replace(keys=[key], args=[msgspec.json.encode(binding), raised])))


_REPLACE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2]) return 1"


_LOAD = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local customers = tonumber(ARGV[2])
for i = 1, customers do
  local at = 4 * (i - 1) + 2
  redis.call('SET', KEYS[1 + i], ARGV[at + 1])
  redis.call('ZADD', KEYS[1 + customers + tonumber(ARGV[at + 4])], ARGV[at + 2], ARGV[at + 3])
end
return 1
"""
"""KEYS: the token's, the customers', the buckets'. ARGV: token, customers; state, position, id, bucket of each."""


class LoadEnded(Exception):
    """A task was still writing a load that is over, or another one's: nothing of it was taken. Never worth a retry."""


class GenerationLoader:
    """Loads one new generation; nothing of it is live before `finish`."""

    def __init__(self, client: Client, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self._namespace, self._generation = namespace, generation
        self._keys = Keys(namespace, generation)
        self._expected: Counter[int] = Counter()
        self._buckets: dict[int, int] = {}

    def drop(self, partition: int) -> None:
        """Remove whatever a load that did not finish left of this generation."""
        pattern = self._keys.of(partition, "*").replace(b"[", b"\\[").replace(b"?", b"\\?")
        batch: list[bytes] = []
        for key in guarded(lambda: list(self._redis.scan_iter(match=pattern, count=CHUNK))):
            batch.append(key)
            if len(batch) == CHUNK:
                self._unlink(batch)
                batch = []
        self._unlink(batch)

    def divide(self, partition: int, customers: int, schema: int) -> None:
        """Give a partition that was dropped as many buckets as about so many customers want; without this it has one.

        schema: in which the generation's states are written. Below 3 there is one: who may run knows no more.
        """
        self._buckets[partition] = buckets_for(customers) if schema >= SCHEMA_OF_BUCKETS else 1
        if self._buckets[partition] > 1:
            key = self._keys.of(partition, "fence")
            guarded(lambda: self._redis.hset(key, FIELD, self._buckets[partition]))

    def _buckets_of(self, partition: int) -> int:
        """Return how many buckets a partition has, which another loader may have decided."""
        if partition not in self._buckets:
            self._buckets[partition] = read_buckets(self._redis, self._keys, partition)
        return self._buckets[partition]

    def _unlink(self, keys: Sequence[bytes]) -> None:
        if keys:
            guarded(lambda: self._redis.unlink(*keys))

    def load(self, partition: int, customers: Sequence[str], positions: Sequence[int], blobs: Sequence[bytes]) -> None:
        """Write some customers' states and their places in the sweep's order."""
        prefix, buckets = self._keys.customer(partition, ""), self._buckets_of(partition)
        in_order = sorted(zip(positions, (customer.encode() for customer in customers), blobs, strict=True))
        for low in range(0, len(in_order), CHUNK):
            part = in_order[low : low + CHUNK]
            pipe = self._redis.pipeline(transaction=False)
            pairs = ((prefix + name, blob) for _, name, blob in part)
            pipe.execute_command("MSET", *(each for pair in pairs for each in pair))  # a cluster's pipeline has no mset
            for bucket, rows in groupby(part, lambda row: bucket_of(row[0], buckets)):
                members = {name: position for position, name, _ in rows}
                pipe.zadd(self._keys.bucket(partition, bucket, buckets), members)
            guarded(pipe.execute)
        self.expect(partition, len(customers))

    def expect(self, partition: int, customers: int) -> None:
        """Note that so many more customers were written to a partition, here or by a task elsewhere."""
        self._expected[partition] += customers

    def admit(self, partition: int, token: str) -> None:
        """Take what is written by `load_admitted` under a token, and under no other."""
        guarded(lambda: self._redis.set(self._keys.of(partition, "admitted"), token))

    def end_admission(self, partition: int) -> None:
        """Take nothing more: a task that runs twice, or wakes too late, cannot touch what may be live by then."""
        guarded(lambda: self._redis.unlink(self._keys.of(partition, "admitted")))

    def load_admitted(
        self, partition: int, customers: Sequence[str], positions: Sequence[int], blobs: Sequence[bytes], token: str
    ) -> None:
        """Do what `load` does, from a task elsewhere; again is the same as once. Raises `LoadEnded`, `StoreError`."""
        script = self._redis.register_script(_LOAD)
        admitted, buckets = self._keys.of(partition, "admitted"), self._buckets_of(partition)
        prefix = self._keys.customer(partition, "")
        in_order = sorted(zip(positions, (customer.encode() for customer in customers), blobs, strict=True))
        for low in range(0, len(in_order), CHUNK):
            part = in_order[low : low + CHUNK]
            homes = [bucket_of(place, buckets) for place, _, _ in part]
            places = {bucket: n + 1 for n, bucket in enumerate(dict.fromkeys(homes))}
            keys = [admitted, *(prefix + name for _, name, _ in part)]
            keys += [self._keys.bucket(partition, bucket, buckets) for bucket in places]
            rows = ((blob, place, name, places[home]) for (place, name, blob), home in zip(part, homes, strict=True))
            write = partial(script, keys=keys, args=[token, len(part), *(each for row in rows for each in row)])
            if not guarded(write):
                raise LoadEnded(f"partition {partition} takes nothing more from this load of {self._generation}")

    def put_marks(self, partition: int, marks: dict[str, bytes]) -> None:
        """Write the erasure marks that this generation begins with."""
        if marks:
            guarded(lambda: self._redis.hset(self._keys.of(partition, "erased"), mapping=marks))

    def put_daily(self, partition: int, rows: Sequence[tuple[int, bytes]]) -> None:
        """Write rows of the daily table, each with its day."""
        if rows:
            table = {row: day for day, row in rows}
            guarded(lambda: self._redis.zadd(self._keys.of(partition, "daily"), table))

    def put_state(
        self, partition: int, state: bytes, *, epoch: int = 0, last: str = "0:0", parent: str = "0:0"
    ) -> None:
        """Write where a partition begins: commit 0:0, epoch 0, unless it goes on from earlier ones."""
        crc = fence_checksum(last.encode(), parent.encode(), state, self._buckets_of(partition))
        fence = {"epoch": epoch, "last": last, "parent": parent, "state": state, "crc": crc}
        guarded(lambda: self._redis.hset(self._keys.of(partition, "fence"), mapping=fence))

    def put_former(self, former: Sequence[Former]) -> None:
        """Write what was before partitions were added."""
        key = former_key(self._namespace, self._generation)
        guarded(lambda: self._redis.set(key, msgspec.msgpack.encode(former)))

    def hold(self, partitions: int) -> None:
        """Let the partitions name this generation again, where a flip to another one was interrupted."""
        for partition in range(partitions):
            key = self._keys.generation(partition)
            guarded(partial(self._redis.set, key, self._generation))

    def _held(self, partition: int) -> int:
        """Count the customers of a partition."""
        buckets = self._buckets_of(partition)
        pipe = self._redis.pipeline(transaction=False)
        for bucket in range(buckets):
            pipe.zcard(self._keys.bucket(partition, bucket, buckets))
        return sum(guarded(pipe.execute))

    def finish(self, binding: Binding) -> None:
        """Flip every partition to this generation, then the registry's record, and drop the old one.

        Raises `StoreRefused`, and flips nothing, where a server lost what it had acknowledged while others were loaded.
        """
        for partition, written in self._expected.items():
            held = self._held(partition)
            if held != written:
                raise StoreRefused(
                    f"partition {partition}: Redis holds {held:,} of the {written:,} customers that were loaded: it "
                    "lost writes meanwhile (a restart, or a failover to a replica that lagged); bootstrap again"
                )
        old = read_binding(self._redis, self._namespace)
        self.hold(binding.partitions)
        guarded(lambda: self._redis.set(binding_key(self._namespace), msgspec.json.encode(binding)))
        if old is not None and old.generation != self._generation:
            previous = GenerationLoader(self._redis, self._namespace, old.generation)
            for partition in range(old.partitions):
                previous.drop(partition)
