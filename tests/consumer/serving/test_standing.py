"""Speed and movement from looks, days and tallies: hand-worked."""

from __future__ import annotations

import pytest

from consumer.commands.trend import Day, DayFlow
from consumer.serving.standing import Look, movement, rate, remembered
from models.bundle import Segment

A, B = Segment(11, "Champions"), Segment(12, "Loyal")


def looks(*pairs: tuple[float, int]) -> tuple[Look, ...]:
    kept: tuple[Look, ...] = ()
    for at, records in pairs:
        kept = remembered(kept, Look(at, records))
    return kept


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([], None),
        ([(0.0, 5)], None),
        ([(0.0, 5), (0.5, 50)], None),
        ([(0.0, 5), (2.0, 25)], 10.0),
        ([(0.0, 0), (10.0, 1_000), (20.0, 1_000)], 0.0),  # what was before the last ten seconds does not count
        ([(0.0, 0), (4.0, 40), (12.0, 280)], 23.3),
        ([(0.0, 900), (5.0, 1_000), (6.0, 10), (8.0, 30)], 10.0),  # another state was flipped in
    ],
)
def test_a_rate_is_the_mean_of_the_last_ten_seconds(pairs: list[tuple[float, int]], found: float | None) -> None:
    assert rate(looks(*pairs)) == found


def test_looks_are_kept_for_ten_seconds_however_long_it_goes_on() -> None:
    kept = looks(*((float(second), second) for second in range(1_000)))
    assert len(kept) <= 12
    assert rate(kept) == 1.0


DAYS = [
    Day("2011-06-08", 1, 4, [], None),
    Day("2011-06-09", 2, 4, [], [DayFlow(A, B, "silence", 3), DayFlow(None, A, "purchase", 1)]),
    Day("2011-06-10", 3, 4, [], [DayFlow(A, B, "silence", 2)]),
]
NOW = [DayFlow(A, B, "silence", 1), DayFlow(B, A, "purchase", 4)]


@pytest.mark.parametrize(
    ("wanted", "since", "days", "flows"),
    [
        (0, "2011-06-10", 0, [(B, A, "purchase", 4), (A, B, "silence", 1)]),
        (1, "2011-06-09", 1, [(B, A, "purchase", 4), (A, B, "silence", 3)]),
        (2, "2011-06-08", 2, [(A, B, "silence", 6), (B, A, "purchase", 4), (None, A, "purchase", 1)]),
        (9, None, 3, [(A, B, "silence", 6), (B, A, "purchase", 4), (None, A, "purchase", 1)]),
    ],
)
def test_movement_adds_the_newest_days_and_what_came_since(
    wanted: int, since: str | None, days: int, flows: list[tuple[Segment | None, Segment | None, str, int]]
) -> None:
    found = movement(DAYS, NOW, wanted)
    assert [(f.source, f.target, f.cause, f.customers) for f in found.flows] == flows
    assert (found.since, found.until, found.days) == (since, "2011-06-10", days)
    assert found.moves == sum(customers for *_, customers in flows)


def test_where_nothing_is_kept_nothing_moved() -> None:
    assert movement([], [], 7) == movement([], [], 0)
    assert (movement([], [], 7).moves, movement([], [], 7).until) == (0, None)
