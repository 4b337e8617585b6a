"""One partition in this worker: its place, what waits to be applied, and what its next commit will be.

    take(records) -> buffer --plan--> Events | Control | Chunk | Wait --decide--> Prepared --> commit, publish

A lane holds no decision of its own across a commit: after a failure it is thrown away and taken over
again from Redis and Kafka (PROTOCOL B).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from consumer.clock import Cut, cut
from consumer.partition import PartitionState, Rules
from consumer.ports import InputRecord
from consumer.step import Decision
from features.ledger import Ints
from features.store import Chunk, Commit
from features.transaction import Batch
from models.bundle import Bundle
from models.population import Statistics


@dataclass(frozen=True, slots=True)
class Events:
    """Apply the lines of `piece.now`."""

    piece: Cut


@dataclass(frozen=True, slots=True)
class Sweeping:
    """Re-score the next chunk of the lane's sweep."""

    chunk: Chunk
    last: bool


Unit = Events | Sweeping


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decision and the commit that writes it; kept while the outcome of the commit is unknown."""

    decision: Decision
    commit: Commit
    dead_bytes: Mapping[int, InputRecord]
    piece: Cut | None
    """The events of it, None for a sweep's chunk."""


@dataclass(slots=True)
class Lane:
    """The worker's view of one partition it owns."""

    partition: int
    epoch: int
    owner: str
    """The token under which the epoch was raised: its number may be another's, too (docs/decisions/0011)."""
    last: str
    """The commit that Kafka is known to have: the parent of the next one."""
    state: PartitionState
    statistics: Statistics
    bundle: Bundle | None
    """The model of the sweep; None where the registry does not know it (PROTOCOL C7)."""
    previous: Bundle | None
    buffer: Batch | None = None
    raw: dict[int, InputRecord] = field(default_factory=dict)
    arrived: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """When the records that wait were published, milliseconds since 1970, in the order of `raw`: int64 (n,)."""
    prepared: Prepared | None = None
    blocked: str | None = None
    """Why the lane stands still: something that only a person or time can mend."""
    retry_at: float = 0.0
    apart: bool = False
    """Its states could not be read just now: it is decided alone until they can be."""
    seen_at: float = 0.0
    """When the store was last seen to stand where this lane left it."""
    waiting_since: float | None = None
    quiet_since: float | None = None
    """Since when nothing waits here and the log has no more."""
    swept_last: bool = False

    @property
    def next_id(self) -> str:
        """The id of the next commit: the sequence grows by one, the epoch is ours (PROTOCOL A2)."""
        return f"{self.epoch}:{int(self.last.partition(':')[2]) + 1}"

    def take(self, batch: Batch, records: Sequence[InputRecord], arrived: Ints) -> None:
        """Receive new input; the lane was not given any while its buffer was filled."""
        assert self.buffer is None, "a paused partition was polled"
        self.buffer, self.arrived = batch, arrived
        self.raw = {record.offset: record for record in records}
        self.quiet_since = None

    def cut(self, rules: Rules) -> Cut | None:
        """Split what waits at the present day."""
        return None if self.buffer is None else cut(self.buffer, self.state, rules)

    def applying(self) -> tuple[Ints, Iterator[InputRecord]]:
        """Return when the records of the prepared commit were published, and the records; none of a sweep's chunk."""
        piece = None if self.prepared is None else self.prepared.piece
        count = 0 if piece is None else piece.now.records
        return self.arrived[:count], islice(self.raw.values(), count)

    def done(self, piece: Cut) -> None:
        """Forget what was applied and published."""
        self.buffer = piece.rest
        self.arrived = self.arrived[piece.now.records :]
        stop = piece.now.stop
        if self.buffer is None:
            self.raw.clear()
        else:
            self.raw = {offset: record for offset, record in self.raw.items() if offset >= stop}
