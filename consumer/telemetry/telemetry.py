"""What the running worker tells: structured events on stderr, and the state of its partitions for metrics and health.

    worker --Observer--> Telemetry --> structlog events (JSON lines, or for people on a terminal)
                             |
                             +--> state of each partition --> metrics.py (/metrics), health.py (/readyz)
                             +--> each turn --> metrics.py (histograms), otel_spans.py (traces)

Every event goes through `_tell`, by a name that stands in the list of docs/monitoring.md with its level and fields.

Guarantee: no customer id leaves through here. A key that names one is shown as a keyed hash (FAULTS S4).
The counters are the partitions' own, kept with their states: exactly once, and alive across restarts.
"""

from __future__ import annotations

import hmac
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import structlog

from consumer.observer import Turn
from consumer.partition import PartitionState, iso
from consumer.ports import TransportError
from consumer.step import Decision
from consumer.telemetry.firstday import Advisor
from features.store import Fenced
from features.transaction import date_of
from models.bundle import Bundle
from models.checkup import Checkup
from models.finding import Finding, Kind, Severity

PROGRESS_EVERY_S = 10.0
TROUBLE_LASTS_S = 10.0
"""A failure counts as over when it has not come again for so long: what is retried is retried within seconds."""
TROUBLE_SAID_EVERY_S = 10.0
_CUSTOMER_KEY = re.compile(r"(\{[^{}]*:\d+\}:[^:]+:c:)(.*)(: )", re.DOTALL)
"""A customer's key in Redis as errors quote it, up to what is wrong with it (features.store.InvalidKey)."""


Level = Literal["info", "warning", "error"]


