"""What a batch does to customers: any order, any batches, any cut from the history; each rule by a hand-worked case.

The verdict of `reports.verify`, a plain loop that imports nothing of this, is the oracle of the properties.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.partition import Rules
from features.codec import MAX_SEEN, decode_states
from features.identity import hash64, position
from models.bundle import Segment
from models.learner import learner_named
from reports.verify import verify
from tests.harness.pure_run import FIRST, PureRun, Row, line, model
from tests.harness.shop import RULES, as_event, busy_run, past, stream

DAY = 86_400
SLOW = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])

RECENCY = model(
    features=("recency",),
    scale=(1.0,),
    centroids=((0.0,), (3.4965,)),  # log1p of 0 and of 32 days: at 5 days the farther one is .951 of the nearer
    segments=(Segment(11, "Here"), Segment(12, "Away")),
    sizes=(1, 1),
)


def sizes(seed: int) -> Iterator[int]:
    rng = random.Random(seed)
    while True:
        yield rng.choice([1, 1, 2, 3, 7, 20, 100])


def quiet(**more: Any) -> PureRun:
    """Return one partition on the wall clock, at its first day, swept: nothing turns the day but the test."""
    options: dict[str, Any] = {"partitions": 1, "rules": Rules(horizon_days=60, clock="wall"), "bundle": RECENCY}
    run = PureRun(**(options | more))
    run.turn(run.parts[0], run.first)
    return run


def feed(run: PureRun, *events: dict[str, Any], size: int = 1_000) -> None:
    """Publish events and apply them, in batches of a size."""
    run.publish(*events)
    for part in run.parts:
        while part.state.applied < len(part.log):
            run.apply(part, size)


def records(run: PureRun, customer: str) -> list[dict[str, Any]]:
    return [value for value in run.values() if value.get("customer_id") == customer]


def reasons(run: PureRun) -> list[str]:
    return [reason for part in run.parts for _, reason in sorted(part.dead.items())]


# Properties --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_by_one() -> PureRun:
    run = busy_run(7, learner=learner_named("population"))
    run.settle(repeat(1))
    return run


@SLOW
@given(seed=st.integers(0, 2**32))
def test_any_batches_give_the_same_ledgers_and_labels(one_by_one: PureRun, seed: int) -> None:
    run = busy_run(7, learner=learner_named("population"), chunk=1 + seed % 9)
    run.settle(sizes(seed))
    assert run.ledgers() == one_by_one.ledgers()
    assert run.labels() == one_by_one.labels()
    assert [part.statistics for part in run.parts] == [part.statistics for part in one_by_one.parts]
    assert run.models == one_by_one.models
    moves = {name for name in run.counters() if name.startswith("moves.")}
    assert {k: n for k, n in run.counters().items() if k not in moves} == {
        k: n for k, n in one_by_one.counters().items() if k not in moves
    }
    assert verify(*run.evidence()).differences == ()


@SLOW
@given(seed=st.integers(0, 2**32))
def test_any_order_of_arrival_within_the_horizon_gives_the_same_ledgers_and_labels(seed: int) -> None:
    events = [event for event in stream(3, days=20) if "invoice_date" in event and "event_id" in event]
    events = [event for event in events if event["event_id"] and event["invoice_date"] < "2024-04"]
    shuffled = random.Random(seed).sample(events, len(events))
    found = []
    for order in (events, shuffled):
        run = quiet(bundle=model(), first=FIRST + 25)
        feed(run, *order, size=1 + seed % 50)
        found.append((run.ledgers(), run.labels(), run.parts[0].statistics))
        assert verify(*run.evidence()).differences == ()
    assert found[0] == found[1]


@SLOW
@given(cut=st.integers(1, 120), overlap=st.integers(0, 6), seed=st.integers(0, 99))
def test_any_cut_between_history_and_stream_gives_the_same_ledgers(cut: int, overlap: int, seed: int) -> None:
    """The stream begins some days before the history's end, as `replay` would: what is in both counts once."""
    rows = past(4, days=40)
    history = rows[:cut]
    cutoff_day = history[-1].time // DAY
    again = [row for row in history if row.time // DAY >= cutoff_day - min(overlap, RULES.dedupe_days)]
    run = PureRun(rules=RULES, history=history, first=cutoff_day)
    run.publish(*(as_event(row) for row in [*again, *rows[cut:]]))
    run.tick(FIRST)
    run.settle(sizes(seed))
    whole = PureRun(rules=RULES, history=rows, first=FIRST)
    whole.settle()
    assert run.ledgers() == whole.ledgers()
    assert run.counters().get("repeated", 0) == len(again)
    assert verify(*run.evidence()).differences == ()


def test_every_line_has_one_outcome(one_by_one: PureRun) -> None:
    counters = one_by_one.counters()
    refused = sum(n for name, n in counters.items() if name.startswith("refused."))
    others = ("applied", "repeated", "guests", "ticks", "erasures")
    assert counters["lines"] == refused + sum(counters[name] for name in others)
    assert counters["lines"] == sum(len(part.log) for part in one_by_one.parts)
    assert refused == sum(len(part.dead) for part in one_by_one.parts)


# Labels ------------------------------------------------------------------------------------------------------


def test_the_margin_holds_a_label_back_but_not_the_statistics() -> None:
    run = quiet()
    feed(run, line("a", FIRST))
    for day in range(1, 6):
        run.turn(run.parts[0], FIRST + day)
    assert run.labels() == {"a": 11}, "at 5 days the other centroid is nearer, though not by the margin"
    assert run.parts[0].statistics.n.tolist() == [0, 1]
    run.turn(run.parts[0], FIRST + 6)
    assert run.labels() == {"a": 12}


def test_the_margin_is_measured_from_the_label_at_the_start_of_the_day() -> None:
    run = quiet()
    feed(run, line("a", FIRST))
    run.turn(run.parts[0], FIRST + 6)
    assert run.labels() == {"a": 12}
    feed(run, line("a", FIRST + 6, invoice_no="x"))
    assert run.labels() == {"a": 11}
    # The order is taken back, but a day that is 5 days back stands late: nearest is 12, and so was the day's start.
    feed(run, line("a", FIRST + 6, invoice_no="x", quantity=-2), line("a", FIRST + 1, invoice_no="y"))
    assert run.labels() == {"a": 12}
    assert [record["cause"] for record in records(run, "a")] == ["purchase", "silence", "purchase", "late"]


def test_a_batch_publishes_its_last_label_with_the_offset_and_cause_of_the_last_line() -> None:
    run = quiet()
    feed(run, line("a", FIRST))
    run.turn(run.parts[0], FIRST + 6)
    feed(run, line("b", FIRST + 6), line("a", FIRST + 6, invoice_no="x"), line("a", FIRST + 6, invoice_no="C1"))
    found = records(run, "a")[-1]
    assert found["cause"] == "return"
    assert found["headers"]["offset"] == b"3"
    assert (found["revision"], found["previous"]["id"], found["segment"]["id"]) == (3, 12, 11)
    assert found["entered_on"] == found["as_of"] == "2024-03-07"


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({}, "purchase"),
        ({"quantity": -1}, "return"),
        ({"invoice_no": "C77"}, "return"),
        ({"invoice_no": "c77"}, "return"),
        ({"invoice_date": "2024-02-29T23:59:59"}, "late"),
        ({"invoice_date": "2024-02-29T23:59:59", "quantity": -1}, "late"),
        ({"invoice_date": "2024-03-02T00:00:00"}, "purchase"),
    ],
)
def test_the_cause_of_a_record_is_that_of_its_line(more: dict[str, Any], cause: str) -> None:
    run = quiet()
    feed(run, line("a", FIRST, **more))
    assert [record["cause"] for record in records(run, "a")] == [cause]


