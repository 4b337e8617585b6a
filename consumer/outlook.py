"""What stored states foretell: each customer's next move if he stays silent; for a look-up, a forecast, an API."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consumer.partition import PartitionState
from consumer.scoring import first_days
from features.codec import States
from features.identity import position
from features.ledger import Ints
from models.bundle import Bundle
from reports.first_move import FirstMoves
from reports.foretell import foretell


def next_moves(
    customers: Sequence[str], states: States, state: PartitionState, bundle: Bundle, days: int
) -> FirstMoves:
    """Return the next moves of a partition's customers up to `days` days after its day, the model held.

    bundle: the model of the partition's sweep. Whom a running sweep has not reached yet is first scored as of its
    own day, so his next move may be on that day.
    """
    return next_moves_across(customers, states, [state] * len(customers), bundle, days)


def next_moves_across(
    customers: Sequence[str], states: States, standing: Sequence[PartitionState], bundle: Bundle, days: int
) -> FirstMoves:
    """Return the next moves of customers of several partitions, which all stand on one day, under one model.

    standing: each customer's partition; at least one customer.
    """
    heads, day = states.heads, standing[0].day
    return foretell(
        states.ledger,
        first_days(states, day),
        heads["segment"].astype(np.int64),
        day - _waiting(customers, states, standing),
        day + days,
        bundle,
    )


def first_order_day(states: States, state: PartitionState) -> Ints:
    """Return the first day on which an order of each customer is judged from his published label, int64 (n,).

    That is the partition's day; of who moved on it by an event, whose label is bound to the one before until the day
    ends (PROTOCOL C3), the next.
    """
    heads = states.heads
    moved = (heads["sweep"] == state.sweep.number) & (heads["anchor"] != heads["segment"])
    return np.where(moved, state.day + 1, state.day).astype(np.int64)


def _waiting(customers: Sequence[str], states: States, standing: Sequence[PartitionState]) -> Ints:
    """Return 1 for the customers whom their partition's sweep has not scored yet, 0 for the others (PROTOCOL C5)."""
    ahead = [
        state.sweep.cursor is not None and position(customer) > state.sweep.cursor
        for customer, state in zip(customers, standing, strict=True)
    ]
    number = np.array([state.sweep.number for state in standing], np.int64)
    return np.where(states.heads["sweep"] == number, 0, np.array(ahead, np.int64))
