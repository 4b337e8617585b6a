"""The least order moves a customer and nothing less does: each answer is played out by plain code of its own."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.explained import Customer, judge, label_with
from benchmarks.foretold import records_of
from benchmarks.present import Present
from features.ledger import MONEY, Lines, from_lines, merge
from features.vector import NAMES, vectors
from models.bundle import LAPSED, NO_NET, Bundle, encode
from reports.counterfactual import LARGEST_ORDER, LeastOrders, least_orders
from reports.first_move import NEVER
from reports.foretell import foretell
from reports.verify_scoring import read_model
from tests.features.ledgers import Line, columns
from tests.reports.test_foretell import BUNDLE, CUSTOMERS, models

TODAY = 15_010
HUNDRED_THOUSAND = 100_000 * MONEY


def present_of(rows: list[Line], labels: list[int], bundle: Bundle) -> Present:
    """Customers 0 .. n - 1 as of TODAY, with the labels that its sweep leaves of those given."""
    n = len(labels)
    first_day = np.full(n, TODAY, np.int64)
    np.minimum.at(first_day, [row.owner for row in rows], [row.day for row in rows])
    ledger = from_lines(columns(rows))
    swept = foretell(ledger, first_day, np.array(labels), np.full(n, TODAY - 1), TODAY, bundle)
    return Present(ledger, first_day, swept.segment, TODAY, bundle)


def least(at: Present, days: int = 90, since: int = TODAY) -> LeastOrders:
    """The least orders in so many days from `since` on."""
    n = len(at.labels)
    silent = foretell(at.ledger, at.first_day, at.labels, np.full(n, TODAY), TODAY + days, at.bundle)
    until = np.full(n, TODAY + days)
    return least_orders(at.ledger, at.first_day, at.labels, np.full(n, since), until, silent, at.bundle)


buys = st.builds(
    Line,
    owner=st.integers(0, CUSTOMERS - 1),
    order=st.integers(1, 5),
    day=st.integers(TODAY - 40, TODAY),
    amount=st.integers(-300, 900).map(lambda units: units * MONEY),
    units=st.integers(1, 20),
    event_id=st.just(0),
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(buys, max_size=10), bundle=models(), seed=st.integers(0, 99))
def test_the_least_order_moves_him_and_none_below_it_nor_any_day_before(
    rows: list[Line], bundle: Bundle, seed: int
) -> None:
    at = present_of(rows, np.random.default_rng(seed).choice((1, 2, 11, 12), CUSTOMERS).tolist(), bundle)
    found, model, horizon = least(at, 20), read_model(encode(bundle)), bundle.horizon_days
    known = records_of(at.ledger, CUSTOMERS)
    for i in range(CUSTOMERS):
        who = Customer(known[i], int(at.first_day[i]), int(at.labels[i]))
        day, amount, segment, last = (int(column[i]) for column in found)
        if day == NEVER:
            continue
        for each in range(day, last + 1):
            assert label_with(model, horizon, who, each, amount) == segment
        # So near the crossing two clusters are equally near to within rounding, which along many steps counts as a tie.
        blurred = amount // 1_000_000 if amount > HUNDRED_THOUSAND else 0
        for less in {int(n) for n in np.geomspace(1, max(amount - 1, 1), 30)} | {amount - 1}:
            assert less >= amount - blurred or less == 0 or label_with(model, horizon, who, day, less) == who.label
        for each in range(TODAY, day):
            for tried in np.geomspace(1, LARGEST_ORDER, 12).astype(int).tolist():
                assert label_with(model, horizon, who, each, tried) == who.label


def test_the_answers_hold_for_a_whole_shop_and_none_is_confirmed_by_search() -> None:
    rng = np.random.default_rng(3)
    rows = [
        Line(int(rng.integers(20)), i + 1, int(rng.integers(TODAY - 300, TODAY + 1)), int(a * MONEY), 1)
        for i, a in enumerate(rng.lognormal(4, 1, 70))
    ]
    calm = msgspec.structs.replace(BUNDLE, centroids=((2.0, 2.0, 7.0), (3.0, 0.8, 4.5)), scale=(3.0, 1.0, 1.0))
    row = judge(present_of(rows, [11 if i % 2 else 12 for i in range(20)], calm))
    assert row.worst_error < 1e-9
    assert row.orders == row.orders_moved == row.less_stayed > 0
    assert row.silences == row.silences_moved == row.day_before_stayed > 0
    assert row.none == row.none_confirmed > 0


def test_one_order_of_any_amount_brings_the_lapsed_back() -> None:
    found = least(present_of([], [LAPSED.id], BUNDLE))
    assert (found.day[0], found.amount[0], found.last_day[0]) == (TODAY, 1, TODAY + 90)


def test_who_gave_back_more_than_he_bought_must_buy_for_more_than_the_difference() -> None:
    at = present_of([Line(0, 1, TODAY - 5, -50 * MONEY, -1)], [NO_NET.id], BUNDLE)
    assert least(at).amount.tolist() == [50 * MONEY + 1]


def test_an_order_counts_until_silence_moves_him() -> None:
    # His only order leaves the horizon on TODAY + 10; another one before that keeps him a customer.
    at = present_of([Line(0, 1, TODAY - 356, 19 * MONEY, 1)], [12], BUNDLE)
    found = least(at)
    assert (found.day[0], found.last_day[0], found.segment[0]) == (TODAY, TODAY + 9, 11)


def test_no_order_is_looked_for_before_the_first_day_or_for_who_has_no_label() -> None:
    rows = [Line(i, 1, TODAY - 100, 19 * MONEY, 1) for i in range(2)]
    found = least(present_of(rows, [12, 0], BUNDLE), since=TODAY + 1)
    assert found.day.tolist() == [TODAY + 1, NEVER]


def test_two_clusters_equally_near_for_every_amount_are_no_move_and_no_endless_search() -> None:
    twice = round(np.log(3) * 2**24) / 2**24  # the frequency's coordinate of two orders
    halfway = msgspec.structs.replace(
        BUNDLE,
        features=("frequency", "monetary"),
        margin=1.0,
        scale=(1.0, 1.0),
        centroids=((twice - 0.5, 3.0), (twice + 0.5, 3.0)),
    )
    at = present_of([Line(0, 1, TODAY, 19 * MONEY, 1)], [11], halfway)
    assert least(at).day.tolist() == [NEVER]


def test_every_feature_that_a_model_may_have_goes_one_way_with_the_amount() -> None:
    """What the bound rests on."""
    rows = [Line(0, 1, TODAY - 5, 90 * MONEY, 2), Line(0, 2, TODAY - 60, -20 * MONEY, -1), Line(0, 3, TODAY, 5, 1)]
    one = np.ones(1, np.int64)
    seen = []
    for amount in np.geomspace(1, LARGEST_ORDER, 50).astype(np.int64):
        line = Lines(one - 1, one.astype(np.uint64) * 9, one * TODAY, one * amount, one, one.astype(np.uint64) * 0)
        known = vectors(merge(from_lines(columns(rows)), from_lines(line)), 1, TODAY, one * (TODAY - 60), NAMES)
        seen.append([float(known.values[name][0]) for name in NAMES])
    steps = np.diff(np.array(seen), axis=0)
    assert ((steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)).all()
