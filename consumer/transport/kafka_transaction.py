"""What a transaction keeps to, whichever client writes it: how long each step may take, and whose offsets it holds."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.ports import Committed, Membership, OutputRecord, TransportError

TRANSACTION_TIMEOUT_S = 15.0
"""The coordinator aborts a transaction open for longer. Everything below must end before."""

PUBLISH_TIMEOUT_S = 13.0
"""From begin to commit; what is unknown by then is decided by recovery."""

DELIVERY_TIMEOUT_S = 8.0
"""A batch that is not acknowledged by then has failed, while its transaction still lives."""

REQUEST_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 10.0
UNKNOWN_TOPIC_S = 3.0
"""A topic that the brokers do not know for so long does not exist."""


def nothing() -> None:
    """Stand in for the crash point `mid_transaction`."""


def as_written(record: OutputRecord) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Return value and headers; null in key and value, which kafka-python refuses, is an empty value with a header."""
    if record.key is None and record.value is None:
        return b"", (*record.headers, ("value", b"null"))
    return record.value, record.headers


def refuse_unfenced(offsets: Mapping[int, Committed], membership: Membership) -> None:
    """Raise a fence where a publish would be in nobody's name, or of what is not ours (PROTOCOL A3)."""
    if not offsets:
        raise ValueError("a transaction without offsets would have no outcome to read back")
    if membership.generation < 0 or not membership.member_id:
        raise TransportError("refused to publish: not a member of the group", retriable=True, fenced=True)
    foreign = sorted(offsets.keys() - membership.partitions)
    if foreign:
        raise TransportError(f"refused to publish partitions {foreign}: not ours", retriable=True, fenced=True)
