"""A small seeded shop whose stream has everything in it: what a run over it must survive, `verify` must explain."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from consumer.partition import Rules, iso
from tests.harness.pure_run import FIRST, PureRun, Row, line

DAY = 86_400
PRICES = (0.85, 2.55, 12.75)

RULES = Rules(horizon_days=40, dedupe_days=5, forget_after_days=55, clock="event")
"""Short, so that in a few weeks orders expire, customers lapse and lives end."""


def past(seed: int, days: int = 50, customers: int = 30, before: int = FIRST) -> list[Row]:
    """Return a history that ends on the day before `before`, in time order."""
    rng = random.Random(seed)
    rows = []
    for day in range(before - days, before):
        for order in range(rng.randrange(2, 6)):
            customer = f"c{min(rng.randrange(customers), rng.randrange(customers))}"
            time = day * DAY + rng.randrange(DAY)
            for item in range(rng.randrange(1, 3)):
                units, price = rng.randrange(1, 9), rng.choice(PRICES)
                event = f"h1-{day}-{order}-{item}"
                rows.append(Row(customer, f"p{day}-{order}", time, round(price * 10_000) * units, units, event))
    return sorted(rows, key=lambda row: row.time)


def stream(seed: int, days: int = 30, customers: int = 36, first: int = FIRST) -> Iterator[dict[str, Any]]:
    """Yield order lines in the order of arrival: returns, late and repeated ones, guests and nonsense among them."""
    rng, ties = random.Random(seed), random.Random(f"ties {seed}")
    sent: list[dict[str, Any]] = []
    for day in range(first, first + days):
        for order in range(rng.randrange(3, 8)):
            for made in _order(rng, day, order, customers):
                event = _tied(ties, made, sent) if made["quantity"] < 0 else made
                sent.append(event)
                yield event
                if rng.random() < 0.05:
                    yield rng.choice(sent)
        if rng.random() < 0.2:
            yield line(None, day)
        if rng.random() < 0.2:
            yield line(f"c{rng.randrange(customers)}", day, **rng.choice(NONSENSE))
        if rng.random() < 0.15:
            yield {"type": "erase", "customer_id": f"c{rng.randrange(customers)}"}
        if rng.random() < 0.2:
            yield line(f"c{rng.randrange(customers)}", day + 200, event_id=f"far-{day}")


def _tied(rng: random.Random, back: dict[str, Any], sent: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a return that may name an order of the customer, or one that nobody has placed yet."""
    own = [each for each in sent if each["customer_id"] == back["customer_id"] and each["quantity"] > 0]
    named = rng.choice([each["invoice_no"] for each in own] or ["nobody's"])
    return back | rng.choice([{}, {"original_invoice_no": named}, {"original_invoice_no": named}])


NONSENSE: tuple[dict[str, Any], ...] = (
    {"quantity": 0},
    {"quantity": 1.5},
    {"unit_price": -1},
    {"unit_price": 1.234567},
    {"invoice_no": ""},
    {"currency": "EUR"},
    {"invoice_date": "yesterday"},
    {"schema_version": "2.0"},
    {"type": "greeting"},
    {"event_id": [1]},
)


def _order(rng: random.Random, day: int, order: int, customers: int) -> Iterator[dict[str, Any]]:
    customer = f"c{min(rng.randrange(customers), rng.randrange(customers))}"
    cancelled = rng.random() < 0.15
    dated = day - rng.choice([0] * 12 + [1, 3, 20, 60])
    for item in range(rng.randrange(1, 4)):
        event = line(
            customer,
            dated,
            hour=8 + order,
            invoice_no=f"{'C' if cancelled else ''}{day}-{order}",
            quantity=-rng.randrange(1, 40) if cancelled else rng.randrange(1, 9),
            unit_price=rng.choice(PRICES),
        )
        yield event | ({"event_id": f"e{day}-{order}-{item}"} if rng.random() < 0.9 else {})


def as_event(row: Row) -> dict[str, Any]:
    """Return a history row as `replay` would send it."""
    minutes, seconds = divmod(row.time % DAY, 60)
    return line(
        row.customer,
        row.time // DAY,
        invoice_no=row.invoice,
        quantity=row.units,
        unit_price=row.amount / row.units / 10_000,
        event_id=row.event_id,
        invoice_date=f"{iso(row.time // DAY)}T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}",
    )


def busy_run(seed: int = 5, **more: Any) -> PureRun:
    """Return a shop whose stream is published but not yet applied; a tick follows long after the last event."""
    rows = past(seed)
    options: dict[str, Any] = {"rules": RULES, "history": rows, "first": FIRST - 1}
    run = PureRun(**(options | more))
    for event in stream(seed):
        run.publish(event)
    # History rows come again, as `replay` would send them.
    for row in rows[-5:]:
        run.publish(as_event(row))
    run.tick(FIRST + 62)
    return run
