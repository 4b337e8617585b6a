"""What `verify` takes and gives: plain values, so that the judge knows nothing of what it judges.

History   rows of the files up to the cutoff        Partition   one partition's input, output, day log, states
Facts     the rules of the namespace                Verdict     what was compared, and what differs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Facts:
    """The rules under which a namespace ran; times are local seconds, days are since 1970-01-01 in `timezone`.

    first_day: every partition's day before its first sweep. cutoff: time of the newest history row, None
    without a history; has_ids: its rows had ids of their own. today: the wall clock's day now, for `future`.
    partition_of: customer -> partition, None for Kafka's murmur2. erasure_key: None leaves marks unchecked.
    from_topic: the history was (also) the input before each partition's start. former: numbers of partitions that
    the topic had before; first_version: the model of the state whose customers a repartition moved here.
    keeps_moves: the very first states were of a schema that keeps moves.
    """

    partitions: int
    timezone: str
    currency: str
    clock: Literal["wall", "event"]
    first_day: int
    today: int
    cutoff: int | None = None
    has_ids: bool = False
    horizon_days: int = 365
    dedupe_days: int = 7
    forget_after_days: int = 1095
    ahead_days: int = 31
    ahead_events: int = 10
    ahead_customers: int = 3
    emit: Literal["changes", "all"] = "changes"
    partition_of: Callable[[str], int] | None = None
    erasure_key: bytes | None = None
    from_topic: bool = False
    former: tuple[int, ...] = ()
    first_version: int | None = None
    keeps_moves: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """The files' kept rows as columns of one length.

    customer: canonical id; invoice: trimmed text, for a return that names its order the order's; time: local
    seconds; amount: signed, in 1/10,000; units: signed; event_id: text, "" where there is none (older rows than the
    dedupe horizon need none); row: where it stands, to name it in a difference, () where that is not known.
    """

    customer: Sequence[str] = ()
    invoice: Sequence[str] = ()
    time: Sequence[int] = ()
    amount: Sequence[int] = ()
    units: Sequence[int] = ()
    event_id: Sequence[str] = ()
    row: Sequence[str] = ()


class InputRecord(NamedTuple):
    """A record of the input partition; timestamp in milliseconds: when it was published."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class OutputRecord(NamedTuple):
    """A committed record of the output partition."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class DayEntry(NamedTuple):
    """A line of the day log: sweep `number` of (day, version) began before input offset `applied`."""

    number: int
    day: int
    version: int
    model_hash: str
    applied: int


class Rewind(NamedTuple):
    """A recovery that went back (PROTOCOL B4): from `epoch` on, all was done again behind `applied`.

    sweep: the one that was running or had ended there; cursor: up to which position, None: ended.
    """

    epoch: int
    applied: int
    sweep: int
    cursor: int | None


class Standing(NamedTuple):
    """Where the stored partition state stands: its sweep (cursor None: ended), counters, and recoveries."""

    applied: int
    sweep: int
    day: int
    version: int
    cursor: int | None
    counters: Mapping[str, int]
    rewinds: Sequence[Rewind] = ()
    gaps: Sequence[tuple[int, int]] = ()
    """Offsets (first, next after the last) that retention took unread and the service went over (FAULTS 26)."""
    totals: Sequence[tuple[int, int, int]] | None = None
    """(segment, customers, their net in the horizon in 1/10,000) of whom the sweep has counted; None: not counted."""


Completeness = Literal["whole", "compacted", "tail"]
"""Of an output partition: every record; at least each customer's last; every record from some point on."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition at rest.

    start: the first input offset that counts beside the history; committed: the group's offset, where the
    input is cut; input_from: the first offset that `input` could hold (> start: retention took some).
    statistics: the stored bytes, None leaves them unchecked. marks: erasure marks by keyed hash, as JSON.
    dead: offset -> reason of the dead letters that are still there. before: where the topic was the history, the
    records from `before_from` to the start that are still there; before_dead: offsets of those with a dead letter.
    """

    number: int
    start: int
    committed: int
    input_from: int
    input: Sequence[InputRecord]
    output: Sequence[OutputRecord]
    days: Sequence[DayEntry]
    states: Mapping[str, bytes]
    standing: Standing
    completeness: Completeness = "whole"
    statistics: bytes | None = None
    marks: Mapping[str, bytes] = field(default_factory=dict)
    dead: Mapping[int, str] = field(default_factory=dict)
    before: Sequence[InputRecord] = ()
    before_from: int | None = None
    before_dead: frozenset[int] = frozenset()
    moved: Sequence[OutputRecord] = ()
    """Copies of the last records of customers who moved here from another partition."""


class Chapter(NamedTuple):
    """A generation before partitions were added, as it stood when its customers moved: `states` are empty."""

    facts: Facts
    partitions: Sequence[Partition]


Bucket = Literal["state", "output", "revision"]


class Difference(NamedTuple):
    """One thing that is not as recomputed. customer is "" where it concerns the partition."""

    bucket: Bucket
    partition: int
    customer: str
    kind: str
    expected: Any
    found: Any


class VerifiedFrom(NamedTuple):
    """From where a partition could be verified.

    input_offset: the first input record there was; states: False where input was missing before it, so
    that nothing could be recomputed; output_offset: the first output record; unseen: customers whose first
    revisions are gone from the output; unread: customers without any record in a tail.
    """

    partition: int
    input_offset: int
    states: bool
    output_offset: int | None
    unseen: int
    unread: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; differences: the first ones.

    blurred: customers above the ledger's cap with lines for records that were folded already, whose days were
    compared and labels were not; replayed: customers with records that a recovery published again (PROTOCOL B4).
    """

    customers: int
    events: int
    records: int
    state_differences: int
    output_differences: int
    revision_errors: int
    verified_from: tuple[VerifiedFrom, ...]
    blurred: int
    replayed: int
    differences: tuple[Difference, ...]
    gaps: tuple[tuple[int, int, int], ...] = ()
    """(partition, first, next after the last) of input that is in no state, for it was gone before it was read."""

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return not (self.state_differences or self.output_differences or self.revision_errors)

    def report(self) -> dict[str, Any]:
        """Return the verdict as JSON's types."""
        return {
            "customers": self.customers,
            "events": self.events,
            "records": self.records,
            "state_differences": self.state_differences,
            "output_differences": self.output_differences,
            "revision_errors": self.revision_errors,
            "verified_from": [entry._asdict() for entry in self.verified_from],
            "blurred": self.blurred,
            "replayed": self.replayed,
            "gaps": [list(gap) for gap in self.gaps],
            "differences": [difference._asdict() for difference in self.differences],
        }
