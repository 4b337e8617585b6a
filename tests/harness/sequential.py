"""A plain sequential loop over the input of a tiny world: the ledger and the label that everybody must end with.

It knows the stage's events and no more (tests/harness/stage.py), shares nothing with the service nor with `verify`,
and takes from the world only what was published to it, when each partition's days turned, and the models.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import dist, log1p
from typing import Any

import msgspec

from consumer.partition import DayEntry, Rewind, Rules
from models.bundle import Bundle
from tests.harness.memory_kafka import Log
from tests.harness.world import TOPICS, World

DAY_S = 86_400
LAPSED, NO_NET = 1, 2
Record = tuple[int, int, int, int]
"""Day, net in 1/10,000, units, lines: of one order on one day."""


@dataclass
class Life:
    """One customer from his first line, or from the first after his erasure."""

    lines: list[tuple[str, int, int, int]] = field(default_factory=list)
    """Invoice, day, net in 1/10,000, units."""
    seen: dict[str, int] = field(default_factory=dict)
    label: int = 0
    anchor: int = 0

    def expire(self, first: int) -> None:
        self.lines = [each for each in self.lines if each[1] >= first]

    def records(self) -> list[Record]:
        """Return his ledger, in an order that does not hang on hashes."""
        found: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        for invoice, day, net, units in self.lines:
            for at, more in enumerate((net, units, 1)):
                found[invoice, day][at] += more
        return sorted((day, *sums) for (_, day), sums in found.items())  # type: ignore[misc]  # three sums each

    def distances(self, model: Bundle, day: int) -> dict[int, float] | int:
        """Return the distance to each cluster by its segment's id, or the segment of who stands outside."""
        orders: dict[str, int] = defaultdict(int)
        for invoice, _, net, _ in self.lines:
            orders[invoice] += net
        bought = [at for invoice, at, _, _ in self.lines if orders[invoice] > 0]
        net = sum(orders.values())
        if not self.lines:
            return LAPSED
        if not bought or net <= 0:
            return NO_NET
        frequency = sum(each > 0 for each in orders.values())
        recency = max(day - max(bought), 0) + model.recency_offset - 1
        vector = [log1p(recency), log1p(frequency), log1p(net / 10_000)]
        at = [x / s for x, s in zip(vector, model.scale, strict=True)]
        return {
            segment.id: dist(at, [c / s for c, s in zip(centroid, model.scale, strict=True)])
            for segment, centroid in zip(model.segments, model.centroids, strict=True)
        }

    def labelled(self, model: Bundle, day: int) -> int:
        """Return his label: the nearest cluster, but the anchor's where that is not nearer by the margin."""
        found = self.distances(model, day)
        if isinstance(found, int):
            return found
        nearest = min(found, key=found.__getitem__)
        if self.anchor in found and not found[nearest] < model.margin * found[self.anchor]:
            return self.anchor
        return nearest

    def may_be(self, label: int, model: Bundle, day: int) -> bool:
        """Say whether the margin could hold him at a label, whatever it was anchored to."""
        found = self.distances(model, day)
        if isinstance(found, int):
            return label == found
        return label in found and (
            min(found.values()) >= model.margin * found[label] or label == self.labelled(model, day)
        )


