"""A customer's state as bytes: head, ledger, seen event ids, moves, checksum; many customers at a time.

    | head 44 | records 32 each | seen ids 12 each | crc32 4 |                    little-endian, schema 1
    | head 44 | records 32 each | seen ids 12 each | moves 17 each | crc32 4 |    schema 2 (features.moves)

Of every schema the first byte is its number and the last four are the checksum; all up to SCHEMA are read, and
written is the one that the generation's binding names: until `segmenter upgrade` raises it, an older version reads
whatever a newer one beside it has written.

A state is refused as a whole, or it is one that `encode_states` could have written: the same bytes again.

The head holds what is not an order: when he first came, what expired, his published segment and what
the sweep needs to know. Never pickle: a state is data, checked by length and checksum before use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from features.ledger import Hashes, Ints, Ledger
from features.moves import CAUSES, MAX_MOVES, MOVE, Moves, no_moves

SCHEMA = 2
"""The newest schema that this version knows. It reads all up to it."""
SCHEMA_OF_MOVES = 2
"""The first one that keeps moves."""
NO_DAY = np.iinfo(np.int32).max
"""First day of a customer who has no order yet."""

MAX_SEEN = 4_096
"""Event ids kept a customer (PROTOCOL H3); the oldest give way, and their number is counted."""

HEAD = np.dtype(
    [
        ("schema", "<u1"),  # 0: never written yet
        ("moves", "<u1"),
        ("records", "<u2"),
        ("seen", "<u2"),
        ("segment", "<u2"),  # published label; 0: none yet
        ("previous", "<u2"),  # the one before it
        ("anchor", "<u2"),  # label at the start of the customer's day, valid while `sweep` is the partition's
        ("first_day", "<i4"),  # first order ever
        ("last_day", "<i4"),  # last order ever
        ("entered_day", "<i4"),  # when the present segment began
        ("revision", "<u4"),  # of the last record published
        ("sweep", "<u4"),  # the sweep under which he was scored by an event of his own (PROTOCOL C5)
        ("past_orders", "<u4"),  # positive orders that expired
        ("past_net", "<i8"),  # their net, in 1/10,000
    ]
)
RECORD = np.dtype(
    [("order", "<u8"), ("net", "<i8"), ("units", "<i8"), ("day", "<i4"), ("lines", "<u2"), ("orders", "<u2")]
)
SEEN = np.dtype([("id", "<u8"), ("day", "<i4")])
_MAX_U2 = 65_535
_H, _R, _S, _M = HEAD.itemsize, RECORD.itemsize, SEEN.itemsize, MOVE.itemsize
_CRC_OF_SOUND = 0x2144DF1C
"""The CRC-32 of whatever ends in its own CRC-32, least byte first."""


class InvalidState(Exception):
    """A stored state that cannot be trusted: which customer (index in the load) and what is wrong."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index, self.problem = index, problem


