"""A bootstrap from files, by whichever engine: read, folded, clustered, loaded; what it comes to is told alike.

    up to LARGE   read and folded at once
    above         in parts, by processes side by side on this machine (csv_splitting.py)
    spark         in parts, by the tasks of a cluster (spark_bootstrap.py)

All three load the same bytes. The input's offsets are taken first, by `service.begin_bootstrap` (PROTOCOL H2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumer import service
from consumer.history.bootstrap import Prepared, Progress
from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_source import History
from consumer.history.parts import Part, Terms, funnel_of, joined, newest_of
from consumer.history.profile import Profile, of_bootstrap
from consumer.service import Start
from consumer.settings import Settings
from consumer.transport.kafka_settings import KafkaSettings
from features.redis_store import Client
from models.bundle import Bundle
from models.selection import Choice


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a history became. newest: local seconds of its newest line; lines, newest: before erasures."""

    files: tuple[str, ...]
    lines: int
    newest: int
    funnel: Funnel
    customers: int
    day: int
    bundle: Bundle
    choice: Choice | None
    seen_dropped: int
    segments: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Where and how a bootstrap loads. k: None chooses; now: seconds since 1970."""

    settings: Settings
    kafka: KafkaSettings
    client: Client
    start: Start
    k: int | None
    now: float
    progress: Progress

    def whole(self, history: History) -> Loaded:
        """Load lines that are in memory. Raises `Stop`, `StoreError`, `TransportError`."""
        prepared = service.bootstrap(
            self.settings,
            self.kafka,
            self.client,
            history,
            self.start,
            k=self.k,
            progress=self.progress,
            now=self.now,
        )
        return _loaded(history.files, len(history), int(history.time.max()), history.funnel, prepared)

    def in_parts(self, fold: Callable[[Terms], list[Part]], stop: int | None) -> Loaded:
        """Load what is folded in parts. stop: see `Terms`. Raises as `whole` does, and what `fold` raises."""
        settings = self.settings
        marks = service.erasure_marks(settings, self.kafka, self.start.facts.partitions)
        parts = fold(terms_of(settings, service.erased_at(marks), stop))
        folded = joined(parts, settings.dedupe_days)
        new = service.new_generation(
            settings, self.kafka, self.start, marks, folded.newest, has_ids=parts[0].has_ids, now=self.now
        )
        prepared = service.make_generation(settings, self.client, folded, new, k=self.k, progress=self.progress)
        return _loaded(*said_of(parts), prepared)


def terms_of(settings: Settings, erased: dict[str, int], stop: int | None) -> Terms:
    """Return what counts of a history under the settings."""
    return Terms(settings.dedupe_days, stop, erased, settings.erasure_key_bytes)


def said_of(parts: list[Part]) -> tuple[tuple[str, ...], int, int, Funnel]:
    """Return files, lines, newest and funnel of all parts. Raises `Stop` where no line counts."""
    newest_of(parts)
    newest = max(part.newest_read for part in parts)
    return parts[0].files, sum(part.lines for part in parts), newest, funnel_of(parts)


def _loaded(files: tuple[str, ...], lines: int, newest: int, funnel: Funnel, prepared: Prepared) -> Loaded:
    return Loaded(
        files,
        lines,
        newest,
        funnel,
        len(prepared.customers),
        prepared.day,
        prepared.bundle,
        prepared.choice,
        prepared.seen_dropped,
        of_bootstrap(prepared),
    )


def told(progress: Progress, stage: str) -> Callable[[int, int], None]:
    """Return who is told of one stage."""
    return lambda done, of: progress(stage, done, of)
