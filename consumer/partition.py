"""Where one partition stands: the part of its state that is not a customer's. One JSON value in Redis.

    offset applied -> day (= the sweep's day) -> sweep (number, model, cursor) -> counters

A partition always has exactly one sweep, running or ended. The sweep stands for one (day, model version);
its number names it, so that a second sweep of the same day and version (a rebuild) is another one
(PROTOCOL C5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from consumer.stored import Count, Day, Seconds, read_json
from consumer.tally import Tally
from features.codec import SCHEMA
from features.identity import POSITION_BITS
from features.transaction import date_of

START = -1
"""The cursor of a sweep that has seen nobody."""

EVERYONE = 1 << POSITION_BITS

Position = Annotated[int, msgspec.Meta(ge=START, le=EVERYONE)]
"""A customer's place in the sweep's order, or `START`."""


class Sweep(msgspec.Struct, frozen=True):
    """One re-scoring of all customers as of a day.

    cursor: customers up to this position are done, None: all are. sample_below: those at a lower
    position leave their vectors for the refinement.
    """

    number: Count
    day: Day
    version: Count
    model_hash: str
    cursor: Position | None
    sample_below: Position = EVERYONE
    previous_version: Count | None = None
    """The model of the sweep before: it tells silence from a change of the model."""

    @property
    def ended(self) -> bool:
        return self.cursor is None


class Ahead(msgspec.Struct, frozen=True):
    """A run of events far ahead of the day (DESIGN D5): how many in a row, and the first customers."""

    count: Count = 0
    customers: tuple[int, ...] = ()


class Rewind(msgspec.Struct, frozen=True):
    """A recovery that went back: from `epoch` on all was done again behind `applied`, under a sweep up to a cursor.

    Records of older epochs that stand behind it were superseded; `verify` has to know which (PROTOCOL B4).
    """

    epoch: Count
    applied: Count
    sweep: Count
    cursor: Position | None


class Gap(msgspec.Struct, frozen=True):
    """Input that retention took unread: offsets start <= offset < stop are in no state (FAULTS 26)."""

    start: Count
    stop: Count


class PartitionState(msgspec.Struct, frozen=True):
    """Everything but the customers. watermark: greatest accepted event time, local seconds."""

    applied: Count
    sweep: Sweep
    watermark: Seconds
    ahead: Ahead = Ahead()
    erased: Count = 0
    counters: dict[str, Count] = {}
    rewinds: tuple[Rewind, ...] = ()
    gaps: tuple[Gap, ...] = ()
    tally: Tally | None = None
    """None in a state of a schema that keeps no moves, and until its first sweep after an upgrade begins."""

    @property
    def day(self) -> int:
        return self.sweep.day

    def counted(self, more: Mapping[str, int]) -> dict[str, int]:
        """Return the counters with some added."""
        return self.counters | {name: self.counters.get(name, 0) + n for name, n in more.items() if n}


class DayEntry(msgspec.Struct, frozen=True):
    """One line of the day log: sweep `number` of (day, version) began before input offset `applied`."""

    number: Count
    day: Day
    version: Count
    model_hash: str
    applied: Count


class SnapshotRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a finished sweep leaves for the leader (PROTOCOL C6)."""

    number: Count
    day: Day
    version: Count
    statistics: bytes
    sample_share: Annotated[float, msgspec.Meta(ge=0, le=1)]


Clock = Literal["wall", "event"]


class Rules(msgspec.Struct, frozen=True):
    """The settings that decide what an event means; the same for every worker of a namespace."""

    horizon_days: int = 365
    dedupe_days: int = 7
    forget_after_days: int = 1095
    ahead_days: int = 31
    ahead_events: int = 10
    ahead_customers: int = 3
    clock: Clock = "wall"
    emit: Literal["changes", "all"] = "changes"
    history_days: int = 400
    """Days for which the daily table is kept (consumer.tally)."""
    schema: int = SCHEMA
    """In which customers' states are written: the binding's (features.codec)."""


class History(msgspec.Struct, frozen=True):
    """What the bootstrap read: up to when (local seconds, None: no history), and whether its rows had ids."""

    cutoff: int | None = None
    has_ids: bool = False


def iso(day: int) -> str:
    """Return a day as ISO 8601."""
    return date_of(day).isoformat()


def encode_state(state: PartitionState) -> bytes:
    """Return a partition's state as JSON, so that an operator can read it in the store."""
    return msgspec.json.encode(state)


def decode_state(data: bytes) -> PartitionState:
    """Return a state of `encode_state`'s bytes. Raises `msgspec.DecodeError`."""
    return read_json(data, PartitionState)