class Sequential:
    """One partition, line after line."""

    def __init__(self, rules: Rules, models: dict[int, Bundle], first_day: int) -> None:
        self._rules, self._models = rules, models
        self.day, self._watermark = first_day, first_day * DAY_S
        self._model: Bundle = models[1]
        self.lives: dict[str, Life] = {}
        self._erased: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.refused: set[int] = set()

    def run(self, log: Log, turns: Sequence[DayEntry]) -> None:
        """Read a log; turns: what the day log says, each with its day, its model's version and where it stood."""
        waiting = list(turns)
        for record in log.read(0, len(log.entries)):
            while waiting and waiting[0].applied <= record.offset:
                self._turn(waiting.pop(0))
            self.counts["lines"] += 1
            try:
                event = json.loads(record.value or b"")
            except ValueError:
                self.refused.add(record.offset)
                continue
            if event.get("type") == "erase":
                self._erase(event["customer_id"], record.timestamp // 1000)
            elif event.get("type") != "tick" and event["customer_id"] is not None:
                self._line(record.offset, event)
        for entry in waiting:
            self._turn(entry)

    def _turn(self, entry: DayEntry) -> None:
        self.day, self._model = entry.day, self._models[entry.version]
        for life in self.lives.values():
            life.expire(self.day - self._rules.horizon_days)
            life.anchor = life.label
            life.anchor = life.label = life.labelled(self._model, self.day)

    def _erase(self, customer: str, published: int) -> None:
        self.lives.pop(customer, None)
        at = self._watermark if self._rules.clock == "event" else published
        self._erased[customer] = max(at, self._erased.get(customer, at))

    def _line(self, offset: int, event: dict[str, Any]) -> None:
        customer, number = event["customer_id"], event["event_id"]
        time = int(datetime.fromisoformat(event["invoice_date"]).replace(tzinfo=UTC).timestamp())
        self._watermark = max(self._watermark, time)
        life = self.lives.get(customer, Life())
        too_late = time // DAY_S < self.day - self._rules.horizon_days
        if too_late or time <= self._erased.get(customer, -1):
            self.refused.add(offset)
        elif number in life.seen and life.seen[number] >= self.day - self._rules.dedupe_days:
            self.counts["repeated"] += 1
        else:
            self.counts["applied"] += 1
            life.seen[number] = self.day
            cancelled = event["invoice_no"].startswith("C")
            units = -abs(event["quantity"]) if cancelled else event["quantity"]
            amount = round(event["unit_price"] * 10_000) * units
            life.lines.append((event["invoice_no"], time // DAY_S, amount, units))
            life.label = life.labelled(self._model, self.day)
            self.lives[customer] = life


def complaints(world: World, first_day: int) -> Iterator[str]:
    """Yield what in a world at rest is not as a sequential loop over its input has it."""
    heads, ledgers = world.heads(), world.ledgers()
    for number, state in world.states().items():
        plain = Sequential(world.rules, world.registry.versions, first_day)
        days = [msgspec.json.decode(entry, type=DayEntry) for entry in world.store.parts[number].days]
        plain.run(world.kafka.log(TOPICS.input, number), days)
        went_back = bool(state.rewinds)
        for name in ("lines",) if went_back else ("lines", "applied", "repeated"):
            if state.counters.get(name, 0) != plain.counts[name]:
                yield f"partition {number}, {name}: {state.counters.get(name, 0)} instead of {plain.counts[name]}"
        mine = {customer for customer in heads if world.home(customer) == number}
        for customer in sorted(mine | plain.lives.keys()):
            life, head = plain.lives.get(customer, Life()), heads.get(customer)
            if head is None and not life.lines:  # long over, and forgotten
                continue
            if head is None or sorted(record[1:] for record in ledgers[customer]) != life.records():
                yield f"{customer}: {ledgers.get(customer)} instead of {life.records()}"
            elif head["segment"] != life.label and not (
                went_back and life.may_be(head["segment"], world.registry.versions[state.sweep.version], state.day)
            ):
                yield f"{customer}: label {head['segment']} instead of {life.label}"
        yield from _dead_letters(world, number, plain.refused, state.rewinds)
    yield from _revisions(world, heads)


def _revisions(world: World, heads: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield revisions that come twice or are left out, and whoever was not shown as he is now.

    Behind the end of a life that was forgotten revisions may begin anew.
    """
    last: dict[str, int] = {}
    shown: dict[str, tuple[int, int]] = {}
    anew: set[str] = set()
    for record in world.output():
        customer = record.get("tombstone") or record["customer_id"]
        if "tombstone" in record:
            shown.pop(customer, None)
            anew |= {customer} if "sweep" in record["headers"] else set()
            continue
        expected = last.get(customer, 0) + 1
        if record["revision"] != expected and not (customer in anew and 1 <= record["revision"] <= expected):
            yield f"{customer}: revision {record['revision']} instead of {expected}"
        last[customer] = record["revision"]
        shown[customer] = record["segment"]["id"], record["revision"]
        anew.discard(customer)
    for customer in heads.keys() | shown.keys():
        found = heads.get(customer)
        if (found and (found["segment"], found["revision"])) != shown.get(customer):
            yield f"{customer}: shown as {shown.get(customer)}, the state is {found}"


def _dead_letters(world: World, number: int, refused: set[int], rewinds: Sequence[Rewind]) -> Iterator[str]:
    """Yield refusals without a letter, letters without a refusal, and letters that come twice for no reason."""
    log = world.kafka.log(TOPICS.dead_letters, number)
    epochs: dict[int, list[int]] = defaultdict(list)
    for letter in log.read(0, len(log.entries)):
        headers = dict(letter.headers)
        epochs[int(headers["offset"])].append(int(headers["epoch"]))
        if letter.value != world.kafka.log(TOPICS.input, number).entries[int(headers["offset"])].record.value:
            yield f"partition {number}, offset {headers['offset']!r}: a letter of other bytes"
    for offset in sorted(refused | epochs.keys()):
        found, again = epochs[offset], any(rewind.applied <= offset for rewind in rewinds)
        if not again and len(found) != (offset in refused):
            yield f"partition {number}, offset {offset}: {len(found)} letters, refused: {offset in refused}"
        if found != sorted(set(found)) or (not found and offset in refused):
            yield f"partition {number}, offset {offset}: letters of the epochs {found}"
