"""What the worker asks of Kafka: three ports, each implemented by a transport and by a fake.

Every implementation passes the contract suite in tests/consumer/transport/transport_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class InputRecord(NamedTuple):
    """One record of a topic partition as it was read."""

    offset: int
    timestamp: int
    """Milliseconds since 1970: when it was published, never the time of the event."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class OutputRecord(NamedTuple):
    """One record to be written inside a transaction."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Committed(NamedTuple):
    """A committed offset with its metadata, `epoch:sequence` when it is ours (PROTOCOL A3)."""

    offset: int
    metadata: str


class Membership(NamedTuple):
    """A snapshot of the group membership, taken right after a poll (PROTOCOL A1)."""

    generation: int
    member_id: str
    instance: str | None
    partitions: frozenset[int]


class Rebalance(NamedTuple):
    """What the listener noted since the last look: partitions newly ours, and gone (PROTOCOL B1)."""

    assigned: frozenset[int]
    revoked: frozenset[int]
    """Revoked or lost; nothing of them may be published any more."""


class TopicFacts(NamedTuple):
    """What a state is bound to (DESIGN section 5)."""

    topic_id: str
    partitions: int


class TransportError(Exception):
    """Kafka could not do what was asked.

    retriable: the same call may succeed later without a human.
    fenced: another producer or member took over; the producer is useless from now on.
    """

    def __init__(self, message: str, *, retriable: bool, fenced: bool = False) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.fenced = fenced


class RetentionGap(TransportError):
    """The log no longer holds the wanted offset: input is lost unless somebody decides (exit code 3)."""

    def __init__(self, partition: int, wanted: int, earliest: int) -> None:
        super().__init__(
            f"partition {partition}: offset {wanted} is wanted but the log begins at {earliest}: "
            f"{earliest - wanted} records are gone unread",
            retriable=False,
        )
        self.partition, self.wanted, self.earliest = partition, wanted, earliest


class LogCutShort(TransportError):
    """The log ends before the wanted offset, so it is not the one that was read (exit code 4)."""

    def __init__(self, topic: str, partition: int, wanted: int, end: int) -> None:
        super().__init__(
            f"{topic}-{partition}: offset {wanted} is wanted but the log ends at {end}: it was truncated, or the topic "
            "was deleted and created again",
            retriable=False,
        )


class Source(Protocol):
    """The consumer group's side: one topic, our share of its partitions."""

    def poll(self, timeout_s: float) -> Mapping[int, Sequence[InputRecord]]:
        """Return new records by partition, in offset order; takes part in rebalances meanwhile.

        A partition just assigned stays paused until `seek` names its first offset.
        """

    def membership(self) -> Membership:
        """Return the snapshot taken by the last `poll`."""

    def rebalanced(self) -> Rebalance:
        """Return and forget what the listener noted."""

    def committed(self, partitions: frozenset[int], timeout_s: float) -> dict[int, Committed | None]:
        """Return the stable committed offsets (transactions in doubt are waited for).

        Raises `TransportError` (retriable) when the answer does not come in time.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` on, and resume it."""

    def pause(self, partitions: frozenset[int]) -> None:
        """Return no records of these partitions; heartbeats and rebalances go on."""

    def resume(self, partitions: frozenset[int]) -> None:
        """Undo `pause`."""

    def bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Return (earliest, end) offsets of any partitions of the topic."""

    def ends(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the end offsets of any partitions of the topic: one question, where `bounds` asks two."""

    def positions(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return the offsets that would be read next, asking nobody; a partition that is not ours is left out."""

    def lags(self, partitions: frozenset[int]) -> dict[int, int]:
        """Return how many offsets lie between what would be read next and the end, asking nobody.

        The end is that which the last answer to a fetch told, markers of transactions included; a partition that is
        not ours, or of which no answer has come yet, is left out.
        """

    def rejoin(self) -> None:
        """Leave the group and join it again with a new consumer; all that was ours is told as revoked.

        Raises `TransportError`, with the old consumer still in place, where no new one can be made.
        """

    def facts(self) -> TopicFacts | None:
        """Return the topic as the client's metadata has it, asking nobody; None where it cannot be told.

        No partitions and no id: the brokers know no such topic.
        """

    def close(self) -> None:
        """Leave the group."""


class Sink(Protocol):
    """The transactional producer's side."""

    @property
    def opened(self) -> bool:
        """Whether a sound producer is there: not before `open`, nor after a publish that failed."""

    def open(self) -> None:
        """Throw an older producer away, make a new one and `init_transactions` (PROTOCOL A4)."""

    def publish(
        self,
        records: Sequence[OutputRecord],
        offsets: Mapping[int, Committed],
        membership: Membership,
    ) -> None:
        """Write records and input offsets in one transaction (PROTOCOL A3).

        Returns only when the transaction is known to be committed. On any `TransportError` its
        outcome is unknown and the producer must be opened again (PROTOCOL A4).
        """

    def close(self) -> None:
        """Stop without waiting for anything in flight."""


class TopicReader(Protocol):
    """Reads partitions of any topic outside the group, committed records only."""

    def facts(self, topic: str) -> TopicFacts:
        """Return the topic's id and number of partitions."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (earliest, end) as a read_committed reader sees them."""

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the end with all that transactions in doubt have written: beyond that of `bounds` while one is."""

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the first offset published at or after a time, None where there is none."""

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[InputRecord]:
        """Yield the committed records with start <= offset < stop, in order."""

    def close(self) -> None:
        """Free the connection."""