class NewerSchema(Exception):
    """A state, or a whole generation, was written by a newer version: nothing of it can be read here (exit code 6)."""

    def __init__(self, schema: int) -> None:
        super().__init__(
            f"the state has schema {schema}, this version knows schemas up to {SCHEMA}: it was written by a newer "
            "version; run that one, or `segmenter bootstrap --replace` with this one; see docs/operations.md, "
            "A new version"
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """Event ids that count only once: columns owner, id, day of acceptance; sorted by (owner, day, id)."""

    owner: Ints
    id: Hashes
    day: Ints


@dataclass(frozen=True, slots=True)
class States:
    """The states of n customers: heads (HEAD, shape (n,)), and ragged ledger, seen and moves with owners 0..n-1."""

    heads: npt.NDArray[np.void]
    ledger: Ledger
    seen: Seen
    moves: Moves = field(default_factory=no_moves)


def blank_heads(n: int) -> npt.NDArray[np.void]:
    """Return the heads of customers who were never here."""
    heads = np.zeros(n, HEAD)
    heads["first_day"] = NO_DAY
    heads["last_day"] = -NO_DAY
    return heads


def decode_states(blobs: Sequence[bytes | None]) -> States:
    """Decode stored states; None (a customer who was never here) gives a blank one.

    Raises `InvalidState` for the first blob with a wrong length or checksum, `NewerSchema` for one of a newer version.
    """
    present = np.array([i for i, blob in enumerate(blobs) if blob is not None], np.int64)
    raw = [blob for blob in blobs if blob is not None]
    heads = blank_heads(len(blobs))
    buffer, bounds = b"".join(raw), _bounds(np.fromiter(map(len, raw), np.int64, len(raw)))
    found = _sound_heads(present, raw, buffer, bounds)
    heads[present] = found
    record_at = bounds[:-1] + HEAD.itemsize
    seen_at = record_at + found["records"].astype(np.int64) * RECORD.itemsize
    move_at = seen_at + found["seen"].astype(np.int64) * SEEN.itemsize
    seen = _read(buffer, SEEN, _places(seen_at, found["seen"], SEEN.itemsize))
    states = States(
        heads,
        _ledger(
            np.repeat(present, found["records"]),
            _read(buffer, RECORD, _places(record_at, found["records"], RECORD.itemsize)),
        ),
        _seen(present, found, seen),
        Moves(
            np.repeat(present, found["moves"]),
            _read(buffer, MOVE, _places(move_at, found["moves"], MOVE.itemsize)),
        ),
    )
    _check_contents(states)
    return states


def encode_states(states: States, chosen: Ints, schema: int | None = None) -> list[bytes]:
    """Encode the customers at the indices `chosen` (sorted), in that order; schema None: the newest.

    A state never goes back to an older schema: a worker that has not heard of the upgrade yet may get one of the newer.
    A schema that knows no moves drops them.
    """
    ledger, seen, moves = states.ledger, states.seen, states.moves
    heads = states.heads[chosen]
    heads["schema"] = np.maximum(heads["schema"], SCHEMA if schema is None else schema)
    first_record, heads["records"] = _rows_of(ledger.owner, chosen)
    first_seen, heads["seen"] = _rows_of(seen.owner, chosen)
    first_move, counts = _rows_of(moves.owner, chosen)
    heads["moves"] = np.where(heads["schema"] >= SCHEMA_OF_MOVES, counts, 0)
    rows, ids = _places(first_record, heads["records"]), _places(first_seen, heads["seen"])
    records, events = np.empty(len(rows), RECORD), np.empty(len(ids), SEEN)
    for name in ("order", "net", "units", "day"):
        records[name] = getattr(ledger, name)[rows]
    records["lines"] = np.minimum(ledger.lines[rows], _MAX_U2)  # saturates: min(a + b, cap) stays order-free
    records["orders"] = np.minimum(ledger.orders[rows], _MAX_U2)
    events["id"], events["day"] = seen.id[ids], seen.day[ids]
    sizes = [heads[name].astype(np.int64) * of for name, of in (("records", _R), ("seen", _S), ("moves", _M))]
    bounds = _bounds(_H + sizes[0] + sizes[1] + sizes[2] + 4)
    buffer = bytearray(int(bounds[-1]))
    at = bounds[:-1]
    _write(buffer, at, heads)
    _write(buffer, _places(at + _H, heads["records"], _R), records)
    _write(buffer, _places(at + _H + sizes[0], heads["seen"], _S), events)
    _write(
        buffer,
        _places(at + _H + sizes[0] + sizes[1], heads["moves"], _M),
        moves.records[_places(first_move, heads["moves"])],
    )
    spans, whole = list(pairwise(bounds.tolist())), memoryview(buffer)
    _write(buffer, bounds[1:] - 4, np.array([crc32(whole[start : end - 4]) for start, end in spans], "<u4"))
    data = bytes(buffer)
    return [data[start:end] for start, end in spans]


def _rows_of(owner: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Return where each chosen customer's rows begin in a column sorted by owner, and how many there are."""
    first, stop = np.searchsorted(owner, chosen), np.searchsorted(owner, chosen, side="right")
    return first, stop - first


def _bounds(lengths: Ints) -> Ints:
    """Return where things of these lengths begin, laid one behind the other, and at last where they end."""
    bounds: Ints = np.r_[0, np.cumsum(lengths)]
    return bounds


def _places(first: Ints, counts: npt.NDArray[Any], size: int = 1) -> Ints:
    """Return the places first, first + size, ... of `counts` things each, for each of many groups: int64 (sum,)."""
    counts = counts.astype(np.int64)
    before = np.cumsum(counts) - counts
    places: Ints = np.repeat(first - before * size, counts) + np.arange(int(counts.sum())) * size
    return places


def _overlaid(buffer: bytes | bytearray, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a view of a buffer in which element i begins at byte i; elements overlap."""
    return np.ndarray((max(0, len(buffer) - dtype.itemsize + 1),), dtype, buffer, strides=(1,))


def _read(buffer: bytes, dtype: np.dtype[Any], places: Ints) -> npt.NDArray[Any]:
    return _overlaid(buffer, dtype)[places]


def _write(buffer: bytearray, places: Ints, values: npt.NDArray[Any]) -> None:
    _overlaid(buffer, values.dtype)[places] = values


def _sound_heads(present: Ints, raw: Sequence[bytes], buffer: bytes, bounds: Ints) -> npt.NDArray[np.void]:
    """Return the heads of stored states that may be trusted as bytes. Raises as `decode_states` does."""
    lengths = np.diff(bounds)
    sound = (lengths >= _H + 4).all() and set(map(crc32, raw)) <= {_CRC_OF_SOUND}
    heads = _read(buffer, HEAD, bounds[:-1]) if sound else blank_heads(0)
    schema, moves = heads["schema"], heads["moves"]
    if sound:
        expected = (
            _H
            + 4
            + sum(heads[name].astype(np.int64) * of for name, of in (("records", _R), ("seen", _S), ("moves", _M)))
        )
        odd = (schema < 1) | (schema > SCHEMA) | ((schema < SCHEMA_OF_MOVES) & (moves > 0)) | (moves > MAX_MOVES)
        sound = not (odd | (expected != lengths)).any()
    if not sound:
        for index, blob in zip(present.tolist(), raw, strict=True):
            _check(index, blob)
    return heads


def _check(index: int, blob: bytes) -> None:
    if len(blob) < HEAD.itemsize + 4:
        raise InvalidState(index, f"{len(blob)} bytes are too few for a state")
    if crc32(blob[:-4]).to_bytes(4, "little") != blob[-4:]:  # first: a damaged byte is no newer version
        raise InvalidState(index, "the checksum does not match")
    if blob[0] > SCHEMA:
        raise NewerSchema(blob[0])
    if blob[0] == 0:
        raise InvalidState(index, "there is no state schema 0")
    records, seen, moves = int.from_bytes(blob[2:4], "little"), int.from_bytes(blob[4:6], "little"), blob[1]
    if blob[0] < SCHEMA_OF_MOVES and moves:
        raise InvalidState(index, "a byte that is never used is set")
    if moves > MAX_MOVES:
        raise InvalidState(index, f"{moves} moves are more than are kept")
    if len(blob) != HEAD.itemsize + records * RECORD.itemsize + seen * SEEN.itemsize + moves * MOVE.itemsize + 4:
        raise InvalidState(index, f"{len(blob)} bytes do not fit {records} records, {seen} ids and {moves} moves")


def _check_contents(states: States) -> None:
    """Refuse what has a right checksum and cannot be: the order of records, and days, are relied on."""
    heads, ledger, seen, moves = states.heads, states.ledger, states.seen, states.moves
    first = np.where(heads["first_day"] == NO_DAY, 0, heads["first_day"])
    last = np.where(heads["last_day"] == -NO_DAY, 0, heads["last_day"])
    everybody = np.arange(len(heads))
    for owner, wrong, problem in (
        (everybody, ~(_in_calendar(first) & _in_calendar(last)), "a day of its head is none of the calendar"),
        (everybody, ~_in_calendar(heads["entered_day"]), "a day of its head is none of the calendar"),
        (ledger.owner, ~_in_calendar(ledger.day) | (ledger.lines < 1), "a record's day or lines cannot be"),
        (ledger.owner[1:], ~_rising(ledger.owner, ledger.order, ledger.day), "its records are not in order"),
        (seen.owner, ~_in_calendar(seen.day), "an event id's day is none of the calendar"),
        (moves.owner, ~_in_calendar(moves.records["day"]), "a move's day is none of the calendar"),
        (moves.owner, moves.records["cause"] >= len(CAUSES), "a move has no cause that is known"),
        (moves.owner, moves.records["revision"] > heads["revision"][moves.owner], "a move is newer than its customer"),
        (moves.owner[1:], ~_later(moves), "its moves are not in order"),
    ):
        if wrong.any():
            raise InvalidState(int(owner[wrong.argmax()]), problem)


def _in_calendar(days: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Say of days since 1970-01-01 whether they are in the years 1 to 9999."""
    found: npt.NDArray[np.bool_] = (days > -719_163) & (days <= 2_932_896)
    return found


def _rising(owner: Ints, order: Hashes, day: Ints) -> npt.NDArray[np.bool_]:
    """Say of each row but the first whether it follows the one before, by owner, order and day."""
    same = owner[1:] == owner[:-1]
    found: npt.NDArray[np.bool_] = ~same | (order[1:] > order[:-1]) | ((order[1:] == order[:-1]) & (day[1:] > day[:-1]))
    return found


def _later(moves: Moves) -> npt.NDArray[np.bool_]:
    """Say of each move but the first whether it follows the one before, by owner and revision."""
    owner, revision = moves.owner, moves.records["revision"]
    found: npt.NDArray[np.bool_] = (owner[1:] != owner[:-1]) | (revision[1:] > revision[:-1])
    return found


def _ledger(owner: Ints, records: npt.NDArray[np.void]) -> Ledger:
    return Ledger(
        owner,
        records["order"].astype(np.uint64),
        *(records[name].astype(np.int64) for name in ("day", "net", "units", "lines", "orders")),
    )


def _seen(present: Ints, heads: npt.NDArray[np.void], seen: npt.NDArray[np.void]) -> Seen:
    return Seen(np.repeat(present, heads["seen"]), seen["id"].astype(np.uint64), seen["day"].astype(np.int64))
