"""The contest's bookkeeping: who is compared with whom, what a ratio is, how scorings are counted."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from benchmarks.arena import tree_cpu_s
from benchmarks.contest import ratios, summary
from benchmarks.contestants import CONTESTANTS, chosen
from benchmarks.ours import scorings
from benchmarks.stream import PARTITIONS, Line, Stream
from consumer.transport.kafka_partitioner import partition_of


def row(events_s: int, cpu_us: float, differences: int = 0) -> dict[str, Any]:
    return {"events_s": events_s, "cpu_us": cpu_us, "store_cpu_us": 1.0, "differences": differences}


def entries(*, wrong: int = 0) -> dict[str, Any]:
    stream = Stream(1_000)
    return {
        "ours-librdkafka": summary(CONTESTANTS["ours-librdkafka"], stream, [row(90, 4.0), row(60, 4.0), row(50, 9.0)]),
        "quix": summary(CONTESTANTS["quix"], stream, [row(30, 49.0), row(10, 49.0, wrong), row(10, 49.0)]),
    }


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    found = ratios(entries())["ours-librdkafka"]["quix"]
    assert found["events_s_runs"] == [3, 6, 5]
    assert found["events_s"] == 5
    assert found["cpu"] == 10  # (49 + 1) / (4 + 1), 10 and 5


def test_who_is_wrong_once_has_no_ratio() -> None:
    assert "quix" not in ratios(entries(wrong=1)).get("ours-librdkafka", {})


def test_a_run_that_failed_leaves_medians_of_the_others_and_no_ratio() -> None:
    found = entries()
    found["quix"] = summary(CONTESTANTS["quix"], Stream(1_000), [{"error": "it ended"}, row(10, 49.0), row(30, 49.0)])
    assert found["quix"]["median"]["events_s"] == 20
    assert not ratios(found)


def test_raw_and_ours_stand_for_all_of_theirs_and_an_unknown_name_is_refused() -> None:
    assert [each.name for each in chosen(["ours", "quix"])] == ["ours-kafka-python", "ours-librdkafka", "quix"]
    assert len(chosen(["raw"])) == 4
    with pytest.raises(ValueError, match="nobody"):
        chosen(["quix", "nobody"])


def test_a_scoring_is_a_customer_in_a_batch() -> None:
    customer = next(name for name in map(str, range(1_000)) if partition_of(name.encode(), PARTITIONS) == 0)
    other = next(
        name for name in map(str, range(1_000)) if partition_of(name.encode(), PARTITIONS) == 0 and name != customer
    )
    lines = [Line("", "", who, 0, 1, 1) for who in (customer, customer, other, customer, other, other)]
    # Two commits: offsets 0 to 2 (both customers), 3 to 4 (both); the last line is in the third (one).
    assert scorings([(0, 7, 1), (0, 7, 2), (0, 8, 4)], lines) == 2 + 2 + 1


def test_the_cpu_of_a_tree_includes_its_children() -> None:
    busy = "sum(range(30_000_000)); print(flush=True); input()"
    words = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tree_cpu_s(process.pid) > 0.1
        process.communicate(b"\n")
