"""Prometheus metrics of one worker, read from its telemetry when they are asked for.

A partition's counters are kept with its state and exported by the worker that holds it: they survive restarts
and count each record once. Over several workers: `sum(max by (partition, outcome) (...))`. The others are this
process' own: sums over workers. Labels name partitions, reasons and kinds: never a customer, an order or a time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from consumer.observer import Turn
from consumer.partition import EVERYONE, PartitionState, Sweep
from consumer.telemetry.telemetry import Telemetry
from features.ledger import Ints
from features.transaction import local_seconds
from models.checkup import Checkup
from models.finding import Kind, Severity

PREFIX = "segmenter_"
COMMIT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 13.0)
LATENCY_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)

PER_PARTITION = {
    "segmenter_records": "Input records by what became of them: applied, repeated, guests, ticks, erasures.",
    "segmenter_refused": "Records refused, by reason; each is a dead letter.",
    "segmenter_moves": "Changes of a customer's segment, by cause.",
    "segmenter_forgotten": "Lapsed customers whose head was ended with a tombstone.",
    "segmenter_seen_dropped": "Event ids dropped before their time, above the cap a customer.",
    "segmenter_skipped": "Input offsets jumped over unread, by --on-input-loss=skip.",
    "segmenter_rewinds": "Recoveries that went back and did input again, because Redis had lost its last writes.",
}
INPUT_KINDS: tuple[Kind, ...] = ("level", "tail", "drift", "volume")
MODEL_KINDS: tuple[Kind, ...] = ("population", "cluster", "name", "inertia", "silhouette")
OUTCOMES = ("applied", "repeated", "guests", "ticks", "erasures")


class Metrics(Collector):
    """The registry of one worker. `held` says which partitions it holds now; info: what it is, by label.

    ready: what /readyz says. zone: whose calendar event times are in. now: POSIX seconds.
    """

    def __init__(
        self,
        held: Callable[[], frozenset[int]],
        *,
        info: Mapping[str, str] | None = None,
        ready: Callable[[], bool] = lambda: True,
        zone: ZoneInfo | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._held, self._info, self._ready = held, dict(info or {}), ready
        self._zone, self._now = zone or ZoneInfo("UTC"), now
        self._telemetry: Telemetry | None = None
        self._latencies = Latencies()
        self.registry = CollectorRegistry()
        self._commits, self._publishes = (
            Histogram(PREFIX + name, text, buckets=COMMIT_BUCKETS, registry=self.registry)
            for name, text in (
                ("commit_seconds", "A turn's commits in Redis, of all its partitions."),
                ("publish_seconds", "From the commits in Redis to the commit in Kafka."),
            )
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def of(self, telemetry: Telemetry) -> None:
        """Read this telemetry from now on."""
        self._telemetry = telemetry

    def turned(self, turn: Turn) -> None:
        """Count a turn that wrote."""
        self._commits.observe(turn.committing)
        if turn.failure is None:
            self._publishes.observe(turn.publishing)
            self._latencies = self._latencies.with_those_of(turn.arrived, turn.ended)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; Prometheus asks."""
        told = self._telemetry
        held = self._held()
        states = {p: s for p, s in (told.partitions if told else {}).copy().items() if p in held}
        yield from _counters(states)
        yield from _gauges(states)
        yield _event_ages(states, local_seconds(datetime.fromtimestamp(self._now(), UTC), self._zone))
        yield from _waiting(told, held)
        yield self._latencies.family()
        yield from _process(told)
        yield GaugeMetricFamily("segmenter_ready", "1 while /readyz says 200.", float(self._ready()))
        yield InfoMetricFamily("segmenter", "Version and clock of this worker.", self._info)
        leader = told if 0 in held else None
        yield _findings(leader)
        yield from _checkup(None if leader is None else leader.checkup)


