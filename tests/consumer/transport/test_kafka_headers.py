"""Headers as any producer may write them, through kafka-python's own encoding: none of them ends a worker."""

from __future__ import annotations

from typing import Any

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from consumer.messages import Outbox
from consumer.ports import InputRecord
from consumer.publication import REDRIVEN, output_records
from consumer.traceparent import TRACEPARENT
from consumer.transport.kafka_source import headers_of
from features.transaction import Reason, Refusal
from tests.harness.world import TOPICS, TRACE


def encoded(headers: list[tuple[str, bytes | None]]) -> Any:
    """Return a record as the library decodes it from a broker's bytes; its own producer refuses to write some."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    builder.append(timestamp=9, key=b"k", value=b"v", headers=headers)
    builder.close()
    (record,) = MemoryRecords(builder.buffer()).next_batch()
    return record


def test_headers_are_read_as_they_are() -> None:
    headers: list[tuple[str, bytes | None]] = [(TRACEPARENT, TRACE), ("twice", b"1"), ("twice", b"2")]
    assert headers_of(encoded(headers)) == tuple(headers)
    assert headers_of(encoded([])) == ()


def test_a_header_without_a_value_is_read_as_an_empty_one_and_goes_nowhere() -> None:
    headers = headers_of(encoded([(REDRIVEN, None), (TRACEPARENT, None)]))
    assert headers == ((REDRIVEN, b""), (TRACEPARENT, b""))
    refused = Outbox((), (Refusal(3, Reason.MALFORMED),))
    (letter,) = output_records(TOPICS, 0, "1:2", refused, {3: InputRecord(3, 9, b"k", b"v", headers)})
    assert not {REDRIVEN, TRACEPARENT} & dict(letter.headers).keys()
