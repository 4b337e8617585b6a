"""Taking a partition over: what its state in Redis and its commit in Kafka say together (PROTOCOL B). Pure.

                   Redis' last == committed          in step        seek to applied
                   Redis' parent == committed        republish      the outbox again, then as above
sequence behind    Redis lost writes                 diverged       raise revisions from the output, then replay
sequence ahead     Kafka lost commits                lost           stop, exit code 3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import msgspec
import numpy as np

from consumer.messages import SegmentRecord
from consumer.partition import PartitionState, Rules
from consumer.ports import Committed, InputRecord
from consumer.tally import Tally, totals_of
from features.codec import decode_states, encode_states
from features.identity import position
from features.ledger import expire
from features.moves import CAUSES, MAX_MOVES, MOVE, Moves, joined
from features.store import Fence
from features.transaction import day_of


class Verdict(Enum):
    """What a new owner does first."""

    IN_STEP = "in step"
    FIRST = "first"
    """Nothing was ever committed: commit (applied, 0:0) before anything else (B3)."""
    REPUBLISH = "republish"
    DIVERGED = "diverged"
    LOST = "lost"


class Claim(NamedTuple):
    """What tells an owner from all others: the epoch, and a token, for Redis may lose the epoch's raise."""

    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis and Kafka say of a partition after its epoch was raised."""

    fence: Fence
    state: PartitionState
    committed: Committed | None
    tail: tuple[int, int] | None

    @property
    def known(self) -> tuple[int, int] | None:
        """The newest commit that Kafka is known to have, as (epoch, sequence)."""
        ours = parse_commit_id(self.committed.metadata) if self.committed is not None else None
        return ours or self.tail


def parse_commit_id(text: str) -> tuple[int, int] | None:
    """Return (epoch, sequence) of a commit id, None where the text is none of ours."""
    epoch, colon, sequence = text.partition(":")
    if colon and epoch.isdecimal() and sequence.isdecimal():
        return int(epoch), int(sequence)
    return None


def judge(fence: Fence, committed: Committed | None, tail: tuple[int, int] | None) -> Verdict:
    """Compare what Redis and Kafka know of a partition.

    committed: None or with foreign metadata, where the group's offsets were reset, have expired, or the
    broker forgets; then `tail`, the highest (epoch, sequence) header of the output partition, decides
    (B3). A commit with an empty outbox leaves no header, so a lower tail means: publish the last outbox,
    which is empty or was not published.
    """
    last, parent = _id(fence.last), _id(fence.parent)
    known = parse_commit_id(committed.metadata) if committed is not None else None
    if known is None:
        if tail is None:
            return Verdict.FIRST if last == (0, 0) else Verdict.REPUBLISH
        if tail == last:
            return Verdict.IN_STEP
        if _before(last, tail):
            return Verdict.DIVERGED
        return Verdict.REPUBLISH
    if known == last:
        return Verdict.IN_STEP
    if known == parent:
        return Verdict.REPUBLISH
    return Verdict.LOST if _before(known, last) else Verdict.DIVERGED


def _id(text: str) -> tuple[int, int]:
    found = parse_commit_id(text)
    if found is None:
        raise ValueError(f"{text!r} is no commit id")
    return found


def _before(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Order commits: the sequence grows by one a commit over all epochs."""
    return (a[1], a[0]) < (b[1], b[0])


def new_epoch(fence: Fence, committed: Committed | None, tail: tuple[int, int] | None) -> int:
    """Return an epoch above every one that Redis or Kafka has seen (B2)."""
    known = parse_commit_id(committed.metadata) if committed is not None else None
    return max(fence.epoch, *(pair[0] for pair in (known, tail) if pair is not None), 0) + 1


def tail_of(records: Iterable[InputRecord]) -> tuple[int, int] | None:
    """Return the highest (epoch, sequence) in output records' headers."""
    found: tuple[int, int] | None = None
    for record in records:
        headers = dict(record.headers)
        if "epoch" in headers and "sequence" in headers:
            pair = int(headers["epoch"]), int(headers["sequence"])
            found = pair if found is None or _before(found, pair) else found
    return found


class Published(NamedTuple):
    """What an output partition says of a customer: his last record, and his newest moves (MOVE records, as bytes)."""

    last: SegmentRecord
    moves: bytes


