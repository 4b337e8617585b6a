"""A customer's life, from his first order to an erasure or to being forgotten: orders, seen events, and what follows.

Nothing here knows what was published; the label at any moment is a function of these orders, the day,
the model and the label with which the day began.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from reports.verify_events import DAY, Line
from reports.verify_input import Facts
from reports.verify_scoring import LAPSED, NO_NET, Features, Model, Orders, Records
from reports.verify_states import Sums

CAP: Final = 1_000
"""Records a customer may hold; those before the newest so many are folded into one a day."""
MAX_SEEN: Final = 4_096


@dataclass(frozen=True, slots=True)
class Turn:
    """A sweep as the day log has it: of `day` under `model` (None: unknown), for input offsets from `applied` on.

    before: the model of the sweep before, None where it is the same; until: where the next turn begins;
    cursor: None where it ended, else the position up to which it came. Number 0 is what was before all sweeps.
    """

    number: int
    day: int
    model: Model | None
    before: Model | None
    applied: int
    until: float = inf
    cursor: int | None = None


@lru_cache(maxsize=1 << 12)
def iso(day: int) -> str:
    """Return a day since 1970-01-01 as ISO 8601."""
    return date.fromordinal(day + 719_163).isoformat()


@lru_cache(maxsize=1 << 12)
def day_of(text: str) -> int:
    """Return an ISO 8601 date as a day since 1970-01-01."""
    return date.fromisoformat(text).toordinal() - 719_163


@dataclass(slots=True)
class Life:
    """Records in the horizon and all-time facts of one life. seen: event id -> day of its acceptance.

    days: what was folded, day -> [net, units, lines, positive orders]; blurred: a line came for a record that was
    folded, and whether it met the record or its day depends on the batch: only the sums of days compare;
    forgetful: more event ids than are kept.
    """

    seen: dict[int, int] = field(default_factory=dict)
    records: Records = field(default_factory=dict)
    first_day: float = inf
    last_day: float = -inf
    net: int = 0
    days: dict[int, list[int]] = field(default_factory=dict)
    blurred: bool = False
    forgetful: bool = False
    _folded: set[tuple[int, int]] = field(default_factory=set)
    _oldest: float = inf
    _orders: Orders | None = None
    _records_by_age: list[tuple[int, int]] = field(default_factory=list)
    _seen_by_age: list[tuple[int, int]] = field(default_factory=list)
    """Heaps of (day, -order) and (day, -event) of whoever has more than may be kept, () before; some are gone since."""

    def add(self, order: int, day: int, amount: int, units: int) -> None:
        """Merge one accepted line into its order."""
        self.first_day, self.last_day = min(self.first_day, day), max(self.last_day, day)
        self._oldest = min(self._oldest, day)
        self._orders = None
        self.net += amount
        record = self.records.get((order, day))
        if record is None:
            self.records[order, day] = [amount, units, 1]
            self.blurred |= (order, day) in self._folded
            if self._records_by_age:
                heappush(self._records_by_age, (day, -order))
        else:
            record[0] += amount
            record[1] += units
            record[2] += 1

    def fold(self) -> None:
        """Fold the records before the newest `CAP` into one a day."""
        if len(self.records) <= CAP:
            return
        if not self._records_by_age:
            self._records_by_age = [(day, -order) for order, day in self.records]
            heapify(self._records_by_age)
        while len(self.records) > CAP:
            day, minus = heappop(self._records_by_age)
            order = -minus
            record = self.records.pop((order, day), None)
            if record is None:  # it has expired
                continue
            net, units, lines = record
            self._folded.add((order, day))
            found = self.days.setdefault(day, [0, 0, 0, 0])
            for at, more in enumerate((net, units, lines, int(net > 0))):
                found[at] += more

    def remember(self, event: int, day: int, oldest: int) -> None:
        """Keep an event id, and at most the youngest `MAX_SEEN` of those not older than `oldest`."""
        self.seen[event] = day
        if self._seen_by_age:
            heappush(self._seen_by_age, (day, -event))
        if len(self.seen) <= MAX_SEEN:
            return
        if not self._seen_by_age:
            self._seen_by_age = [(day, -event) for event, day in self.seen.items()]
            heapify(self._seen_by_age)
        while self._seen_by_age[0][0] < oldest or len(self.seen) > MAX_SEEN:
            day, minus = heappop(self._seen_by_age)
            if self.seen.get(-minus) == day:  # it has not been seen again since
                del self.seen[-minus]
                self.forgetful |= day >= oldest

    def expire(self, first: int) -> None:
        """Drop what lies before a day."""
        if self._oldest < first:
            self.records = {key: found for key, found in self.records.items() if key[1] >= first}
            self.days = {day: found for day, found in self.days.items() if day >= first}
            self._oldest = min((*(day for _, day in self.records), *self.days), default=inf)
            self._orders = None

    @property
    def orders(self) -> Orders:
        """The orders in the horizon."""
        if self._orders is None:
            self._orders = Orders(
                ((order, day, net, units) for (order, day), (net, units, _) in self.records.items()),
                ((net, day, units, n) for day, (net, units, _, n) in self.days.items()),
            )
        return self._orders

    def coordinates(self, model: Model, day: int) -> list[float]:
        """Return his vector under a model's features."""
        return self.orders.coordinates(model.features, day, int(self.first_day), model.recency_offset)

    def distances(self, model: Model, day: int) -> list[float]:
        """Return how far he is from each centroid."""
        return self.orders.distances(model, day, int(self.first_day))

    def features(self, day: int) -> Features:
        """Return all his features."""
        return self.orders.features(day, int(self.first_day))

    def label(self, model: Model, day: int, anchor: int) -> int:
        """Return the segment he belongs to when his day began in the segment `anchor`."""
        orders = self.orders
        if orders.lapsed:
            return LAPSED
        if not orders.clustered:
            return NO_NET
        return model.label_at(anchor, self.distances(model, day))

    def refusal(self, facts: Facts, turn: Turn, line: Line, erased_at: float) -> str | None:
        """Return the counter of a line that does not count, None where it does."""
        day = line.time // DAY
        if line.time <= erased_at:
            return "refused.erased"
        if day < turn.day - facts.horizon_days:
            return "refused.too_late"
        if facts.cutoff is not None and line.time <= facts.cutoff:
            last = facts.cutoff // DAY
            comparable = line.of_history or (facts.has_ids and line.event != 0)
            if not comparable or turn.day > last + facts.dedupe_days or day < last - facts.dedupe_days:
                return "refused.before_cutoff"
        if line.event and self.seen.get(line.event, -inf) >= turn.day - facts.dedupe_days:
            return "repeated"
        return None

    def count_into(self, sums: Sums, model: Model, day: int) -> None:
        """Add him to the statistics, at his nearest centroid."""
        if self.orders.clustered:
            distances = self.distances(model, day)
            sums.add(distances.index(min(distances)), self.coordinates(model, day))