class Telemetry:
    """An Observer. `logger` has structlog's interface; `hash_key` is the key of the hashes that stand for ids.

    on_turn: told of each turn that wrote. on_swept: called when a sweep has ended and no partition is in one.
    """

    def __init__(
        self,
        hash_key: bytes,
        logger: Any = None,
        *,
        on_turn: Sequence[Callable[[Turn], None]] = (),
        on_swept: Callable[[], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hash_key, self._now = hash_key, now
        self._log = structlog.get_logger() if logger is None else logger
        self._on_turn, self._on_swept = on_turn, on_swept
        self._advisor = Advisor()
        self._next_progress = now() + PROGRESS_EVERY_S
        self._lines_told = 0
        self.partitions: dict[int, PartitionState] = {}
        self.verdicts: dict[str, int] = {}
        self.paused_for: dict[int, str] = {}
        self.troubles: dict[str, int] = {}
        self.stalls: dict[str, int] = {}
        self.fenced: dict[str, int] = {}
        """How often this worker was told that another took over, by who told it: kafka, redis."""
        self.lags: dict[int, int] = {}
        self._sweeping: set[int] = set()
        self._swept = False
        """A sweep has ended, and `on_swept` was not called yet."""
        self._unpublished: dict[int, float] = {}
        """Since when a commit of a partition is in Redis and not known to be in Kafka."""
        self._trouble: tuple[float, str] | None = None
        self._said: dict[tuple[str, str], float] = {}
        self.model_version = 0
        self.models_published = 0
        self.findings: dict[tuple[Severity, Kind], int] = {}
        """Of the newest day that this worker judged, by severity and kind."""
        self.checkup: Checkup | None = None
        """The newest that this worker made."""

    # The observer -------------------------------------------------------------------------------------

    def written(self, partition: int) -> None:
        """Note that an outbox waits."""
        self._unpublished.setdefault(partition, self._now())

    def committed(self, partition: int, decision: Decision) -> None:
        """Note where the partition stands; say when a day has turned, now and then how much was done."""
        self._unpublished.pop(partition, None)
        before = self.partitions.get(partition)
        state = decision.state
        self.partitions[partition] = state
        self._swept = self._swept or decision.snapshot is not None
        self._sweeping.discard(partition) if state.sweep.ended else self._sweeping.add(partition)
        self._trouble = None
        self.model_version = max(self.model_version, state.sweep.version)
        if decision.snapshot is not None:
            self._tell("info", "day swept", partition=partition, day=iso(state.day), model=state.sweep.version)
        if before is not None:
            self._advise(before.counters, state.counters)
            self._progress(before.counters, state)

    def turned(self, turn: Turn) -> None:
        """Pass it on."""
        for each in self._on_turn:
            each(turn)

    def lagging(self, lags: Mapping[int, int]) -> None:
        """Note how much waits; once a second is often enough to look whether a sweep is over."""
        self.lags = dict(lags)
        if self._swept and not self._sweeping and self._on_swept is not None:
            self._swept = False
            self._on_swept()

    def recovered(self, partition: int, verdict: str, state: PartitionState) -> None:
        """Say that a partition was taken over."""
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        self.partitions[partition] = state
        self.model_version = max(self.model_version, state.sweep.version)
        self._unpublished.pop(partition, None)
        self._trouble = None
        level: Level = "warning" if verdict in ("diverged", "republish") else "info"
        self._tell(level, "partition taken over", partition=partition, verdict=verdict, applied=state.applied)

    def released(self, partition: int) -> None:
        """Say that a partition is another's matter from now on."""
        self._sweeping.discard(partition)
        self._unpublished.pop(partition, None)
        self._tell("info", "partition released", partition=partition)

    def skipped(self, partition: int, start: int, stop: int) -> None:
        """Say what nobody will ever read."""
        self._tell("error", "input lost", partition=partition, first=start, next=stop, records=stop - start)

    def paused(self, partition: int, reason: str) -> None:
        """Say that a partition, or with -1 the worker, stands still."""
        reason = self.redacted(reason)
        self.paused_for[partition] = reason
        if partition < 0:
            self._tell("warning", "waiting", reason=reason)
        else:
            self._tell("error", "partition paused", partition=partition, reason=reason)

    def resumed(self, partition: int) -> None:
        """Say that it, or with -1 the worker, goes on."""
        self.paused_for.pop(partition, None)
        if partition < 0:
            self._tell("info", "going on")
        else:
            self._tell("info", "partition resumed", partition=partition)

    def stalled(self, partition: int, remedy: str) -> None:
        """Say that input waits but does not come, and what is tried."""
        self.stalls[remedy] = self.stalls.get(remedy, 0) + 1
        self._tell("error", "consumer stalled", partition=partition, remedy=remedy)

    def model_published(self, bundle: Bundle, waited_for: int) -> None:
        """Say that a model is live."""
        self.models_published += 1
        self.model_version = max(self.model_version, bundle.version)
        sizes = {segment.name: n for segment, n in zip(bundle.segments, bundle.sizes, strict=True)}
        self._tell(
            "info",
            "model published",
            version=bundle.version,
            day=iso(bundle.day),
            made_by=bundle.created_by,
            late_partitions=waited_for,
            sizes=sizes,
        )

    def checked_up(self, checkup: Checkup) -> None:
        """Say what is odd about the population or the model, an alarm as an error."""
        self.checkup = checkup
        for finding in checkup.findings:
            day = date_of(checkup.day).isoformat()
            self._tell(_level(finding), "model looks odd", day=day, version=checkup.version, **_told(finding))

    def judged(self, day: date, findings: Sequence[Finding]) -> None:
        """Say each finding once an episode, an alarm as an error."""
        self.findings = dict(Counter((finding.severity, finding.kind) for finding in findings))
        for finding in findings:
            if finding.is_new:
                self._tell(_level(finding), "input looks odd", day=day.isoformat(), **_told(finding))

    def trouble(self, what: str, error: Exception) -> None:
        """Say what failed and will be tried again."""
        kind, now = type(error).__name__, self._now()
        self.troubles[kind] = self.troubles.get(kind, 0) + 1
        teller = "redis" if isinstance(error, Fenced) else "kafka" if _is_fenced(error) else None
        if teller is not None:
            self.fenced[teller] = self.fenced.get(teller, 0) + 1
        self._trouble = now, f"{what}: {self.redacted(str(error))}"
        # An outage of minutes fails twice a second; a line every ten seconds tells as much.
        if now - self._said.get((what, kind), -TROUBLE_SAID_EVERY_S) >= TROUBLE_SAID_EVERY_S:
            self._said[what, kind] = now
            self._tell("warning", "trouble", what=what, error=kind, detail=self.redacted(str(error)))

    @property
    def trouble_now(self) -> str | None:
        """What fails at present, None where nothing has failed lately or something has succeeded since."""
        trouble = self._trouble
        return trouble[1] if trouble is not None and self._now() - trouble[0] < TROUBLE_LASTS_S else None

    def outbox_ages(self) -> dict[int, float]:
        """Return for how many seconds a commit has been in Redis and not known to be in Kafka, where there is one."""
        now = self._now()
        return {partition: now - since for partition, since in self._unpublished.copy().items()}

    # What it says beside ------------------------------------------------------------------------------

    def _tell(self, level: Level, event: str, **fields: Any) -> None:
        getattr(self._log, level)(event, **fields)

    def redacted(self, text: str) -> str:
        """Return a text with a customer's key shown as a keyed hash."""
        return _CUSTOMER_KEY.sub(lambda found: found[1] + self._hashed(found[2]) + found[3], text)

    def _hashed(self, customer: str) -> str:
        return "#" + hmac.new(self._hash_key, customer.encode(), "sha256").hexdigest()[:16]

    def _advise(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        for advice in self._advisor.hear(before, after):
            self._tell("warning", "is this meant?", advice=advice)

    def _progress(self, before: Mapping[str, int], state: PartitionState) -> None:
        self._lines_told += state.counters.get("lines", 0) - before.get("lines", 0)
        now = self._now()
        if self._lines_told and now >= self._next_progress:
            self._tell("info", "working", lines=self._lines_told, day=iso(state.day))
            self._lines_told, self._next_progress = 0, now + PROGRESS_EVERY_S


def _level(finding: Finding) -> Level:
    return "error" if finding.severity == "alarm" else "info"


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "kind": finding.kind,
        "measure": finding.measure,
        "found": finding.message,
        "advice": finding.advice,
    }


def _is_fenced(error: Exception) -> bool:
    return isinstance(error, TransportError) and error.fenced


class _Libraries(logging.Handler):
    """Says what libraries and our transports log, a warning or worse, as one event among the others."""

    def emit(self, record: logging.LogRecord) -> None:
        say = structlog.get_logger()
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(say, level)("library", logger=record.name, detail=record.getMessage())


def configure_logs(*, people: bool | None = None) -> None:
    """Send structlog's events to stderr: for people on a terminal, else as one JSON object a line."""
    people = sys.stderr.isatty() if people is None else people
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Libraries) for handler in root.handlers):
        root.addHandler(_Libraries(logging.WARNING))
    # The Kafka library reports each reconnect; what matters of it reaches us as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
