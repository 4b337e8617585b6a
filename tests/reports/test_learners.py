"""A replay beside batch: its days, its moves and its checks, each by a plain second way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import Lines, expire, from_lines
from features.vector import RFM, vectors
from models.learner import learner_named
from models.selection import SelectionError, Terms
from reports.learners import Course, Published, Replay, comparison, days_of, replayed
from reports.quality import quality

FIRST, HORIZON = 15_100, 60
UNTIL = FIRST + 22
UNIT = 1 << 24


def shop(customers: int = 120, seed: int = 3) -> Lines:
    """Return lines of customers who buy often and much, seldom, or no longer, in the order of time."""
    rng = np.random.default_rng(seed)
    found = []
    for customer in range(customers):
        habit, spend = [(0.4, 90.0), (0.08, 30.0), (0.03, 8.0)][customer % 3]
        for day in range(FIRST - 80, UNTIL + 1):
            if rng.random() < habit * (0.1 if customer % 5 == 0 and day > FIRST else 1.0):
                amount = round(10_000 * spend * rng.lognormal(0, 0.5))
                found.append((day, customer, rng.integers(1 << 40), amount))
    found.sort()
    days, owners, orders, amounts = (np.array(column, np.int64) for column in zip(*found, strict=True))
    ones = np.ones(len(found), np.int64)
    return Lines(owners, orders.astype(np.uint64), days, amounts, ones, np.zeros(len(found), np.uint64))


LINES = shop()
COURSE = Course(LINES, 120, UNTIL, Terms(FIRST, RFM, "population", HORIZON, 0.95, 1), fits=4)
CPU = iter(range(1_000_000))


@pytest.fixture(scope="module")
def replays() -> list[Replay]:
    learners = [("population", learner_named("population")), ("frozen", None), ("river", learner_named("river"))]
    return replayed(COURSE, 3, learners, (1.0, 0.9), lambda: float(next(CPU)))


def test_each_day_has_the_vectors_of_everything_before_it() -> None:
    none = np.full(120, UNTIL)
    for day in days_of(COURSE):
        for moment, lines in (
            (day.turn, LINES.take(LINES.day < day.day)),
            (day.end, LINES.take(LINES.day <= day.day)),
        ):
            plain = vectors(expire(from_lines(lines), day.day - HORIZON)[0], 120, day.day, none, RFM)
            assert (moment.coordinates == plain.coordinates(RFM, 1)).all()
            assert (moment.clustered == plain.clustered).all()
            assert (moment.lapsed == plain.lapsed).all()
        assert day.touched.tolist() == list(dict.fromkeys(LINES.owner[LINES.day == day.day].tolist()))


def test_every_day_to_the_last_is_replayed() -> None:
    assert [day.day for day in days_of(COURSE)] == list(range(FIRST, UNTIL + 1))


def test_a_check_says_what_the_judge_of_the_live_model_says(replays: list[Replay]) -> None:
    days = {day.day: day for day in days_of(COURSE)}
    for replay in replays:
        assert [check.day for check in replay.checks] == [FIRST + 7, FIRST + 14, FIRST + 21]
        for check in replay.checks:
            bundle, turn = replay.models[check.day - FIRST], days[check.day].turn
            x = turn.coordinates[turn.clustered] / UNIT
            judged = quality(x, np.array(bundle.centroids), np.array(bundle.scale), fits=4)
            assert check.inertia_ratio == pytest.approx(judged.inertia_ratio)
            assert check.ari == pytest.approx(judged.ari)


def test_without_a_margin_the_published_label_is_the_nearest(replays: list[Replay]) -> None:
    assert all(check.published[0] == check.ari for replay in replays for check in replay.checks)
    assert any(check.published[1] != check.ari for replay in replays for check in replay.checks)


def test_a_frozen_model_stays_and_the_others_make_one_a_day(replays: list[Replay]) -> None:
    population, frozen, river = replays
    assert [bundle.version for bundle in frozen.models] == [1] * 23
    # The bootstrap's day has nothing new, and the model of its own day is used from the next one on.
    assert [bundle.version for bundle in population.models] == [1, 1, *range(2, 23)]
    assert len({bundle.centroids for bundle in population.models}) > 15
    assert len({bundle.centroids for bundle in river.models}) > 15
    assert population.models[0] == frozen.models[0] == river.models[0]


def test_the_learners_seconds_are_those_of_its_updates_alone(replays: list[Replay]) -> None:
    assert [replay.cpu_s for replay in replays] == [22.0, 0.0, 22.0]  # the clock of this test goes on by 1 a look


def test_a_greater_margin_moves_no_more(replays: list[Replay]) -> None:
    free, calm = replays[0].published
    assert 0 < calm.moves <= free.moves


def test_the_comparison_is_the_mean_and_the_worst_of_the_checks(replays: list[Replay]) -> None:
    replay = replays[1]
    found = comparison(replay, events=200, margin=1)
    ratios, aris = [c.inertia_ratio for c in replay.checks], [c.ari for c in replay.checks]
    assert found.weeks == 3
    assert found.inertia_ratio == pytest.approx(sum(ratios) / 3, abs=1e-5)
    assert found.worst_inertia_ratio == pytest.approx(max(ratios), abs=1e-5)
    assert (found.ari, found.worst_ari) == pytest.approx((sum(aris) / 3, min(aris)), abs=1e-4)
    assert found.ari_published == pytest.approx(sum(c.published[1] for c in replay.checks) / 3, abs=1e-4)
    assert found.moves_per_100_events == pytest.approx(replay.published[1].moves / 2, abs=0.01)


def test_more_clusters_than_customers_are_refused() -> None:
    with pytest.raises(SelectionError, match="different customers"):
        replayed(COURSE, 200, [("frozen", None)], (1.0,), lambda: 0.0)


# Moves and returns -------------------------------------------------------------------------------------------


def moved(*steps: tuple[int, int]) -> tuple[int, int]:
    """Return moves and returns of one customer's (day, label)."""
    published = Published(0.95, np.zeros(1, np.int64))
    for day, label in steps:
        published.publish(day, np.array([0]), np.array([label]))
    return published.moves, published.returns