def published(records: Iterable[InputRecord]) -> dict[str, Published]:
    """Return what is known of each customer in an output partition; a tombstone ends one.

    A record moved him where its segment is not the one of the record before. Of the first that compaction left this
    cannot be told: it counts as the move that its `entered_on` dates.
    """
    found: dict[str, Published] = {}
    for record in records:
        if record.key is None:
            continue
        customer = record.key.decode()
        if record.value is None:
            found.pop(customer, None)
            continue
        value = msgspec.json.decode(record.value, type=SegmentRecord)
        before = found.get(customer)
        moves = b"" if before is None else before.moves
        if before is None or before.last.segment.id != value.segment.id:
            moves = (moves + _as_move(value))[-MAX_MOVES * MOVE.itemsize :]
        found[customer] = Published(value, moves)
    return found


def _as_move(record: SegmentRecord) -> bytes:
    source = record.previous.id if record.previous else 0
    day = day_of(record.entered_on)
    move = (record.revision, day, record.model_version, source, record.segment.id, CAUSES.index(record.cause))
    return np.array([move], MOVE).tobytes()


class Raised(NamedTuple):
    """States to write; the last revision of each customer whom Redis lost as a whole; the tally after it."""

    states: dict[str, bytes]
    lost: dict[str, int]
    tally: Tally | None


def raised(
    customers: Sequence[str],
    blobs: Sequence[bytes | None],
    known: Mapping[str, Published],
    state: PartitionState,
    rules: Rules,
    *,
    same_generation: bool,
) -> Raised:
    """Raise revision, segment and entered day to what was published (B4), and add the moves that led there.

    Of a customer whom Redis lost as a whole nothing is made up: the replay brings him back, and his revisions go on.
    The label at the start of a customer's day stays what Redis knew, so that the replay decides by the same anchor as
    the first time. Another generation has other segments: of it only the revision is raised, so that everybody is
    published anew under the new ones.
    """
    states = decode_states(blobs)
    heads, sweep = states.heads, state.sweep
    positions = np.array([position(customer) for customer in customers], np.int64)
    counted = np.array([blob is not None for blob in blobs]) & (
        np.full(len(customers), sweep.cursor is None) | (positions <= (sweep.cursor or 0))
    )
    counted |= heads["sweep"] == sweep.number
    before = heads["segment"].astype(np.int64)
    chosen = []
    lost: dict[str, int] = {}
    moves: list[Moves] = []
    flows: Counter[tuple[int, int, str]] = Counter()
    for row, customer in enumerate(customers):
        record = known[customer].last
        if blobs[row] is None:
            lost[customer] = record.revision
        if blobs[row] is None or record.revision <= heads["revision"][row]:
            continue
        if same_generation:
            moves.append(_missed(row, known[customer], int(heads["revision"][row]), int(before[row])))
            if counted[row] and heads["sweep"][row] != sweep.number:
                heads["anchor"][row] = heads["segment"][row]
                heads["sweep"][row] = sweep.number
            heads["segment"][row] = record.segment.id
            heads["previous"][row] = record.previous.id if record.previous else 0
            heads["entered_day"][row] = day_of(record.entered_on)
            if record.segment.id != before[row]:
                flows[int(before[row]), record.segment.id, record.cause] += 1
        heads["revision"][row] = record.revision
        chosen.append(row)
    kept = replace(states, moves=joined(states.moves, moves))
    rows = np.array(chosen, np.int64)
    written = {customers[row]: b for row, b in zip(chosen, encode_states(kept, rows, rules.schema), strict=True)}
    tally = state.tally
    if tally is not None:
        ledger, _ = expire(states.ledger, state.day - rules.horizon_days)
        raised_and_counted = rows[counted[rows]]
        after = heads["segment"].astype(np.int64)
        tally = tally.changed(
            totals_of(before, ledger, raised_and_counted), totals_of(after, ledger, raised_and_counted), flows
        )
    return Raised(written, lost, tally)


def _missed(row: int, known: Published, revision: int, label: int) -> Moves:
    """Return the published moves of a customer that came after a revision; the first leads away from his label."""
    found = np.frombuffer(known.moves, MOVE)
    found = found[found["revision"] > revision]
    if len(found) and found["target"][0] == label:  # a re-emission whose move Redis knows
        found = found[1:]
    return Moves(np.full(len(found), row), found)
