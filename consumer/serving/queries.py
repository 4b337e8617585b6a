"""What may be asked of a namespace, over HTTP or from a page: plain functions, and the very figures of the commands.

    customers      `segmenter lookup --json`, and the age of what it says
    explanation    `segmenter explain --json`
    segments       the profiles of `segmenter model show --json`, counted anew where they are older than `CENSUS_S`
    model          `segmenter model show --json`
    members        a segment's customers, a page at a time
    erase          the messages of `segmenter erase`
    promote        `segmenter model promote --json`, which only foretells with --dry-run
    standing       `segmenter status --json`, the speed, and the moves since the last sweep
    trend          `segmenter trend --json`
    history        `segmenter history --json`
    models         `segmenter model list --json`
    letters        `segmenter dlq list --json`

One Redis client is kept. Where `bootstrap --replace` flips in another state, the old one's fence is gone with it: the
very next question finds that out and opens the new one.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import numpy as np

from consumer.commands.cli_model import Report, report_of
from consumer.commands.dlq import Listing, listing_of
from consumer.commands.erasing import publish_erasure
from consumer.commands.explain import Explanation, explain
from consumer.commands.lookup import Customer, Opened, opened, read, read_rows
from consumer.commands.moves import CustomerHistory, Names, moves_in
from consumer.commands.place import Place
from consumer.commands.population import Namespace, population, readable, segment_profiles
from consumer.commands.promotion import Promotion, promoted
from consumer.commands.status import Told as Elsewhere
from consumer.commands.status import ask_others, status_of
from consumer.commands.trend import Trend, trend_in
from consumer.commands.versions import Models, models_of
from consumer.history.profile import Profile
from consumer.partition import START, PartitionState, decode_state, iso
from consumer.scoring import named_segment
from consumer.service import connect_redis
from consumer.serving.standing import Look, Standing, present, rate, remembered
from consumer.serving.told import Told
from consumer.transport.kafka_reader import KafkaReader
from features.codec import decode_states
from features.redis_pause import read_pause
from features.redis_store import Client
from features.store import GenerationGone
from features.transaction import today_in
from models.bundle import Bundle, Segment, segment_of
from models.checkup import Checkup

T = TypeVar("T")

CHUNK = 2_000
CENSUS_S = 30.0
"""Profiles take a reading of everybody; so old they may be."""
UNSWEPT_S = 2.0
ELSEWHERE_S = 5.0
"""Kafka and the workers are asked anew where their word is older: each time takes connections of its own."""
LOOK_AT = 20_000
"""So many customers are looked at for one page, whoever is in the segment: then the page ends, short as it may be."""


class KnownCustomer(Customer, frozen=True):
    """A customer as of the partition's day. distances: to each cluster, in standard deviations of log units; margin:
    1 on a centroid, 0 halfway between two; held: another cluster is nearer, by less than the margin rule asks;
    next_move: if he stays silent; age_days: days from as_of to today.
    """

    age_days: int


class Segments(msgspec.Struct, frozen=True):
    """Everybody, by segment, as counted at `counted_at` (RFC 3339) under the partitions' days, the earliest of which is
    as_of.
    """

    as_of: str
    counted_at: str
    model_version: int
    customers: int
    segments: tuple[Profile, ...]


class Member(msgspec.Struct, frozen=True):
    """One of a segment's customers. revision: of his newest record."""

    customer_id: str
    entered_on: str
    revision: int


class Page(msgspec.Struct, frozen=True):
    """Some of a segment's customers, in no order that means anything. next: the cursor of the page after this one,
    which may hold nobody; None at the end.
    """

    segment: Segment
    customers: list[Member]
    next: str | None


class Erasure(msgspec.Struct, frozen=True):
    """Where an erasure stands in the input. A worker applies it; had_state: whether there was anything to erase."""

    customer_id: str
    topic: str
    partition: int
    offset: int
    had_state: bool


