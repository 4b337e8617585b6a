"""A customer's state as bytes: head, ledger, seen event ids, moves, checksum; many customers at a time.

    | head 44 | records 32 each | seen ids 12 each | crc32 4 |                    little-endian, schema 1
    | head 44 | records 32 each | seen ids 12 each | moves 17 each | crc32 4 |    schema 2 (features.moves)
    | head 26 | records 17 each | seen ids 10 each | moves 11 each | crc32 4 |    schema 3, narrow
    | as schema 2                                                            |    schema 3, wide

Of every schema the first byte is its number and the last four are the checksum; all up to SCHEMA are read, and
written is the one that the generation's binding names: until `segmenter upgrade` raises it, an older version reads
whatever a newer one beside it has written.

Under schema 3 a state is narrow where all that it says fits, and else wide as a whole; the upper bit of its second byte
says which. Which of both is a matter of its values alone, so batches of any size come to the same bytes.

A state is refused as a whole, or it is one that `encode_states` could have written: the same bytes again. So a wide
one that would have fitted is refused, too.

The head holds what is not an order: when he first came, what expired, his published segment and what
the sweep needs to know. Never pickle: a state is data, checked by length and checksum before use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from features.ledger import Hashes, Ints, Ledger
from features.moves import CAUSES, MAX_MOVES, MOVE, Moves, no_moves

SCHEMA = 3
"""The newest schema that this version knows. It reads all up to it."""
SCHEMA_OF_MOVES = 2
"""The first one that keeps moves."""
SCHEMA_OF_NARROW = 3
"""The first one that writes narrow what fits (docs/decisions/0028)."""
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


class Form(NamedTuple):
    """How the parts of a state are laid out."""

    head: np.dtype[Any]
    record: np.dtype[Any]
    seen: np.dtype[Any]
    move: np.dtype[Any]


WIDE = Form(HEAD, RECORD, SEEN, MOVE)
NARROW = Form(
    np.dtype(
        [
            ("schema", "<u1"),
            ("moves", "<u1"),  # with the bit that says narrow
            ("seen", "<u2"),  # the records are as many as the length leaves room for
            ("segment", "<u2"),
            ("previous", "<u2"),
            ("anchor", "<u2"),
            ("first_day", "<u2"),
            ("last_day", "<u2"),
            ("entered_day", "<u2"),
            ("revision", "<u2"),
            ("sweep", "<u2"),
            ("past_orders", "<u2"),
            ("past_net", "<i4"),
        ]
    ),
    np.dtype([("order", "<u8"), ("net", "<i4"), ("units", "<i2"), ("day", "<u2"), ("lines", "<u1")]),
    np.dtype([("id", "<u8"), ("day", "<u2")]),
    np.dtype(
        [
            ("revision", "<u2"),
            ("day", "<u2"),
            ("version", "<u2"),
            ("source", "<u2"),
            ("target", "<u2"),
            ("cause", "<u1"),
        ]
    ),
)
NARROW_BIT = 0x80
"""Of the second byte of a narrow state."""
_Rows: TypeAlias = slice | npt.NDArray[np.bool_]
"""An index of rows: all, or a mask, by which NumPy copies a run at a time."""
_PARTS = ("record", "seen", "move")
_SIZES = np.array(
    [[form.head.itemsize, *(getattr(form, part).itemsize for part in _PARTS)] for form in (WIDE, NARROW)]
).T
"""Bytes of a head, a record, a seen id and a move: int64 (4, 2), wide and narrow."""
_MAX_U2 = 65_535
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
    narrow, found, offsets = _sound_heads(present, raw, buffer, bounds)
    heads[present] = found
    counts, starts = _counts(found), bounds[:-1] + offsets
    records, seen, moves = (
        _pieces(buffer, narrow, part, start, count) for part, start, count in zip(_PARTS, starts, counts, strict=False)
    )
    states = States(
        heads,
        Ledger(
            np.repeat(present, counts[0]),
            _column(records, "order", np.uint64),
            *(_column(records, name, np.int64) for name in ("day", "net", "units", "lines", "orders")),
        ),
        Seen(np.repeat(present, counts[1]), _column(seen, "id", np.uint64), _column(seen, "day", np.int64)),
        Moves(np.repeat(present, counts[2]), _moves(moves)),
    )
    _check_contents(states)
    _check_forms(present, narrow, states)
    return states


def encode_states(states: States, chosen: Ints, schema: int | None = None) -> list[bytes]:
    """Encode the customers at the indices `chosen` (sorted), in that order; schema None: the newest.

    A state never goes back to an older schema: a worker that has not heard of the upgrade yet may get one of the newer.
    A schema that knows no moves drops them.
    """
    kept = _taken(states, chosen, SCHEMA if schema is None else schema)
    heads = kept.heads
    narrow = heads["schema"] >= SCHEMA_OF_NARROW
    if narrow.any():
        narrow &= _fits(kept)
    counts, offsets = _counts(heads), _offsets(narrow, heads)
    bounds = _bounds(offsets[-1] + 4)
    buffer, starts = bytearray(int(bounds[-1])), bounds[:-1] + offsets
    columns = (_fields(kept.ledger), _fields(kept.seen), kept.moves.records)
    for form, mine in _forms(narrow):
        laid = _laid(heads, form.head, mine)
        if form is NARROW:
            laid["moves"] |= NARROW_BIT
        _write(buffer, bounds[:-1][mine], laid)
        for part, start, count, values in zip(_PARTS, starts, counts, columns, strict=False):
            dtype: np.dtype[Any] = getattr(form, part)
            rows = mine if isinstance(mine, slice) else np.repeat(mine, count)
            _write(buffer, _places(start[mine], count[mine], dtype.itemsize), _laid(values, dtype, rows))
    spans, whole = list(pairwise(bounds.tolist())), memoryview(buffer)
    _write(buffer, bounds[1:] - 4, np.array([crc32(whole[start : end - 4]) for start, end in spans], "<u4"))
    data = bytes(buffer)
    return [data[start:end] for start, end in spans]


def _taken(states: States, chosen: Ints, schema: int) -> States:
    """Return the customers at the indices `chosen` as those of States of their own, with counts as they are stored."""
    ledger, seen, moves = states.ledger, states.seen, states.moves
    heads = states.heads[chosen]
    heads["schema"] = np.maximum(heads["schema"], schema)
    first_record, heads["records"] = _rows_of(ledger.owner, chosen)
    first_seen, heads["seen"] = _rows_of(seen.owner, chosen)
    first_move, counts = _rows_of(moves.owner, chosen)
    heads["moves"] = np.where(heads["schema"] >= SCHEMA_OF_MOVES, counts, 0)
    everybody = np.arange(len(chosen))
    rows, ids = _places(first_record, heads["records"]), _places(first_seen, heads["seen"])
    return States(
        heads,
        Ledger(
            np.repeat(everybody, heads["records"]),
            ledger.order[rows],
            ledger.day[rows],
            ledger.net[rows],
            ledger.units[rows],
            np.minimum(ledger.lines[rows], _MAX_U2),  # saturates: min(a + b, cap) stays order-free
            np.minimum(ledger.orders[rows], _MAX_U2),
        ),
        Seen(np.repeat(everybody, heads["seen"]), seen.id[ids], seen.day[ids]),
        Moves(np.repeat(everybody, heads["moves"]), moves.records[_places(first_move, heads["moves"])]),
    )


def _fits(states: States) -> npt.NDArray[np.bool_]:
    """Say of each customer whether all that his state says fits the narrow form: bool (n,)."""
    heads, ledger, moves = states.heads, states.ledger, states.moves.records
    # What is left of a number without the bits that it may have; a signed one is first moved to begin at 0.
    beyond = (heads["first_day"] | heads["last_day"] | heads["entered_day"]) >> 16 != 0
    beyond |= (heads["revision"] | heads["sweep"] | heads["past_orders"]) >> 16 != 0
    beyond |= (heads["past_net"] + (1 << 31)) >> 32 != 0
    of_records = ((ledger.net + (1 << 31)) >> 32) | ((ledger.units + (1 << 15)) >> 16)
    of_records |= (ledger.day >> 16) | (ledger.lines >> 8) | ledger.orders
    for owner, bits in (
        (ledger.owner, of_records),
        (states.seen.owner, states.seen.day >> 16),
        (states.moves.owner, (moves["revision"] | moves["version"] | moves["day"]) >> 16),
    ):
        beyond[owner[bits != 0]] = True
    found: npt.NDArray[np.bool_] = ~beyond
    return found


def _forms(narrow: npt.NDArray[np.bool_]) -> list[tuple[Form, _Rows]]:
    """Return the forms that occur, each with an index of its customers."""
    count = np.count_nonzero(narrow)
    if not count:
        return [(WIDE, slice(None))]
    if count == len(narrow):
        return [(NARROW, slice(None))]
    return [(WIDE, ~narrow), (NARROW, narrow)]


def _counts(heads: npt.NDArray[np.void]) -> tuple[Ints, Ints, Ints]:
    """Return how many records, seen ids and moves each customer has."""
    records, seen, moves = (heads[name].astype(np.int64) for name in ("records", "seen", "moves"))
    return records, seen, moves


def _offsets(narrow: npt.NDArray[np.bool_], heads: npt.NDArray[np.void]) -> Ints:
    """Return where each customer's records, seen ids, moves and checksum begin in his state: int64 (4, n)."""
    sizes = _SIZES[:, narrow.astype(np.intp)]
    sizes[1:] *= _counts(heads)
    return np.cumsum(sizes, axis=0, out=sizes)


