"""Verification: every customer recomputed from history and input by a plain path, and compared.

    History + input --by customer, in order--> lives, labels     <- compared ->     states, output, counters
                    day log says which day and model

Nothing of the service is imported: parsing, hashing, sums, features and distances are written here a
second time, as loops over plain values. The oracle of docs/architecture.md, FAULTS' end-to-end verdict.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from math import inf
from typing import Any, Final

from reports.verify_customer import Customer, Past
from reports.verify_events import DAY, Erase, Line, Reader, event_id_of, hash64
from reports.verify_input import (
    Bucket,
    Chapter,
    DayEntry,
    Difference,
    Facts,
    History,
    InputRecord,
    OutputRecord,
    Partition,
    Rewind,
    Verdict,
    VerifiedFrom,
)
from reports.verify_life import Life, Turn, iso
from reports.verify_published import Chain, Following, Places, Published, follow, parse
from reports.verify_scoring import Model, read_model
from reports.verify_states import Sums, read_state
from reports.verify_stored import compare_counters, compare_customer, compare_marks, compare_statistics, mark_of
from reports.verify_stream import Reading, Stream, home_of
from reports.verify_topic import Row, topic_rows
from reports.verify_traced import EXCESS, MISSING, Event, traced

SHOWN: Final = 20
"""Differences that a verdict spells out; the rest is counted."""
TOLD_EVERY: Final = 1_000

Told = Callable[[float], None]
"""Told how many partitions are judged, the one at work by the share of its customers."""


def verify(
    facts: Facts,
    history: History,
    models: Mapping[int, bytes],
    partitions: Iterable[Partition],
    former: Sequence[Chapter] = (),
    told: Told = lambda _: None,
) -> Verdict:
    """Recompute and compare every customer; models: the JSON of each version that the day logs name.

    partitions: each is judged before the next one is asked for, and let go of: they need not be in memory together.
    former: what was before partitions were added, the oldest first; a customer's life goes through all of it.
    """
    read = {version: read_model(data) for version, data in models.items()}
    first = former[0].facts if former else facts
    if first.from_topic:  # which lines counted, and who was erased since, all partitions tell together
        partitions = tuple(partitions)
    rows, newest = _lives(first, history, former, partitions)
    past = _Past(first, history, rows, newest)
    for chapter in former:
        parts = [_Part(chapter.facts, read, past, partition) for partition in chapter.partitions]
        newest = _read_all(parts, newest)
        past.chapters.append(_ReadChapter(home_of(chapter.facts), {part.partition.number: part for part in parts}))
    home, names = home_of(facts), defaultdict[int, set[str]](set)
    for name in past.names():
        names[home(name)].add(name)
    parts = []
    for part in map(partial(_Part, facts, read, past), partitions):
        part.read(newest)
        part.judge(names.pop(part.partition.number, set()), lambda share: told(len(parts) + share))
        part.let_go()
        parts.append(part)
        told(len(parts))
    every = [part for chapter in past.chapters for part in chapter.parts.values()]
    for part in every if all(part.whole for part in every) else ():
        part.compare_partition(None, {})
    every += parts
    differences = [difference for part in every for difference in part.differences]
    # An event is the reason, and no difference more: what follows from it comes after, and is what counts.
    differences.sort(key=lambda difference: difference.kind not in (MISSING, EXCESS))
    counts = Counter(difference.bucket for difference in differences if difference.kind not in (MISSING, EXCESS))
    return Verdict(
        customers=sum(part.customers for part in parts),
        events=sum(part.counters["lines"] for part in every),
        records=sum(part.records for part in every),
        state_differences=counts["state"],
        output_differences=counts["output"],
        revision_errors=counts["revision"],
        verified_from=tuple(part.verified_from() for part in parts),
        blurred=sum(part.blurred for part in parts),
        replayed=sum(part.replayed for part in parts),
        differences=tuple(differences[:SHOWN]),
        gaps=tuple((part.partition.number, *gap) for part in every for gap in part.partition.standing.gaps),
    )


def _counted(totals: dict[int, list[int]] | None, label: int, worth: int) -> dict[int, list[int]] | None:
    """Count one more customer of a segment and his net; None stays none."""
    if totals is not None:
        found = totals.setdefault(label, [0, 0])
        found[0] += 1
        found[1] += worth
    return totals


def _telling(names: Sequence[str], told: Told) -> Iterator[str]:
    for done, name in enumerate(names):
        if done % TOLD_EVERY == 0:
            told(done / len(names))
        yield name


def _read_all(parts: Sequence[_Part], newest: int) -> int:
    """Let parts read their topics; return the time of the newest event after them."""
    for part in parts:
        part.read(newest)
    return max((part.watermark for part in parts), default=newest)


def _effective(rewinds: Sequence[Rewind]) -> list[Rewind]:
    """Return the recoveries that no later one went back behind, by where they went back to."""
    found: list[Rewind] = []
    for rewind in sorted(rewinds, key=lambda rewind: -rewind.epoch):
        place = (rewind.applied, rewind.sweep, inf if rewind.cursor is None else rewind.cursor)
        if not found or place < (found[-1].applied, found[-1].sweep, found[-1].cursor or inf):
            found.append(rewind)
    return found


def _first_read(partition: Partition) -> int:
    """Return the first input offset that was read beside the history: after a gap that begins with it, if one does."""
    first = partition.start
    for start, stop in sorted(partition.standing.gaps):
        first = stop if start <= first < stop else first
    return first


def _lives(
    facts: Facts, history: History, former: Sequence[Chapter], partitions: Iterable[Partition]
) -> tuple[Mapping[str, list[Row]], int]:
    """Return the history's rows by customer, and the time of the newest; facts: of the first of all generations."""
    if facts.from_topic:
        live = Chapter(facts, tuple(partitions))
        first = former[0] if former else live
        everywhere = [partition for chapter in (*former, live) for partition in chapter.partitions]
        found = topic_rows(facts, history, first.partitions, _marked_at(first, everywhere))
        return found.rows, found.newest
    rows = defaultdict[str, list[Row]](list)
    newest = facts.first_day * DAY if facts.cutoff is None else facts.cutoff
    oldest = 0 if facts.cutoff is None else facts.cutoff // DAY - facts.dedupe_days
    columns = (history.customer, history.invoice, history.time, history.amount, history.units, history.event_id)
    for place, (customer, invoice, time, amount, units, event) in enumerate(zip(*columns, strict=True)):
        hashed, kept = hash64(event) if event else 0, time // DAY >= oldest
        rows[customer].append(Row(hash64(invoice), time, amount, units, hashed, kept, place))
    return rows, newest