@pytest.mark.parametrize(("back_on", "cause"), [(FIRST + 6, "return"), (FIRST + 5, "late")])
def test_an_order_taken_back_whole_gives_the_segment_back_with_its_cause(back_on: int, cause: str) -> None:
    run = quiet()
    feed(run, line("a", FIRST, invoice_no="first"))
    run.turn(run.parts[0], FIRST + 6)
    before = records(run, "a")[-1]
    feed(run, line("a", FIRST + 4, invoice_no="x"), line("a", FIRST + 4, invoice_no="x", unit_price=90.0))
    assert run.labels() == {"a": 11}
    takes_back = {"invoice_no": "C7", "original_invoice_no": "x", "quantity": -2}
    feed(run, line("a", back_on, **takes_back), line("a", back_on, unit_price=90.0, **takes_back))
    found = records(run, "a")[-1]
    assert (found["segment"], found["cause"]) == (before["segment"], cause)
    told = ("recency", "frequency", "monetary", "basket_value")
    assert {name: found["features"][name] for name in told} == {name: before["features"][name] for name in told}
    assert found["features"]["return_rate"] == round(200 / 220, 6)


def test_a_label_that_comes_back_within_a_batch_is_not_published() -> None:
    events = [line("a", FIRST + 6, invoice_no="x"), line("a", FIRST + 6, invoice_no="x", quantity=-2)]
    counts = []
    for size in (1, 2):
        run = quiet()
        feed(run, line("a", FIRST))
        run.turn(run.parts[0], FIRST + 6)
        feed(run, *events, size=size)
        assert run.labels() == {"a": 12}
        counts.append(len(records(run, "a")))
    assert counts == [4, 2]


