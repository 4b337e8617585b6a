"""Prometheus metrics of one worker, read from its telemetry when they are asked for.

A partition's counters are kept with its state and exported by the worker that holds it: they survive restarts
and count each record once. Over several workers: `sum(max by (partition, outcome) (...))`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.telemetry.telemetry import Standing, Telemetry
from models.checkup import Checkup
from models.finding import Kind, Severity

COMMIT_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 13.0)

PER_PARTITION = {
    "segmenter_records": "Input records by what became of them: applied, repeated, guests, ticks, erasures.",
    "segmenter_refused": "Records refused, by reason; each is a dead letter.",
    "segmenter_moves": "Changes of a customer's segment, by cause.",
    "segmenter_forgotten": "Lapsed customers whose head was ended with a tombstone.",
    "segmenter_seen_dropped": "Event ids dropped before their time, above the cap a customer.",
    "segmenter_skipped": "Input offsets jumped over unread, by --on-input-loss=skip.",
}
INPUT_KINDS: tuple[Kind, ...] = ("level", "tail", "drift", "volume")
MODEL_KINDS: tuple[Kind, ...] = ("population", "cluster", "name", "inertia", "silhouette")
OUTCOMES = ("applied", "repeated", "guests", "ticks", "erasures")


class Metrics(Collector):
    """The registry of one worker. `held` says which partitions it holds now."""

    def __init__(self, held: Callable[[], frozenset[int]]) -> None:
        self._held = held
        self._telemetry: Telemetry | None = None
        self.registry = CollectorRegistry()
        self.commit_seconds = Histogram(
            "segmenter_publish_seconds",
            "From the commit in Redis to the commit in Kafka.",
            buckets=COMMIT_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def of(self, telemetry: Telemetry) -> None:
        """Read this telemetry from now on."""
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        """Yield every family; Prometheus asks."""
        told = self._telemetry
        held = self._held()
        standings = {p: s for p, s in (told.partitions if told else {}).copy().items() if p in held}
        yield from _counters(standings)
        yield from _gauges(standings)
        yield from _process(told)
        leader = told if 0 in held else None
        yield _findings(leader)
        yield from _checkup(None if leader is None else leader.checkup)


def _counters(standings: Mapping[int, Standing]) -> Iterator[Metric]:
    records = _family("segmenter_records", "outcome")
    refused = _family("segmenter_refused", "reason")
    moves = _family("segmenter_moves", "cause")
    forgotten, dropped = _family("segmenter_forgotten"), _family("segmenter_seen_dropped")
    skipped = _family("segmenter_skipped")
    for partition, standing in standings.items():
        p, counters = str(partition), standing.state.counters
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
    yield from (records, refused, moves, forgotten, dropped, skipped)


def _family(name: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, PER_PARTITION[name], labels=["partition", *labels])


def _gauges(standings: Mapping[int, Standing]) -> Iterator[Metric]:
    families = {
        "segmenter_applied_offset": "The next input offset that the partition will apply.",
        "segmenter_day": "The partition's day, in days since 1970-01-01.",
        "segmenter_watermark_seconds": "Greatest accepted event time, local seconds since 1970-01-01.",
        "segmenter_sweep_running": "1 while the partition's customers are re-scored.",
    }
    made = {name: GaugeMetricFamily(name, text, labels=["partition"]) for name, text in families.items()}
    for partition, standing in standings.items():
        state = standing.state
        values = (state.applied, state.day, state.watermark, int(not state.sweep.ended))
        for family, value in zip(made.values(), values, strict=True):
            family.add_metric([str(partition)], value)
    yield from made.values()


def _process(told: Telemetry | None) -> Iterator[Metric]:
    paused = GaugeMetricFamily("segmenter_paused", "1 for each partition that stands still.", labels=["partition"])
    takeovers = CounterMetricFamily(
        "segmenter_takeovers", "Partitions taken over, by how they were found.", labels=["verdict"]
    )
    troubles = CounterMetricFamily("segmenter_troubles", "Failures that were tried again, by kind.", labels=["error"])
    stalls = CounterMetricFamily(
        "segmenter_stalls", "Partitions whose input waited but did not come, by what was tried.", labels=["remedy"]
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
        version.add_metric([], told.model_version)
        published.add_metric([], told.models_published)
    yield from (paused, takeovers, troubles, stalls, version, published)


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


def names() -> tuple[str, ...]:
    """Return the name of every metric, as Prometheus shows it; docs/operations.md is checked against it."""
    families = Metrics(frozenset).registry.collect()
    return tuple(sorted(family.name + ("_total" if family.type == "counter" else "") for family in families))
