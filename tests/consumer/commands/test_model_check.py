"""`model check` over customers in memory: what it reads is what was true on that day."""

import numpy as np

from benchmarks.sentinel import FAULTS, shop
from consumer.commands.model_check import WEEK, judge, seen
from features.codec import Seen as Ids
from features.codec import States, blank_heads
from features.ledger import Ints, Lines, expire, from_lines
from features.vector import RFM, vectors
from models.bundle import Bundle, Segment

FIRST, DAY = 10_000, 10_064
"""The shop's first day, and the day of the check; a fault of the day before is the newest complete one."""


def model(horizon: int = 365) -> Bundle:
    return Bundle(
        version=4,
        parent=None,
        day=DAY,
        learner="population",
        features=RFM,
        horizon_days=horizon,
        margin=0.05,
        scale=(1.0, 0.5, 0.7),
        centroids=((1.5, 1.4, 4.8), (2.8, 0.8, 3.9), (3.8, 0.7, 3.0)),
        segments=(Segment(11, "Champions"), Segment(12, "Promising"), Segment(13, "Dormant")),
        created_by="bootstrap",
        sizes=(1, 1, 1),
    )


def states(lines: Lines) -> States:
    count = int(lines.owner.max()) + 1
    heads = blank_heads(count)
    np.minimum.at(heads["first_day"], lines.owner, lines.day.astype(np.int32))
    none = np.empty(0, np.int64)
    return States(heads, from_lines(lines), Ids(none, none.astype(np.uint64), none))


def check(lines: Lines, days: int = 7):  # type: ignore[no-untyped-def]  # a Check
    return judge(seen(states(lines), model(), DAY, DAY), model(), DAY, days, lambda *_: None)


def test_a_quiet_shop_s_figures_are_told_and_its_only_alarm_is_a_model_that_was_made_up() -> None:
    lines = shop(1, 64, 60)
    found = check(lines)
    assert [f.kind for f in found.findings if f.severity == "alarm"] == ["inertia"]
    assert (found.day, found.version, found.alarms) == ("1997-07-22", 4, 1)
    assert found.orders == len(set(zip(lines.owner.tolist(), lines.order.tolist(), strict=True)))
    assert found.days_with_orders == len(set(lines.day.tolist()))
    assert found.inertia_ratio is not None
    assert found.inertia_ratio > 1.02
    assert found.customers == len(set(lines.owner.tolist()))


def test_a_fault_of_yesterday_alarms() -> None:
    lines = shop(1, 64, 60)
    wrong = lines.day >= DAY - 1
    changed = FAULTS["prices x3"](lines.take(wrong), np.random.default_rng(0), DAY - 1, lines)
    lines.amount[wrong] = changed.amount
    assert {(f.measure, f.kind) for f in check(lines, 1).findings if f.severity == "alarm"} >= {("unit price", "level")}


def test_an_older_fault_is_not_of_the_days_asked_for() -> None:
    lines = shop(1, 64, 60)
    lines.amount[lines.day == DAY - 8] *= 100
    assert any(f.severity == "alarm" and f.kind == "level" for f in check(lines, 10).findings)
    assert not any(f.severity == "alarm" and f.kind == "level" for f in check(lines, 3).findings)


def test_the_week_before_is_seen_as_it_was_then() -> None:
    lines, horizon = shop(2, 64, 20), 40
    found = seen(states(lines), model(horizon), DAY, DAY)

    def as_of(day: int) -> Ints:
        ledger, _ = expire(from_lines(lines.take(lines.day <= day)), day - (horizon - WEEK))
        count = int(lines.owner.max()) + 1
        then = vectors(ledger, count, day, np.zeros(count, np.int64), RFM)
        return then.coordinates(RFM, recency_offset=1)[then.clustered]

    assert np.array_equal(found.later, as_of(DAY))
    assert np.array_equal(found.earlier, as_of(DAY - WEEK))
    assert len(found.earlier) != len(found.now)


def test_a_handful_of_customers_is_not_compared_with_batch() -> None:
    found = check(shop(3, 20, 4))
    assert (found.inertia_ratio, found.silhouette) == (None, None)
