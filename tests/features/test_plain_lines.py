"""A plain line read by columns is the line that reading one by one gives: of any records, in any zone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import decoding, plain_lines
from features.decoding import decode
from features.plain_lines import Plain
from features.transaction import Batch, Reason

TODAY = 20_000
LINE = {
    "invoice_no": "536365",
    "quantity": 6,
    "unit_price": 2.55,
    "customer_id": "17850",
    "invoice_date": "2024-03-01T10:00:00Z",
    "event_id": "e-1",
}
ODD: dict[str, list[Any]] = {
    "customer_id": ["17850.0", " 17850 ", 17850, 17850.0, 1e22, 10**22, "", "  ", "x" * 513, "ü" * 300, None, True],
    "invoice_no": ["C536365", "c1", 536365, " 7 ", "", None, "x" * 257, 1.5],
    "invoice_date": [
        "2024-03-31T01:30:00",
        "2024-03-31T00:59:59.999999Z",
        "2024-10-27T01:30:00+01:00",
        "2024-03-01T10:00:00.5+05:45",
        "1890-01-01T00:00:00Z",
        "2106-02-07T06:28:16Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "1970-01-01T00:00:00+14:00",
        "2024-02-30T00:00:00Z",
        "2024-03-01",
        None,
    ],
    "quantity": [-3, 0, 1.5, "6", " 6 ", 1e300, 2**53, 2**53 + 1, -(2**70), 10**9 + 1, None, True],
    "unit_price": [0, -1, 0.00001, 0.85, "2.55", 1e8, None],
    "event_id": ["h1-abc", "", 7, None, "x" * 513, 1.5],
    "type": ["line", "erase", "tick", "gift", None],
    "schema_version": [1, "1", "1.0", "1.2", 1.0, 2, "2"],
    "original_invoice_no": ["536365", 536365, "", None],
    "currency": ["GBP", "EUR", None],
    "at": ["2024-03-01T10:00:00Z", None],
    "description": ["plain", "héllo ☃", {"deep": [1, None]}],
}


def fields() -> st.SearchStrategy[dict[str, Any]]:
    changes = st.lists(
        st.sampled_from(sorted(ODD)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(ODD[name]))),
        max_size=2,
    )
    return changes.map(lambda pairs: LINE | dict(pairs))


def values() -> st.SearchStrategy[bytes | None]:
    whole = fields().map(lambda line: json.dumps(line).encode())
    in_utf8 = fields().map(lambda line: json.dumps(line, ensure_ascii=False).encode())
    broken = st.sampled_from([None, b"", b"{", b"[]", b"null", b'{"customer_id":"\xff"}', b"{}" * 2, b"[" * 5_000])
    return whole | in_utf8 | broken


def columns(batch: Batch) -> dict[str, Any]:
    """Return a batch as what can be compared, customers by name: they may be numbered in another order."""
    lines = batch.lines
    table = {name: getattr(lines, name).tolist() for name in ("order", "day", "amount", "units", "event_id")}
    table |= {name: getattr(batch, name).tolist() for name in ("offset", "time", "of_history")}
    table["customer"] = [batch.customers[owner] for owner in lines.owner]
    of_batch = ("keys", "refused", "guests", "controls", "records", "start", "stop", "published_ms")
    return table | {name: getattr(batch, name) for name in of_batch}


def read(given_values: Sequence[bytes | None], zone: str) -> Batch:
    n = len(given_values)
    keys: list[bytes | None] = [b"k%d" % row for row in range(n)]
    at = list(range(100, 100 + 2 * n, 2))
    return decode(at, keys, given_values, [5] * n, zone=ZoneInfo(zone), currency="GBP", today=TODAY)


def nothing_is_plain(*_: Any) -> Plain:
    none, hashes, flags = np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.bool_)
    return Plain({}, none, none, hashes, none, hashes, flags, flags, np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "Asia/Kathmandu", "Africa/Monrovia"])
def test_columns_and_one_by_one_give_the_same_batch(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(values(), min_size=1, max_size=12))
    def same(records: list[bytes | None]) -> None:
        by_columns = columns(read(records, zone))
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "plain_lines", nothing_is_plain)
            assert by_columns == columns(read(records, zone))

    same()


@pytest.mark.parametrize("change", [{}, {"customer_id": 17850}, {"schema_version": "1.0"}, {"currency": "GBP"}])
@pytest.mark.parametrize("moment", ["2024-03-01T10:00:00Z", "2024-03-01T10:00:00.250+01:00", "2024-03-01T10:00:00"])
def test_what_shops_send_is_plain(change: dict[str, Any], moment: str) -> None:
    value = json.dumps(LINE | change | {"invoice_date": moment, "description": "a lantern", "country": "EIRE"}).encode()
    plain = plain_lines.plain_lines([value], ZoneInfo("Europe/London"), "GBP", (TODAY + 2) * 86_400)
    assert plain.row.tolist() == [0]


def test_a_refused_line_among_plain_ones_keeps_its_place_and_its_reason() -> None:
    kept, refused = json.dumps(LINE).encode(), json.dumps(LINE | {"quantity": 0.5}).encode()
    batch = read([kept, refused, kept], "UTC")
    assert batch.offset.tolist() == [100, 104]
    assert [(each.offset, each.reason) for each in batch.refused] == [(102, Reason.QUANTITY)]
