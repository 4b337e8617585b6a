"""What pages ask, kept for a moment for all visitors, with what hinders a newer answer.

    page --> Board.standing() --> Latest: young enough? --> Reading(value, read_at, trouble)
                                     no: one thread asks `Queries`; the others get what was there

Guarantee: a page gets an answer or a sentence, whatever is down; the last good answer stays until there is a newer one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import structlog

from consumer.commands.cli_model import Report
from consumer.commands.cli_verify import RECORDED
from consumer.commands.dlq import Listing
from consumer.commands.explain import Explanation
from consumer.commands.moves import CustomerHistory
from consumer.commands.place import Place
from consumer.commands.promotion import Promotion
from consumer.commands.trend import Trend
from consumer.commands.versions import Models
from consumer.demo.recording import RecordedReader
from consumer.exits import Stop
from consumer.ports import TopicReader
from consumer.serving.problem import refusal_of
from consumer.serving.queries import KnownCustomer, Page, Queries, Segments
from consumer.serving.recent import Moves, Recent, Sources
from consumer.serving.standing import Standing
from consumer.serving.tokens import Tokens
from consumer.transport.embedded import PARTITIONS
from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_tail import KafkaTail
from features.identity import canonical_id
from models.checkup import Checkup

T = TypeVar("T")

STANDING_S = 1.0
TREND_S = 10.0
MODELS_S = 10.0
LETTERS_S = 30.0
FIRST_S = 10.0
"""So long a page waits for what is in the topic already, when it is the first to ask."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What was read last. value: None before the first answer; read_at: seconds since 1970; trouble: why it is old."""

    value: T | None = None
    read_at: float = 0.0
    trouble: str | None = None


class Latest(Generic[T]):
    """The newest answer to one question, asked at most once in `every_s`."""

    def __init__(self, ask: Callable[[], T], every_s: float, now: Callable[[], float] = time.time) -> None:
        self._ask, self._every_s, self._now = ask, every_s, now
        self._asking = threading.Lock()
        self._reading: Reading[T] = Reading()
        self._asked = float("-inf")

    def get(self) -> Reading[T]:
        """Return it. Who comes while another asks gets the one before, unless there is none."""
        if self._now() - self._asked < self._every_s:
            return self._reading
        if self._asking.acquire(blocking=self._reading.value is None and self._reading.trouble is None):
            try:
                if self._now() - self._asked >= self._every_s:
                    self._reading = self._next()
                    self._asked = self._now()
            finally:
                self._asking.release()
        return self._reading

    def drop(self) -> None:
        """Ask anew at the next call."""
        self._asked = float("-inf")

    def _next(self) -> Reading[T]:
        try:
            return Reading(self._ask(), self._now())
        except Exception as error:  # noqa: BLE001 -- whatever it is, the page says it and goes on
            return replace(self._reading, trouble=sentence(error))


def sentence(error: Exception) -> str:
    """Return what hinders an answer, for a visitor: never a trace, never what may hold somebody's id."""
    told = refusal_of(error)
    if told.status == 500:
        structlog.get_logger().error("reading failed", kind=type(error).__name__)
    return str(error) if isinstance(error, Stop) else str(told)


@dataclass(frozen=True, slots=True)
class Person:
    """One customer: as he stands, why, and what he has been; None where the state keeps nothing of the past."""

    customer: KnownCustomer
    explanation: Explanation
    history: CustomerHistory | None


def _asked(ask: Callable[[], T]) -> Reading[T]:
    try:
        return Reading(ask(), time.time())
    except Exception as error:  # noqa: BLE001 -- whatever it is, the page says it
        return Reading(trouble=sentence(error))


class Live:
    """The questions to one place, each with its newest answer."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.queries = queries = Queries(place)
        self.recent = Recent(sources_of(place))
        self.standing: Latest[Standing] = Latest(queries.standing, STANDING_S)
        self.segments: Latest[Segments] = Latest(queries.segments, STANDING_S)
        self.report: Latest[Report] = Latest(queries.model, STANDING_S)
        self.trend: Latest[Trend] = Latest(lambda: queries.trend(place.settings.history_days), TREND_S)
        self.models: Latest[Models] = Latest(queries.models, MODELS_S)
        self.checkups: Latest[list[Checkup]] = Latest(queries.checkups, MODELS_S)
        self.letters: Latest[Listing] = Latest(queries.letters, LETTERS_S)


def sources_of(place: Place) -> Sources:
    """Return where a place's moves are read: its topic, or what a demo has recorded of it where no broker runs."""
    topic, directory = place.settings.segments_topic, place.directory
    if place.kafka is None and directory is not None:
        return Sources(lambda: RecordedReader(directory / RECORDED, PARTITIONS), None, topic)

    def reader() -> TopicReader:
        return KafkaReader(place.broker().again())

    return Sources(reader, lambda: KafkaTail(place.broker().again(), topic), topic)


class Board:
    """The questions of every page. where: the place of the state now; it may be another one later (an embedded pair).

    Asked by many visitors' threads at once.
    """

    def __init__(self, where: Callable[[], Place], tokens: Tokens | None) -> None:
        """Begin with the place as it is. Raises `Stop` where there is none."""
        self._where, self.tokens = where, tokens
        self._live = Live(where())
        self._moving = threading.Lock()

    @property
    def place(self) -> Place:
        """Where the state is."""
        return self._now().place

    def standing(self) -> Reading[Standing]:
        """Return how the service stands."""
        return self._now().standing.get()

    def segments(self) -> Reading[Segments]:
        """Return the segments in figures."""
        return self._now().segments.get()

    def report(self) -> Reading[Report]:
        """Return the live model."""
        return self._now().report.get()

    def trend(self) -> Reading[Trend]:
        """Return the segments day by day."""
        return self._now().trend.get()

    def models(self) -> Reading[Models]:
        """Return the versions and the candidates."""
        return self._now().models.get()

    def checkups(self) -> Reading[list[Checkup]]:
        """Return what was seen of the versions, week by week."""
        return self._now().checkups.get()

    def letters(self) -> Reading[Listing]:
        """Count the dead letters."""
        return self._now().letters.get()

    def moves(self) -> Moves:
        """Return the newest moves."""
        return self._now().recent.newest(wait_s=FIRST_S)

    def members(self, segment: int, limit: int) -> Reading[Page | None]:
        """Return some of a segment's customers, in no order that means anything."""
        return _asked(lambda: self._now().queries.members(segment, limit, None))

    def person(self, text: str) -> Reading[Person | None]:
        """Return a customer by his id; a value of None: he is unknown, or his id is none."""
        return _asked(lambda: self._person(canonical_id(text)))

    def promote(self, name: str, *, preview: bool) -> Promotion:
        """Make a model the live one, or say what that would do. Raises `Stop`, `StoreError`."""
        live = self._now()
        done = live.queries.promote(name, preview=preview)
        for latest in (live.standing, live.segments, live.report, live.models) if done.published else ():
            latest.drop()
        return done

    def close(self) -> None:
        """End what reads by itself."""
        self._live.recent.close()

    def _person(self, customer: str) -> Person | None:
        queries = self._now().queries
        found = queries.customers([customer])[customer]
        explanation = queries.explanation(customer)
        if found is None or explanation is None:
            return None
        try:
            return Person(found, explanation, queries.history(customer))
        except Stop:  # a state of an older schema
            return Person(found, explanation, None)

    def _now(self) -> Live:
        with self._moving:
            place = self._where()
            if place is not self._live.place:
                self._live.recent.close()
                self._live = Live(place)
            return self._live
