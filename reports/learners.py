"""Learners compared: a history replayed day by day through each of them, beside batch, and checked each week.

    bootstrap on what lies before `first`; then each day

    turn     the model made yesterday carries everyone to the new day      <- check, once a week
    learn    tomorrow's model, from these statistics and yesterday's buyers
    events   what the day's lines change, still under the day's model

as the worker does (docs/decisions/0005). A check compares two partitions of the very same vectors, those of the
turn, in the space of batch's own scaler:

    inertia ratio   the partition by nearest centroids, against the best of 20 batch fits
    ari             nearest, to the nearest of the distinct optima (fits within 0.1 % of the best inertia)
    ari published   the same for the label that went out, held back by the margin
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Final, NamedTuple

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints, Lines, expire, from_lines, merge
from features.vector import COORDINATE_SCALE, Flags, Floats, vectors
from models.bundle import FIRST_CLUSTER_ID, Bundle
from models.centroids import NOWHERE, distances_under, nearest, publish_labels
from models.learner import NAMES, Evidence, Learner, learner_named, refinement_due
from models.population import Statistics
from models.selection import Terms, fit, found
from reports.quality import FITS, Labels, agreement, batch, inertia, standardised

CHECK_EVERY: Final = 7
RETURN_DAYS: Final = 7
"""A customer who is back in the segment he left within so many days has flipped."""

FROZEN: Final = "frozen"
"""The model that never learns."""

CONTESTANTS: Final = (NAMES[0], FROZEN, *NAMES[1:])
"""All that are compared: the default learner, what it is to do without any, and the others."""

Progress = Callable[[int, int], None]
"""Told (days done, of how many)."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is replayed: the lines of `customers` customers in the order of time, from `terms.day` to `until` inclusive.

    refine_every: days between refinements; fits: batch fits a check, of which the best counts.
    """

    lines: Lines
    customers: int
    until: int
    terms: Terms
    refine_every: int = 7
    fits: int = FITS

    @property
    def first(self) -> int:
        """The day as of which the bootstrap is made."""
        return self.terms.day


class Moment(NamedTuple):
    """Everyone at one moment. coordinates: int64 (n, d), in 2^-24 of log units; clustered, lapsed: bool (n,)."""

    coordinates: Ints
    clustered: Flags
    lapsed: Flags


class Day(NamedTuple):
    """A day of the course: its turn and its end, and who had a line on it, once each, as they came."""

    day: int
    turn: Moment
    end: Moment
    touched: Ints


class Check(NamedTuple):
    """One week's comparison with batch; published: the ARI of the published labels, one a margin."""

    day: int
    inertia_ratio: float
    ari: float
    published: tuple[float, ...]


@dataclass(slots=True)
class Published:
    """The labels that go out under one margin, int64 (n,), and how they moved.

    moves: from one cluster into another; returns: those of them that go back into the segment just left, at most
    `RETURN_DAYS` after leaving it (A -> B -> A); unbidden: those of them in which he had a line of his own on neither
    way, so that time and the model alone moved him.
    """

    margin: float
    labels: Ints
    moves: int = 0
    returns: int = 0
    unbidden: int = 0
    _left: Ints = field(init=False)
    _moved_on: Ints = field(init=False)
    _by_line: Flags = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._moved_on = np.zeros_like(self.labels), np.zeros_like(self.labels)
        self._by_line = np.zeros(len(self.labels), np.bool_)

    def publish(self, day: int, who: Ints, labels: Ints, *, by_line: bool = False) -> None:
        """Take new labels of the customers `who`, each once; by_line: it is their own lines that are scored."""
        before = self.labels[who]
        changed = before != labels
        who, before, labels = who[changed], before[changed], labels[changed]
        between = (before >= FIRST_CLUSTER_ID) & (labels >= FIRST_CLUSTER_ID)
        back = between & (labels == self._left[who]) & (day - self._moved_on[who] <= RETURN_DAYS)
        self.moves += int(between.sum())
        self.returns += int(back.sum())
        self.unbidden += 0 if by_line else int((back & ~self._by_line[who]).sum())
        self._by_line[who] = by_line
        self.labels[who], self._left[who], self._moved_on[who] = labels, before, day


@dataclass(slots=True)
class Replay:
    """One learner's models and published labels, moved on a day at a time. learner: None is the frozen model.

    made: tomorrow's model, at first the bootstrap's; models: the one of each day; cpu_s: CPU seconds in the learner.
    """

    name: str
    learner: Learner | None
    made: Bundle
    published: tuple[Published, ...]
    cpu: Callable[[], float]
    checks: list[Check] = field(default_factory=list)
    models: list[Bundle] = field(default_factory=list)
    cpu_s: float = 0.0

    def turn(self, day: Day) -> None:
        """Take up the model made yesterday and publish everyone's label."""
        self.models.append(self.made)
        self._publish(day.day, day.turn, np.arange(len(day.turn.clustered)), by_line=False)

    def check(self, day: Day, found: Batch) -> None:
        """Compare the day's model with batch."""
        inside = day.turn.clustered
        near = nearest(self._distances(day.turn.coordinates[inside])).astype(np.int64)
        ratio = inertia(found.z, near) / found.inertia if found.inertia > 0 else 1.0
        published = tuple(agreement(found.optima, each.labels[inside]) for each in self.published)
        self.checks.append(Check(day.day, ratio, agreement(found.optima, near), published))

    def learn(self, day: Day, touched: Ints, refine_every: int) -> None:
        """Make tomorrow's model from the turn's statistics. touched: vectors of yesterday's buyers."""
        if self.learner is None:
            return
        bundle, (coordinates, inside, _) = self.models[-1], day.turn
        at = np.where(inside, nearest(self._distances(coordinates)), NOWHERE)
        statistics, due = Statistics.of(coordinates, at, bundle.k), refinement_due(bundle, day.day, refine_every)
        began = self.cpu()
        self.made = self.learner.update(bundle, Evidence(day.day, statistics, coordinates[inside], touched, due))
        self.cpu_s += self.cpu() - began

    def events(self, day: Day) -> None:
        """Publish what the day's lines change."""
        self._publish(day.day, day.end, day.touched, by_line=True)

    def _publish(self, day: int, at: Moment, who: Ints, *, by_line: bool) -> None:
        bundle, table = self.models[-1], self._distances(at.coordinates[who])
        for each in self.published:
            under = msgspec.structs.replace(bundle, margin=each.margin)
            labels = publish_labels(each.labels[who], table, at.clustered[who], at.lapsed[who], under)
            each.publish(day, who, labels, by_line=by_line)

    def _distances(self, coordinates: Ints) -> Floats:
        return distances_under(self.models[-1], coordinates)


