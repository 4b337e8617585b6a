"""What the worker tells the outside while it runs: one protocol, implemented by logs and metrics and by the demo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from consumer.partition import PartitionState
from consumer.ports import InputRecord, TransportError
from consumer.step import Decision
from features.ledger import Ints
from models.bundle import Bundle
from models.checkup import Checkup
from models.finding import Finding


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the loop that wrote to Redis: how long its parts took, in seconds, and what it was about.

    ended: POSIX seconds. arrived: when the input records that it applied were published, milliseconds since 1970,
    int64 (n,), none of a sweep. inputs: these records, to be read at once or not at all. published: output records.
    """

    ended: float
    polling: float
    preparing: float
    committing: float
    publishing: float
    partitions: tuple[int, ...]
    arrived: Ints
    inputs: Iterator[InputRecord]
    published: int
    failure: TransportError | None = None
    """Why nothing is known to be in Kafka; None where all of it is."""


class Observer(Protocol):
    """Hears of everything that a person or a metric would want to know; must not raise."""

    def written(self, partition: int) -> None:
        """A decision is in Redis; its outbox is still to be published."""

    def committed(self, partition: int, decision: Decision) -> None:
        """A decision is in Redis and in Kafka."""

    def turned(self, turn: Turn) -> None:
        """A turn that wrote has ended, well or not."""

    def lagging(self, lags: Mapping[int, int]) -> None:
        """So many records of each partition wait; told once a second."""

    def recovered(self, partition: int, verdict: str, state: PartitionState) -> None:
        """A partition was taken over, and stands so."""

    def released(self, partition: int) -> None:
        """A partition was taken from this worker."""

    def skipped(self, partition: int, start: int, stop: int) -> None:
        """Input that retention took unread was jumped over, as the operator asked."""

    def paused(self, partition: int, reason: str) -> None:
        """A partition stands still, and why; also said again when the reason changes."""

    def resumed(self, partition: int) -> None:
        """It goes on."""

    def stalled(self, partition: int, remedy: str) -> None:
        """Input waits but does not come; remedy: `seek` or `rejoin`, tried now."""

    def model_published(self, bundle: Bundle, waited_for: int) -> None:
        """A new version is live; `waited_for` partitions stood with an older snapshot."""

    def checked_up(self, checkup: Checkup) -> None:
        """The live version was looked at, as it is each time the leader refines."""

    def judged(self, day: date, findings: Sequence[Finding]) -> None:
        """A day's orders were looked at; `findings` are what is odd about them, none mostly."""

    def trouble(self, what: str, error: Exception) -> None:
        """Something failed that will be tried again."""


class Silence:
    """Hears and says nothing."""

    def written(self, partition: int) -> None: ...
    def committed(self, partition: int, decision: Decision) -> None: ...
    def turned(self, turn: Turn) -> None: ...
    def lagging(self, lags: Mapping[int, int]) -> None: ...
    def recovered(self, partition: int, verdict: str, state: PartitionState) -> None: ...
    def released(self, partition: int) -> None: ...
    def skipped(self, partition: int, start: int, stop: int) -> None: ...
    def paused(self, partition: int, reason: str) -> None: ...
    def resumed(self, partition: int) -> None: ...
    def stalled(self, partition: int, remedy: str) -> None: ...
    def model_published(self, bundle: Bundle, waited_for: int) -> None: ...
    def checked_up(self, checkup: Checkup) -> None: ...
    def judged(self, day: date, findings: Sequence[Finding]) -> None: ...
    def trouble(self, what: str, error: Exception) -> None: ...
