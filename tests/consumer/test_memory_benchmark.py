"""What `python -m benchmarks.memory` measures on the real file, in a small form on the generated sample."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import measure, unexplained
from benchmarks.retail import day_of
from consumer.history.csv_source import read_history
from consumer.tally import Flow, Row, Total

SAMPLE = Path(__file__).parents[2] / "Dataset" / "sample.csv.gz"


def test_what_is_remembered_of_some_days_is_right_and_small() -> None:
    first = day_of("2010-12-20")
    found = measure(read_history([SAMPLE]), range(first, first + 4), pairs=1)
    assert (found.recount_differences, found.flow_differences, found.move_differences) == (0, 0, 0)
    assert found.days == 5, "the history's last day is swept, too"
    grown = found.bytes_after - found.bytes_before
    assert abs(grown - 17 * found.moves_a_customer) < 0.3, "seventeen bytes a move"


def test_a_flow_that_is_missing_is_counted() -> None:
    rows = [Row(1, 1, 1, (Total(11, 2, 0),), (Flow(0, 11, "bootstrap", 2),)), Row(2, 2, 1, (Total(12, 2, 0),), ())]
    assert unexplained(rows) == 2