def _fields(table: Ledger | Seen) -> dict[str, npt.NDArray[Any]]:
    return {each.name: getattr(table, each.name) for each in fields(table)}


def _laid(columns: Any, dtype: np.dtype[Any], rows: _Rows) -> npt.NDArray[np.void]:
    """Return rows of columns (a table, or arrays by name) as records of a dtype."""
    if isinstance(columns, np.ndarray) and columns.dtype == dtype:
        return columns[rows]
    names = dtype.names or ()
    first = columns[names[0]][rows]
    laid = np.empty(len(first), dtype)
    for name in names:
        laid[name] = first if name == names[0] else columns[name][rows]
    return laid


class _Piece(NamedTuple):
    """Records, seen ids or moves of one form, and their rows among those of all `of`."""

    table: npt.NDArray[Any]
    rows: _Rows
    of: int


def _pieces(buffer: bytes, narrow: npt.NDArray[np.bool_], part: str, starts: Ints, counts: Ints) -> list[_Piece]:
    """Return a part of all states, form by form."""
    found, forms, of = [], _forms(narrow), int(counts.sum())
    for form, mine in forms:
        dtype = getattr(form, part)
        table = _read(buffer, dtype, _places(starts[mine], counts[mine], dtype.itemsize))
        rows = mine if isinstance(mine, slice) else np.repeat(mine, counts)
        found.append(_Piece(table, rows, of))
    return found


