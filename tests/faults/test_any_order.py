"""A customer's events in any order within the horizon: the same ledger, byte for byte (FAULTS 22).

What may differ is what PROTOCOL C3 names: what is published in between, and with it revisions and causes.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.partition import Rules
from tests.harness.days import ledger_bytes
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.pure_run import FIRST, PureRun, line
from tests.harness.world import FIRST_DAY, World, day_number, shopping

LIVES = Callable[..., Live]
SPAN = 10
"""Days that the events lie apart: less than the horizon, and less than what counts as far ahead."""
RULES = Rules(horizon_days=60, dedupe_days=40, clock="event")
"""An event id counts once within the dedupe horizon, so a line that is sent twice must fall into one in any order."""


@st.composite
def shops(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw lines of a few customers' orders: returns, lines sent twice, orders over midnight."""
    count = draw(st.integers(2, 24))
    made = []
    for n in range(count):
        order = draw(st.integers(0, 7))
        cancelled = draw(st.booleans()) and draw(st.booleans())
        made.append(
            line(
                f"k{order % 3}",
                FIRST + draw(st.integers(0, SPAN)),
                hour=draw(st.sampled_from([0, 11, 23])),
                invoice_no=f"{'C' if cancelled else 'i'}{order}",
                quantity=-draw(st.integers(1, 9)) if cancelled else draw(st.integers(1, 9)),
                unit_price=draw(st.sampled_from([0.0001, 0.85, 2.55, 12.75])),
                event_id=f"e{n}",
            )
        )
    return made + draw(st.lists(st.sampled_from(made), max_size=3))


def applied(events: Iterable[dict[str, Any]], batch: int) -> PureRun:
    run = PureRun(rules=RULES)
    run.publish(*events)
    run.tick(FIRST + SPAN + 1)
    run.settle(iter(lambda: batch, None))
    return run


def states(run: PureRun) -> dict[str, bytes]:
    return ledger_bytes({c: blob for part in run.parts for c, blob in sorted(part.states.items())}, FIRST)


def added_up(events: Iterable[dict[str, Any]]) -> dict[str, list[tuple[int, int, int, int]]]:
    """Return customer -> (day, net in 1/10,000, units, lines) of each order and day, by a plain loop."""
    orders: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    seen = set()
    for event in events:
        if event["event_id"] in seen:
            continue
        seen.add(event["event_id"])
        sums = orders[event["customer_id"], event["invoice_no"], event["invoice_date"][:10]]
        sums[0] += round(event["unit_price"] * 10_000) * event["quantity"]
        sums[1] += event["quantity"]
        sums[2] += 1
    found: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for (customer, _, day), (net, units, lines) in orders.items():
        found[customer].append((day_number(FIRST_DAY.fromisoformat(day)), net, units, lines))
    return {customer: sorted(rows) for customer, rows in found.items()}


@settings(max_examples=25)
@given(shops(), st.randoms(use_true_random=False), st.sampled_from([1, 3, 50]))
def test_any_permutation_gives_the_ledgers_of_a_plain_sum(
    events: list[dict[str, Any]], rng: random.Random, batch: int
) -> None:
    inorder, shuffled = applied(sorted(events, key=lambda each: each["invoice_date"]), 50), list(events)
    rng.shuffle(shuffled)
    other = applied(shuffled, batch)
    assert states(other) == states(inorder)
    rows = {customer: sorted(row[1:] for row in found) for customer, found in other.ledgers().items()}
    assert rows == added_up(events)


def told_twice() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a stream as it came, and in another order."""
    lines = [each | {"event_id": f"x{n}"} for n, each in enumerate(shopping(8, customers=30, days=SPAN, per_day=12))]
    shuffled = list(lines)
    random.Random(22).shuffle(shuffled)
    assert sum(a != b for a, b in zip(lines, shuffled, strict=True)) > len(lines) // 2
    return lines, shuffled


@pytest.mark.fault(22)
def test_workers_that_hear_the_same_in_another_order_hold_the_same_ledgers(fault: Fault) -> None:
    found = []
    for heard in told_twice():
        world = World(partitions=2, max_poll_records=50)
        fault.inject(len(heard))
        world.publish(*heard)
        world.tick(FIRST_DAY + timedelta(days=SPAN + 1))
        world.settle()
        fault.fired(world.counters()["applied"])
        found.append(ledger_bytes(dict(sorted(world.customers().items())), day_number(FIRST_DAY)))
    assert found[0] == found[1]
    assert len(found[0]) > 20, "too few to prove anything"
    fault.unstreamed("two worlds in memory; on real servers in the long form")


@pytest.mark.long
@pytest.mark.fault(22)
def test_so_they_do_on_a_real_broker_and_a_real_store(lives: LIVES, fault: Fault) -> None:
    history = list(shopping(7, customers=30, days=8))
    found = []
    for heard in told_twice():
        live = lives(partitions=2)
        live.bootstrap([each | {"invoice_date": _earlier(each["invoice_date"])} for each in history])
        fault.inject(len(heard))
        live.publish(heard)
        live.tick(FIRST_DAY + timedelta(days=SPAN + 1))
        live.start()
        live.settle()
        live.end()
        fault.fired(live.counted("applied"))
        found.append(ledger_bytes(live.customers(), day_number(FIRST_DAY) - 300))
        fault.judge(live.verdict())
    assert found[0] == found[1]


def _earlier(moment: str) -> str:
    """Return a moment nine days before: the history lies before the stream."""
    day = FIRST_DAY.fromisoformat(moment[:10]) - timedelta(days=9)
    return f"{day}{moment[10:]}"
