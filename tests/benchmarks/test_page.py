"""The page says what the document holds, and which promises are kept; it makes nothing up where a part was not run."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.floors import contest, growth, workers
from benchmarks.page import PAGE, RESULTS, written

MACHINE = {"cpu": "A processor", "cores": 2, "memory_gb": 23.4, "python": "3.11.7", "load_before": [0.5, 1, 2]}
ORIGIN = {"made": "2024-03-01T10:00:00Z", "command": "python -m benchmarks.x", "took_s": 7, "machine": MACHINE}


def entry(events_s: float, cpu_us: float, **more: Any) -> dict[str, Any]:
    median = {"events_s": events_s, "cpu_us": cpu_us, "store_cpu_us": 0.0}
    return {"guarantee": "none", "events": 1_000, "right": True, "median": median, "runs": [{}]} | more


def throughput() -> dict[str, Any]:
    peers = {
        "raw-poll-librdkafka": entry(400_000, 2.5),
        "raw-produce-librdkafka": entry(90_000, 9.5),
        "naive": entry(0, 0, median={}, runs=[{"error": "the peer ended (1)\nand more"}]),
        "quix": entry(10_000, 95.0, right=False),
        "ours-librdkafka": entry(65_000, 11.0),
    }
    ratios = {"ours-librdkafka": {"kafka_streams": {"events_s": 1.1, "events_s_runs": [1.0, 1.1, 1.3], "cpu": 2.0}}}
    stream = {"events": 1_000, "warm_up": 100, "customers": 50}
    return ORIGIN | {"stream": stream, "runs": 3, "quick": False, "peers": peers, "ratios": ratios}


def test_a_promise_is_kept_or_it_is_not() -> None:
    told = {floor.what: (floor.bound, floor.found, floor.holds) for floor in contest(throughput())}
    assert told == {
        "ours-librdkafka to kafka_streams, events a second": (1.2, 1.1, False),
        "ours-librdkafka to kafka_streams, by less CPU an event, store included": (1.0, 2.0, True),
        "us of CPU an event outside the client (ours less raw-poll, librdkafka)": (8.0, 8.5, False),
    }


def test_a_ceiling_is_kept_from_below() -> None:
    size = {"swept_cpu": 250_000}
    kept = growth({"sizes": [size], "events_s_max_over_min": 1.2, "rss_max_over_min": 1.3})
    assert [floor.holds for floor in kept] == [True, False, True]
    pauses = {"join": {"moved_s": 0.4, "stayed_s": 3.1}, "leave": {"moved_s": 0.2, "stayed_s": 0.1}}
    assert [floor.holds for floor in workers({"cpu_max_over_min": 1.1, "pauses": pauses})] == [True, False, True]


def test_the_page_shows_each_contestant_and_what_is_missed() -> None:
    page = written({"throughput": throughput()})
    lines = page.splitlines()
    assert "| ours-librdkafka | none | 1,000 | 65,000 | 65,000 | 11.0 |  | right |" in lines
    assert "| quix | none | 1,000 | 10,000 | 10,000 | 95.0 |  | **wrong: no ratio** |" in lines
    assert "| naive | none | 1,000 |  |  |  |  | the peer ended (1) |" in lines
    assert "| ours-librdkafka to kafka_streams | 1.10 | 1.00, 1.10, 1.30 | 2.00 |" in lines
    assert "| ours-librdkafka to kafka_streams, events a second | 1.2 | 1.1 | **missed** |" in lines
    assert "## Latency" not in page


def test_the_page_in_the_repository_is_what_its_document_gives() -> None:
    assert PAGE.read_text("utf-8") == written(json.loads(RESULTS.read_text("utf-8")))
