"""Features as a reader meets them: their nouns, their units, and a value of one in words."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from reports.workbench import phrases
from reports.workbench.phrases import money, share

Kind = Literal["days", "orders", "money", "units", "share"]


class Measure(NamedTuple):
    """noun: ``orders``, as in ``at least 6 orders``; kind: what its values are."""

    noun: str
    kind: Kind


MEASURES = {
    "recency": Measure("days since the last order", "days"),
    "tenure": Measure("days since the first order", "days"),
    "frequency": Measure("orders", "orders"),
    "monetary": Measure("net revenue", "money"),
    "frequency_30": Measure("orders in 30 days", "orders"),
    "frequency_90": Measure("orders in 90 days", "orders"),
    "frequency_365": Measure("orders in 365 days", "orders"),
    "monetary_30": Measure("net revenue in 30 days", "money"),
    "monetary_90": Measure("net revenue in 90 days", "money"),
    "monetary_365": Measure("net revenue in 365 days", "money"),
    "basket_value": Measure("value of an order", "money"),
    "basket_items": Measure("units in an order", "units"),
    "mean_gap": Measure("days between two orders", "days"),
    "return_rate": Measure("share of value returned", "share"),
}
"""By the names of features.vector.NAMES; those without a window look back over the horizon."""

WHOLE = frozenset({"recency", "tenure"} | {name for name, measure in MEASURES.items() if measure.kind == "orders"})
"""Features whose values are whole numbers."""


def value(name: str, amount: float, currency: str) -> str:
    """Return one value of a feature: ``8``, ``£3,475``, ``4.2 %``; ``unknown`` for NaN."""
    match MEASURES[name].kind:
        case "money" if not math.isnan(amount):
            return money(amount, currency)
        case "share":
            return share(amount)
        case _:
            return "unknown" if math.isnan(amount) else f"{amount:,.1f}".removesuffix(".0")


def axis(name: str, currency: str, scale: str = "") -> str:
    """Return an axis title with its unit: ``net revenue [GBP, log scale]``."""
    measure = MEASURES[name]
    unit = {"money": phrases.unit(currency), "share": "0 to 1"}.get(measure.kind, measure.kind)
    return f"{measure.noun} [{', '.join(filter(None, (unit, scale)))}]"


def between(name: str, low: float, high: float, currency: str) -> str:
    """Return a span of a feature in words, low excluded and high included; either may be infinite, not both.

    ``at least 6 orders``, ``24 to 60 days since the last order``, ``net revenue of more than £500``.
    """
    noun = MEASURES[name].noun
    if name in WHOLE:
        first, last = low + 1, high
        if math.isinf(high):
            return f"at least {first:,.0f} {noun}"
        if math.isinf(low):
            return f"at most {last:,.0f} {noun}"
        return f"exactly {last:,.0f} {noun}" if first == last else f"{first:,.0f} to {last:,.0f} {noun}"
    above = "" if math.isinf(low) else f"more than {value(name, low, currency)}"
    below = "" if math.isinf(high) else f"at most {value(name, high, currency)}"
    return f"{noun} of {' and '.join(filter(None, (above, below)))}"
