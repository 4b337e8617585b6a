"""Which partition a key belongs to: murmur2, as the Java client and kafka-python compute it.

`partition = (murmur2(key) & 0x7fffffff) % partitions`. Source: Apache Kafka, `Utils.murmur2` and
`BuiltInPartitioner.partitionForKey`, after Austin Appleby's MurmurHash2 (public domain).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of one key; about 1 us for a customer id, so that no cache is needed."""
    return (murmur2(key) & _POSITIVE) % partitions


def murmur2(key: bytes) -> int:
    """Return the hash as an unsigned 32-bit integer (Java's is the same one, signed)."""
    whole = len(key) & ~3
    h = _SEED ^ len(key)
    for at in range(0, whole, 4):
        k = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        h = (h * _M) & _MASK ^ ((k ^ (k >> 24)) * _M) & _MASK
    if whole < len(key):
        h = ((h ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partitions_of(keys: Sequence[bytes], partitions: int) -> npt.NDArray[np.int64]:
    """Return the partition of each key: int64[len(keys)]; for whole histories, 0.1 us a key where lengths repeat."""
    hashes = np.empty(len(keys), np.int64)
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        text = np.frombuffer(b"".join([keys[row] for row in rows.tolist()]), np.uint8).reshape(rows.size, int(length))
        hashes[rows] = _murmur2_of_equal_lengths(text)
    return (hashes & _POSITIVE) % partitions


def _murmur2_of_equal_lengths(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Hash uint8[n, length] row by row."""
    n, length = text.shape
    padded = np.zeros((n, -(-max(length, 1) // 4) * 4), np.uint8)
    padded[:, :length] = text
    words = padded.view("<u4").astype(np.uint32)
    m, whole = np.uint32(_M), length // 4
    h = np.full(n, _SEED ^ length, np.uint32)
    for at in range(whole):
        k = words[:, at] * m
        h = h * m ^ (k ^ (k >> np.uint32(24))) * m
    if length % 4:
        h = (h ^ words[:, whole]) * m
    h = (h ^ (h >> np.uint32(13))) * m
    return (h ^ (h >> np.uint32(15))).astype(np.int64)