def _named(history: History, row: Row) -> str:
    """Name a line of the history by its event id and where it stands."""
    if row.place is None:
        return f"offset {row.offset}, before the stream"
    where = history.row[row.place] if history.row else f"row {row.place + 1} of the history"
    return f"{history.event_id[row.place]} ({where})".lstrip()


def _marked_at(first: Chapter, everywhere: Sequence[Partition]) -> Callable[[str], float]:
    """Return customer -> when he was erased before the stream, as far as his mark or the log tells it."""
    facts, partitions = first
    reader = Reader(facts.timezone, facts.currency, (facts.today + 2) * DAY)
    home, by_number = home_of(facts), {partition.number: partition for partition in partitions}

    def erasures(records: Sequence[InputRecord]) -> Iterator[Erase]:
        read = (reader.read(r.offset, r.timestamp, r.value) for r in records if r.value and b"erase" in r.value)
        return (found for found in read if isinstance(found, Erase))

    later = {each.customer for part in everywhere for each in erasures(part.input)}
    dated: dict[str, float] = defaultdict(lambda: -inf)
    for part in partitions:
        for each in erasures(part.before):
            dated[each.customer] = max(dated[each.customer], -inf if each.at is None else each.at)

    @cache
    def at(customer: str) -> float:
        mark = None
        if customer not in later and facts.erasure_key is not None:
            mark = mark_of(facts, by_number[home(customer)], customer)
        return dated[customer] if mark is None else max(float(mark["at"]), dated[customer])

    return at


@dataclass(slots=True)
class _ReadChapter:
    """A former generation: where its customers lived, and what its partitions' topics say."""

    home: Callable[[str], int]
    parts: Mapping[int, _Part]


@dataclass(slots=True)
class _Past:
    """What was before the partitions as they are: the history, under the first rules, and former generations."""

    facts: Facts
    history: History
    rows: Mapping[str, list[Row]]
    newest: int
    chapters: list[_ReadChapter] = field(default_factory=list)

    def of(self, name: str) -> list[_Part]:
        """Return the partitions in which a customer lived, the first one first."""
        return [chapter.parts[chapter.home(name)] for chapter in self.chapters]

    def names(self) -> set[str]:
        """Return everybody who is in the history or in a former generation."""
        parts = [part for chapter in self.chapters for part in chapter.parts.values()]
        return set(self.rows).union(*(part.published.keys() | part.stream.items.keys() for part in parts))