class Batch(NamedTuple):
    """Batch K-Means of one day's vectors: z, standardised, float64 (m, d); its least inertia and distinct optima."""

    z: Floats
    inertia: float
    optima: list[Labels]


def contestants(names: Sequence[str] = CONTESTANTS) -> list[tuple[str, Learner | None]]:
    """Return learners by name, None for `FROZEN`. Raises ValueError for a name that is none."""
    return [(name, None if name == FROZEN else learner_named(name)) for name in names]


def replayed(
    course: Course,
    k: int,
    learners: Sequence[tuple[str, Learner | None]],
    margins: tuple[float, ...],
    cpu: Callable[[], float],
    progress: Progress = lambda _done, _of: None,
) -> list[Replay]:
    """Take a course with each learner (name, None: frozen), its labels published under each margin.

    cpu: the process's CPU seconds. All start from one bootstrap and meet the same batch fits. Raises
    `SelectionError` where there are fewer different customers than clusters.
    """
    with threadpool_limits(limits=1):  # small data: threads cost more than they bring, and their waiting is CPU time
        return _replayed(course, k, learners, margins, cpu, progress)


def _replayed(
    course: Course,
    k: int,
    learners: Sequence[tuple[str, Learner | None]],
    margins: tuple[float, ...],
    cpu: Callable[[], float],
    progress: Progress,
) -> list[Replay]:
    replays: list[Replay] = []
    touched = np.empty((0, len(course.terms.features)), np.int64)
    for number, day in enumerate(days_of(course)):
        if not number:
            first = found(fit(day.turn.coordinates[day.turn.clustered], k), course.terms)
            labels = np.zeros(course.customers, np.int64)
            replays = [
                Replay(name, learner, first, tuple(Published(margin, labels.copy()) for margin in margins), cpu)
                for name, learner in learners
            ]
        for replay in replays:
            replay.turn(day)
        if number and number % CHECK_EVERY == 0:
            z = standardised(day.turn.coordinates[day.turn.clustered] / COORDINATE_SCALE)
            at = Batch(z, *batch(z, k, course.fits))
            for replay in replays:
                replay.check(day, at)
        for replay in replays:
            if number:  # on the bootstrap's day there is nothing new to learn
                replay.learn(day, touched, course.refine_every)
            replay.events(day)
        touched = day.end.coordinates[day.touched[day.end.clustered[day.touched]]]
        progress(number + 1, course.until - course.first + 1)
    return replays


def days_of(course: Course) -> Iterator[Day]:
    """Yield the days of a course; the first one's turn is the bootstrap's."""
    lines, terms, n = course.lines, course.terms, course.customers
    first_day = np.full(n, course.until)
    np.minimum.at(first_day, lines.owner, lines.day)
    cuts = np.searchsorted(lines.day, np.arange(course.first, course.until + 2)).tolist()
    ledger = from_lines(lines.take(slice(0, cuts[0])))
    for day, (low, high) in enumerate(pairwise(cuts), start=course.first):
        ledger, _ = expire(ledger, day - terms.horizon_days)
        today = lines.take(slice(low, high))
        after = merge(ledger, from_lines(today)) if len(today) else ledger
        turn, end = (
            Moment(at.coordinates(terms.features, terms.recency_offset), at.clustered, at.lapsed)
            for at in (vectors(each, n, day, first_day, terms.features) for each in (ledger, after))
        )
        yield Day(day, turn, end, np.array(list(dict.fromkeys(today.owner.tolist())), np.int64))
        ledger = after


class Comparison(msgspec.Struct, frozen=True):
    """One learner against batch, over `weeks` checks and `events` lines.

    moves_per_100_events: of published labels, from cluster to cluster; returns: those that went back within 7 days.
    """

    learner: str
    weeks: int
    inertia_ratio: float
    worst_inertia_ratio: float
    ari: float
    worst_ari: float
    ari_published: float
    moves: int
    returns: int
    moves_per_100_events: float
    cpu_s: float


def comparison(replay: Replay, events: int, margin: int = 0) -> Comparison:
    """Return the means and the worst of a replay with at least one check, published under its `margin`th margin."""
    ratios, published = [check.inertia_ratio for check in replay.checks], replay.published[margin]
    return Comparison(
        learner=replay.name,
        weeks=len(replay.checks),
        inertia_ratio=round(fmean(ratios), 5),
        worst_inertia_ratio=round(max(ratios), 5),
        ari=round(fmean(check.ari for check in replay.checks), 4),
        worst_ari=round(min(check.ari for check in replay.checks), 4),
        ari_published=round(fmean(check.published[margin] for check in replay.checks), 4),
        moves=published.moves,
        returns=published.returns,
        moves_per_100_events=round(100 * published.moves / max(events, 1), 2),
        cpu_s=round(replay.cpu_s, 2),
    )
