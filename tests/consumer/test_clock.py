"""Where a batch is split, and when a day turns: each rule by hand, and no rule may see where batches fall."""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.clock import Cut, Standing, cut, target_day
from consumer.partition import Ahead, PartitionState, Rules, Sweep
from features.decoding import decode
from features.transaction import Batch
from reports.verify import verify
from tests.harness.pure_run import FAR, FIRST, PureRun, line

EVENT = Rules(horizon_days=60, clock="event", ahead_days=31, ahead_events=10, ahead_customers=3)
WALL = msgspec.structs.replace(EVENT, clock="wall")


def batch_of(*events: dict[str, Any], start: int = 100) -> Batch:
    values = [json.dumps(event).encode() for event in events]
    offsets = list(range(start, start + len(values)))
    keys: list[bytes | None] = [None] * len(values)
    return decode(offsets, keys, values, [0] * len(values), zone=ZoneInfo("UTC"), currency="GBP", today=FAR)


def state_on(day: int, ahead: Ahead | None = None) -> PartitionState:
    return PartitionState(100, Sweep(1, day, 1, "", None), 0, ahead or Ahead())


def tick(day: int) -> dict[str, Any]:
    return {"type": "tick", "at": line("x", day)["invoice_date"]}


def erase(customer: str) -> dict[str, Any]:
    return {"type": "erase", "customer_id": customer}


def outline(piece: Cut) -> tuple[int, int | None, int | None, str | None]:
    """Return (records to apply, offset at which the rest begins, day to turn to, control)."""
    rest = None if piece.rest is None else piece.rest.start
    return piece.now.records, rest, piece.turn_to, None if piece.control is None else piece.control.kind


TODAY = line("a", FIRST)
LATE = line("a", FIRST - 3)
NEXT = line("b", FIRST + 1)
LATER = line("c", FIRST + 31)
FAR_AHEAD = line("d", FIRST + 32)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([TODAY, LATE], (2, None, None, None)),
        ([TODAY, NEXT, TODAY], (1, 101, FIRST + 1, None)),
        ([NEXT], (0, 100, FIRST + 1, None)),
        ([TODAY, LATER], (1, 101, FIRST + 31, None)),
        ([TODAY, FAR_AHEAD, TODAY], (3, None, None, None)),
        ([FAR_AHEAD, NEXT], (1, 101, FIRST + 1, None)),
        ([tick(FIRST)], (1, None, None, "tick")),
        ([tick(FIRST + 1)], (0, 100, FIRST + 1, None)),
        ([tick(FIRST + 400)], (0, 100, FIRST + 400, None)),
        ([tick(FIRST), TODAY], (1, 101, None, "tick")),
        ([TODAY, tick(FIRST + 1)], (1, 101, None, None)),
        ([TODAY, erase("a"), TODAY], (1, 101, None, None)),
        ([erase("a"), NEXT], (1, 101, None, "erase")),
        ([NEXT, erase("a")], (0, 100, FIRST + 1, None)),
        ([line(None, FIRST), erase("a")], (1, 101, None, None)),
        ([{"type": "?"}, {"type": "?"}], (2, None, None, None)),
    ],
)
def test_under_the_event_clock_a_batch_is_split_where_the_day_turns_and_round_controls(
    events: list[dict[str, Any]], expected: tuple[int, int | None, int | None, str | None]
) -> None:
    assert outline(cut(batch_of(*events), state_on(FIRST), EVENT)) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([TODAY, NEXT, FAR_AHEAD], (3, None, None, None)),
        ([tick(FIRST + 1)], (1, None, None, "tick")),
        ([NEXT, erase("a"), NEXT], (1, 101, None, None)),
    ],
)
def test_under_the_wall_clock_only_controls_split_a_batch(
    events: list[dict[str, Any]], expected: tuple[int, int | None, int | None, str | None]
) -> None:
    piece = cut(batch_of(*events), state_on(FIRST, Ahead(4, (1,))), WALL)
    assert outline(piece) == expected
    assert piece.ahead == Ahead(4, (1,)), "the run of events ahead is the event clock's"


def test_what_follows_a_turn_of_the_day_still_holds_the_controls_behind_it() -> None:
    piece = cut(batch_of(TODAY, NEXT, erase("a"), NEXT), state_on(FIRST), EVENT)
    assert piece.rest is not None
    assert piece.rest.records == 3
    assert len(piece.rest.controls) == 1
    assert len(piece.rest.lines) == 2


def test_refusals_and_guests_stay_with_the_part_that_they_came_in() -> None:
    piece = cut(
        batch_of({"type": "?"}, line(None, FIRST), NEXT, {"type": "?"}, line(None, FIRST)), state_on(FIRST), EVENT
    )
    assert piece.rest is not None
    assert [r.offset for r in piece.now.refused] == [100]
    assert piece.now.guests == (101,)
    assert [r.offset for r in piece.rest.refused] == [103]
    assert piece.rest.guests == (104,)
    assert (piece.now.stop, piece.rest.stop) == (102, 105)


