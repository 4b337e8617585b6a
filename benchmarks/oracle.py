"""What a peer must put out: a plain loop over the same events, and the comparison with what came out.

A peer's job, event by event in the order of a customer's partition:

    day      whole days since 1970-01-01 of `invoice_date` (UTC)
    expire   forget his orders of days <= day - 365
    add      quantity * unit_price, in whole pence, to the net of the order `invoice_no`, which keeps its first day;
             a return's invoice (C...) is an order of its own, with a negative net
    compute  frequency = orders with net > 0; monetary = the sum of all nets, in pence;
             recency = day - the last day of an order with net > 0
    segment  -1 where frequency = 0 or monetary <= 0; else the index of the nearest centroid (Euclid; of equals the
             lowest) to x_j = (ln(1 + value_j) - mean_j) / scale_j, where monetary counts in pounds (pence / 100)
    put out  where the segment is not the one last put out for him (so always at first): key customer_id, value
             {"customer_id": "100042", "segment": 2, "frequency": 3, "monetary": 4250}

The model file holds {"names": ["recency", "frequency", "monetary"], "mean": [3], "scale": [3], "centroids": [k][3]},
centroids in scaled units.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import log1p
from pathlib import Path
from typing import NamedTuple

from benchmarks.stream import DAY_S, Line

HORIZON_DAYS = 365
OUTSIDE = -1


class Model(NamedTuple):
    """names: d of recency, frequency, monetary; centroids: k rows of d, scaled."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self._asdict()), encoding="utf-8")


class Output(NamedTuple):
    """A record's value without the customer. monetary: pence."""

    segment: int
    frequency: int
    monetary: int


class State(NamedTuple):
    """A customer as of a day. monetary: pence; recency: days, None without a positive order."""

    frequency: int
    monetary: int
    recency: int | None


@dataclass
class Life:
    """One customer: his orders as invoice -> [day, net in pence]."""

    orders: dict[str, list[int]] = field(default_factory=dict)
    segment: int | None = None

    def expire(self, last_gone: int) -> None:
        for invoice in [each for each, (day, _) in self.orders.items() if day <= last_gone]:
            del self.orders[invoice]

    def state(self, day: int) -> State:
        bought = [at for at, net in self.orders.values() if net > 0]
        return State(len(bought), sum(net for _, net in self.orders.values()), day - max(bought) if bought else None)


def segment(state: State, model: Model) -> int:
    """Return the nearest centroid's index, or OUTSIDE."""
    if state.recency is None or state.monetary <= 0:
        return OUTSIDE
    values = {"recency": state.recency, "frequency": state.frequency, "monetary": state.monetary / 100}
    x = [(log1p(values[n]) - m) / s for n, m, s in zip(model.names, model.mean, model.scale, strict=True)]
    squares = [sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in model.centroids]
    return squares.index(min(squares))


def outputs(lines: Iterable[Line], model: Model) -> dict[str, list[Output]]:
    """Return all that must be put out, by customer and in his order."""
    lives: dict[str, Life] = {}
    out: dict[str, list[Output]] = {}
    for line in lines:
        life = lives.setdefault(line.customer, Life())
        day = line.at // DAY_S
        life.expire(day - HORIZON_DAYS)
        life.orders.setdefault(line.invoice, [day, 0])[1] += line.quantity * line.price
        state = life.state(day)
        if (now := segment(state, model)) != life.segment:
            life.segment = now
            out.setdefault(line.customer, []).append(Output(now, state.frequency, state.monetary))
    return out


def states(lines: Iterable[Line], day: int) -> dict[str, State]:
    """Return everybody at the end of a day as the product has it: it keeps the orders of `day` - 365 itself too."""
    lives: dict[str, Life] = {}
    for line in lines:
        orders = lives.setdefault(line.customer, Life()).orders
        orders.setdefault(line.invoice, [line.at // DAY_S, 0])[1] += line.quantity * line.price
    for life in lives.values():
        life.expire(day - HORIZON_DAYS - 1)
    return {customer: life.state(day) for customer, life in lives.items()}


def differences(expected: Mapping[str, list[Output]], records: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return what is wrong with a peer's records, a sentence a customer; nothing where all is as it must be.

    records: keys and values, a customer's in their order.
    """
    found: dict[str, list[Output]] = {}
    wrong = []
    for key, value in records:
        given = json.loads(value)
        customer = given["customer_id"]
        if key.decode() != customer:
            wrong.append(f"{customer}: under the key {key!r}")
        found.setdefault(customer, []).append(Output(given["segment"], given["frequency"], given["monetary"]))
    pairs = [(each, expected.get(each, []), found.get(each, [])) for each in sorted(expected.keys() | found.keys())]
    return [*wrong, *(f"{each}: {_first_difference(*lists)}" for each, *lists in pairs if lists[0] != lists[1])]


def _first_difference(expected: list[Output], found: list[Output]) -> str:
    same = (a == b for a, b in zip(expected, found, strict=False))
    at = next((n for n, equal in enumerate(same) if not equal), min(len(expected), len(found)))
    wanted, given = (each[at] if at < len(each) else "nothing" for each in (expected, found))
    return f"record {at} is {given} instead of {wanted}"
