"""From stored states to next moves: who waits for the sweep may move on the partition's own day."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from consumer.outlook import first_order_day, next_moves
from consumer.partition import PartitionState, Sweep
from features.codec import Seen, States, blank_heads
from features.identity import position
from features.ledger import from_lines
from features.transaction import DAY_SECONDS
from models.bundle import LAPSED
from reports.first_move import NEVER
from tests.features.ledgers import Line, columns
from tests.reports.test_foretell import BUNDLE

WHO = "12748"
BOUGHT, GONE = 15_000, 15_366


def states_of(rows: list[Line], sweep: int) -> States:
    """The state of one customer of segment 12, last written under a sweep."""
    heads = blank_heads(1)
    heads["segment"], heads["sweep"] = 12, sweep
    if rows:
        heads["first_day"] = BOUGHT
    none = np.empty(0, np.int64)
    return States(heads, from_lines(columns(rows)), Seen(none, none.astype(np.uint64), none))


def partition_on(day: int, cursor: int | None) -> PartitionState:
    """A partition whose sweep 7 of a day has come up to a cursor."""
    sweep = Sweep(number=7, day=day, version=1, model_hash="", cursor=cursor)
    return PartitionState(applied=0, sweep=sweep, watermark=day * DAY_SECONDS)


@pytest.mark.parametrize(
    ("cursor", "written_under", "moves_today"),
    [
        (None, 6, False),  # the sweep has ended
        (position(WHO), 6, False),  # it has passed him
        (position(WHO) - 1, 7, False),  # an event of his own came before it did
        (position(WHO) - 1, 6, True),
    ],
)
def test_a_customer_whom_the_sweep_has_not_reached_may_move_today(
    cursor: int | None, written_under: int, moves_today: bool
) -> None:
    states = states_of([Line(0, 1, BOUGHT, 200_000, 1)], written_under)
    moves = next_moves([WHO], states, partition_on(GONE, cursor), BUNDLE, 400)
    # Scored today already and yet in segment 12 he would be Lapsed tomorrow at the latest.
    assert moves.step.tolist() == [GONE if moves_today else GONE + 1]
    assert moves.segment.tolist() == [LAPSED.id]


@pytest.mark.parametrize(("anchor", "written_under", "first"), [(11, 7, GONE + 1), (12, 7, GONE), (11, 6, GONE)])
def test_an_order_of_who_moved_today_is_judged_from_tomorrow_on(anchor: int, written_under: int, first: int) -> None:
    states = states_of([Line(0, 1, BOUGHT, 200_000, 1)], written_under)
    states.heads["anchor"] = anchor
    assert first_order_day(states, partition_on(GONE, None)).tolist() == [first]


def test_days_are_counted_from_the_partitions_day() -> None:
    states = states_of([Line(0, 1, BOUGHT, 200_000, 1)], 7)
    on = partition_on(GONE - 30, None)
    assert next_moves([WHO], states, on, BUNDLE, 29).step.tolist() == [NEVER]
    assert next_moves([WHO], states, on, BUNDLE, 30).step.tolist() == [GONE]


def test_a_customer_without_any_order_is_lapsed_at_once() -> None:
    bundle = msgspec.structs.replace(BUNDLE, features=("recency", "tenure", "monetary"))
    moves = next_moves([WHO], states_of([], 7), partition_on(GONE, None), bundle, 400)
    assert (moves.step.tolist(), moves.segment.tolist()) == ([GONE + 1], [LAPSED.id])
