"""An explanation of one stored customer: the smallest action in words, the cause of the last move where it is known."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from consumer.commands.explain import Explanation, explain
from consumer.commands.lookup import Stored
from features.codec import Seen, States, blank_heads
from features.ledger import MONEY, from_lines
from features.moves import CAUSES, MOVE, Moves
from models.bundle import LAPSED, Bundle
from tests.consumer.test_outlook import partition_on
from tests.features.ledgers import Line, columns
from tests.reports.test_foretell import BUNDLE

TODAY, ENTERED = 15_100, 15_060
CALM = msgspec.structs.replace(BUNDLE, centroids=((1.0, 1.5, 8.0), (4.5, 0.7, 3.0)))


def explained(rows: list[Line], segment: int, bundle: Bundle = CALM, first_day: int | None = None) -> Explanation:
    """Explain a customer who came into a segment by silence."""
    heads = blank_heads(1)
    heads["segment"], heads["previous"], heads["entered_day"] = segment, 11, ENTERED
    heads["first_day"] = first_day or min((row.day for row in rows), default=TODAY)
    move = np.zeros(1, MOVE)
    move["day"], move["source"], move["target"], move["cause"] = ENTERED, 11, segment, CAUSES.index("silence")
    none = np.empty(0, np.int64)
    seen = Seen(none, none.astype(np.uint64), none)
    states = States(heads, from_lines(columns(rows)), seen, Moves(np.zeros(1, np.int64), move))
    return explain(Stored("12748", 0, "key", 0, states, partition_on(TODAY, None), 365, bundle))


def test_the_smallest_action_is_an_order_where_one_moves_him() -> None:
    found = explained([Line(0, 1, TODAY - 90, 20 * MONEY, 1)], 12)
    assert found.order is not None
    assert (found.smallest, found.order.segment.name, found.order.earliest) == ("order", "Champions", "2011-05-06")
    assert found.order.latest == "2011-08-04"
    assert found.in_words.startswith("one more order of at least ")
    assert found.in_words.endswith(" by 2011-08-04 moves him to Champions")


def test_any_amount_is_said_so() -> None:
    found = explained([], LAPSED.id)
    assert found.in_words == "one more order of any amount by 2011-08-04 moves him to Dormant"
    assert (found.best, found.contributions, found.margin) == (None, [], None)


def test_else_it_is_silence_and_else_none() -> None:
    near = msgspec.structs.replace(CALM, centroids=((3.0, 1.5, 8.0), (4.5, 1.5, 8.0)))
    rows = [Line(0, order, TODAY - 10, 1_000 * MONEY, 1) for order in range(1, 4)]
    silent = explained(rows, 11, near)
    assert (silent.smallest, silent.order) == ("silence", None)
    assert silent.next_move is not None
    assert silent.in_words == (
        f"silent until {silent.next_move.on}, in {silent.next_move.in_days} days, he moves to Dormant"
    )
    alone = msgspec.structs.replace(CALM, centroids=((3.0, 1.5, 8.0), (4.5, 9.0, -9.0)))
    stays = explained(rows, 11, alone)
    assert (stays.smallest, stays.order) == ("none", None)
    assert stays.in_words.startswith("none within 90 days")


def test_contributions_add_up_and_the_weightiest_comes_first() -> None:
    found = explained([Line(0, 1, TODAY - 90, 20 * MONEY, 1)], 12)
    assert found.best is not None
    assert found.second is not None
    assert found.best.name == "Dormant"
    parts = [each.contribution for each in found.contributions]
    assert sum(parts) == pytest.approx(found.second.distance**2 - found.best.distance**2, abs=1e-9)
    assert found.difference == pytest.approx(sum(parts), abs=1e-9)
    assert [abs(part) for part in parts] == sorted(map(abs, parts), reverse=True)


def test_the_last_move_comes_with_its_cause_and_what_is_dated_after_it() -> None:
    rows = [Line(0, 1, ENTERED - 30, 20 * MONEY, 1), Line(0, 2, ENTERED + 5, 7 * MONEY, 1)]
    move = explained(rows, 12).last_move
    assert move is not None
    assert (move.cause, move.days, move.orders, move.bought) == ("silence", 40, 1, 7.0)
    assert move.features is not None
    told = {each.feature: (each.then, each.now) for each in move.features}
    assert told == {"recency": (30, 35), "frequency": (1, 2), "monetary": (20, 27)}


def test_what_he_was_like_then_is_not_told_where_orders_have_expired_since() -> None:
    move = explained([Line(0, 1, TODAY - 90, 20 * MONEY, 1)], 12, first_day=TODAY - 500).last_move
    assert move is not None
    assert move.features is None


def test_a_cause_that_is_not_the_last_moves_is_not_told() -> None:
    heads = blank_heads(1)
    heads["segment"], heads["entered_day"], heads["first_day"] = 12, ENTERED, TODAY - 90
    rows = from_lines(columns([Line(0, 1, TODAY - 90, 20 * MONEY, 1)]))
    none = np.empty(0, np.int64)
    states = States(heads, rows, Seen(none, none.astype(np.uint64), none))
    found = Stored("12748", 0, "key", 0, states, partition_on(TODAY, None), 365, CALM)
    older = np.zeros(1, MOVE)
    older["day"], older["target"] = ENTERED - 9, 12  # the store lost the moves since
    for moves in (states.moves, Moves(np.zeros(1, np.int64), older)):
        move = explain(replace(found, states=replace(states, moves=moves))).last_move
        assert move is not None
        assert move.cause is None