class _Part:
    """One partition's verification."""

    def __init__(self, facts: Facts, models: Mapping[int, Model], past: _Past, partition: Partition) -> None:
        self.facts, self.models, self.past, self.partition = facts, models, past, partition
        self.differences: list[Difference] = []
        self.counters: Counter[str] = Counter()
        self.customers = self.blurred = self.replayed = self.unseen = self.unread = 0
        self.records = len(partition.output)
        self.first_record = partition.output[0].offset if partition.output else None
        self.rewinds = _effective(partition.standing.rewinds)
        begins = _first_read(partition) if partition.before_from is None else partition.before_from
        self.whole = partition.input_from <= begins
        """Whether every record that was read since the history is there; otherwise nothing can be recomputed."""

    def _differ(self, bucket: Bucket, customer: str, kind: str, expected: Any, found: Any) -> None:
        self.differences.append(Difference(bucket, self.partition.number, customer, kind, expected, found))

    def read(self, newest: int) -> None:
        """Read day log, output and input. newest: time of the newest event before them."""
        self.turns = self._turns()
        self.published = self._published()
        self.partition = replace(self.partition, output=())
        complain = lambda *what: self._differ("state", *what)  # noqa: E731 -- a name for one argument
        reading = Reading(self.facts, self.partition, self.turns, newest, complain)
        self.stream = reading.run()
        self.watermark = reading.watermark
        self.counters.update(self.stream.counters)

    def judge(self, known: set[str], told: Told) -> None:
        """Recompute everybody who lives here and note what differs.

        known: those of them who came from before; told: the share of the customers that is done.
        """
        partition = self.partition
        names = self.published.keys() | self.stream.items.keys() | known | partition.states.keys()
        self.customers = len(names)
        self.whole = self.whole and all(part.whole for chapter in self.past.chapters for part in chapter.parts.values())
        if not self.whole:
            for name in sorted(self.published):
                self._follow(name, self.published[name], 0)
            return
        last, model = self.turns[-1], self.turns[-1].model
        sums = None if model is None else Sums.zeros(len(model.ids), len(model.features))
        erased: dict[str, tuple[float, int | None]] = {}
        totals: dict[int, list[int]] | None = {}
        for name in _telling(sorted(names), told):
            customer, chain = self._customer(name)
            wrong = list(compare_customer(self.facts, customer, partition.states.get(name), last, chain))
            if wrong:
                wrong += self._traced(name, customer, last.day)
            for found in wrong:
                self._differ("state", name, *found)
            life = customer.life
            if sums is not None and model is not None and life is not None and customer.turned:
                life.count_into(sums, model, last.day)
            if life is not None and customer.turned:
                totals = None if life.blurred or customer.unsure else _counted(totals, customer.label, life.orders.net)
            parts = [*self.past.of(name), self]
            if any(isinstance(item, Erase) for part in parts for item in part.stream.items.get(name, ())):
                sure = all(part.partition.completeness == "whole" and not part.rewinds for part in parts)
                erased[name] = (customer.erased_at, chain.mark if sure else None)
            self.blurred += life is not None and life.blurred
        self.compare_partition(sums, erased)
        stored = partition.standing.totals
        mine = None if totals is None else [(label, *found) for label, found in sorted(totals.items())]
        if stored is not None and mine is not None and mine != list(stored):
            self._differ("state", "", "totals by segment", mine, list(stored))

    def compare_partition(self, sums: Sums | None, erased: dict[str, tuple[float, int | None]]) -> None:
        """Compare what is stored of the partition as a whole."""
        partition, refused = self.partition, self.stream.refused
        found = list(compare_counters(partition, self.counters))
        if partition.statistics is not None and sums is not None and not self.blurred:
            found += compare_statistics(partition.statistics, sums)
        if self.facts.erasure_key is not None:
            found += compare_marks(self.facts, partition, erased)
        for offset, reason in partition.dead.items():
            if not partition.start <= offset < partition.standing.applied:
                continue
            mine = refused.get(offset)
            if mine is not None and reason != mine and {reason, mine} != {"malformed", "schema"}:
                found.append((f"dead letter of offset {offset}", mine, reason))
        for each in found:
            self._differ("state", "", *each)

    # The frame: days, models, output ------------------------------------------------------------------------

    def _turns(self) -> list[Turn]:
        """Return the turns that the day log tells, after one for what came before them."""
        standing, days = self.partition.standing, self.partition.days
        turns = [Turn(0, self.facts.first_day, None, None, -1, days[0].applied if days else inf)]
        version = self.facts.first_version
        for i, entry in enumerate(days):
            following = days[i + 1] if i + 1 < len(days) else None
            before, version = version, entry.version
            turns.append(
                Turn(
                    number=entry.number,
                    day=entry.day,
                    model=self.models.get(entry.version),
                    before=None if before in (None, version) else self.models.get(before),
                    applied=entry.applied,
                    until=inf if following is None else following.applied,
                    cursor=standing.cursor if following is None else None,
                )
            )
        for kind, expected, found in self._wrong_days(turns):
            self._differ("state", "", kind, expected, found)
        return turns

    def _wrong_days(self, turns: Sequence[Turn]) -> Iterator[tuple[str, Any, Any]]:
        """Compare the day log with itself, with the stored sweep and with the models."""
        standing, days = self.partition.standing, self.partition.days
        if standing.applied != self.partition.committed:
            yield ("committed offset", standing.applied, self.partition.committed)
        before = DayEntry(0, self.facts.first_day, 0, "", self.partition.start)
        for entry in days:
            most = before.day + (before.number > 0) if self.facts.clock == "event" else inf
            if entry.number != before.number + 1:
                yield ("day log: sweep", before.number + 1, entry.number)
            if not before.day <= entry.day <= most:
                yield ("day log: day", f"{iso(before.day)} or the day after", iso(entry.day))
            if entry.applied < before.applied or entry.version < before.version:
                yield ("day log: offset and model", f"at least {before.applied}, {before.version}", entry[2:])
            model = self.models.get(entry.version)
            if model is None or model.name != entry.model_hash:
                yield (f"model {entry.version}", entry.model_hash, "none" if model is None else model.name)
            before = entry
        stands = (standing.sweep, standing.day)
        if stands != (turns[-1].number, turns[-1].day):
            yield ("stored sweep and day", (turns[-1].number, iso(turns[-1].day)), (standing.sweep, iso(standing.day)))

    def _published(self) -> dict[str, list[Published]]:
        """Return the output by customer, in the log's order."""
        records: list[Published] = []
        newest = (0, 0)
        for raw in self.partition.output:
            record = parse(raw)
            if isinstance(record, str):
                self._differ("output", "", f"output record {raw.offset}", "a segment record", record)
                continue
            if (record.epoch, record.sequence) < newest:
                self._differ("output", record.customer, "commit", f"at least {newest}", (record.epoch, record.sequence))
            newest = max(newest, (record.epoch, record.sequence))
            records.append(record)
        found = defaultdict[str, list[Published]](list)
        for record in records:
            found[record.customer].append(record)
        return found

    # One customer -------------------------------------------------------------------------------------------

    def _customer(self, name: str) -> tuple[Customer, Chain]:
        position = hash64(name) >> 16
        parts = [*self.past.of(name), self]
        items = [part.stream.items.get(name, []) for part in parts]
        records = [part.published.get(name, []) for part in parts]
        places = [Places.of(his, part.rewinds) for part, his in zip(parts, records, strict=True)]
        past = self._past(name, [item for done in items for item in done], places[0])
        chain = self._follow(name, [record for his in records for record in his], past.erased_revision)
        self._compare_moved(name, records)
        customer = Customer(self.facts, past, position, lambda *what: self._differ("output", name, *what))
        for part, place, done, his in zip(parts, places, items, records, strict=True):
            self.unread += not his and part.partition.completeness == "tail"
            # Compaction keeps the last record of each partition: after a move none means that none was written.
            kept = part.partition.completeness if his or part is parts[0] else "whole"
            customer.run(part.turns, done, part.rewinds, kept, place)
            self.replayed += bool(place.superseded)
            part.counters.update(customer.counters)
            customer.counters.clear()
        return customer, chain

    def _compare_moved(self, name: str, records: Sequence[Sequence[Published]]) -> None:
        """Compare what was copied of a customer who moved here with the last record of where he was."""
        before = [record for his in records[:-1] for record in his]
        copies = self._moved.get(name.encode(), [])
        last = before[-1].value if before else None
        for copied in copies:
            if last is None or copied.value is None or json.loads(copied.value) != last:
                self._differ("output", name, f"moved record at output offset {copied.offset}", last, copied.value)
        came = self.past.chapters and self.past.chapters[-1].home(name) != self.partition.number
        if came and last is not None and not copies and not records[-1]:
            self._differ("output", name, "moved record", last, "none")

    def _follow(self, name: str, records: Sequence[Published], marked: int) -> Chain:
        """Check what readers rely on: revisions, previous segments and entry days."""
        parts = [*self.past.of(name), self]
        rewinds = [rewind for part in parts for rewind in part.rewinds]
        kept = [part.partition.completeness for part in parts]
        least = next((each for each in kept if each != "whole"), kept[0])
        chain, wrong = follow(records, marked, Following(least, self.facts.emit, rewinds))
        self.unseen += chain.unseen
        for kind, expected, found in wrong:
            self._differ("revision" if kind == "revision" else "output", name, kind, expected, found)
        for record in records:
            if record.value is not None and record.value.get("customer_id") != name:
                self._differ("output", name, f"customer_id at output offset {record.offset}", name, "another")
        return chain

    def _past(self, name: str, items: Sequence[Line | Erase], places: Places) -> Past:
        """Return what the history says of a customer, without what an erasure before the stream took.

        A new generation read the marks first: an erasure that it meets again in the stream was one of them.
        """
        facts, past = self.past.facts, Past()
        began = max((rewind.epoch for rewind in self.rewinds if rewind.sweep == 0), default=0)
        erasures = [item for item in items if isinstance(item, Erase)]
        if erasures:
            done = {each.at for each in places.superseded if each.value is None and each.epoch < began}
            past.erased_at = max(
                (e.at for e in erasures if e.offset in done and e.at is not None), default=past.erased_at
            )
        elif facts.erasure_key is not None:
            mark = mark_of(facts, self.partition, name)
            if mark is not None:
                past.erased_at, past.erased_revision = mark["at"], mark["revision"]
        rows = [row for row in self.past.rows.get(name, ()) if row.time > past.erased_at]
        if not rows:
            return past
        life, last = Life(), facts.first_day if facts.from_topic else self.past.newest // DAY
        for row in rows:
            life.add(row.order, row.time // DAY, row.amount, row.units)
            if row.event and row.kept:
                life.remember(row.event, last, last - facts.dedupe_days)
        life.expire(facts.first_day - facts.horizon_days)
        life.fold()
        past.life = life
        return past

    def _traced(self, name: str, customer: Customer, day: int) -> Iterator[tuple[str, Any, Any]]:
        """Name the events for which a customer's state is not as recomputed."""
        data = self.partition.states.get(name)
        stored = None if data is None else read_state(data)
        if isinstance(stored, str):
            return
        events = []
        for row in self.past.rows.get(name, ()):
            counted = customer.of_history and row.time > customer.history_from
            title = _named(self.past.history, row)
            events.append(Event(row.order, row.time // DAY, row.amount, row.units, row.event, counted, title))
        for chapter, part in enumerate([*self.past.of(name), self]):
            lines = [item for item in part.stream.items.get(name, ()) if isinstance(item, Line)]
            for item in lines:
                title = f"{event_id_of(part.values[item.offset])} (offset {item.offset})".lstrip()
                counted = (chapter, item.offset) in customer.counted
                record = item.order, item.time // DAY, item.amount, item.units
                events.append(Event(*record, item.event, counted, title))
        yield from traced(customer.life, stored, events, day - self.facts.horizon_days)

    @cached_property
    def values(self) -> dict[int, bytes | None]:
        """The input's values by offset."""
        return {record.offset: record.value for record in self.partition.input}

    @cached_property
    def _moved(self) -> dict[bytes | None, list[OutputRecord]]:
        """The copies of those who moved here, by key."""
        found = defaultdict[bytes | None, list[OutputRecord]](list)
        for record in self.partition.moved:
            found[record.key].append(record)
        return found

    def let_go(self) -> None:
        """Forget what was read: of a partition that has been judged only what was found counts."""
        self.partition = replace(self.partition, input=(), states={}, before=(), moved=())
        self.published, self.stream = {}, Stream()
        self.__dict__.pop("values", None)

    def verified_from(self) -> VerifiedFrom:
        """Say from where this partition could be verified."""
        partition = self.partition
        begin = max(partition.start, partition.input_from)
        return VerifiedFrom(partition.number, begin, self.whole, self.first_record, self.unseen, self.unread)
