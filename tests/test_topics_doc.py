"""docs/topics.md against the code: its examples decode, its tables name what there is, no more and no less."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest

from consumer.erasure import keyed_hash
from consumer.messages import Cause, SegmentRecord
from consumer.step import Mark
from features.decoding import _Message, decode
from features.transaction import Batch, Reason
from features.vector import NAMES
from tests.harness.contracts import rows, section
from tests.harness.world import FIRST_DAY, TRACE, World, line, shopping

NOT_READ = {"stock_code", "description", "country"}
"""Input fields of the document that the service ignores: they are the shop's."""


def examples(title: str) -> list[bytes]:
    return [block.encode() for block in re.findall(r"(?s)```json\n(.*?)```", section(title))]


def decoded(value: bytes) -> Batch:
    return decode([0], [b"12815"], [value], [0], zone=ZoneInfo("UTC"), currency="GBP", today=20_000)


def test_every_example_of_the_input_is_accepted_as_what_it_is_called() -> None:
    line, erase, tick = (decoded(example) for example in examples("`transactions`"))
    assert (line.customers, line.lines.amount.tolist(), line.lines.units.tolist()) == (["12815"], [255_000], [2])
    assert [control.kind for control in (*erase.controls, *tick.controls)] == ["erase", "tick"]
    assert [batch.refused for batch in (line, erase, tick)] == [(), (), ()]


def test_the_example_of_the_output_has_exactly_the_fields_of_a_record() -> None:
    (example,) = examples("`customer-segments`")
    record = msgspec.json.decode(example, type=SegmentRecord)
    assert msgspec.json.decode(msgspec.json.encode(record)) == msgspec.json.decode(example)
    assert set(record.features) == set(NAMES)


def test_the_example_of_an_erasure_is_a_mark() -> None:
    (example,) = examples("`customer-erasures`")
    mark = msgspec.json.decode(example, type=Mark, strict=True)
    assert msgspec.to_builtins(mark) == msgspec.json.decode(example)
    assert len(keyed_hash(b"key", "12815")) == 64


def test_every_field_is_described() -> None:
    assert set(rows("`transactions`", "field")) == set(_Message.__struct_fields__) | NOT_READ
    assert set(rows("`customer-segments`", "field")) == set(SegmentRecord.__struct_fields__)


def test_every_cause_and_every_reason_is_described() -> None:
    assert set(rows("`customer-segments`", "`cause`")) == set(get_args(Cause))
    assert set(rows("`transactions-dead-letters`", "reason")) == {reason.value for reason in Reason}


def test_the_limits_are_those_of_the_code() -> None:
    too_long = "x" * 513
    bad: dict[str, tuple[str, Any]] = {
        "customer_id": ("customer_id", too_long),
        "event_id": ("event_id", too_long),
        "invoice_no": ("invoice_no", "x" * 257),
        "quantity": ("quantity", 1_000_000_001),
        "price": ("unit_price", 10_000_001),
        "schema": ("invoice_date", "2011-07-15T10:21"),
        "currency": ("currency", "gbp"),
        "schema_version": ("schema_version", 2),
    }
    good: dict[str, Any] = msgspec.json.decode(examples("`transactions`")[0])
    for reason, (field, value) in bad.items():
        (refusal,) = decoded(msgspec.json.encode(good | {field: value})).refused
        assert refusal.reason == reason


@pytest.fixture(scope="module")
def world() -> World:
    """A run with a bit of everything."""
    made = World(partitions=1)
    made.publish(*shopping(7, days=4))
    made.publish(*list(shopping(7, days=4))[:3], {"type": "erase", "customer_id": "c1"})
    made.write(0, None, b"{broken")
    made.write(0, b"t", json.dumps(line("t", FIRST_DAY)).encode(), (("traceparent", TRACE),))
    made.write(0, None, b'{"invoice_no": "1"}')
    made.tick(FIRST_DAY + timedelta(days=6))
    made.settle()
    return made


def test_the_counters_that_a_run_leaves_are_described_and_add_up(world: World) -> None:
    counters = world.counters()
    described = set(rows("Counters", "counter"))
    assert {re.sub(r"\..+", "", name) for name in counters} <= {re.sub(r"\..+", "", name) for name in described}
    parts = ("applied", "repeated", "guests", "ticks", "erasures")
    refused = sum(n for name, n in counters.items() if name.startswith("refused."))
    assert 0 not in (refused, *(counters[name] for name in parts))
    assert counters["lines"] == sum(counters[name] for name in parts) + refused


def test_the_headers_are_those_of_the_table(world: World) -> None:
    described = set(rows("`customer-segments`", "header"))
    written = {name for record in world.output() for name in record["headers"]}
    of_a_repartition = {
        "moved_from",
        "moved_to",
        "partitions",
    }  # tests/faults/test_operations_repartition.py reads them
    assert written | of_a_repartition == described
