"""The contest's stream: the same from the same seed, in time order, with what its head promises."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

from benchmarks.stream import PARTITIONS, Stream, marks
from consumer.transport.kafka_partitioner import partition_of

SMALL = Stream(events=6_000, warm_up=2_000, customers=500)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    def everything(stream: Stream) -> list[bytes]:
        return [line.event() for line in [*stream.history(), *stream.lines()]]

    assert everything(SMALL) == everything(Stream(events=6_000, warm_up=2_000, customers=500))
    assert everything(SMALL) != everything(Stream(events=6_000, warm_up=2_000, customers=500, seed=2))


def test_times_never_fall_and_the_measured_lines_are_halved_by_one_turn_of_the_day() -> None:
    events = [json.loads(line.event()) for line in [*SMALL.history(), *SMALL.lines()]]
    times = [each["invoice_date"] for each in events]
    assert times == sorted(times)
    measured = [each["invoice_date"][:10] for each in events if each["event_id"].startswith("e")][2_000:]
    second = measured.count("2024-03-02")
    assert measured.count("2024-03-01") + second == 6_000
    assert abs(second - 3_000) < 5  # an order of up to five lines may lie across


def test_everybody_has_a_history_of_one_to_three_orders_within_the_year_before(tmp_path: Path) -> None:
    SMALL.write_history(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    orders = [sum(row["CustomerID"] == customer for row in rows) for customer in {row["CustomerID"] for row in rows}]
    assert len(orders) == 500
    assert set(orders) == {1, 2, 3}
    days = [date.fromisoformat(row["InvoiceDate"][:10]) for row in rows]
    assert date(2023, 3, 2) <= min(days) < max(days) <= date(2024, 2, 29)


def test_one_mark_stands_in_each_partition_before_and_behind_the_measured_lines() -> None:
    lines = list(SMALL.lines())
    for which in ("start", "end"):
        assert [partition_of(name.encode(), PARTITIONS) for name in marks(which)] == list(range(PARTITIONS))
    assert [line.customer for line in lines[2_000:2_008]] == marks("start")
    assert [line.customer for line in lines[-8:]] == marks("end")
    assert len(lines) == 2_000 + 6_000 + 16


def test_a_return_has_a_negative_quantity_an_invoice_of_its_own_and_a_share_of_about_four_percent() -> None:
    lines = list(SMALL.lines())
    back = [line for line in lines if line.quantity < 0]
    assert back == [line for line in lines if line.invoice.startswith("C")]
    assert 0.02 < len(back) / len(lines) < 0.06
