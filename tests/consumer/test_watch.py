"""The live sentinel in a world in memory: sweeps count the days' orders, the leader judges them."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from consumer.observer import Silence
from consumer.stored import FIRST_DAY as BEGINNING
from consumer.tally import Row
from consumer.watch import Watch
from features.store import InvalidKey
from models.daily_inputs import unpacked
from models.finding import Finding
from tests.harness.world import FIRST_DAY, World, day_number, line, shopping


class Hearing(Silence):
    def __init__(self) -> None:
        self.told: dict[date, Sequence[Finding]] = {}

    def judged(self, day: date, findings: Sequence[Finding]) -> None:
        self.told[day] = findings


def counted(world: World) -> Counter[int]:
    """Orders by day, over all partitions' rows; of two sweeps of a day the later counts."""
    found: Counter[int] = Counter()
    for partition in range(world.partitions):
        rows = [msgspec.json.decode(data, type=Row) for data in world.store.daily(partition, BEGINNING)]
        last = {row.day: row for row in sorted(rows, key=lambda row: row.number)}
        found.update({day - 1: int(unpacked(row.inputs)[0].sum()) for day, row in last.items()})
    return +found


def orders(seed: int, days: int, per_day: int, factor: int = 1) -> Iterator[dict[str, Any]]:
    """Yield a steady shop's orders; on the last day prices are `factor` times as high."""
    rng = random.Random(seed)
    for n in range(days):
        for order in range(per_day):
            price = rng.choice([2.5, 4, 5, 8, 10]) * (factor if n == days - 1 else 1)
            yield line(
                f"c{rng.randrange(40)}",
                FIRST_DAY + timedelta(days=n),
                hour=8 + order % 12,
                invoice_no=f"{n}-{order}",
                quantity=rng.randrange(1, 9),
                unit_price=price,
            )


def lived(lines: Iterator[dict[str, Any]], days: int) -> tuple[World, Hearing]:
    world, hearing = World(), Hearing()
    world.observer = hearing
    world.publish(*lines)
    world.tick(FIRST_DAY + timedelta(days=days))
    world.settle()
    return world, hearing


@pytest.mark.parametrize("seed", [1, 2])
def test_each_purchase_is_counted_once_on_its_day(seed: int) -> None:
    published = list(shopping(seed, days=20))
    world, _ = lived(iter(published), 20)
    bought = {(each["invoice_date"][:10], each["invoice_no"]) for each in published if each["invoice_no"][0] != "C"}
    assert counted(world) == Counter(day_number(date.fromisoformat(day)) for day, _ in bought)


def test_a_price_three_times_as_high_alarms_at_the_end_of_its_first_day() -> None:
    days = 24
    _, hearing = lived(orders(3, days, 12, factor=3), days)
    last = FIRST_DAY + timedelta(days=days - 1)
    assert max(hearing.told) == last
    alarms = [f for f in hearing.told[last] if f.severity == "alarm"]
    assert {(f.measure, f.direction) for f in alarms} == {("unit price", "up"), ("order value", "up")}
    assert not any(f.severity == "alarm" for day, told in hearing.told.items() if day != last for f in told)


def test_another_leader_finds_the_same() -> None:
    days = 24
    world, hearing = lived(orders(3, days, 12, factor=3), days)
    again = Hearing()
    Watch(world.store, again).look(day_number(FIRST_DAY) + days, world.partitions)
    last = FIRST_DAY + timedelta(days=days - 1)
    assert again.told == {last: hearing.told[last]}


def test_a_row_that_cannot_be_read_is_named() -> None:
    world, _ = lived(orders(4, 3, 5), 3)
    world.store.parts[1].daily.add((0, b"no row"))
    with pytest.raises(InvalidKey, match="a row is none"):
        Watch(world.store, Silence()).look(day_number(FIRST_DAY) + 3, world.partitions)