def _column(pieces: list[_Piece], name: str, dtype: type[Any]) -> npt.NDArray[Any]:
    """Return a column of all customers; 0 where a form has no place for it."""
    if len(pieces) == 1 and name in (pieces[0].table.dtype.names or ()):
        return pieces[0].table[name].astype(dtype)
    column = np.zeros(pieces[0].of, dtype)
    for table, rows, _ in pieces:
        if name in (table.dtype.names or ()):
            column[rows] = table[name]
    return column


def _moves(pieces: list[_Piece]) -> npt.NDArray[np.void]:
    if pieces[0].table.dtype == MOVE and len(pieces) == 1:
        return pieces[0].table
    found = np.empty(pieces[0].of, MOVE)
    for table, rows, _ in pieces:
        for name in MOVE.names or ():
            found[name][rows] = table[name]
    return found


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


def _sound_heads(
    present: Ints, raw: Sequence[bytes], buffer: bytes, bounds: Ints
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.void], Ints]:
    """Say which states are narrow; return the heads of all, which may be trusted as bytes, and `_offsets`.

    Raises as `decode_states` does.
    """
    lengths, least = np.diff(bounds), _SIZES[0] + 4
    narrow = np.zeros(len(raw), np.bool_)
    sound = (lengths >= least[1]).all() and set(map(crc32, raw)) <= {_CRC_OF_SOUND}
    if sound:
        schema, second = (_read(buffer, np.dtype(np.uint8), bounds[:-1] + at) for at in (0, 1))
        narrow = (schema >= SCHEMA_OF_NARROW) & (second >= NARROW_BIT)
        sound = not ((schema < 1) | (schema > SCHEMA) | (lengths < least[narrow.astype(np.intp)])).any()
    heads, offsets = blank_heads(len(raw)), np.empty((4, len(raw)), np.int64)
    if sound:
        for form, mine in _forms(narrow):
            found = _read(buffer, form.head, bounds[:-1][mine])
            if form is WIDE:
                heads[mine] = found
                continue
            for name in form.head.names or ():
                heads[name][mine] = found[name]
            seen, moves = found["seen"].astype(np.int64), found["moves"].astype(np.int64) - NARROW_BIT
            left = lengths[mine] - form.head.itemsize - seen * form.seen.itemsize - moves * form.move.itemsize - 4
            heads["moves"][mine], heads["records"][mine] = moves, left // form.record.itemsize
        offsets = _offsets(narrow, heads)
        odd = ((schema < SCHEMA_OF_MOVES) & (heads["moves"] > 0)) | (heads["moves"] > MAX_MOVES)
        sound = not (odd | (offsets[-1] + 4 != lengths)).any()
    if not sound:
        for index, blob in zip(present.tolist(), raw, strict=True):
            _check(index, blob)
    return narrow, heads, offsets