class BadCursor(ValueError):
    """A cursor that is none of ours, or of another segment or state."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    generation: str
    segment: int
    partition: int
    after: int


@dataclass(frozen=True, slots=True)
class _Census:
    """Everybody counted. at: the clock that only goes forward."""

    generation: str
    at: float
    segments: Segments
    report: Report

    @property
    def lasts_s(self) -> float:
        """So old it may be: a moment where nobody has a segment yet, for the first sweep gives them any moment now."""
        return CENSUS_S if any(each.customers for each in self.segments.segments) else UNSWEPT_S


class Queries:
    """Asks one namespace; may be asked from several threads. All raise `Stop`, `StoreError`, `InvalidState`."""

    def __init__(self, place: Place, now: Callable[[], float] = time.time) -> None:
        self._place, self._now = place, now
        self._opened: Opened | None = None
        self._counted: _Census | None = None
        self._counting = threading.Lock()
        self._told = Told()
        self._looks: tuple[Look, ...] = ()
        self._moved: float | None = None
        self._flags: Client | None = None
        self._elsewhere: tuple[float, Elsewhere] | None = None
        self._looking = threading.Lock()

    def customers(self, ids: Sequence[str]) -> dict[str, KnownCustomer | None]:
        """Return customers by their different canonical ids, None for who is unknown; read and computed at once."""
        today = today_in(self._place.settings.zone, self._now())

        def ask(state: Opened) -> dict[str, KnownCustomer | None]:
            rows = read_rows(state, ids)
            told = self._told.of(state, rows)
            found: dict[str, KnownCustomer | None] = dict.fromkeys(ids)
            for row in rows:
                each = told[row.customer]
                found[row.customer] = KnownCustomer(**msgspec.structs.asdict(each), age_days=today - row.standing.day)
            return found

        return self._of_live(ask)

    def explanation(self, customer: str) -> Explanation | None:
        """Return why a customer is where he is; None for who is unknown."""
        found = self._of_live(lambda state: read(state, customer))
        return None if found is None else explain(found)

    def segments(self) -> Segments:
        """Return the segments in figures."""
        return self._of_live(self._census).segments

    def model(self) -> Report:
        """Return the model of the newest count of everybody, with its profiles."""
        return self._of_live(self._census).report

    def members(self, segment: int, limit: int, cursor: str | None) -> Page | None:
        """Return a page of a segment's customers, None for an unknown segment. Raises `BadCursor`.

        limit: so many at most, but for those who share the last one's place. A walk meets everybody who is in the
        segment all the while, once.
        """
        return self._of_live(lambda state: self._members(state, segment, limit, cursor))

    def erase(self, customer: str) -> Erasure:
        """Publish an erasure. Raises `TransportError`."""
        reader = KafkaReader(self._place.broker().again())
        try:
            case, _ = publish_erasure(self._place, customer, reader)
        finally:
            reader.close()
        topic = self._place.settings.transactions_topic
        return Erasure(case.customer, topic, case.partition, case.offset, case.had_state)

    def promote(self, name: str, *, preview: bool) -> Promotion:
        """Make a version or a candidate the live model, or say what that would do.

        Raises `UnknownModel`, `Unpromotable`.
        """
        done = promoted(self._place, name, lambda *_: None, dry_run=preview)
        if done.published:
            self._counted = None
        return done

    def standing(self) -> Standing:
        """Return how every partition stands now; Kafka's word may be `ELSEWHERE_S` old."""
        with self._looking:
            return self._of_live(self._standing)

    def trend(self, days: int) -> Trend:
        """Return the segments of the newest days. Raises `Stop` where no sweep has ended yet."""
        return self._of_live(lambda state: trend_in(state, days))

    def history(self, customer: str) -> CustomerHistory | None:
        """Return a customer's moves, None for who is unknown."""
        return self._of_live(lambda state: moves_in(state, customer))

    def models(self) -> Models:
        """Return the newest versions and the candidates."""
        return self._of_live(lambda state: models_of(state.registry, state.registry.current() or 0))

    def checkups(self) -> list[Checkup]:
        """Return every checkup that is kept, the oldest first."""
        return self._of_live(lambda state: [each for _, each in sorted(state.registry.checkups().items())])

    def letters(self) -> Listing:
        """Count the dead letters: reads them all. Raises `TransportError`."""
        return listing_of(self._place)

    def check(self) -> None:
        """Raise what hinders a look-up, if anything does."""
        self._of_live(lambda state: state.store.fences([0]))

    def _of_live(self, ask: Callable[[Opened], T]) -> T:
        """Ask the state that is live, and where it has just been replaced its successor."""
        try:
            return ask(self._live())
        except GenerationGone:
            self._opened = None
            return ask(self._live())

    def _live(self) -> Opened:
        state = self._opened
        if state is None:
            self._opened = state = opened(self._place.settings)
        return state

    def _standing(self, state: Opened) -> Standing:
        fences = state.store.fences(range(state.binding.partitions))
        states = {p: decode_state(fence.state) for p, fence in fences.items()}
        self._look(Look(time.monotonic(), sum(each.counters.get("lines", 0) for each in states.values())))
        version, flag = state.registry.current(), self._flag()
        told = self._asked_elsewhere(states)
        return Standing(
            read_at=datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds"),
            status=status_of(state.settings, state.binding, fences, version, flag, told, self._now()),
            records_per_second=rate(self._looks),
            still_s=None if self._moved is None else round(self._looks[-1].at - self._moved, 1),
            flows=present(states, Names(state.registry), version or 0),
        )

    def _look(self, new: Look) -> None:
        if self._looks and new.records != self._looks[-1].records:
            self._moved = new.at
        self._looks = remembered(self._looks, new)

    def _flag(self) -> str | None:
        if self._flags is None:
            self._flags = connect_redis(self._place.settings)
        flag = read_pause(self._flags, self._place.settings.namespace)
        return None if flag is None else str(flag)

    def _asked_elsewhere(self, states: Mapping[int, PartitionState]) -> Elsewhere:
        now = time.monotonic()
        if self._elsewhere is None or now - self._elsewhere[0] > ELSEWHERE_S:
            port = self._place.settings.metrics_port
            told = ask_others(self._place, states, [f"http://127.0.0.1:{port}"] if port else [])
            self._elsewhere = (now, told)
        return self._elsewhere[1]

    def _census(self, state: Opened) -> _Census:
        """Return the newest count of everybody; one thread counts, who comes meanwhile waits for it."""
        state.store.fences([0])
        with self._counting:
            known, now = self._counted, time.monotonic()
            if known is None or known.generation != state.binding.generation or now - known.at > known.lasts_s:
                self._counted = known = self._count(state)
        return known

    def _count(self, state: Opened) -> _Census:
        version = state.registry.current()
        bundle = readable(None if version is None else state.model(version), version)
        standing = {p: decode_state(f.state) for p, f in state.store.fences(range(state.binding.partitions)).items()}
        found = Namespace(state.settings, state.binding, state.store, state.registry, standing, bundle)
        everybody = population(found)
        profiles = segment_profiles(found, everybody)
        segments = Segments(
            as_of=iso(min(each.day for each in standing.values())),
            counted_at=datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds"),
            model_version=bundle.version,
            customers=len(everybody.ids),
            segments=profiles,
        )
        return _Census(state.binding.generation, time.monotonic(), segments, report_of(found, profiles, None))

    def _members(self, state: Opened, segment: int, limit: int, cursor: str | None) -> Page | None:
        generation, partitions = state.binding.generation, state.binding.partitions
        at = _Cursor(generation, segment, 0, START) if cursor is None else _read_cursor(cursor)
        if (at.generation, at.segment) != (generation, segment) or not 0 <= at.partition < partitions:
            raise BadCursor("the cursor is of another segment, or of a state that was replaced")
        known = self._known_segment(state, segment)
        if known is None:
            return None
        found: list[Member] = []
        place = at.partition, at.after
        for looked_at, (where, name, head) in enumerate(_walk(state, *place, min(max(4 * limit, 100), CHUNK))):
            if where != place and (len(found) >= limit or looked_at >= LOOK_AT):
                return Page(known, found, _write_cursor(_Cursor(generation, segment, *place)))
            place = where
            if int(head["segment"]) == segment:
                found.append(Member(name, iso(int(head["entered_day"])), int(head["revision"])))
        return Page(known, found, None)

    def _known_segment(self, state: Opened, segment: int) -> Segment | None:
        version = state.registry.current()
        bundle: Bundle | None = None if version is None else state.model(version)
        known = bundle is not None and segment_of(bundle, segment) is not None
        return named_segment(bundle, segment) if known else None


def _walk(state: Opened, partition: int, after: int, asked: int) -> Iterator[tuple[tuple[int, int], str, np.void]]:
    """Yield (partition and position, id, head) of everybody behind a place; asked: so many are read at a time."""
    while partition < state.binding.partitions:
        state.store.fences([partition])
        chunk = state.store.chunk(partition, after, asked)
        there = [i for i, blob in enumerate(chunk.blobs) if blob is not None]
        heads = decode_states([chunk.blobs[i] for i in there]).heads
        for i, head in zip(there, heads, strict=True):
            yield (partition, chunk.positions[i]), chunk.ids[i], head
        ended = len(chunk.ids) < asked
        partition, after = (partition + 1, START) if ended else (partition, chunk.positions[-1])


def _write_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def _read_cursor(text: str) -> _Cursor:
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Cursor)
    except (ValueError, msgspec.MsgspecError):
        raise BadCursor("the cursor is none of ours") from None
