from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import FOLDED, MAX_ORDERS, Ledger, empty, expire, fold, from_lines, merge, order_starts
from tests.features.ledgers import Line, as_bytes, as_table, columns, lines, plain_fold, plain_ledger

many = st.lists(lines, max_size=40)


def ledger_of(*rows: tuple[int, int, int, int]) -> Ledger:
    """The ledger of some (owner, order, day, amount) lines of one unit."""
    return from_lines(columns([Line(*row, units=1) for row in rows]))


def batches(rows: Sequence[Line], cuts: list[int]) -> list[Sequence[Line]]:
    bounds = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    return [rows[low:high] for low, high in pairwise(bounds)]


def merged(parts: Sequence[Sequence[Line]]) -> Ledger:
    ledger = empty()
    for part in parts:
        ledger = merge(ledger, from_lines(columns(part)))
    return ledger


@given(many)
def test_a_ledger_is_the_sum_of_its_lines_by_customer_order_and_day(rows: list[Line]) -> None:
    assert as_table(from_lines(columns(rows))) == plain_ledger(rows)


@given(st.data(), many, st.lists(st.integers(0, 40), max_size=6))
def test_any_permutation_in_any_batches_gives_the_same_bytes(
    data: st.DataObject, rows: list[Line], cuts: list[int]
) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert as_bytes(merged(batches(shuffled, cuts))) == as_bytes(from_lines(columns(rows)))


@given(st.data(), many, st.integers(0, 40), st.integers(0, 40))
def test_any_cut_between_history_and_stream_gives_the_same_bytes(
    data: st.DataObject, rows: list[Line], cut: int, overlap: int
) -> None:
    events = [line._replace(event_id=n + 1) for n, line in enumerate(rows)]
    history = events[:cut]
    stream = data.draw(st.permutations(events[max(cut - overlap, 0) :]))
    seen = {line.event_id for line in history}
    fresh = [line for line in stream if line.event_id not in seen]
    both = merge(from_lines(columns(history)), from_lines(columns(fresh)))
    assert as_bytes(both) == as_bytes(from_lines(columns(events)))


@given(many, many)
def test_merging_has_no_sides(a: list[Line], b: list[Line]) -> None:
    one, two = from_lines(columns(a)), from_lines(columns(b))
    assert as_bytes(merge(one, two)) == as_bytes(merge(two, one))


@given(many, many, many)
def test_merging_has_no_order(a: list[Line], b: list[Line], c: list[Line]) -> None:
    one, two, three = (from_lines(columns(part)) for part in (a, b, c))
    assert as_bytes(merge(merge(one, two), three)) == as_bytes(merge(one, merge(two, three)))


@given(many)
def test_merging_nothing_changes_nothing(rows: list[Line]) -> None:
    ledger = from_lines(columns(rows))
    assert as_bytes(merge(ledger, empty())) == as_bytes(merge(empty(), ledger)) == as_bytes(ledger)


@given(many, many)
def test_merging_leaves_its_arguments_as_they_were(a: list[Line], b: list[Line]) -> None:
    one, two = from_lines(columns(a)), from_lines(columns(b))
    before = as_bytes(one), as_bytes(two)
    merge(one, two)
    assert (as_bytes(one), as_bytes(two)) == before


@given(many, st.integers(1, 4))
def test_folding_leaves_its_argument_as_it_was(rows: list[Line], cap: int) -> None:
    ledger = from_lines(columns(rows))
    before = as_bytes(ledger)
    fold(ledger, cap)
    assert as_bytes(ledger) == before


def test_where_nothing_is_to_be_done_nothing_is_copied() -> None:
    ledger = ledger_of((0, 1, 15_000, 1), (1, 1, 15_000, 1))
    assert merge(ledger, empty()) is merge(empty(), ledger) is fold(ledger) is expire(ledger, 15_000)[0] is ledger


@given(many, many, st.integers(14_999, 15_010))
def test_expiry_and_merging_commute(a: list[Line], b: list[Line], first_day: int) -> None:
    one, two = from_lines(columns(a)), from_lines(columns(b))
    after = expire(merge(one, two), first_day)
    before = [expire(ledger, first_day) for ledger in (one, two)]
    for side in (0, 1):
        assert as_bytes(after[side]) == as_bytes(merge(before[0][side], before[1][side]))


@given(many, st.integers(14_999, 15_010))
def test_expiry_keeps_the_first_day_and_loses_nothing(rows: list[Line], first_day: int) -> None:
    table = plain_ledger(rows)
    kept, old = expire(from_lines(columns(rows)), first_day)
    assert as_table(kept) == {key: record for key, record in table.items() if key[2] >= first_day}
    assert as_table(old) == {key: record for key, record in table.items() if key[2] < first_day}


@given(many, st.integers(1, 6))
def test_folding_keeps_the_newest_and_makes_the_rest_days(rows: list[Line], cap: int) -> None:
    assert as_table(fold(from_lines(columns(rows)), cap)) == plain_fold(plain_ledger(rows), cap)


@given(st.data(), many, st.lists(st.integers(0, 40), max_size=6), st.integers(1, 4))
def test_folding_after_any_batches_gives_the_same_bytes(
    data: st.DataObject, rows: list[Line], cuts: list[int], cap: int
) -> None:
    """The lines of one order and day come together; a line that comes after its order was folded is the exception."""
    keys = data.draw(st.permutations(sorted({line[:3] for line in rows})))
    together = [line for key in keys for line in rows if line[:3] == key]
    at_once = fold(from_lines(columns(rows)), cap)
    ends = [n for n in range(1, len(together)) if together[n][:3] != together[n - 1][:3]]
    chosen = [ends[cut % len(ends)] for cut in cuts] if ends else []
    ledger = empty()
    for part in batches(together, chosen):
        ledger = fold(merge(ledger, from_lines(columns(part))), cap)
    assert as_bytes(ledger) == as_bytes(at_once)