class Latencies:
    """A histogram that takes a batch at once. Not changed in place, since another thread reads it."""

    def __init__(self, counts: Ints | None = None, total: float = 0.0) -> None:
        self._counts = np.zeros(len(LATENCY_BUCKETS) + 1, np.int64) if counts is None else counts
        self._total = total

    def with_those_of(self, arrived: Ints, ended: float) -> Latencies:
        """Add records. arrived: int64 (n,), milliseconds since 1970, negative where unknown; ended: POSIX seconds."""
        # In floats: a producer may write any number, and the difference would leave int64.
        seconds = np.maximum(0.0, ended - arrived[arrived >= 0] / 1000)
        places = np.searchsorted(LATENCY_BUCKETS, seconds)
        return Latencies(
            self._counts + np.bincount(places, minlength=len(self._counts)), self._total + float(seconds.sum())
        )

    def family(self) -> Metric:
        """Return it as Prometheus reads it."""
        bounds = [*(str(bound) for bound in LATENCY_BUCKETS), "+Inf"]
        return HistogramMetricFamily(
            "segmenter_latency_seconds",
            "From the publishing of an input record to the commit of what it caused.",
            buckets=[(bound, float(n)) for bound, n in zip(bounds, np.cumsum(self._counts), strict=True)],
            sum_value=self._total,
        )


def _counters(states: Mapping[int, PartitionState]) -> Iterator[Metric]:
    records = _family("segmenter_records", "outcome")
    refused = _family("segmenter_refused", "reason")
    moves = _family("segmenter_moves", "cause")
    forgotten, dropped = _family("segmenter_forgotten"), _family("segmenter_seen_dropped")
    skipped, rewinds = _family("segmenter_skipped"), _family("segmenter_rewinds")
    for partition, state in states.items():
        p, counters = str(partition), state.counters
        for outcome in OUTCOMES:
            records.add_metric([p, outcome], counters.get(outcome, 0))
        for name, n in counters.items():
            kind, _, label = name.partition(".")
            family = {"refused": refused, "moves": moves}.get(kind)
            if family is not None and label:
                family.add_metric([p, label], n)
        forgotten.add_metric([p], counters.get("forgotten", 0))
        dropped.add_metric([p], counters.get("seen_dropped", 0))
        skipped.add_metric([p], counters.get("skipped", 0))
        rewinds.add_metric([p], len(state.rewinds))
    yield from (records, refused, moves, forgotten, dropped, skipped, rewinds)


def _family(name: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, PER_PARTITION[name], labels=["partition", *labels])


def _gauges(states: Mapping[int, PartitionState]) -> Iterator[Metric]:
    families = {
        "segmenter_applied_offset": "The next input offset that the partition will apply.",
        "segmenter_day": "The partition's day, in days since 1970-01-01.",
        "segmenter_watermark_seconds": "Greatest accepted event time, local seconds since 1970-01-01.",
        "segmenter_sweep_running": "1 while the partition's customers are re-scored.",
        "segmenter_sweep_progress": "Which share of the partition's customers the newest sweep has passed.",
    }
    made = {name: GaugeMetricFamily(name, text, labels=["partition"]) for name, text in families.items()}
    for partition, state in states.items():
        values = (state.applied, state.day, state.watermark, int(not state.sweep.ended), _progress(state.sweep))
        for family, value in zip(made.values(), values, strict=True):
            family.add_metric([str(partition)], value)
    yield from made.values()


def _progress(sweep: Sweep) -> float:
    """Return how far a sweep is: its order is that of a hash, so the cursor's place is the share that is done."""
    return 1.0 if sweep.cursor is None else (sweep.cursor + 1) / EVERYONE


def _event_ages(states: Mapping[int, PartitionState], now: int) -> Metric:
    """now: local seconds."""
    family = GaugeMetricFamily(
        "segmenter_newest_event_age_seconds", "Age of the newest event applied, by its own date.", labels=["partition"]
    )
    for partition, state in states.items():
        family.add_metric([str(partition)], max(0, now - state.watermark))
    return family


