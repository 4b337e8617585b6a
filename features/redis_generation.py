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
from typing import Any

import msgspec

from features.orders import binding_key
from features.redis_store import Client, Keys, checksum, guarded
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
for i = 3, #KEYS do
  local at = 3 * (i - 3) + 2
  redis.call('SET', KEYS[i], ARGV[at])
  redis.call('ZADD', KEYS[2], ARGV[at + 1], ARGV[at + 2])
end
return 1
"""


class LoadEnded(Exception):
    """A task was still writing a load that is over, or another one's: nothing of it was taken. Never worth a retry."""


class GenerationLoader:
    """Loads one new generation; nothing of it is live before `finish`."""

    def __init__(self, client: Client, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self._namespace, self._generation = namespace, generation
        self._keys = Keys(namespace, generation)
        self._expected: Counter[int] = Counter()

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

    def _unlink(self, keys: Sequence[bytes]) -> None:
        if keys:
            guarded(lambda: self._redis.unlink(*keys))

    def load(self, partition: int, customers: Sequence[str], positions: Sequence[int], blobs: Sequence[bytes]) -> None:
        """Write some customers' states and their places in the sweep's order."""
        for low in range(0, len(customers), CHUNK):
            part = slice(low, low + CHUNK)
            names = [customer.encode() for customer in customers[part]]
            prefix = self._keys.customer(partition, "")
            pipe = self._redis.pipeline(transaction=False)
            pairs = zip((prefix + name for name in names), blobs[part], strict=True)
            pipe.execute_command("MSET", *(each for pair in pairs for each in pair))  # a cluster's pipeline has no mset
            pipe.zadd(self._keys.of(partition, "index"), dict(zip(names, positions[part], strict=True)))
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
        head = [self._keys.of(partition, "admitted"), self._keys.of(partition, "index")]
        prefix = self._keys.customer(partition, "")
        for low in range(0, len(customers), CHUNK):
            part = slice(low, low + CHUNK)
            names = [customer.encode() for customer in customers[part]]
            values = [each for row in zip(blobs[part], positions[part], names, strict=True) for each in row]
            write = partial(script, keys=[*head, *(prefix + name for name in names)], args=[token, *values])
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
        crc = checksum(last.encode(), parent.encode(), state)
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

    def finish(self, binding: Binding) -> None:
        """Flip every partition to this generation, then the registry's record, and drop the old one.

        Raises `StoreRefused`, and flips nothing, where a server lost what it had acknowledged while others were loaded.
        """
        for partition, written in self._expected.items():
            key = self._keys.of(partition, "index")
            held = guarded(partial(self._redis.zcard, key))
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
