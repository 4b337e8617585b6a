"""A life keeps its newest event ids and orders as a plain sort of all of them would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import verify_life
from reports.verify_life import Life

MOST = 5
events = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3), st.integers(0, 4)), max_size=60)


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(verify_life, "MAX_SEEN", MOST)
    patch.setattr(verify_life, "CAP", MOST)
    yield
    patch.undo()


@settings(max_examples=300)
@given(events)
def test_the_oldest_event_ids_go_first_and_of_one_day_the_greatest(steps: list[tuple[int, int, int]]) -> None:
    life, kept, day, forgetful = Life(), dict[int, int](), 10, False
    for event, later, horizon in steps:
        day += later
        life.remember(event, day, day - horizon)
        kept[event] = day
        if len(kept) > MOST:
            kept = {event: at for event, at in kept.items() if at >= day - horizon}
        if len(kept) > MOST:
            forgetful = True
            del kept[min(kept, key=lambda event: (kept[event], -event))]
        assert life.seen == kept
        assert life.forgetful == forgetful


@settings(max_examples=300)
@given(events)
def test_the_oldest_records_are_folded_first_and_of_one_day_the_greatest_order(
    steps: list[tuple[int, int, int]],
) -> None:
    life, kept, folded, day = Life(), set[tuple[int, int]](), dict[int, int](), 10
    for order, later, back in steps:
        day += later
        life.expire(day - 6)
        life.add(order, day - back, 100, 1)
        life.fold()
        kept = {(at, which) for at, which in kept if at >= day - 6} | {(day - back, order)}
        folded = {at: n for at, n in folded.items() if at >= day - 6}
        while len(kept) > MOST:
            gone = min(kept, key=lambda record: (record[0], -record[1]))
            kept.remove(gone)
            folded[gone[0]] = folded.get(gone[0], 0) + 1
        assert life.records.keys() == {(order, at) for at, order in kept}
        assert {at: n for at, (_, _, _, n) in life.days.items()} == folded