def _waiting(told: Telemetry | None, held: frozenset[int]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "segmenter_lag_records", "Input records not applied yet, as the last fetch told.", labels=["partition"]
    )
    outbox = GaugeMetricFamily(
        "segmenter_outbox_age_seconds",
        "Since when a commit is in Redis that is not known to be in Kafka; 0 where there is none.",
        labels=["partition"],
    )
    if told is not None:
        for partition, n in told.lags.items():
            if partition in held:
                lag.add_metric([str(partition)], n)
        for partition, age in (dict.fromkeys(held, 0.0) | told.outbox_ages()).items():
            outbox.add_metric([str(partition)], age)
    yield from (lag, outbox)


def _process(told: Telemetry | None) -> Iterator[Metric]:
    paused = GaugeMetricFamily("segmenter_paused", "1 for each partition that stands still.", labels=["partition"])
    takeovers = CounterMetricFamily(
        "segmenter_takeovers", "Partitions taken over, by how they were found.", labels=["verdict"]
    )
    troubles = CounterMetricFamily("segmenter_troubles", "Failures that were tried again, by kind.", labels=["error"])
    stalls = CounterMetricFamily(
        "segmenter_stalls", "Partitions whose input waited but did not come, by what was tried.", labels=["remedy"]
    )
    fenced = CounterMetricFamily(
        "segmenter_fenced", "How often another was found to have taken over, by who told it.", labels=["by"]
    )
    version = GaugeMetricFamily("segmenter_model_version", "The newest model that this worker knows.")
    published = CounterMetricFamily("segmenter_models_published", "Models that this worker made as the leader.")
    if told is not None:
        for partition in told.paused_for.copy():
            paused.add_metric([str(partition)], 1)
        for verdict, n in told.verdicts.copy().items():
            takeovers.add_metric([verdict.replace(" ", "_")], n)
        for kind, n in told.troubles.copy().items():
            troubles.add_metric([kind], n)
        for remedy, n in told.stalls.copy().items():
            stalls.add_metric([remedy], n)
        for teller in ("kafka", "redis"):
            fenced.add_metric([teller], told.fenced.get(teller, 0))
        version.add_metric([], told.model_version)
        published.add_metric([], told.models_published)
    yield from (paused, takeovers, troubles, stalls, fenced, version, published)


def _findings(leader: Telemetry | None) -> Metric:
    family = GaugeMetricFamily(
        "segmenter_findings", "What is odd about the newest day's orders, by the leader.", labels=["severity", "kind"]
    )
    if leader is not None:
        for severity, kind in product(get_args(Severity), INPUT_KINDS):
            family.add_metric([severity, kind], leader.findings.get((severity, kind), 0))
    return family


def _checkup(newest: Checkup | None) -> Iterator[Metric]:
    inertia = GaugeMetricFamily(
        "segmenter_model_inertia_ratio", "Inertia of the model to a fresh batch fit's, every 14 days, by the leader."
    )
    silhouette = GaugeMetricFamily("segmenter_model_silhouette", "Mean silhouette of a sample, by the leader.")
    shift = GaugeMetricFamily(
        "segmenter_population_stability",
        "Population stability index against a week before, without its expectation, by the leader.",
        labels=["feature"],
    )
    findings = GaugeMetricFamily(
        "segmenter_model_findings",
        "What is odd about the population and the model at the newest checkup, by the leader.",
        labels=["severity", "kind"],
    )
    if newest is not None:
        for family, value in ((inertia, newest.inertia_ratio), (silhouette, newest.silhouette)):
            if value is not None:
                family.add_metric([], value)
        for feature, index in newest.population.items():
            shift.add_metric([feature], index)
        counted = Counter((finding.severity, finding.kind) for finding in newest.findings)
        for severity, kind in product(get_args(Severity), MODEL_KINDS):
            findings.add_metric([severity, kind], counted[severity, kind])
    yield from (inertia, silhouette, shift, findings)


SUFFIXES = {"counter": "_total", "info": "_info"}
"""What Prometheus shows after the name of a family."""


def names() -> tuple[str, ...]:
    """Return the name of every metric of ours, as Prometheus shows it; docs/operations.md is checked against it."""
    families = Metrics(frozenset).registry.collect()
    ours = (family for family in families if (family.name + "_").startswith(PREFIX))
    return tuple(sorted(family.name + SUFFIXES.get(family.type, "") for family in ours))