def _check(index: int, blob: bytes) -> None:
    if len(blob) < NARROW.head.itemsize + 4:
        raise InvalidState(index, f"{len(blob)} bytes are too few for a state")
    if crc32(blob[:-4]).to_bytes(4, "little") != blob[-4:]:  # first: a damaged byte is no newer version
        raise InvalidState(index, "the checksum does not match")
    if blob[0] > SCHEMA:
        raise NewerSchema(blob[0])
    if blob[0] == 0:
        raise InvalidState(index, "there is no state schema 0")
    narrow = blob[0] >= SCHEMA_OF_NARROW and blob[1] >= NARROW_BIT
    form, moves = (NARROW, blob[1] - NARROW_BIT) if narrow else (WIDE, blob[1])
    if len(blob) < form.head.itemsize + 4:
        raise InvalidState(index, f"{len(blob)} bytes are too few for a state")
    if blob[0] < SCHEMA_OF_MOVES and moves:
        raise InvalidState(index, "a byte that is never used is set")
    if moves > MAX_MOVES:
        raise InvalidState(index, f"{moves} moves are more than are kept")
    head = np.frombuffer(blob, form.head, 1)[0]
    seen = int(head["seen"])
    left = len(blob) - form.head.itemsize - seen * form.seen.itemsize - moves * form.move.itemsize - 4
    records = left // form.record.itemsize if narrow else int(head["records"])
    if left != records * form.record.itemsize or not 0 <= records <= _MAX_U2:
        raise InvalidState(index, f"{len(blob)} bytes do not fit {records} records, {seen} ids and {moves} moves")


def _check_forms(present: Ints, narrow: npt.NDArray[np.bool_], states: States) -> None:
    """Refuse what is wide and would fit the narrow form: a state has one form."""
    wide = present[~narrow & (states.heads["schema"][present] >= SCHEMA_OF_NARROW)]
    if len(wide) and (fitting := wide[_fits(_taken(states, wide, SCHEMA_OF_NARROW))]).size:
        raise InvalidState(int(fitting[0]), "it is written wide, and all that it says fits the narrow form")


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
