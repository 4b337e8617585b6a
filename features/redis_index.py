"""The sweep's order in Redis: customer id -> position, in as many sorted sets as hold few customers each.

    position   0 ........................................... 2^48
    bucket     |   0   |   1   |   2   | ...       | 2^n - 1 |

A position is the upper bits of a hash, and its bucket the uppermost of these: walking the buckets in order is walking
the positions in order, and all buckets are of about one size. A sorted set of at most 128 short members
(`zset-max-listpack-entries`) is one list without pointers, a third of what a larger one takes a customer; one that
grows beyond is right as ever, and only larger (docs/decisions/0028).

How many buckets a partition has is written once, before its customers are loaded, and is a power of two. A partition
that says nothing has one, under the name that it always had.
"""

from __future__ import annotations

from features.identity import POSITION_BITS

PER_BUCKET = 64
"""At most so many customers a bucket, on average, when a generation is loaded: it may double before it costs more."""

SCHEMA_OF_BUCKETS = 3
"""Of states (features.codec): whatever reads it knows buckets, too."""

FIELD = "buckets"
"""Of the fence: the number of buckets."""


def buckets_for(customers: int) -> int:
    """Return how many buckets a partition of so many customers gets."""
    return 1 << max(0, -(-customers // PER_BUCKET) - 1).bit_length()


def bucket_of(position: int, buckets: int) -> int:
    """Return the bucket of a position; of one beyond all positions, the last."""
    return min(max(position, 0) * buckets >> POSITION_BITS, buckets - 1)


def bucket_name(bucket: int, buckets: int) -> str:
    """Return the name of a bucket's key within its partition and generation."""
    return "index" if buckets == 1 else f"index:{bucket}"