# Far ahead ---------------------------------------------------------------------------------------------------


def ahead_of(*customers: str, day: int = FIRST + 100) -> list[dict[str, Any]]:
    return [line(customer, day) for customer in customers]


def days_and_refusals(events: list[dict[str, Any]], sizes: list[int]) -> tuple[int, int, dict[str, int]]:
    """Return (the day at the end, lines refused as ahead, labels) of a run of one partition."""
    run = PureRun(partitions=1, rules=EVENT)
    run.publish(*events)
    run.settle(chain(sizes, repeat(50)))
    assert verify(*run.evidence()).differences == ()
    return run.parts[0].state.day, run.counters().get("refused.ahead", 0), run.labels()


def test_an_event_far_ahead_is_refused_and_the_day_stays() -> None:
    assert days_and_refusals([TODAY, FAR_AHEAD, TODAY], [])[:2] == (FIRST, 1)
    assert days_and_refusals([TODAY, LATER, TODAY], [])[:2] == (FIRST + 31, 0), "31 days are not yet far"


@pytest.mark.parametrize(
    ("customers", "resumes"),
    [
        ("abcabcabca", True),
        ("abcabcabc", False),
        ("ababababababab", False),
        ("aaaaaaaaabc", True),
        ("aaaaaaaaaab", False),
    ],
)
def test_ten_events_of_three_customers_in_a_row_say_that_the_stream_resumes(customers: str, resumes: bool) -> None:
    day, refused, _ = days_and_refusals(ahead_of(*customers), [])
    assert day == (FIRST + 100 if resumes else FIRST)
    assert refused == (max(9, len(customers) - 1) if resumes else len(customers))


def test_an_event_of_the_present_breaks_the_row() -> None:
    events = [*ahead_of(*"abcabcabc"), TODAY, *ahead_of(*"abcabcabc")]
    assert days_and_refusals(events, [])[:2] == (FIRST, 18)


def test_guests_refusals_and_controls_do_not_break_the_row() -> None:
    between = [line(None, FIRST), {"type": "?"}, tick(FIRST), erase("z")]
    events = [*ahead_of(*"abcab"), *between, *ahead_of(*"cabca")]
    assert days_and_refusals(events, [])[:2] == (FIRST + 100, 9)


@given(
    kinds=st.lists(st.sampled_from(["today", "next", "far", "farther", "guest", "erase"]), max_size=40),
    names=st.lists(st.sampled_from("abcd"), min_size=40, max_size=40),
    sizes=st.lists(st.integers(1, 9), max_size=40),
)
def test_no_rule_of_the_day_sees_where_batches_fall(kinds: list[str], names: list[str], sizes: list[int]) -> None:
    days = {"today": 0, "next": 2, "far": 40, "farther": 90}
    events: list[dict[str, Any]] = []
    for kind, name in zip(kinds, names, strict=False):
        if kind in days:
            events.append(line(name, FIRST + days[kind], invoice_no=str(len(events))))
        else:
            events.append(line(None, FIRST) if kind == "guest" else erase(name))
    assert days_and_refusals(events, sizes) == days_and_refusals(events, [1] * 1_000)


# The turn ----------------------------------------------------------------------------------------------------


def standing(day: int, *, lagging: bool = False) -> Standing:
    return Standing(FIRST + day, lagging)


@pytest.mark.parametrize(
    ("wanted", "others", "lagging", "target"),
    [
        (None, [], False, None),
        (1, [], False, 1),
        (9, [], False, 1),
        (0, [], False, None),
        (-3, [], False, None),
        (None, [standing(4)], False, 1),
        (None, [standing(4)], True, None),
        (None, [standing(0)], False, None),
        (None, [standing(-2)], False, None),
        (3, [standing(-2)], True, 1),
        (3, [standing(-2, lagging=True)], True, None),
        (3, [standing(-1, lagging=True)], True, None),
        (3, [standing(0, lagging=True)], True, 1),
        (None, [standing(4), standing(-1, lagging=True)], False, None),
        (None, [standing(4), standing(0, lagging=True)], False, 1),
    ],
)
def test_days_turn_one_at_a_time_and_nobody_runs_ahead_of_one_that_lags(
    wanted: int | None, others: list[Standing], lagging: bool, target: int | None
) -> None:
    found = target_day(
        state_on(FIRST), None if wanted is None else FIRST + wanted, dict(enumerate(others)), lagging=lagging
    )
    assert found == (None if target is None else FIRST + target)