def test_with_emit_all_each_batch_publishes_everyone_it_touched() -> None:
    run = quiet(rules=Rules(horizon_days=60, clock="wall", emit="all"))
    feed(run, line("a", FIRST), line("b", FIRST))
    feed(run, line("a", FIRST, invoice_no="x"))
    run.turn(run.parts[0], FIRST + 1)
    found = records(run, "a")
    assert [record["revision"] for record in found] == [1, 2, 3]
    assert {record["segment"]["id"] for record in found} == {11}
    assert {record["entered_on"] for record in found} == {"2024-03-01"}
    assert [record["cause"] for record in found] == ["purchase", "purchase", "silence"]
    assert run.counters()["moves.purchase"] == 2, "only moves are counted as moves"
    assert verify(*run.evidence()).differences == ()


@pytest.mark.parametrize(
    "events",
    [
        [line("a", FIRST, quantity=-1)],
        [line("a", FIRST), line("a", FIRST, invoice_no="C1", quantity=2)],
        [line("a", FIRST), line("a", FIRST, invoice_no="C1", quantity=3)],
    ],
)
def test_without_a_positive_order_or_net_a_customer_stands_outside(events: list[dict[str, Any]]) -> None:
    run = quiet()
    feed(run, *events)
    found = records(run, "a")[-1]
    assert found["segment"] == {"id": 2, "name": "No net purchases"}
    assert (found["margin"], found["second"], found["held"]) == (None, None, False)
    assert run.parts[0].statistics.total == 0


def test_a_record_says_how_clear_the_assignment_is_and_what_comes_second() -> None:
    run = quiet()
    feed(run, line("a", FIRST - 2))
    x = 1.0986122886681098  # log1p(2), to 2^-24
    found = records(run, "a")[0]
    assert found["segment"] == {"id": 11, "name": "Here"}
    assert found["second"] == {"id": 12, "name": "Away", "distance": round(3.4965 - x, 6)}
    assert found["margin"] == pytest.approx(1 - x / (3.4965 - x), abs=1e-6)
    assert found["held"] is False
    assert found["features"]["recency"] == 2
    assert found["features"]["mean_gap"] is None
    assert found["model_version"] == 1


def test_a_label_that_the_margin_keeps_is_held_and_the_nearer_segment_comes_second() -> None:
    run = quiet(rules=Rules(horizon_days=60, clock="wall", emit="all"))
    feed(run, line("a", FIRST))
    run.turn(run.parts[0], FIRST + 5)
    x = 1.7917594692280550  # log1p(5)
    found = records(run, "a")[-1]
    assert (found["segment"]["name"], found["second"]["name"], found["held"]) == ("Here", "Away", True)
    assert found["margin"] == pytest.approx(1 - (3.4965 - x) / x, abs=1e-6)


# What counts -------------------------------------------------------------------------------------------------


def test_an_event_id_counts_once_a_customer_and_only_for_the_dedupe_horizon() -> None:
    run = quiet(rules=Rules(horizon_days=60, clock="wall", dedupe_days=7))
    feed(run, line("a", FIRST, event_id="e"), line("a", FIRST, event_id="e"), line("b", FIRST, event_id="e"))
    assert (run.counters()["applied"], run.counters()["repeated"]) == (2, 1)
    run.turn(run.parts[0], FIRST + 7)
    feed(run, line("a", FIRST, event_id="e"))
    assert run.counters()["repeated"] == 2
    run.turn(run.parts[0], FIRST + 8)
    feed(run, line("a", FIRST, event_id="e"))
    assert run.counters()["repeated"] == 2
    assert run.counters()["applied"] == 3


@pytest.mark.parametrize("size", [1, 2])
def test_an_id_past_its_horizon_is_forgotten_whatever_else_the_batch_holds(size: int) -> None:
    """Stored ids are dropped when a customer is next written: a batch must not tell."""
    run = quiet(rules=Rules(horizon_days=60, clock="wall", dedupe_days=7))
    feed(run, line("a", FIRST, event_id="e"))
    run.turn(run.parts[0], FIRST + 20)
    feed(run, line("a", FIRST + 20, event_id="f"), line("a", FIRST + 20, event_id="e"), size=size)
    assert run.counters()["applied"] == 3


