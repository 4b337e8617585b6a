"""A Redis Cluster on loopback: servers of ours that hold the slots among them.

with StoreCluster() as cluster: cluster.url; cluster.home(key).kill(); cluster.await_ok(); cluster.moving(slot, to)

Each node is an `OwnStore`: its data lies in a folder of its own, as production must keep it, and it may be killed,
frozen and started again. A slot moves key by key, as `redis-cli --cluster reshard` moves it, so that a test can look at
it half way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import redis
from redis.crc import key_slot

from consumer.transport.child import free_port
from tests.harness.store import OwnStore, Program, find_store

SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
"""A master that is silent for so long has failed: its replica takes over, or without one the cluster is down."""


class StoreCluster:
    """Masters that hold the slots in equal ranges, from `start` to `close`."""

    def __init__(self, masters: int = 3) -> None:
        self.nodes = [_node() for _ in range(masters)]
        self.url = "redis+cluster://" + ",".join(urlsplit(node.url).netloc for node in self.nodes)
        self._clients: dict[str, Any] = {}

    def start(self) -> None:
        """Start the nodes, give them the slots and let them meet; return when all of them say that all is well."""
        bounds = [SLOTS * n // len(self.nodes) for n in range(len(self.nodes) + 1)]
        for number, (node, (low, high)) in enumerate(zip(self.nodes, pairwise(bounds), strict=True), 1):
            node.start()
            self.ask(node, "CLUSTER ADDSLOTSRANGE", low, high - 1)
            self.ask(node, "CLUSTER SET-CONFIG-EPOCH", number)
        for node in self.nodes[1:]:
            self._meet(node)
        self.await_ok()

    def close(self) -> None:
        """End every node and remove its data."""
        for client in self._clients.values():
            client.close()
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def add(self) -> OwnStore:
        """Start one more node, which has no slot yet; `url` does not name it."""
        node = _node()
        self.nodes.append(node)
        node.start()
        self._meet(node)
        self.await_ok()
        return node

    def add_replica(self, master: OwnStore) -> OwnStore:
        """Start one more node, which follows a master; return when it is in step."""
        node = self.add()
        self.ask(node, "CLUSTER REPLICATE", self._id(master))
        _await(lambda: self.client(node).info("replication").get("master_link_status") == "up", "a replica in step")
        return node

    def await_ok(self) -> None:
        """Wait until every node that runs knows every other and says that the cluster is well."""

        def well() -> bool:
            told = [self.ask(node, "CLUSTER INFO") for node in self.nodes if node.running]
            return all(t["cluster_state"] == "ok" and int(t["cluster_known_nodes"]) == len(self.nodes) for t in told)

        _await(well, "a cluster that is well")

    def home(self, key: bytes | int) -> OwnStore:
        """Return the node that holds a key's slot, or a slot, as the first node that runs knows."""
        slot = key if isinstance(key, int) else key_slot(key)
        nodes = {urlsplit(node.url).port: node for node in self.nodes}
        told = self.ask(next(node for node in self.nodes if node.running), "CLUSTER SLOTS")
        return next(nodes[primary[1]] for low, high, primary, *_ in told if low <= slot <= high)

    def ports(self) -> set[int]:
        """Return where the masters are to be spoken to, as each node that runs knows."""
        told = [self.ask(node, "CLUSTER SLOTS") for node in self.nodes if node.running]
        return {primary[1] for slots in told for _, _, primary, *_ in slots}

    def client(self, node: OwnStore) -> Any:
        """Return a client of one node alone; it follows nowhere."""
        if node.url not in self._clients:
            self._clients[node.url] = redis.Redis.from_url(node.url, socket_timeout=5)
        return self._clients[node.url]

    def ask(self, node: OwnStore, *words: object) -> Any:
        """Send a command to one node."""
        return self.client(node).execute_command(*words)

    @contextmanager
    def moving(self, slot: int, to: OwnStore) -> Iterator[Callable[[int], int]]:
        """Let a slot move from its node to another: in the block it is on its way, after it the other has it.

        Yields a function that carries up to so many of its keys over, and returns how many it carried.
        """
        source, place = self.home(slot), urlsplit(to.url)
        self.ask(to, "CLUSTER SETSLOT", slot, "IMPORTING", self._id(source))
        self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", self._id(to))

        def carry(count: int) -> int:
            keys = self.ask(source, "CLUSTER GETKEYSINSLOT", slot, count)
            if keys:
                self.ask(source, "MIGRATE", place.hostname, place.port, "", 0, 5_000, "KEYS", *keys)
            return len(keys)

        yield carry
        while carry(100):
            pass
        for node in (to, source):
            self.ask(node, "CLUSTER SETSLOT", slot, "NODE", self._id(to))

    @contextmanager
    def cut_off(self, replica: OwnStore, master: OwnStore) -> Iterator[None]:
        """Let a replica get nothing of what its master writes in the block."""
        replica.freeze()
        self.ask(master, "CLIENT KILL", "TYPE", "replica")  # it has what was sent by now, and asks for no more
        yield
        replica.thaw()

    def _meet(self, node: OwnStore) -> None:
        place = urlsplit(node.url)
        bus = self.client(node).config_get("cluster-port")["cluster-port"]
        self.ask(self.nodes[0], "CLUSTER MEET", place.hostname, place.port, bus)

    def _id(self, node: OwnStore) -> str:
        told: bytes = self.ask(node, "CLUSTER MYID")
        return told.decode()


def _node() -> OwnStore:
    choice = find_store({})
    assert isinstance(choice, Program)
    options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(free_port())]
    options += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"]
    # A node that is killed has what it acknowledged; by seconds, under load, a write may wait for the sync before it.
    options += ["--appendfsync", "always"]
    return OwnStore(choice.path, *options)


def _await(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
