"""What the worker asks of the state's store: one port, implemented by `redis_store` and by a fake.

The exceptions, and what a worker does about each:

    StoreError
      StoreUnavailable   the store cannot answer or write now: pause, try the very same call again
        SlotMoving       of a cluster, what one partition needs is on its way to another node: it alone waits
      StoreRefused       the call cannot succeed by being repeated
        Fenced           another worker raised the epoch: stop touching the partition
        OutOfStep        the stored sequence is not the commit's parent: recover the partition (PROTOCOL B)
        GenerationGone   another generation of the state was flipped in: stop, exit code 6; or none is there: 3
        InvalidKey       a key holds something that is not ours: pause the partition, name the key
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """The root of what a store raises."""


class StoreUnavailable(StoreError):
    """The store cannot answer now; the same call may be repeated."""


class SlotMoving(StoreUnavailable):
    """The keys of one partition are on their way to another node; nothing is wrong with the others."""


class StoreRefused(StoreError):
    """Repeating the call cannot help."""


class Fenced(StoreRefused):
    """The stored epoch is higher than ours, or another's of the same number."""


class OutOfStep(StoreRefused):
    """The stored commit is not the parent of the one that was to be written."""


class GenerationGone(StoreRefused):
    """The partition belongs to another generation of the state (`replaced`), or to none: its state is gone."""

    def __init__(self, message: str, *, replaced: bool = False) -> None:
        super().__init__(message)
        self.replaced = replaced


class InvalidKey(StoreRefused):
    """A key has a wrong type or holds bytes that are no state."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key


@dataclass(frozen=True, slots=True)
class Fence:
    """Where a partition's state stands: `last` and `parent` are commit ids, `epoch:sequence`."""

    epoch: int
    last: str
    parent: str
    state: bytes
    """The partition's state (consumer.partition.PartitionState), encoded."""
    owner: str = ""
    """The token of whoever raised the epoch; empty in a state from before there were any."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished sweep's statistics, as bytes, by the number of the sweep."""

    sweep: int
    statistics: bytes


@dataclass(frozen=True, slots=True)
class DailyRow:
    """A row of the daily table as JSON; rows of days before `first_day` are dropped with it."""

    day: int
    data: bytes
    first_day: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one batch, sweep chunk or recovery writes for one partition, all or nothing.

    owner: the token under which the epoch was raised. id, parent: commit ids; follows: stored as the
    parent instead, where Kafka knows another commit than Redis does (PROTOCOL B4). states: encoded state
    by customer, `created` those that were absent when loaded, with their sweep positions. deleted:
    customers whose state ends. statistics: None leaves them. sample, touched: rows appended under the
    number of `sweep`; begins: the sweep is new, what older ones left is dropped. replaced: rows of
    `sample:<n>` or `touched:<n>` rewritten after an erasure.
    """

    epoch: int
    parent: str
    id: str
    state: bytes
    outbox: bytes
    sweep: int
    owner: str = ""
    follows: str | None = None
    states: Mapping[str, bytes] = field(default_factory=dict)
    created: Mapping[str, int] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    statistics: bytes | None = None
    day_entry: bytes | None = None
    begins: bool = False
    sample: bytes = b""
    touched: bytes = b""
    snapshot: Snapshot | None = None
    row: DailyRow | None = None
    marks: Mapping[str, bytes] = field(default_factory=dict)
    replaced: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Customers of a partition in the sweep's order: ids, positions and states of one length."""

    ids: list[str]
    positions: list[int]
    blobs: list[bytes | None]


class Orders(NamedTuple):
    """What the operator asks of every worker of a namespace.

    paused: why nothing may be written now, None where it may; schema: that of the live generation, None without one;
    frozen_until: the last day (since 1970-01-01) on which no model is learned; promoted: the version that a person
    chose last, under which everybody is swept at once, 0 for none.
    """

    paused: str | None
    schema: int | None
    frozen_until: int | None = None
    promoted: int = 0


class Store(Protocol):
    """The state of all partitions of one namespace and generation."""

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        """Return where each partition stands. Raises `GenerationGone` where there is no state."""

    def orders(self) -> Orders:
        """Return what the operator asks of all workers; one round trip."""

    def raise_epoch(self, partition: int, epoch: int, owner: str = "") -> None:
        """Fence every older worker out. Raises `Fenced` unless `epoch` is the highest.

        owner: a token that nobody else has, where another may come to the same epoch (docs/decisions/0011).
        """

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        """Return the states of customers by partition, None for those who have none; one round trip."""

    def key(self, partition: int, name: str) -> str:
        """Return how a message calls the place of `statistics`, `snapshots`, ... in the store."""

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Return the erasure marks of keyed hashes."""

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        """Return at least `limit` customers with position > `after` (fewer: these are the last).

        Customers of one position are never parted, so a chunk may be longer than `limit`.
        """

    def statistics(self, partition: int) -> bytes | None:
        """Return the statistics last committed."""

    def outbox(self, partition: int) -> bytes:
        """Return the outbox last committed."""

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        """Return the statistics that a finished sweep left; None when it never ended or is too old."""

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        """Return the rows of `sample` or `touched` kept under a sweep."""

    def day_log(self, partition: int) -> list[bytes]:
        """Return every day entry, oldest first."""

    def daily(self, partition: int, first_day: int) -> list[bytes]:
        """Return the rows of the daily table from a day on, in the order of days; those of one day in any order."""

    def commit(self, partition: int, commit: Commit) -> None:
        """Write a commit, or find that it was written already (a lost reply). Raises `StoreError`."""

    def commit_each(self, commits: Mapping[int, Commit]) -> dict[int, StoreError]:
        """Write commits of several partitions, each as `commit` does, in one round trip.

        Returns why those failed that did, by partition: no other is the worse for it.
        """
