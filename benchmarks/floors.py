"""The figures that the product promises of itself, and whether the benchmarks' document has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Found = Mapping[str, Any]


class Floor(NamedTuple):
    """One promise. at_least: whether `bound` is a floor, else it is a ceiling."""

    what: str
    bound: float
    found: float
    at_least: bool

    @property
    def holds(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound


RATIOS = (
    ("ours-kafka-python", "quix", "events_s", 2.2),
    ("ours-kafka-python", "raw-poll-kafka-python", "events_s", 0.30),
    ("ours-librdkafka", "quix", "events_s", 6.0),
    ("ours-librdkafka", "kafka_streams", "events_s", 1.2),
    ("ours-librdkafka", "kafka_streams", "cpu", 1.0),
    ("ours-librdkafka", "flink", "cpu", 1.0),
)
FIGURES = {"events_s": "events a second", "cpu": "by less CPU an event, store included"}


def contest(found: Found) -> Iterator[Floor]:
    """Yield the floors of a run of the contest."""
    for ours, other, figure, bound in RATIOS:
        if other in found["ratios"].get(ours, {}):
            yield Floor(f"{ours} to {other}, {FIGURES[figure]}", bound, found["ratios"][ours][other][figure], True)
    medians = {name: entry["median"] for name, entry in found["peers"].items()}
    if {"ours-librdkafka", "raw-produce-librdkafka"} <= medians.keys():
        outside = medians["ours-librdkafka"]["cpu_us"] - medians["raw-poll-librdkafka"]["cpu_us"]
        yield Floor("us of CPU an event outside the client (ours less raw-poll, librdkafka)", 8.0, outside, False)


def latency(found: Found) -> Iterator[Floor]:
    """Yield those of latency."""
    for client in ("kafka-python", "librdkafka"):
        if client in found:
            row = found[client]
            yield Floor(f"{client}: p50, ms", 40.0, row["quiet"]["p50"], False)
            yield Floor(f"{client}: p99, ms", 250.0, row["quiet"]["p99"], False)
            for figure in ("p50", "p99"):
                what = f"{client}: {figure} over a bare transactional echo's"
                yield Floor(what, 2.0, row[f"{figure}_over_echo"], False)
            yield Floor(f"{client}: p99 during a sweep over quiet", 3.0, row["p99_swept_over_quiet"], False)


def growth(found: Found) -> Iterator[Floor]:
    """Yield those of memory, growth and the sweep."""
    if "real_bytes_a_customer" in found:
        yield Floor("bytes of the store a customer of the real file", 300.0, found["real_bytes_a_customer"], False)
    if "real_bootstrap_s" in found:
        yield Floor("s to bootstrap the real file", 8.0, found["real_bootstrap_s"], False)
    if "events_s_max_over_min" in found:
        yield Floor("events a second by customers, most over least", 1.2, found["events_s_max_over_min"], False)
        yield Floor("memory of the worker by customers, most over least", 1.2, found["rss_max_over_min"], False)
    for size in found["sizes"][-1:]:
        yield Floor("customers swept a CPU second of the worker", 200_000.0, size["swept_cpu"], True)


def workers(found: Found) -> Iterator[Floor]:
    """Yield those of more than one worker."""
    yield Floor("CPU an event by 1, 2 and 4 workers, most over least", 1.15, found["cpu_max_over_min"], False)
    for change in ("join", "leave"):
        row = found["pauses"][change]
        yield Floor(f"longest pause at a {change}, s", 3.0, max(row["moved_s"], row["stayed_s"]), False)
