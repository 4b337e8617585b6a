"""Late and returned: whatever comes back, in whatever order it arrives, nets to what keeping every line gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.returns import synthetic
from features.decoding import decode
from features.ledger import Ledger, empty, expire, from_lines, merge
from features.vector import NAMES, vectors
from tests.harness.pure_run import FAR, FIRST, line
from tests.harness.returned import HORIZON, KINDS, Event, oracle

EVENTS = st.builds(
    lambda day, **fields: line("a", FIRST + day, **{name: value for name, value in fields.items() if value}),
    day=st.integers(0, HORIZON + 10),
    invoice_no=st.sampled_from(["1", "2", "C3"]),
    original_invoice_no=st.sampled_from(["", "1", "2", "C3", "4"]),
    quantity=st.integers(-4, 4).filter(bool),
    unit_price=st.sampled_from([0.85, 2.55, 3.3333]),
)


def merged(events: Sequence[Event]) -> Ledger:
    values = [json.dumps(event).encode() for event in events]
    keys, times = [None] * len(values), [0] * len(values)
    batch = decode(range(len(values)), keys, values, times, zone=ZoneInfo("UTC"), currency="GBP", today=FAR)
    assert not batch.refused
    return from_lines(batch.lines)


@settings(max_examples=100)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.randoms(use_true_random=False), st.integers(0, 20))
def test_any_returns_in_any_order_and_any_batches_net_to_the_oracle(
    events: list[Event], rng: np.random.Generator, later: int
) -> None:
    day = FIRST + HORIZON + 10 + later
    expected = oracle(events, day)
    rng.shuffle(events)
    cut = len(events) // 2
    ledger = merge(merged(events[:cut]) if cut else empty(), merged(events[cut:]))
    found = vectors(expire(ledger, day - HORIZON)[0], 1, day, np.array([ledger.day.min()])).values
    for name in NAMES:
        value = float(found[name][0])
        assert (None if isnan(value) else pytest.approx(value, rel=1e-12, abs=1e-12)) == expected[name], name


def test_batch_stream_service_and_judge_give_the_oracles_features_for_every_kind_of_return() -> None:
    found = synthetic(cases=2, seed=7)
    assert [outcome.differences for outcome in found.outcomes] == [
        {"batch": 0, "stream": 0, "service": 0, "judge": 0}
    ] * (2 * len(KINDS))
    assert all(outcome.compared > 1_000 for outcome in found.outcomes)
    assert (found.verified, found.differences) == (0, 0)
    assert found.records > 100
