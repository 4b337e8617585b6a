"""Segments in figures: how many customers, what share of revenue, what is typical of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from consumer.scoring import first_days, within_horizon
from features.codec import States
from features.ledger import Ints
from features.vector import RFM, Flags, Floats, vectors
from models.bundle import FIXED, Bundle
from models.scoring import score

if TYPE_CHECKING:  # pandas and scikit-learn take seconds
    from consumer.history.bootstrap import Prepared


class Profile(msgspec.Struct, frozen=True):
    """One segment. share_of_customers: of all; share_of_revenue: of the clusters' net in the horizon, None outside
    them, where a net may be below 0; both in 0 .. 1. The others are medians.

    recency: days; frequency: orders; monetary: currency units; None where nobody is there to have one.
    """

    id: int
    name: str
    customers: int
    share_of_customers: float
    share_of_revenue: float | None
    recency: float | None
    frequency: float | None
    monetary: float | None


def profiles(labels: Ints, values: dict[str, Floats], bundle: Bundle) -> tuple[Profile, ...]:
    """Return a profile a segment, clusters first; fixed segments without customers are left out.

    labels: int64 (n,) of segment ids; values: `recency`, `frequency`, `monetary`, float64 (n,).
    """
    revenue = values["monetary"][np.isin(labels, [segment.id for segment in bundle.segments])].sum()

    def share(rows: Flags) -> float:
        return round(float(values["monetary"][rows].sum() / revenue), 4) if revenue else 0.0

    found = []
    for segment in (*bundle.segments, *reversed(FIXED)):
        rows = labels == segment.id
        count = int(rows.sum())
        if not count and segment in FIXED:
            continue
        found.append(
            Profile(
                segment.id,
                segment.name,
                count,
                round(count / max(len(labels), 1), 4),
                None if segment in FIXED else share(rows),
                *(_median(values[name][rows]) for name in RFM),
            )
        )
    return tuple(found)


def _median(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(np.median(known)), 2) if len(known) else None


def values_of(states: States, day: int, horizon_days: int) -> dict[str, Floats]:
    """Return recency, frequency and monetary of n customers as of a day, float64 (n,)."""
    ledger = within_horizon(states, day - horizon_days)
    return vectors(ledger, len(states.heads), day, first_days(states, day), RFM).values


def of_bootstrap(prepared: Prepared) -> tuple[Profile, ...]:
    """Return the segments that the first sweep will publish: everybody at the nearest centroid."""
    states, bundle, day = prepared.states, prepared.bundle, prepared.day
    scores = score(within_horizon(states, day - bundle.horizon_days), first_days(states, day), day, bundle)
    labels = scores.labels(np.zeros(len(states.heads), np.int64), bundle)
    return profiles(labels, values_of(states, day, bundle.horizon_days), bundle)
