"""Population-exact K-Means: statistics in which each customer counts once, and the steps made from them.

    cluster   n      sum of x      sum of x^2        int64, x = coordinate in 2^-24 of log units
      0      717   (…, …, …)      (…, …, …)          a vector changes: - its old row, + its new row
      1    1,160   (…, …, …)      (…, …, …)          partitions add up: +

Statistics are an exact monoid (PROTOCOL C4): integers, so no order of adding changes a bit. A square
is rounded to 2^-24 itself; at 2^-48 it would overflow near 210 customers, so it fits 10^8.
One `recentre` is one Lloyd step over the living population (DESIGN D4).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Flags, Floats
from models.bundle import Bundle, centroid_array, successor
from models.centroids import Indices

FRACTION_BITS = 24
_HALF = 1 << (FRACTION_BITS - 1)

DYING = 0.001
"""A cluster with a smaller share of the customers is dying: its centroid follows a handful, and then nobody."""

SCHEMA = 1
_HEADER = struct.Struct("<BBHHH")
"""Magic byte, schema, k, d, zero; then n, sums, squares as little-endian int64; then the CRC-32 of all before."""
_MAGIC = 0xA5
_CRC = struct.Struct("<I")


class StatisticsError(ValueError):
    """Statistics that cannot be: damaged bytes, another shape, or a negative count (PROTOCOL C4: rebuild)."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Per nearest centroid: n int64 (k,), sums int64 (k, d) and squares int64 (k, d), both in 2^-24."""

    n: Ints
    sums: Ints
    squares: Ints

    @classmethod
    def zeros(cls, k: int, d: int) -> Statistics:
        """Return the statistics of nobody."""
        return cls(np.zeros(k, np.int64), np.zeros((k, d), np.int64), np.zeros((k, d), np.int64))

    @classmethod
    def of(cls, coordinates: Ints, nearest: Indices, k: int) -> Statistics:
        """Return the statistics of some customers, given the index of each one's nearest centroid.

        coordinates: int64 (m, d); nearest: (m,), a customer with the index -1 counts nowhere.
        """
        members = (np.arange(k)[:, None] == nearest[None, :]).astype(np.int64)
        squares = (coordinates * coordinates + _HALF) >> FRACTION_BITS
        return cls(members.sum(axis=1), members @ coordinates, members @ squares)

    def split(self, groups: int) -> list[Statistics]:
        """Part statistics of `groups` populations whose clusters are laid one behind the other."""
        columns = (np.split(column, groups) for column in (self.n, self.sums, self.squares))
        return [Statistics(*each) for each in zip(*columns, strict=True)]

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(self.n + other.n, self.sums + other.sums, self.squares + other.squares)

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(self.n - other.n, self.sums - other.sums, self.squares - other.squares)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistics) and encode(self) == encode(other)

    __hash__ = None  # type: ignore[assignment]  # arrays inside: equal by value, so not hashable

    @property
    def shape(self) -> tuple[int, int]:
        """(k, d)."""
        k, d = self.sums.shape
        return k, d

    @property
    def total(self) -> int:
        """How many customers are counted."""
        return int(self.n.sum())

    @property
    def is_valid(self) -> bool:
        """No cluster has fewer than 0 customers, and one without customers sums to 0; else rebuild."""
        empty = self.n == 0
        return bool((self.n >= 0).all() and not self.sums[empty].any() and not self.squares[empty].any())


def encode(statistics: Statistics) -> bytes:
    """Return the bytes that stand for statistics, 8 + 8 k (1 + 2 d) + 4 of them."""
    k, d = statistics.shape
    columns = (statistics.n, statistics.sums, statistics.squares)
    body = _HEADER.pack(_MAGIC, SCHEMA, k, d, 0) + b"".join(c.astype("<i8").tobytes() for c in columns)
    return body + _CRC.pack(zlib.crc32(body))


def decode(data: bytes) -> Statistics:
    """Return the statistics of `encode`'s bytes. Raises `StatisticsError`."""
    if len(data) < _HEADER.size + _CRC.size:
        raise StatisticsError(f"statistics of {len(data)} bytes are cut off")
    body, (crc,) = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])
    magic, schema, k, d, unused = _HEADER.unpack_from(body)
    if magic != _MAGIC or schema != SCHEMA:
        raise StatisticsError(f"statistics have schema {schema} (magic {magic:#x}), this program reads {SCHEMA}")
    if len(body) != _HEADER.size + 8 * k * (1 + 2 * d) or unused or zlib.crc32(body) != crc:
        raise StatisticsError(f"statistics of {len(data)} bytes are damaged: length or checksum is wrong")
    numbers = np.frombuffer(body, "<i8", offset=_HEADER.size).astype(np.int64)
    n, sums, squares = np.split(numbers, [k, k + k * d])
    return Statistics(n, sums.reshape(k, d), squares.reshape(k, d))


def dying(sizes: Ints) -> Flags:
    """Flag the clusters with hardly anybody: nobody, or less than `DYING` of all. sizes: int64 (k,); returns (k,)."""
    return sizes < max(1.0, DYING * int(sizes.sum()))


def scale_from(statistics: Statistics) -> Floats:
    """Return the population's standard deviations (ddof 0), float64 (d,); 1.0 where a feature does not vary.

    The variance N * sum(x^2) - (sum x)^2 is taken in exact integers: in floats it would cancel. Below
    2^-24 it is only the rounding of the squares, and counts as 0.
    """
    total = statistics.total
    sums = [int(s) for s in statistics.sums.sum(axis=0)]
    squares = [int(q) for q in statistics.squares.sum(axis=0)]
    unit = total * total << 2 * FRACTION_BITS
    spreads = [(total * q << FRACTION_BITS) - s * s for s, q in zip(sums, squares, strict=True)]
    least = unit >> FRACTION_BITS
    return np.array([(spread / unit) ** 0.5 if spread > least else 1.0 for spread in spreads])


def means_from(statistics: Statistics, otherwise: Floats) -> Floats:
    """Return the clusters' means in log units, float64 (k, d); an empty cluster has `otherwise`'s row."""
    counted = statistics.n[:, None] > 0
    means = statistics.sums / np.maximum(statistics.n, 1)[:, None] / COORDINATE_SCALE
    return np.where(counted, means, otherwise)


def recentre(bundle: Bundle, statistics: Statistics, day: int) -> Bundle:
    """Return the next version: one Lloyd step from the statistics of `day`, and the scaler of the same customers.

    A cluster without customers keeps its centroid, nobody at all keeps the scale too. Raises
    `StatisticsError` where the statistics are of another shape or invalid.
    """
    if statistics.shape != (bundle.k, len(bundle.features)):
        raise StatisticsError(f"statistics are {statistics.shape}, the model is {(bundle.k, len(bundle.features))}")
    if not statistics.is_valid:
        raise StatisticsError(f"statistics of day {day} have impossible counts {statistics.n.tolist()}: rebuild them")
    return successor(
        bundle,
        day=day,
        created_by="recentre",
        centroids=means_from(statistics, centroid_array(bundle)),
        scale=scale_from(statistics) if statistics.total else None,
        sizes=tuple(statistics.n.tolist()),
    )
