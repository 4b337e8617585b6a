"""A wrong record is traced to its events: alone where amounts or remembered ids tell, together where they do not."""

from __future__ import annotations

from reports.verify_life import Life
from reports.verify_states import Record, State
from reports.verify_traced import EXCESS, MISSING, Event, traced

ORDER, DAY = 7, 100


def event(name: str, amount: int, hashed: int = 0, *, counted: bool = True, day: int = DAY) -> Event:
    return Event(ORDER, day, amount, 1, hashed, counted, name)


def recomputed(*events: Event) -> Life:
    life = Life()
    for each in events:
        if each.counted:
            life.add(each.order, each.day, each.amount, each.units)
    life.expire(DAY - 30)
    return life


def stored(*records: tuple[int, int, int], seen: tuple[int, ...] = (), past: int = 0) -> State:
    """Return a state of one order: (net, units, lines) of each record."""
    kept = tuple(Record(ORDER, net, units, DAY, lines, 0) for net, units, lines in records)
    return State(0, 0, DAY, DAY, 0, 0, past, kept, tuple((hashed, DAY) for hashed in seen))


def told(life: Life | None, state: State | None, *events: Event) -> list[tuple[str, object, object]]:
    return list(traced(life, state, events, DAY - 30))


def test_a_ledger_that_is_right_tells_nothing() -> None:
    a, b = event("a", 5), event("b", 6)
    assert told(recomputed(a, b), stored((11, 2, 2)), a, b) == []


def test_a_missing_event_is_named_by_its_amount() -> None:
    a, b = event("a", 5), event("b", 6)
    assert told(recomputed(a, b), stored((5, 1, 1)), a, b) == [(MISSING, "b", "not in the state")]


def test_of_two_equal_events_the_one_is_named_that_the_state_does_not_remember() -> None:
    a, b = event("a", 5, 1), event("b", 5, 2)
    assert told(recomputed(a, b), stored((5, 1, 1), seen=(1,)), a, b) == [(MISSING, "b", "not in the state")]


def test_where_nothing_tells_two_events_apart_both_are_named() -> None:
    a, b = event("a", 5), event("b", 5)
    assert told(recomputed(a, b), stored((5, 1, 1)), a, b) == [(MISSING, "one of: a, b", "not in the state")]


def test_two_missing_events_of_an_order_are_named_together() -> None:
    a, b, c = event("a", 5), event("b", 6), event("c", 20)
    expected = [(MISSING, "a", "not in the state"), (MISSING, "c", "not in the state")]
    assert told(recomputed(a, b, c), stored((6, 1, 1)), a, b, c) == expected


def test_a_missing_customer_of_one_event_is_named_by_it() -> None:
    a = event("a", 5)
    assert told(recomputed(a), None, a) == [(MISSING, "a", "not in the state")]


def test_an_event_that_should_not_count_is_named_before_one_that_counted_twice() -> None:
    a, refused = event("a", 5, 1), event("b", 5, 2, counted=False)
    assert told(recomputed(a), stored((10, 2, 2)), a, refused) == [(EXCESS, "counted once", "one of: b, a")]


def test_an_event_that_came_again_and_counted_again_is_one_event() -> None:
    a, again = event("a (row 2)", 5, 1), event("a (offset 9)", 5, 1, counted=False)
    assert told(recomputed(a), stored((10, 2, 2)), a, again) == [(EXCESS, "not counted", "a (offset 9)")]


def test_a_record_of_no_known_event_is_told_by_its_sums() -> None:
    a = event("a", 5)
    expected = (EXCESS, "no such event", "1 more: net 9 in 1/10,000, units 1")
    assert told(recomputed(a), stored((14, 2, 2)), a) == [expected]


def test_events_whose_amounts_fit_no_choice_are_counted() -> None:
    a, b = event("a", 5), event("b", 6)
    expected = (MISSING, "2 events of an order", "1 of them: which are missing the amounts do not tell")
    assert told(recomputed(a, b), stored((7, 1, 1)), a, b) == [expected]


def test_what_has_expired_is_traced_by_the_lifetimes_net() -> None:
    old, other, young = event("old", 5, day=DAY - 40), event("other", 8, day=DAY - 40), event("young", 6)
    state = stored((6, 1, 1), past=8)
    assert told(recomputed(old, other, young), state, old, other, young) == [(MISSING, "old", "not in the state")]


def test_nothing_is_traced_where_orders_were_folded() -> None:
    a = event("a", 5)
    life = recomputed(a)
    life.blurred = True
    assert told(life, stored((10, 2, 2)), a) == []


def test_a_customer_who_should_not_be_there_is_traced_to_what_was_refused() -> None:
    a = event("a", 5, counted=False)
    assert told(None, stored((5, 1, 1)), a) == [(EXCESS, "not counted", "a")]
