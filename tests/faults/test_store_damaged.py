"""A key of a wrong type, a state with a flipped bit: nothing is written, its partition waits alone (FAULTS 13).

A partition for each kind of key that commit.lua names, all damaged at once; partition 0 stays whole.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta

import pytest

from consumer.partition import decode_state
from consumer.service import local_partition_of
from features.redis_store import Client, Keys
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.store import Store
from tests.harness.world import FIRST_DAY, line, shopping

NO_STRINGS = ("fence", "index", "days", "snapshots", "erased")
LIVES = Callable[..., Live]
DAY = FIRST_DAY + timedelta(days=8)
FIXED = ("fence", "outbox", "statistics", "index", "days", "snapshots", "erased", "sample", "touched", "generation")
KINDS = ("whole", *FIXED, "existing customer", "new customer", "flipped bit")
"""What is damaged in partition 0, 1, 2, ... while a worker runs."""
AT_REST = ("whole", "fence", "generation", "statistics", "outbox", "state", "flipped statistics", "flipped outbox")
"""What is damaged while nobody runs."""


class Damage:
    """Damages keys of one world and puts them back."""

    def __init__(self, live: Live, client: Client) -> None:
        self._client = client
        self.keys = Keys(live.settings.namespace, live.store().keys.generation_name)
        self._live = live
        self._sweeps = {partition: state.sweep.number for partition, state in live.states().items()}
        home = local_partition_of(live.partitions)
        self.known = {home(name): name for name in (f"c{n}" for n in range(400)) if self._exists(home(name), name)}
        self.new = {home(name): name for name in (f"new{n}" for n in range(400))}
        self.touched: set[int] = set()
        self._before: dict[bytes, bytes | None] = {}

    def _exists(self, partition: int, customer: str) -> bool:
        return bool(self._client.exists(self.keys.customer(partition, customer)))

    def customer(self, partition: int, kind: str) -> str:
        """Return who buys in a partition: the one whose key is damaged, if any."""
        return self.new[partition] if kind == "new customer" else self.known[partition]

    def key(self, partition: int, kind: str) -> bytes:
        kind = kind.removeprefix("flipped ")
        if kind == "generation":
            return self.keys.generation(partition)
        if kind in ("existing customer", "new customer", "bit"):
            return self.keys.customer(partition, self.customer(partition, kind))
        if kind in ("sample", "touched"):
            kind += f":{self._sweeps[partition]}"
        return self.keys.of(partition, "fence" if kind == "state" else kind)

    def do(self, partition: int, kind: str) -> None:
        key = self.key(partition, kind)
        self.touched.add(partition)
        self._before[key] = self._client.dump(key)
        if kind == "state":
            self._client.hset(key, "state", flipped(self._client.hget(key, "state")))  # type: ignore[arg-type]
        elif kind.startswith("flipped"):
            self._client.set(key, flipped(self._client.get(key)))  # type: ignore[arg-type]
        else:
            self._client.delete(key)
            self._client.set(key, "ours?") if kind in NO_STRINGS else self._client.rpush(key, "ours?")

    def undo(self) -> None:
        for key, value in self._before.items():
            self._client.delete(key)
            if value is not None:
                self._client.restore(key, 0, value)
        self._before.clear()
        self.touched.clear()

    def named(self, partition: int, kind: str) -> str:
        """Return how the log and /readyz call the key: a customer's by a keyed hash."""
        if "customer" not in kind and kind != "flipped bit":
            return self.key(partition, kind).decode()
        customer, secret = self.customer(partition, kind), self._live.settings.erasure_key_bytes
        return hmac.new(secret, customer.encode(), "sha256").hexdigest()[:16]

    def contents(self) -> dict[bytes, object]:
        """Return all keys of the damaged partitions with what they hold, but for the epoch, which a takeover raises."""
        found: dict[bytes, object] = {}
        for partition in self.touched:
            for key in self._client.scan_iter(f"{{{self._live.settings.namespace}:{partition}}}:*", count=1000):
                is_fence = key.endswith(b":fence") and self._client.type(key) == b"hash"
                found[key] = self._client.hmget(key, "last", "parent", "state") if is_fence else self._client.dump(key)
        return found


def flipped(data: bytes) -> bytes:
    """Return bytes of which one bit in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def applied(live: Live, partition: int) -> int:
    return decode_state(live.store().fences([partition])[partition].state).applied


def buy(live: Live, damage: Damage, kinds: tuple[str, ...], invoice: str) -> None:
    """Let someone buy in each partition, if need be him whose key is damaged."""
    who = [damage.customer(partition, kind) for partition, kind in enumerate(kinds)]
    live.publish(line(name, DAY, invoice_no=f"{invoice}-{name}") for name in who)


def waits_alone(live: Live, damage: Damage, kinds: tuple[str, ...], worker: Served, fault: Fault) -> None:
    """See that each damaged partition names its key, that nothing in it changes, and that the whole one goes on."""
    before, goal = damage.contents(), live.reader.bounds(live.settings.transactions_topic, 0)[1]
    for partition, kind in enumerate(kinds[1:], start=1):
        name = damage.named(partition, kind)
        wait_until(lambda: name in worker.ready().paused.get(str(partition), ""), f"{kind} named: {name}", 60)  # noqa: B023
        assert any(name in event["reason"] for event in worker.log("partition paused"))
        fault.fired()
    assert worker.ready().status == 503
    wait_until(lambda: applied(live, 0) == goal, "the whole partition goes on", 30)
    assert damage.contents() == before


@pytest.mark.fault(13)
def test_a_damaged_key_stops_its_partition_alone_until_it_is_whole_again(
    lives: LIVES, fault: Fault, own_redis: Store
) -> None:
    live = lives(redis=own_redis.url, partitions=len(KINDS))
    live.bootstrap(list(shopping(13, customers=120, days=8, per_day=40)))
    live.tick(DAY)
    worker = Served(live)
    live.settle()
    damage = Damage(live, live.client)

    for partition, kind in enumerate(KINDS[1:], start=1):
        fault.inject()
        damage.do(partition, kind)
    buy(live, damage, KINDS, "while it runs")
    waits_alone(live, damage, KINDS, worker, fault)
    damage.undo()
    fault.ended()
    live.settle()
    wait_until(lambda: worker.ready().status == 200, "a ready worker", 60)
    fault.recovered()
    live.end()

    kinds = (*AT_REST, *["whole"] * (live.partitions - len(AT_REST)))
    for partition, kind in enumerate(AT_REST[1:], start=1):
        fault.inject()
        damage.do(partition, kind)
    worker = Served(live)
    buy(live, damage, kinds, "at rest")
    waits_alone(live, damage, AT_REST, worker, fault)
    damage.undo()
    fault.ended()
    live.settle()
    wait_until(lambda: worker.ready().status == 200, "a ready worker", 60)
    fault.recovered()
    live.end()
    fault.judge(live.verdict())
