"""Goods that come back, in every way: seeded customers, and what they must look like to someone who keeps every line.

    case = made(seed, kind, tied=True, first=day)    the lines of one customer, each with the day on which it arrives
    oracle(events, day)                              all features, recomputed from the lines alone

The oracle knows docs/features.md and nothing of the service nor of `verify`: no records, no merging, no hashes.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal["partial", "full", "over", "same day", "early", "late", "orphan", "expired"]
"""How much came back, and when. early: it arrives before its purchase; late: days after its date; orphan: its purchase
is never seen; expired: its purchase leaves the horizon first."""
KINDS: tuple[Kind, ...] = get_args(Kind)

HORIZON = 40
DAYS = 70
"""Lines are dated on so many days."""
SLOWEST = 12
"""Days that a line may take to arrive: fewer than the horizon, so that none is too late."""
PRICES = ("0.85", "2.55", "12.75", "3.3333")

Event = dict[str, Any]
Features = dict[str, float | None]


class Sent(NamedTuple):
    """An event, and the day on which it arrives."""

    arrives: int
    event: Event


@dataclass(frozen=True, slots=True)
class Case:
    """One customer; tied: his return names its order; lines: in no order."""

    customer: str
    kind: Kind
    tied: bool
    lines: tuple[Sent, ...]

    @property
    def events(self) -> list[Event]:
        """Return what was sent."""
        return [sent.event for sent in self.lines]


def made(seed: int, kind: Kind, *, tied: bool, first: int) -> Case:
    """Return a customer with one order that comes back and up to three that stay; first: the stream's first day."""
    shopper = _Shopper(f"{kind}/{'tied' if tied else 'alone'}/{seed}", first)
    return Case(shopper.customer, kind, tied, (*shopper.others(), *shopper.returned(kind, tied=tied)))


def arrivals(cases: Iterable[Case], seed: int) -> list[Event]:
    """Return all events by the day of their arrival; within a day their order is the seed's."""
    rng = random.Random(seed)
    sent = [sent for case in cases for sent in case.lines]
    rng.shuffle(sent)
    return [each.event for each in sorted(sent, key=lambda each: each.arrives)]


class _Shopper:
    def __init__(self, customer: str, first: int) -> None:
        self.customer = customer
        self._rng, self._first, self._sent = random.Random(customer), first, 0

    def others(self) -> Iterator[Sent]:
        rng = self._rng
        for n in range(rng.randrange(4)):
            day = self._first + rng.randrange(DAYS)
            for _ in range(rng.randrange(1, 3)):
                yield self._line(f"other{n}", day, rng.randrange(1, 9), rng.choice(PRICES), rng.choice([0, 0, 5]))

    def returned(self, kind: Kind, *, tied: bool) -> Iterator[Sent]:
        rng = self._rng
        bought = self._first + rng.randrange(3 if kind == "expired" else 20)
        goods = [(rng.randrange(2, 9), rng.choice(PRICES)) for _ in range(rng.randrange(1, 4))]
        if kind != "orphan":
            for units, price in goods:
                yield self._line("order", bought, units, price, rng.randrange(4, SLOWEST) if kind == "early" else 0)
        ages = {"same day": range(1), "early": range(1, 4), "expired": range(HORIZON - 5, HORIZON + 10)}
        back = bought + rng.choice(ages.get(kind, range(1, 30)))
        whole = kind in ("full", "over")
        for units, price in goods if whole else goods[: rng.randrange(1, 4)]:
            some = units + (kind == "over") if whole else rng.randrange(1, units + 1)
            number, sign = rng.choice([("C-back", 1), ("C-back", -1), ("back", -1)])
            more = {"original_invoice_no": "order"} if tied else {}
            yield self._line(
                number, back, sign * some, price, rng.randrange(1, SLOWEST) if kind == "late" else 0, **more
            )

    def _line(self, number: str, day: int, quantity: int, price: str, wait: int, **more: str) -> Sent:
        self._sent += 1
        event = {
            "customer_id": self.customer,
            "invoice_no": number,
            "invoice_date": f"{date.fromordinal(day + _EPOCH)}T{8 + self._rng.randrange(10):02d}:00:00",
            "quantity": quantity,
            "unit_price": float(price),
            "event_id": str(self._sent),
        }
        return Sent(day + wait, event | more)


_EPOCH = date(1970, 1, 1).toordinal()


class Plain(NamedTuple):
    """A line as a person reads it: the order that it belongs to, its day, and signed units and amount."""

    order: str
    day: int
    units: int
    amount: Decimal


def plain(event: Event) -> Plain:
    """Read an event by the words of docs/topics.md."""
    units = -abs(event["quantity"]) if event["invoice_no"][0] in "Cc" else event["quantity"]
    named = event.get("original_invoice_no") if units < 0 else None
    day = date.fromisoformat(event["invoice_date"][:10]).toordinal() - _EPOCH
    return Plain(named or event["invoice_no"], day, units, units * Decimal(str(event["unit_price"])))


def oracle(events: Sequence[Event], day: int, horizon: int = HORIZON) -> Features:
    """Return all features as of a day, recomputed from every line; None where one is undefined."""
    every = [plain(event) for event in events]
    lines = [each for each in every if each.day >= day - horizon]
    orders: dict[str, list[Plain]] = defaultdict(list)
    of_day: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for each in lines:
        orders[each.order].append(each)
        of_day[each.order, each.day] += each.amount
    net = {order: sum((each.amount for each in found), Decimal()) for order, found in orders.items()}
    stands = {}
    for order, found in orders.items():
        dates = [each.day for each in found]
        stands[order] = max([at for at in dates if of_day[order, at] > 0] or dates)
    positive = [order for order in orders if net[order] > 0]
    n, bought_on = len(positive), [stands[order] for order in positive]
    bought = sum((amount for amount in of_day.values() if amount > 0), Decimal())
    came_back = -sum((amount for amount in of_day.values() if amount < 0), Decimal())
    found_features: Features = {
        "recency": day - max(bought_on) if n else None,
        "tenure": max((day - each.day for each in every), default=0),
        "frequency": n,
        "monetary": float(sum(net.values(), Decimal())),
        "basket_value": float(sum((net[order] for order in positive), Decimal()) / max(n, 1)),
        "basket_items": sum(each.units for order in positive for each in orders[order]) / max(n, 1),
        "mean_gap": (max(bought_on) - min(bought_on)) / (n - 1) if n > 1 else None,
        "return_rate": float(came_back / bought) if bought else None,
    }
    for days in (30, 90, 365):
        inside = [order for order in orders if stands[order] >= day - days]
        found_features[f"frequency_{days}"] = sum(net[order] > 0 for order in inside)
        found_features[f"monetary_{days}"] = float(sum((net[order] for order in inside), Decimal()))
    return found_features
