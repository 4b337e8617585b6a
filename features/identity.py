"""Identity of customers, orders and events: canonical text and the 64-bit hashes that stand for it.

Guarantee: an id is compared byte for byte after `canonical_id`; a hash is BLAKE2b truncated to eight
bytes, so it is the same in every process, on every machine and in every later version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

MAX_ID_BYTES = 512
"""A longer customer id is refused: it would be a Redis key and a Kafka key."""

POSITION_BITS = 48
"""A sweep walks customers by a 48-bit position: a Redis sorted set's score (a double) holds it exactly."""

HISTORY_SCHEME = "h1-"
"""Prefix of an event id derived from a row's content, shared by bootstrap and replay (PROTOCOL H3)."""

_FLOAT_ARTEFACT = re.compile(r"(\d+)\.0+")


def canonical_id(text: str) -> str:
    """Return a customer id without surrounding white space and without a spreadsheet's ``.0``.

    ``17850``, ``17850.0`` and `` 17850`` are one customer; leading zeros stay: ``0012`` is not ``12``.
    """
    stripped = text.strip()
    if stripped.endswith("0") and (match := _FLOAT_ARTEFACT.fullmatch(stripped)):
        return match[1]
    return stripped


def hash64(text: str) -> int:
    """Return the unsigned 64-bit BLAKE2b hash of a text's UTF-8 bytes; never 0, which means "none"."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def hashes64(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return `hash64` of each text: uint64 (n,)."""
    blank, digests = blake2b(digest_size=8), []
    for text in texts:
        hashing = blank.copy()  # a third less than a new one with its parameters
        hashing.update(text.encode())
        digests.append(hashing.digest())
    return np.maximum(np.frombuffer(b"".join(digests), "<u8").astype(np.uint64), np.uint64(1))


def positions(customers: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return `position` of each customer: int64 (n,)."""
    return (hashes64(customers) >> np.uint64(64 - POSITION_BITS)).astype(np.int64)


def position(text: str) -> int:
    """Return a customer's place in the sweep's order: the upper 48 bits of his hash."""
    return hash64(text) >> (64 - POSITION_BITS)


def content_event_id(content: str, occurrence: int) -> str:
    """Return the id of a history row: its content's hash and its occurrence number within the order.

    `content` is the row's fields joined by U+001F: customer, invoice, stock code, quantity, price in
    1/10,000 and the local time as ISO text. `occurrence` counts equal rows of one order from 0, so
    lines legitimately repeated in an order keep different ids.
    """
    return f"{HISTORY_SCHEME}{blake2b(content.encode(), digest_size=12).hexdigest()}-{occurrence}"
