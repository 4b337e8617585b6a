"""Records whose header names are no UTF-8, which the library cannot read.

Kafka's brokers do not look into headers. kafka-python takes one such name for a corrupt batch and fails at it for ever:
whoever may write to the input could stop a partition by one record.
"""

from __future__ import annotations

from typing import Any

from kafka.record.default_records import DefaultRecordBatch

AS_SHIPPED = DefaultRecordBatch._read_msg  # noqa: SLF001 -- guarded by tests/consumer/transport/test_kafka_python_defects.py


class _Name(bytes):
    def decode(self, *_how: Any) -> str:
        return str(self, "utf-8", "replace")


class _Buffer:
    """A batch's bytes, whose slices decode whatever they hold."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __getitem__(self, at: Any) -> Any:
        return _Name(self._data[at]) if isinstance(at, slice) else self._data[at]


def _read(batch: Any) -> Any:
    try:
        return AS_SHIPPED(batch)
    except UnicodeDecodeError:  # nothing was consumed: the place in the batch is moved last
        shipped, batch._buffer = batch._buffer, _Buffer(batch._buffer)  # noqa: SLF001
        try:
            return AS_SHIPPED(batch)
        finally:
            batch._buffer = shipped  # noqa: SLF001


def read_any_header_name() -> None:
    """Let all clients of this process read such records; what is no UTF-8 in a name becomes U+FFFD."""
    DefaultRecordBatch._read_msg = _read  # noqa: SLF001
