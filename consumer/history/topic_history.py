"""The input topic read as a history: which of its lines count, and what they fold to. Pure (FAULTS 9).

    batches of all partitions --add--> columns --fold--> Folded

The stream's own rules, where they do not depend on what a worker saw when: decoding, home partitions, marks of erased
customers. In place of the others, for the whole log at once:

    dead letter   what was refused stays refused, as long as its dead letter is there
    erasure       in the log: the customer's lines before it do not count (those dated before its mark do not either)
    ahead         event clock: what lies more than `ahead_days` after all that is older, and is fewer than
                  `ahead_events` lines or of fewer than `ahead_customers` customers, is refused
    too_late      a line more than a horizon older than one before it in its partition
    repeated      a (customer, event id) counts once in the whole log, and beside the files of a history
    before_cutoff with a history: lines dated within it whose id cannot be compared with its own (PROTOCOL H3)

docs/operations.md tells these rules; reports/verify_topic.py has them a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from consumer.history.bootstrap import Folded, remembered
from consumer.history.csv_source import History
from consumer.partition import Rules
from consumer.step import Mark, refuse_foreign
from features.ledger import Ints, Lines, from_lines
from features.transaction import DAY_SECONDS, Batch
from features.vector import Flags

NEVER = np.iinfo(np.int64).min
DAY_MS = DAY_SECONDS * 1000


@dataclass(frozen=True, slots=True)
class Erased:
    """An erasure in the log: of which customer, in which partition, before which of the lines read."""

    customer: str
    partition: int
    row: int


@dataclass(slots=True)
class TopicHistory:
    """Collects what the partitions hold. homes: customer -> partition, now and before partitions were added."""

    homes: Sequence[Callable[[str], int]]
    counts: Counter[str] = field(default_factory=Counter)
    tick_day: int = NEVER
    _owners: dict[str, int] = field(default_factory=dict)
    _lines: list[Lines] = field(default_factory=list)
    _columns: list[tuple[Ints, Ints, Flags, Ints]] = field(default_factory=list)
    """(time, published, of_history, partition) of the lines of each batch."""
    _rows: int = 0
    _erased: list[Erased] = field(default_factory=list)

    def add(self, partition: int, batch: Batch, published_ms: Mapping[int, int], dead: Collection[int]) -> None:
        """Take a batch in, in the order of partitions and offsets. dead: offsets that have a dead letter."""
        homes = np.array([self._home(each, partition) for each in batch.customers], np.int64)
        batch = refuse_foreign(batch, partition, homes)
        self.counts.update(records=batch.records, guests=len(batch.guests))
        self.counts.update(f"refused.{refusal.reason.value}" for refusal in batch.refused)
        alive = np.array([offset not in dead for offset in batch.offset.tolist()], np.bool_)
        self.counts["refused before"] += int((~alive).sum())
        first = self._rows
        for control in batch.controls:
            self.counts["ticks" if control.kind == "tick" else "erasures"] += 1
            if control.kind == "tick" and control.at is not None:
                self.tick_day = max(self.tick_day, control.at // DAY_SECONDS)
            elif control.kind == "erase":
                before = int((batch.offset[alive] < control.offset).sum())
                self._erased.append(Erased(control.customer, partition, first + before))
        owner = np.array([self._owner(c) for c in batch.customers] or [0], np.int64)
        lines = batch.lines.take(alive)
        self._lines.append(replace(lines, owner=owner[lines.owner]))
        published = np.array([published_ms[offset] for offset in batch.offset[alive].tolist()], np.int64)
        where = np.full(len(lines), partition)
        self._columns.append((batch.time[alive], published, batch.of_history[alive], where))
        self._rows += len(lines)

    def _home(self, customer: str, partition: int) -> int:
        """Return the partition itself where the customer lives or lived in it."""
        homes = [home(customer) for home in self.homes]
        return partition if partition in homes else homes[0]

    def _owner(self, customer: str) -> int:
        return self._owners.setdefault(customer, len(self._owners))

    def fold(
        self, files: History | None, marks: Callable[[str], Mark | None], rules: Rules, today: int
    ) -> tuple[Folded, int]:
        """Return what counts, beside the files of a history, and the day that it leads to.

        Raises ValueError where there is no line.
        """
        lines, time, published, of_history, partition = self._joined()
        names = list(self._owners)
        keep = self._not_erased(lines, time, partition, names, marks)
        self._drop(keep, "ahead", self._ahead(lines, keep, rules))
        self._drop(keep, "too_late", _too_late(lines, partition, keep, rules))
        if files is not None:
            comparable = of_history | (files.has_ids & (lines.event_id != 0))
            self._drop(keep, "before_cutoff", (time <= int(files.time.max())) & ~comparable)
        recent = published >= (int(published.max()) if len(published) else 0) - rules.dedupe_days * DAY_MS
        lines, time, recent = lines.take(keep), time[keep], recent[keep]
        if files is not None:
            lines, time, recent, names = self._beside(files, lines, time, recent)
        if not len(lines):
            raise ValueError("the topic holds no line that counts")
        again = _repeated(lines)
        self.counts["repeated"] += int(again.sum())
        lines, time, recent = lines.take(~again), time[~again], recent[~again]
        self.counts["lines"] = len(lines)
        newest = int(time.max())
        day = max(newest // DAY_SECONDS, self.tick_day if rules.clock == "event" else today)
        return self._folded(lines, recent, names, files, rules, newest, day), day

    def _joined(self) -> tuple[Lines, Ints, Ints, Flags, Ints]:
        none = np.empty(0, np.int64)
        if not self._lines:
            hashes = np.empty(0, np.uint64)
            return Lines(none, hashes, none, none, none, hashes), none, none, np.empty(0, np.bool_), none
        names = ("owner", "order", "day", "amount", "units", "event_id")
        lines = Lines(*(np.concatenate([getattr(part, name) for part in self._lines]) for name in names))
        time, published, of_history, where = (
            np.concatenate([columns[i] for columns in self._columns]) for i in range(4)
        )
        return lines, time, published, of_history, where

    def _not_erased(
        self, lines: Lines, time: Ints, partition: Ints, names: Sequence[str], marks: Callable[[str], Mark | None]
    ) -> Flags:
        """Flag the lines that no erasure took: by its place in the log, or by the mark's date (PROTOCOL H4)."""
        found = [marks(name) for name in names]
        at = np.array([NEVER if mark is None else mark.at for mark in found] or [NEVER])
        keep: Flags = time > at[lines.owner]
        rows = np.arange(len(lines))
        for erased in self._erased:
            his = (lines.owner == self._owners[erased.customer]) & (rows < erased.row)
            # Before partitions were added his lines stood elsewhere; what stands in his present home came later.
            keep &= ~(his & (partition == erased.partition))
            if erased.partition == self.homes[0](erased.customer):
                keep &= ~((lines.owner == self._owners[erased.customer]) & (partition != erased.partition))
        self.counts["refused.erased"] += int((~keep).sum())
        return keep

    def _drop(self, keep: Flags, reason: str, hit: Flags) -> None:
        hit = hit & keep
        self.counts[f"refused.{reason}"] += int(hit.sum())
        keep &= ~hit

    def _ahead(self, lines: Lines, keep: Flags, rules: Rules) -> Flags:
        """Flag the lines behind the first leap that too few lines make (DESIGN D5)."""
        nothing = np.zeros(len(lines), np.bool_)
        if rules.clock == "wall":
            return nothing
        days = np.unique(lines.day[keep])
        for day in days[1:][np.diff(days) > rules.ahead_days].tolist():
            beyond: Flags = keep & (lines.day >= day)
            customers = len(np.unique(lines.owner[beyond]))
            if int(beyond.sum()) < rules.ahead_events or customers < rules.ahead_customers:
                return beyond
        return nothing

    def _beside(self, files: History, lines: Lines, time: Ints, recent: Flags) -> tuple[Lines, Ints, Flags, list[str]]:
        """Put the files' lines before the topic's."""
        owners = np.array([self._owner(c) for c in files.customers] or [0], np.int64)
        theirs = files.lines()
        theirs = replace(theirs, owner=owners[theirs.owner])
        names = ("owner", "order", "day", "amount", "units", "event_id")
        both = Lines(*(np.concatenate([getattr(theirs, name), getattr(lines, name)]) for name in names))
        recent = np.concatenate([np.zeros(len(theirs), np.bool_), recent])
        return both, np.concatenate([files.time, time]), recent, list(self._owners)

    def _folded(
        self,
        lines: Lines,
        recent: Flags,
        names: Sequence[str],
        files: History | None,
        rules: Rules,
        newest: int,
        day: int,
    ) -> Folded:
        used, owner = np.unique(lines.owner, return_inverse=True)
        lines = replace(lines, owner=owner.astype(np.int64))
        young = recent | (lines.day >= day - rules.dedupe_days)
        seen, dropped = remembered(lines.owner[young], lines.event_id[young], lines.day[young], len(used), day)
        cutoff = None if files is None else int(files.time.max())
        customers = tuple(names[i] for i in used.tolist())
        return Folded(customers, from_lines(lines), seen, dropped, cutoff, newest)


def _too_late(lines: Lines, partition: Ints, keep: Flags, rules: Rules) -> Flags:
    late = np.zeros(len(lines), np.bool_)
    for number in np.unique(partition).tolist():
        rows = np.flatnonzero((partition == number) & keep)
        if len(rows):
            late[rows] = lines.day[rows] < np.maximum.accumulate(lines.day[rows]) - rules.horizon_days
    return late


def _repeated(lines: Lines) -> Flags:
    """Flag lines whose customer had their event id before, in the order of the columns."""
    with_id = np.flatnonzero(lines.event_id != 0)
    owner, event = lines.owner[with_id], lines.event_id[with_id]
    order = np.lexsort((with_id, event, owner))
    again = np.zeros(len(with_id), np.bool_)
    again[order[1:]] = (owner[order[1:]] == owner[order[:-1]]) & (event[order[1:]] == event[order[:-1]])
    repeated = np.zeros(len(lines), np.bool_)
    repeated[with_id[again]] = True
    return repeated