def test_lines_without_an_id_count_each_time() -> None:
    run = quiet()
    feed(run, line("a", FIRST), line("a", FIRST), line("a", FIRST, event_id=""), line("a", FIRST, event_id=None))
    assert run.counters()["applied"] == 4
    assert run.ledgers()["a"] == [(hash64(f"i-a-{FIRST}"), FIRST, 800_000, 8, 4)]


def test_the_oldest_event_ids_give_way_above_the_cap() -> None:
    run = quiet()
    feed(run, *(line("a", FIRST, event_id=f"old-{n}") for n in range(10)))
    run.turn(run.parts[0], FIRST + 1)
    feed(run, *(line("a", FIRST, event_id=f"new-{n}") for n in range(MAX_SEEN)))
    assert run.counters()["seen_dropped"] == 10
    seen = decode_states([run.parts[0].states["a"]]).seen
    assert set(seen.id.tolist()) == {hash64(f"new-{n}") for n in range(MAX_SEEN)}
    assert verify(*run.evidence()).ok


def test_a_line_older_than_the_horizon_is_too_late() -> None:
    run = quiet()
    feed(run, line("a", FIRST - 60), line("b", FIRST - 61))
    assert reasons(run) == ["too_late"]
    assert set(run.labels()) == {"a"}, "nobody is made of refused lines"


CUTOFF = FIRST * DAY + 12 * 3600
"""Noon of the first day."""


def after_history(has_ids: bool, day: int = FIRST) -> PureRun:
    rows = [Row("a", "i1", FIRST * DAY - 5 * DAY, 10_000, 1, "h1-1"), Row("b", "i2", CUTOFF, 20_000, 1, "h1-2")]
    run = quiet(history=rows, has_ids=has_ids, rules=Rules(horizon_days=60, clock="wall", dedupe_days=7))
    if day > FIRST:
        run.turn(run.parts[0], day)
    return run


@pytest.mark.parametrize(
    ("has_ids", "day", "more", "outcome"),
    [
        (False, 0, {"hour": 12}, "before_cutoff"),
        (False, 0, {"hour": 12, "event_id": "shop-7"}, "before_cutoff"),
        (False, 0, {"hour": 12, "event_id": "h1-7"}, "applied"),
        (False, 0, {"hour": 12, "event_id": "h1-2"}, "repeated"),
        (False, 0, {"hour": 13}, "applied"),
        (False, 0, {"hour": 13, "event_id": "shop-7"}, "applied"),
        (True, 0, {"hour": 12}, "before_cutoff"),
        (True, 0, {"hour": 12, "event_id": "shop-7"}, "applied"),
        (True, 0, {"hour": 12, "event_id": "h1-2"}, "repeated"),
        (False, 7, {"hour": 12, "event_id": "h1-2"}, "repeated"),
        (False, 7, {"hour": 12, "event_id": "h1-7"}, "applied"),
        (False, 8, {"hour": 12, "event_id": "h1-7"}, "before_cutoff"),
        (True, 8, {"hour": 12, "event_id": "shop-7"}, "before_cutoff"),
        (True, 8, {"hour": 13, "event_id": "shop-7"}, "applied"),
    ],
)
def test_what_the_history_may_hold_counts_only_if_its_ids_can_tell(
    has_ids: bool, day: int, more: dict[str, Any], outcome: str
) -> None:
    run = after_history(has_ids, FIRST + day)
    feed(run, line("b", FIRST, **more))
    counters = run.counters()
    assert counters.get(outcome, 0) + counters.get(f"refused.{outcome}", 0) == 1
    assert verify(*run.evidence()).differences == ()


@pytest.mark.parametrize(("back", "outcome"), [(7, "applied"), (8, "refused.before_cutoff")])
def test_ids_of_the_history_are_kept_for_the_dedupe_horizon_before_its_end(back: int, outcome: str) -> None:
    run = after_history(False)
    feed(run, line("b", FIRST - back, event_id="h1-7"))
    assert run.counters()[outcome] == 1


def test_a_customer_above_the_cap_of_orders_keeps_his_sums() -> None:
    run = quiet()
    feed(run, *(line("a", FIRST - n % 50, invoice_no=f"i{n}") for n in range(1_001)), size=2_000)
    assert len(decode_states([run.parts[0].states["a"]]).ledger) == 1_001, "a thousand, and one day of folded ones"
    found = records(run, "a")[-1]["features"]
    assert (found["frequency"], found["monetary"]) == (1_001, 20_020)
    assert verify(*run.evidence()).differences == ()


# Keys and partitions -----------------------------------------------------------------------------------------


