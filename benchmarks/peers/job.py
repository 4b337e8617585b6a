"""What every Python peer does with an event; where it keeps the state is its own. The rules: benchmarks/oracle.py."""

from __future__ import annotations

import json
import os
from datetime import date
from math import log1p
from pathlib import Path
from typing import Any

EPOCH = date(1970, 1, 1)
HORIZON_DAYS = 365
OUTSIDE = -1

Orders = dict[str, list[int]]
"""Invoice -> [day, net in pence]."""


def environment(name: str) -> str:
    """Return what the runner says: KAFKA, INPUT, OUTPUT, STATE, MODEL, REDIS."""
    return os.environ[f"BENCH_{name}"]


def model() -> dict[str, Any]:
    """Return the model file."""
    given: dict[str, Any] = json.loads(Path(environment("MODEL")).read_text())
    return given


def day_of(event: dict[str, Any]) -> int:
    """Return the days since 1970-01-01."""
    return (date.fromisoformat(event["invoice_date"][:10]) - EPOCH).days


def add(orders: Orders, event: dict[str, Any]) -> None:
    """Forget what expired, and add a line to its order."""
    day = day_of(event)
    for invoice in [each for each, (at, _) in orders.items() if at <= day - HORIZON_DAYS]:
        del orders[invoice]
    order = orders.setdefault(event["invoice_no"], [day, 0])
    order[1] += event["quantity"] * round(event["unit_price"] * 100)


def features(orders: Orders, day: int) -> dict[str, int]:
    """Return recency in days, frequency, and monetary in pence; recency is 0 where nothing was bought."""
    bought = [at for at, net in orders.values() if net > 0]
    return {
        "recency": day - max(bought, default=day),
        "frequency": len(bought),
        "monetary": sum(net for _, net in orders.values()),
    }


def scaled(found: dict[str, int], given: dict[str, Any]) -> list[float] | None:
    """Return the model's coordinates, None for a customer outside the clusters."""
    if not found["frequency"] or found["monetary"] <= 0:
        return None
    values = {**found, "monetary": found["monetary"] / 100}
    columns = zip(given["names"], given["mean"], given["scale"], strict=True)
    return [(log1p(values[name]) - mean) / scale for name, mean, scale in columns]


def segment(found: dict[str, int], given: dict[str, Any]) -> int:
    """Return the nearest centroid's index, OUTSIDE for a customer outside the clusters."""
    x = scaled(found, given)
    if x is None:
        return OUTSIDE
    squares = [sum((a - b) ** 2 for a, b in zip(x, centroid, strict=True)) for centroid in given["centroids"]]
    return squares.index(min(squares))


def put_out(customer: str, number: int, found: dict[str, int]) -> dict[str, Any]:
    """Return an output's value."""
    return {
        "customer_id": customer,
        "segment": number,
        "frequency": found["frequency"],
        "monetary": found["monetary"],
    }