@pytest.mark.parametrize(
    ("steps", "moves", "returns"),
    [
        (((0, 11), (1, 12), (8, 11)), 2, 1),
        (((0, 11), (1, 12), (9, 11)), 2, 0),
        (((0, 11), (1, 12), (1, 11)), 2, 1),
        (((0, 11), (1, 12), (2, 13), (3, 11)), 3, 0),
        (((0, 11), (1, 12), (2, 11), (3, 12)), 3, 2),
        (((0, 11), (1, 11), (2, 11)), 0, 0),
        (((0, 11), (1, 2), (2, 11)), 0, 0),
        (((0, 11), (1, 12), (2, 1), (3, 12), (4, 11)), 2, 0),
    ],
    ids=["back on the seventh day", "on the eighth", "on the same day", "round", "twice", "still", "out", "by way of"],
)
def test_a_return_goes_back_to_the_segment_just_left_within_seven_days(
    steps: tuple[tuple[int, int], ...], moves: int, returns: int
) -> None:
    assert moved(*steps) == (moves, returns)


@pytest.mark.parametrize(("away", "back", "unbidden"), [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0)])
def test_a_return_is_unbidden_where_the_customer_had_a_line_on_neither_way(away: int, back: int, unbidden: int) -> None:
    published, who = Published(0.95, np.array([11])), np.array([0])
    published.publish(1, who, np.array([12]), by_line=bool(away))
    published.publish(4, who, np.array([12]), by_line=not away)  # nothing changes
    published.publish(5, who, np.array([11]), by_line=bool(back))
    assert (published.returns, published.unbidden) == (1, unbidden)


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 5), min_size=1, max_size=6)), max_size=40))
def test_moves_and_returns_equal_a_loop_over_each_customers_own_history(steps: list[tuple[int, list[int]]]) -> None:
    segments = [1, 2, 11, 12, 13, 14]
    published, histories, day = Published(0.95, np.zeros(6, np.int64)), {c: [(0, 0)] for c in range(6)}, 0
    for ahead, chosen in steps:
        day += ahead
        who = sorted(set(chosen))
        labels = [segments[(customer * 5 + len(chosen) + day) % 6] for customer in who]
        published.publish(day, np.array(who), np.array(labels))
        for customer, label in zip(who, labels, strict=True):
            if histories[customer][-1][1] != label:
                histories[customer].append((day, label))
    moves = returns = 0
    for history in histories.values():
        for i in range(1, len(history)):
            (on, label), (left_on, left) = history[i], history[i - 1]
            if label >= 11 and left >= 11:
                moves += 1
                returns += i > 1 and history[i - 2][1] == label and on - left_on <= 7
    assert (published.moves, published.returns) == (moves, returns)