def test_a_customer_of_another_partition_is_refused_and_the_key_says_why() -> None:
    run = PureRun(partitions=2, rules=Rules(horizon_days=60, clock="wall"))
    for part in run.parts:
        run.turn(part, FIRST)
    there = next(name for name in map(str, range(99)) if run.home(name) == 1)
    value = msgspec.json.encode(line(there, FIRST))
    for key in (None, b"other", there.encode()):
        run.write(0, key, value)
    run.write(0, None, msgspec.json.encode({"type": "erase", "customer_id": there}))
    run.write(1, None, value)
    for part in run.parts:
        run.apply(part, 10)
    assert reasons(run) == ["key_missing", "key_mismatch", "foreign_partition", "foreign_partition"]
    assert set(run.labels()) == {there}, "at home the key is no matter"
    assert verify(*run.evidence()).differences == ()


# Lives -------------------------------------------------------------------------------------------------------


def test_an_erased_customer_leaves_nothing_but_a_mark_and_comes_back_with_the_next_revision() -> None:
    run = quiet()
    feed(run, line("a", FIRST), line("b", FIRST))
    feed(run, {"type": "erase", "customer_id": "a", "at": "2024-03-01T12:00:00"}, line("a", FIRST, hour=12))
    assert set(run.labels()) == {"b"}
    assert run.parts[0].statistics.total == 1
    assert reasons(run) == ["erased"]
    feed(run, line("a", FIRST, hour=13))
    found = records(run, "a")
    assert [record["revision"] for record in found] == [1, 2]
    assert found[-1]["previous"] is None
    assert found[-1]["features"]["frequency"] == 1
    assert verify(*run.evidence()).differences == ()


def test_an_erasure_of_somebody_unknown_leaves_a_mark_too() -> None:
    run = quiet()
    feed(run, {"type": "erase", "customer_id": "a", "at": "2024-03-01T12:00:00"}, line("a", FIRST, hour=9))
    assert run.labels() == {}
    assert [value["tombstone"] for value in run.values()] == ["a"]
    assert run.counters()["erasures"] == 1
    assert "erased_customers" not in run.counters()
    assert len(run.parts[0].marks) == len(run.parts[0].erasures) == 1


def test_a_second_erasure_moves_the_mark_forward_only() -> None:
    run = quiet()
    feed(run, line("a", FIRST), {"type": "erase", "customer_id": "a", "at": "2024-03-01T12:00:00"})
    feed(run, {"type": "erase", "customer_id": "a", "at": "2024-02-01T12:00:00"})
    (mark,) = run.parts[0].marks.values()
    assert msgspec.json.decode(mark) == {"at": CUTOFF, "revision": 1}


def test_the_sums_after_an_erasure_equal_those_without_the_customer_also_within_a_sweep() -> None:
    chosen = max((f"c{n}" for n in range(20)), key=position)
    events = [line(f"c{n}", FIRST, unit_price=1 + n) for n in range(20)]
    for swept in (0, 1, 20):
        sums = []
        for customers in (events, [event for event in events if event["customer_id"] != chosen]):
            run = quiet(chunk=7)
            feed(run, *customers)
            run.begin(run.parts[0], FIRST + 1)
            if swept == 1:  # an event of his own turns his day before the sweep does
                feed(run, *(event for event in customers if event["customer_id"] == chosen))
            feed(
                run, *([{"type": "erase", "customer_id": chosen, "at": "2024-03-02T00:00:00"}] * (customers is events))
            )
            while not run.parts[0].state.sweep.ended:
                run.sweep_on(run.parts[0])
            sums.append(run.parts[0].statistics)
            rows = run.parts[0].rows["sample:2"]
            assert position(chosen) not in {int.from_bytes(rows[i : i + 8], "little") for i in range(0, len(rows), 16)}
        assert sums[0] == sums[1]


def test_what_expires_is_carried_as_positive_orders_and_net() -> None:
    run = quiet()
    old, folded = FIRST - 50, FIRST - 45
    feed(run, line("a", old), line("a", old, invoice_no="C9", unit_price=1.5), line("a", folded, unit_price=2.0))
    feed(run, *(line("a", FIRST - 1, invoice_no=f"i{n}") for n in range(1_000)), size=2_000)
    run.turn(run.parts[0], FIRST + 30)
    feed(run, line("a", FIRST + 30))
    head = run.heads()["a"]
    assert head["past_orders"] == 2, "one of them had been folded into its day; a return is no order"
    assert head["past_net"] == 200_000 - 30_000 + 40_000
    assert (head["first_day"], head["last_day"]) == (old, FIRST + 30)
