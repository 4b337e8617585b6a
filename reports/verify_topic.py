"""A history that was read from the input topic, read anew: which of its lines count, by loops over plain values.

    records before the start of the stream --one by one--> lines --what counts--> rows of each customer

The rules stand in docs/operations.md (Redis was emptied); the service's own are not imported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from reports.verify_events import DAY, Erase, Line, Reader, hash64, murmur2
from reports.verify_input import Facts, History, Partition


class Row(NamedTuple):
    """One line of the history. event: 0 without an id; kept: whether the id was remembered when the stream began.

    place: in the columns of the files' history; None where it was read from the topic, at `offset`.
    """

    order: int
    time: int
    amount: int
    units: int
    event: int
    kept: bool
    place: int | None = None
    offset: int | None = None


class _Read(NamedTuple):
    partition: int
    place: int
    published: int
    line: Line


@dataclass(slots=True)
class TopicRows:
    """Rows by customer, and the time of the newest."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    newest: int = 0


def topic_rows(
    facts: Facts, history: History, partitions: Sequence[Partition], erased_at: Callable[[str], float]
) -> TopicRows:
    """Return what counts of the topic and of the files beside it. erased_at: local seconds of a customer's mark."""
    reads, erasures = _lines(facts, partitions)
    reads = [read for read in reads if not _is_erased(facts, read, erasures.get(read.line.customer, ()))]
    reads = [read for read in reads if read.line.time > erased_at(read.line.customer)]
    reads = list(_in_horizon(facts, _not_ahead(facts, reads)))
    if facts.cutoff is not None:
        reads = [read for read in reads if _is_comparable(facts, facts.cutoff, read.line)]
    newest_published = max((read.published for read in reads), default=0)
    found, seen = TopicRows(), set[tuple[str, int]]()
    columns = (history.customer, history.invoice, history.time, history.amount, history.units, history.event_id)
    for place, (customer, invoice, time, amount, units, event_id) in enumerate(zip(*columns, strict=True)):
        if time > erased_at(customer):
            event = hash64(event_id) if event_id else 0
            _count(found, seen, facts, customer, Row(hash64(invoice), time, amount, units, event, False, place))
    for read in reads:
        line = read.line
        young = read.published >= newest_published - facts.dedupe_days * DAY * 1000
        row = Row(line.order, line.time, line.amount, line.units, line.event, young, offset=line.offset)
        _count(found, seen, facts, line.customer, row)
    return found


def _is_comparable(facts: Facts, cutoff: int, line: Line) -> bool:
    """Say whether a line's id tells whether the files hold it, if they may."""
    return line.time > cutoff or line.of_history or (facts.has_ids and line.event != 0)


def _count(found: TopicRows, seen: set[tuple[str, int]], facts: Facts, customer: str, row: Row) -> None:
    """Take a row in, unless its id has counted; remember the ids that may come again."""
    if row.event and (customer, row.event) in seen:
        return
    seen.add((customer, row.event))
    found.newest = max(found.newest, row.time)
    young = row.kept or row.time // DAY >= facts.first_day - facts.dedupe_days
    found.rows[customer].append(row._replace(kept=young))


def _lines(facts: Facts, partitions: Sequence[Partition]) -> tuple[list[_Read], dict[str, list[tuple[int, int]]]]:
    """Return the lines of all partitions in their order, and customers' erasures as (partition, place among lines)."""
    reader = Reader(facts.timezone, facts.currency, (facts.today + 2) * DAY)
    reads: list[_Read] = []
    erasures = defaultdict[str, list[tuple[int, int]]](list)
    for partition in partitions:
        for record in partition.before:
            found = reader.read(record.offset, record.timestamp, record.value)
            if not isinstance(found, Line | Erase) or partition.number not in homes(facts, found.customer):
                continue
            if isinstance(found, Erase):
                erasures[found.customer].append((partition.number, len(reads)))
            elif record.offset not in partition.before_dead:
                reads.append(_Read(partition.number, len(reads), record.timestamp, found))
    return reads, erasures


def homes(facts: Facts, customer: str) -> list[int]:
    """Return the partition of a customer, and those that were his while the topic had fewer."""
    if facts.partition_of is not None:
        return [facts.partition_of(customer)]
    hashed = murmur2(customer.encode())
    return [hashed % count for count in (facts.partitions, *facts.former)]


def _is_erased(facts: Facts, read: _Read, erasures: Sequence[tuple[int, int]]) -> bool:
    """Say whether one of his erasures took a line: it came after it, or stands in the partition he moved to."""
    for partition, place in erasures:
        if read.partition == partition and read.place < place:
            return True
        if read.partition != partition and partition == homes(facts, read.line.customer)[0]:
            return True
    return False


def _not_ahead(facts: Facts, reads: list[_Read]) -> list[_Read]:
    """Leave out what lies behind a leap that too few lines make."""
    if facts.clock == "wall":
        return reads
    days = sorted({read.line.time // DAY for read in reads})
    for before, day in pairwise(days):
        if day - before > facts.ahead_days:
            beyond = [read.line.customer for read in reads if read.line.time // DAY >= day]
            if len(beyond) < facts.ahead_events or len(set(beyond)) < facts.ahead_customers:
                return [read for read in reads if read.line.time // DAY < day]
    return reads


def _in_horizon(facts: Facts, reads: list[_Read]) -> Iterator[_Read]:
    """Leave out lines that were too late when they came."""
    greatest: dict[int, int] = {}
    for read in reads:
        day = read.line.time // DAY
        greatest[read.partition] = max(greatest.get(read.partition, day), day)
        if day >= greatest[read.partition] - facts.horizon_days:
            yield read
