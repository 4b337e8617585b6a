"""Feature vectors from ledgers, as of a day; docs/features.md gives each formula, unit and range.

Counts and sums are exact integers until the last step. A clustering coordinate is the logarithm of a
feature, rounded to 2^-24 and kept as int64, so that statistics over customers are an exact, order-free
monoid (PROTOCOL C4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.ledger import MONEY, Ints, Ledger, order_starts

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

COORDINATE_SCALE = float(1 << 24)
"""A coordinate is an integer multiple of 2^-24."""

NEVER = np.iinfo(np.int64).min
"""Stands for the day of what did not happen."""

NAMES = (
    "recency",
    "tenure",
    "frequency",
    "monetary",
    "frequency_30",
    "frequency_90",
    "frequency_365",
    "monetary_30",
    "monetary_90",
    "monetary_365",
    "basket_value",
    "basket_items",
    "mean_gap",
    "return_rate",
)
"""Every feature, in the order of docs/features.md."""

RFM = ("recency", "frequency", "monetary")
"""What clusters by default."""


def coordinate(name: str, values: Floats, recency_offset: int) -> Ints:
    """Return one feature's clustering coordinates, int64 of shape (n,), in 2^-24 of log units.

    log(days + recency_offset) of recency, log(value + 1) of every other feature. A greater offset counts the
    first days after an order for less. values: float64 (n,); what is undefined or negative (only outside the
    clusters, or a mean gap of one order) counts as 0.
    """
    offset = recency_offset if name == "recency" else 1
    # With offset 1 this is log1p to the last bit; a whole offset and whole days add up exactly.
    logs = np.log1p(np.fmax(values, 0.0) + (offset - 1))
    steps: Ints = np.rint(logs * COORDINATE_SCALE).astype(np.int64)
    return steps


@dataclass(frozen=True, slots=True)
class Vectors:
    """What scoring needs of n customers as of one day.

    values: float64 by feature name, each of shape (n,); lapsed: no order left in the horizon;
    clustered: at least one positive order and a net above 0 in the horizon. A customer that is
    neither stands in the segment `No net purchases` (PROTOCOL C2).
    """

    values: dict[str, Floats]
    lapsed: Flags
    clustered: Flags

    def coordinates(self, names: tuple[str, ...], recency_offset: int) -> Ints:
        """Return the clustering coordinates, int64 of shape (n, len(names)), in 2^-24 of log units.

        recency_offset: the model's, in days (see `coordinate`).
        """
        return np.stack([coordinate(name, self.values[name], recency_offset) for name in names], axis=1)


def vectors(ledger: Ledger, customers: int, day: int, first_day: Ints, names: tuple[str, ...] = NAMES) -> Vectors:
    """Compute the named features of `customers` customers as of `day`.

    `ledger` is already expired to the horizon, its owners are 0 .. customers - 1. `first_day` (int64,
    shape (customers,)) is the day of each one's first order ever, for tenure.
    """
    starts = order_starts(ledger)
    ends = np.r_[starts[1:], len(ledger)] - 1 if len(starts) else starts
    owner = ledger.owner[starts]
    net = np.add.reduceat(ledger.net, starts) if len(starts) else ledger.net
    day_of = ledger.day[ends]
    if (ledger.net[ends[starts < ends]] <= 0).any():
        # What comes back makes no order younger: its day is the last one on which more was bought than given back.
        # Only an order without such a day, returns that stand alone, keeps the day of its last record.
        bought_on = np.maximum.reduceat(np.where(ledger.net > 0, ledger.day, NEVER), starts)
        day_of = np.where(bought_on > NEVER, bought_on, day_of)
    folded = ledger.orders[ends]
    orders = np.where(folded > 0, folded, net > 0)

    def total(weights: Ints, rows: Flags | slice = slice(None)) -> Ints:
        out = np.zeros(customers, np.int64)
        np.add.at(out, owner[rows], weights[rows])
        return out

    frequency = total(orders)
    net_total = total(net)
    positive = orders > 0
    last = np.full(customers, NEVER)
    np.maximum.at(last, owner[positive], day_of[positive])
    bought = frequency > 0
    lapsed = np.bincount(ledger.owner, minlength=customers) == 0
    values: dict[str, Floats] = {}

    def put(name: str, value: Ints | Floats) -> None:
        if name in names:
            values[name] = value.astype(np.float64)

    put("recency", np.where(bought, np.maximum(day - np.where(bought, last, day), 0), np.nan))
    put("frequency", frequency)
    put("monetary", net_total / MONEY)
    if set(names) - set(RFM):
        put("tenure", np.maximum(day - first_day, 0))
        for days in (30, 90, 365):
            recent = day_of >= day - days
            put(f"frequency_{days}", total(orders, recent))
            put(f"monetary_{days}", total(net, recent) / MONEY)
        # By the record and not by the order, so that a return counts the same whether it names its order or not.
        gross, returned = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
        np.add.at(gross, ledger.owner, np.maximum(ledger.net, 0))
        np.add.at(returned, ledger.owner, np.maximum(-ledger.net, 0))
        units = np.add.reduceat(ledger.units, starts) if len(starts) else ledger.units
        items = total(np.where(net > 0, units, 0))
        per_order = np.maximum(frequency, 1)
        put("basket_value", total(np.where(net > 0, net, 0)) / MONEY / per_order)
        put("basket_items", items / per_order)
        first = np.full(customers, np.iinfo(np.int64).max)
        np.minimum.at(first, owner[positive], day_of[positive])
        span = np.where(bought, last - np.where(bought, first, 0), 0)
        put("mean_gap", np.where(frequency > 1, span / np.maximum(frequency - 1, 1), np.nan))
        put("return_rate", np.where(gross > 0, returned / np.maximum(gross, 1), np.nan))
    return Vectors(values, lapsed, bought & (net_total > 0))
