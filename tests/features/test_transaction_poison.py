"""Records that are valid for the decoder and still cannot be used end in a refusal, never in an exception."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest

from features.decoding import decode
from features.transaction import Reason

LINE = {"invoice_no": "1", "quantity": 1, "unit_price": 1, "customer_id": "c", "invoice_date": "2024-03-01T10:00:00"}


def refusals(value: bytes) -> list[Reason]:
    batch = decode([7], [b"c"], [value], [0], zone=ZoneInfo("Europe/London"), currency="GBP", today=20_000)
    assert batch.records == 1
    return [refusal.reason for refusal in batch.refused]


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
@pytest.mark.parametrize("more", [{}, {"type": "tick"}])
def test_a_time_that_its_offset_leads_out_of_the_calendar_is_refused(moment: str, more: dict[str, str]) -> None:
    value = json.dumps(LINE | {"invoice_date": moment, "at": moment} | more).encode()
    assert refusals(value) == [Reason.SCHEMA]


def test_bytes_that_are_no_text_are_refused_also_in_a_field_that_is_ignored() -> None:
    value = json.dumps(LINE | {"description": "?"}).encode().replace(b"?", b"\xff")
    assert refusals(value) == [Reason.MALFORMED]


def test_text_in_any_script_is_text() -> None:
    assert refusals(json.dumps(LINE | {"description": "héllo ☃ 😀"}, ensure_ascii=False).encode()) == []
