"""Stored bytes, read field by field: a customer's state and a partition's statistics (docs/architecture.md).

state       head 44 | records 32 each | seen ids 12 each | moves 17 each, from schema 2 on | crc32
  narrow    head 26 | records 17 each | seen ids 10 each | moves 11 each | crc32       from schema 3 on
statistics  head 8 | n | sums | squares | crc32
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from zlib import crc32


class _Form(NamedTuple):
    head: struct.Struct
    record: struct.Struct
    seen: struct.Struct
    move: struct.Struct


_WIDE: Final = _Form(*map(struct.Struct, ("<BBHHHHHiiiIIIq", "<QqqiHH", "<Qi", "<IiIHHB")))
_NARROW: Final = _Form(*map(struct.Struct, ("<BBHHHHHHHHHHi", "<QihHB", "<QH", "<HHHHHB")))
_NARROW_BIT: Final = 0x80
"""This bit of the second byte says that a state of schema 3 is narrow."""
_STATISTICS: Final = struct.Struct("<BBHHH")
SCHEMAS = (1, 2, 3)
"""State schemas that are known; later ones than the first keep moves."""
CAUSES: Final = ("bootstrap", "purchase", "return", "late", "silence", "model")
MOST_MOVES: Final = 16
FOLDED: Final = 0
"""The order of a record that stands for several orders of one day."""


class Record(NamedTuple):
    """One (order, day): net in 1/10,000; lines stop at 65,535; orders: the positive ones in a folded record."""

    order: int
    net: int
    units: int
    day: int
    lines: int
    orders: int = 0


class Move(NamedTuple):
    """One published change of the segment; source 0: the first segment of a life."""

    revision: int
    day: int
    model: int | None
    source: int
    target: int
    cause: str | None


class State(NamedTuple):
    """What a state says of a customer."""

    segment: int
    previous: int
    first_day: int
    last_day: int
    entered_day: int
    revision: int
    past_net: int
    records: tuple[Record, ...]
    seen: tuple[tuple[int, int], ...]
    moves: tuple[Move, ...] = ()
    schema: int = 1


def read_state(data: bytes) -> State | str:
    """Return the state, or what is wrong with its bytes."""
    if len(data) < _NARROW.head.size + 4 or crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return "the bytes are damaged"
    form = _NARROW if data[0] >= 3 and data[1] & _NARROW_BIT else _WIDE
    head, record, seen, move = form
    if len(data) < head.size + 4:
        return "the bytes are damaged"
    schema, moves, *counts, segment, previous, _, first, last, entered, revision, _, _, past_net = head.unpack_from(
        data
    )
    moves -= _NARROW_BIT if form is _NARROW else 0
    end = len(data) - 4 - moves * move.size
    middle = end - counts[-1] * seen.size
    records, rest = divmod(middle - head.size, record.size)
    # Only a wide head says how many records there are; of a narrow state it is what there is room for.
    fits = rest == 0 and records >= 0 and counts[:-1] in ([], [records])
    if schema not in SCHEMAS or not fits or (schema == 1 and moves):
        return f"schema {schema} or {len(data)} bytes do not fit"
    return State(
        segment,
        previous,
        first,
        last,
        entered,
        revision,
        past_net,
        tuple(Record(*found) for found in record.iter_unpack(data[head.size : middle])),
        tuple(seen.iter_unpack(data[middle:end])),
        tuple(_move(*found) for found in move.iter_unpack(data[end:-4])),
        schema,
    )


def _move(revision: int, day: int, model: int, source: int, target: int, cause: int) -> Move:
    return Move(revision, day, model, source, target, CAUSES[cause] if cause < len(CAUSES) else None)


class Sums(NamedTuple):
    """Per nearest centroid: customers, and sums of coordinates and of their squares, in 2^-24."""

    n: list[int]
    sums: list[list[int]]
    squares: list[list[int]]

    @classmethod
    def zeros(cls, k: int, d: int) -> Sums:
        """Return the sums of nobody."""
        return cls([0] * k, [[0] * d for _ in range(k)], [[0] * d for _ in range(k)])

    def add(self, cluster: int, x: list[float]) -> None:
        """Count one customer at his nearest centroid."""
        self.n[cluster] += 1
        for j, at in enumerate(x):
            fixed = int(at * (1 << 24))
            self.sums[cluster][j] += fixed
            self.squares[cluster][j] += (fixed * fixed + (1 << 23)) >> 24


def read_statistics(data: bytes) -> Sums | str:
    """Return the statistics, or what is wrong with their bytes."""
    if len(data) < _STATISTICS.size + 4 or crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return "the bytes are damaged"
    _, _, k, d, _ = _STATISTICS.unpack_from(data)
    numbers = struct.unpack(f"<{k * (1 + 2 * d)}q", data[_STATISTICS.size : -4])
    sums, squares = numbers[k : k + k * d], numbers[k + k * d :]
    return Sums(
        list(numbers[:k]),
        [list(sums[i * d : i * d + d]) for i in range(k)],
        [list(squares[i * d : i * d + d]) for i in range(k)],
    )
