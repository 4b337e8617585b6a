"""The judge and the service read every record alike, however strange; the two were written apart."""

from __future__ import annotations

import json
import math
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.transport.kafka_partitioner import partition_of
from features.decoding import decode
from features.transaction import DAY_SECONDS
from reports.verify_events import GUEST, Erase, Line, Reader, Tick, murmur2

ZONE, TODAY = "Europe/London", 20_000
READER = Reader(ZONE, "GBP", (TODAY + 2) * DAY_SECONDS)
GOOD = {"invoice_no": "1", "quantity": 1, "unit_price": 2.5, "customer_id": "c", "invoice_date": "2024-03-01T10:00:00"}

RETURN = GOOD | {"quantity": -1, "original_invoice_no": "2"}

SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    -0.0,
    1,
    -1,
    1.5,
    2**53,
    2**53 + 1,
    2**63,
    2**64,
    10**22,
    1e22,
    1e300,
    5e-324,
]
TEXTS = [
    "",
    " ",
    "c",
    "17850.0",
    " 0012 ",
    "17850.00",
    "1.0.0",
    "x" * 257,
    "x" * 513,
    "é",
    "😀",
    "١٢",
    "C1",
    "c1",
    "h1-a",
    "\u0000",
]
NUMBERS = [
    "1",
    "+3",
    " 7 ",
    "1.50",
    "1e3",
    "0x1",
    "١٢",
    "999999999999999999999",
    "-2",
    "0.00001",
    "1,5",
    "NaN",
    "Infinity",
]
PRICES: list[Any] = [2.55, 0.0001, 0.00005, 0.1 + 0.2, 1e7, 1e7 + 1, -2.5, 123.4567, 123.45678, 1.0000000000000002]
QUANTITIES: list[Any] = [1_000_000_000, 1_000_000_001, -1_000_000_000, 6.0, 6.5, 400_000_000]
MOMENTS = [
    "2024-03-01T10:00:00Z",
    "2024-07-01 10:00:00+02:00",
    "2024-03-01t10:00:00.9999996",
    "2024-03-01T10:00:00.25-0530",
    "2024-02-30T10:00:00",
    "2024-03-01T24:00:00",
    "2024-03-01T10:00:60",
    "2024-03-01T10:00",
    "2024-03-01",
    "20240301T100000",
    "2024-03-01T10:00:00+24:00",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "2024-10-04T00:00:00",  # the day after the day after today
    "2024-10-05T23:59:59",
    "2024-10-06T00:00:00",
    "2262-01-01T00:00:00",
    "1969-12-31T23:59:59",
    "yesterday",
]
CONTAINERS: list[Any] = [[], [1], {}, {"a": 1}]
VALUES: dict[str, list[Any]] = {
    "type": ["line", "erase", "tick", "Line", ""],
    "schema_version": ["1", "1.7", "2", "2.0", 1, 1.0, 1.5, 2, "one"],
    "event_id": ["h1-x", 7, "e"],
    "invoice_no": [536365, "C536365", " c7 "],
    "original_invoice_no": [536365, 536365.0, "C536365", " 7 "],
    "quantity": [*QUANTITIES, *NUMBERS],
    "unit_price": [*PRICES, *NUMBERS],
    "invoice_date": MOMENTS,
    "customer_id": [17850, 17850.0, 1e22],
    "currency": ["GBP", "EUR", "gbp"],
    "at": MOMENTS,
    "description": ["ignored"],
}


def outcome_of_the_service(value: bytes) -> Line | Erase | Tick | str:
    batch = decode([3], [None], [value], [9], zone=ZoneInfo(ZONE), currency="GBP", today=TODAY)
    if batch.refused:
        return batch.refused[0].reason.value
    if batch.guests:
        return GUEST
    if batch.controls:
        control = batch.controls[0]
        return Tick(3, control.at or 0) if control.kind == "tick" else Erase(3, control.customer, control.at, 9)
    lines = batch.lines
    return Line(
        3,
        batch.customers[int(lines.owner[0])],
        int(lines.order[0]),
        int(batch.time[0]),
        int(lines.amount[0]),
        int(lines.units[0]),
        int(lines.event_id[0]),
        bool(batch.of_history[0]),
    )


def alike(value: bytes) -> None:
    mine, theirs = READER.read(3, 9, value), outcome_of_the_service(value)
    # Which of two faults is found first is no matter where neither can be read.
    unreadable = {"malformed", "schema"}
    assert mine == theirs or {str(mine), str(theirs)} <= unreadable, value


@settings(max_examples=400)
@given(st.data())
def test_messages_of_any_fields_are_read_alike(data: st.DataObject) -> None:
    message: dict[str, Any] = dict(data.draw(st.sampled_from([GOOD, RETURN])))
    names: list[str] = data.draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3))
    for name in names:
        pool: list[Any] = [*VALUES[name], *VALUES[name], *SCALARS, *TEXTS, *CONTAINERS]
        message[name] = data.draw(st.sampled_from(pool))
    missing: list[str] = data.draw(st.lists(st.sampled_from(sorted(message)), max_size=1))
    for name in missing:
        del message[name]
    alike(json.dumps(message, ensure_ascii=data.draw(st.booleans())).encode())


@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_value_of_each_field_is_read_alike(name: str) -> None:
    for each in (*VALUES[name], *SCALARS, *TEXTS, *CONTAINERS):
        for kind in ("line", "erase", "tick"):
            for line in (GOOD, RETURN):
                alike(json.dumps(line | {"type": kind} | {name: each}).encode())


@settings(max_examples=400)
@given(price=st.floats(-1e8, 1e8), quantity=st.one_of(st.floats(-1e10, 1e10), st.integers(-(10**10), 10**10)))
def test_any_price_and_quantity_are_read_alike(price: float, quantity: float) -> None:
    alike(json.dumps(GOOD | {"unit_price": price, "quantity": quantity}).encode())
    alike(json.dumps(GOOD | {"unit_price": round(price, 4), "quantity": math.floor(quantity)}).encode())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"\x00",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}",
        b" {} \n",
        b"{} x",
        b'{"a":1,}',
        b"{'a':1}",
        b"\xef\xbb\xbf{}",
        b'{"x":01}',
        b'{"x":.5}',
        b'{"x":NaN}',
        b'{"x":-Infinity}',
        b'{"x":1e400}',
        b'{"quantity":1e400}',
        b'{"x":"\xff"}',
        b'{"\xff":1}',
        b'{"customer_id":"\xff"}',
        b'{"x":"\\ud800"}',
        b'{"customer_id":"\\ud83d\\ude00"}',
        b'{"x":"\x01"}',
        b'{"x":"\\x"}',
        b'{"customer_id":"a","customer_id":null}',
        b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"x":"' + b"y" * 1_000_000 + b'"}',
    ],
)
def test_bytes_of_any_kind_are_read_alike(value: bytes) -> None:
    alike(value)


@given(st.binary(max_size=60))
def test_a_key_goes_to_the_same_partition(key: bytes) -> None:
    for partitions in (1, 4, 7):
        assert murmur2(key) % partitions == partition_of(key, partitions)