@given(many, st.integers(1, 4), st.integers(14_999, 15_010))
def test_folding_and_expiry_commute(rows: list[Line], cap: int, first_day: int) -> None:
    ledger = from_lines(columns(rows))
    assert as_bytes(expire(fold(ledger, cap), first_day)[0]) == as_bytes(fold(expire(ledger, first_day)[0], cap))


@given(many, st.integers(1, 4))
def test_folding_keeps_every_sum_a_day(rows: list[Line], cap: int) -> None:
    def daily(ledger: Ledger) -> dict[tuple[int, int], tuple[int, int, int]]:
        sums: dict[tuple[int, int], tuple[int, int, int]] = {}
        for (owner, _, day), (net, units, count, _) in as_table(ledger).items():
            a, b, c = sums.get((owner, day), (0, 0, 0))
            sums[owner, day] = (a + net, b + units, c + count)
        return sums

    ledger = from_lines(columns(rows))
    assert daily(fold(ledger, cap)) == daily(ledger)


def test_as_many_orders_as_the_cap_are_not_folded() -> None:
    full = ledger_of(*[(0, n, 15_000, 1) for n in range(1, 4)])
    assert fold(full, 3) is full


def test_one_order_more_than_the_cap_folds_the_oldest_alone() -> None:
    ledger = fold(ledger_of((0, 9, 15_000, 5), (0, 8, 15_001, -4), (0, 7, 15_002, 3), (1, 6, 15_000, 2)), 2)
    assert as_table(ledger) == {
        (0, FOLDED, 15_000): (5, 1, 1, 1),
        (0, 7, 15_002): (3, 1, 1, 0),
        (0, 8, 15_001): (-4, 1, 1, 0),
        (1, 6, 15_000): (2, 1, 1, 0),
    }


def test_a_folded_day_counts_its_positive_orders_only() -> None:
    rows = [(0, 1, 15_000, 5), (0, 2, 15_000, 1), (0, 3, 15_000, 0), (0, 4, 15_000, -9), (0, 5, 15_001, 1)]
    assert as_table(fold(ledger_of(*rows), 1))[0, FOLDED, 15_000] == (-3, 4, 4, 2)


def test_among_orders_of_one_day_the_greater_hashes_fold() -> None:
    ledger = fold(ledger_of((0, 2**64 - 1, 15_000, 1), (0, 5, 15_000, 1), (0, 2**63, 15_000, 1)), 2)
    assert [key[1] for key in as_table(ledger)] == [FOLDED, 5, 2**63]


def test_the_cap_is_a_thousand_orders() -> None:
    def orders(n: int) -> Ledger:
        return ledger_of(*[(0, k, 15_000, 1) for k in range(1, n + 1)])

    assert MAX_ORDERS == 1_000
    assert len(fold(orders(1_000))) == 1_000
    assert as_table(fold(orders(1_002)))[0, FOLDED, 15_000] == (2, 2, 2, 2)


def test_days_folded_already_do_not_crowd_out_orders() -> None:
    ledger = fold(ledger_of(*[(0, n, 15_000 + n, 1) for n in range(1, 7)]), 3)
    assert [key[1] for key in as_table(ledger)] == [FOLDED] * 3 + [4, 5, 6]
    assert as_bytes(fold(ledger, 3)) == as_bytes(ledger)


@given(many, st.integers(1, 6))
def test_an_order_starts_where_customer_or_order_changes_and_each_folded_day_is_one(rows: list[Line], cap: int) -> None:
    ledger = fold(from_lines(columns(rows)), cap)
    keys = list(as_table(ledger))
    expected = [n for n, key in enumerate(keys) if n == 0 or key[1] == FOLDED or keys[n - 1][:2] != key[:2]]
    assert order_starts(ledger).tolist() == expected


def test_sums_are_exact_where_doubles_are_not() -> None:
    ledger = from_lines(columns([Line(0, 1, 15_000, 10**13, 10**9)] * 900 + [Line(0, 1, 15_000, 1, 1)]))
    assert (ledger.net.tolist(), ledger.units.tolist()) == ([900 * 10**13 + 1], [900 * 10**9 + 1])


def test_an_empty_ledger_has_nothing_to_expire_fold_or_start() -> None:
    nothing = empty()
    assert len(nothing) == len(fold(nothing)) == len(order_starts(nothing)) == 0
    assert [len(part) for part in expire(nothing, 15_000)] == [0, 0]
    assert as_bytes(from_lines(columns([]))) == as_bytes(nothing)


@pytest.mark.parametrize("index", [slice(1, 3), np.array([1, 2]), np.array([False, True, True, False])])
def test_rows_are_taken_from_every_column(index: slice | np.ndarray) -> None:
    rows = [Line(n, n + 1, 15_000 + n, n * 10, n * 100, n * 1_000) for n in range(4)]
    taken = columns(rows).take(index)
    assert len(taken) == 2
    assert as_bytes(from_lines(columns(rows)).take(index)) == as_bytes(from_lines(columns(rows[1:3])))
    assert taken.event_id.tolist() == [1_000, 2_000]
