"""A store in memory: for tests of logic, held to the same contract as Redis (tests/features/store_contract.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from features.store import (
    Chunk,
    Commit,
    Fence,
    Fenced,
    GenerationGone,
    Orders,
    OutOfStep,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)


@dataclass
class Part:
    """One partition's keys."""

    fence: Fence
    states: dict[str, bytes] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    outbox: bytes = b""
    statistics: bytes | None = None
    days: list[bytes] = field(default_factory=list)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    rows: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    daily: set[tuple[int, bytes]] = field(default_factory=set)

    def copy(self) -> Part:
        """Return one that does not change with this one."""
        names = ("states", "index", "days", "snapshots", "rows", "marks", "daily")
        return replace(self, **{name: getattr(self, name).copy() for name in names})


class Journal:
    """How to take writes back, newest last: a server that loses its last writes loses them over all its keys."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._undo)

    def note(self, undo: Callable[[], None]) -> None:
        """Remember how to take back the write that follows."""
        self._undo.append(undo)

    def lose(self, writes: int) -> int:
        """Take the last writes back; return how many there were."""
        lost = min(writes, len(self._undo))
        for _ in range(lost):
            self._undo.pop()()
        return lost


class MemoryStore:
    """Implements `features.store.Store`; `lose_reply` and `unavailable` crash it on cue.

    With a journal its last writes can be lost.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.parts: dict[int, Part] = {}
        self._journal = journal
        self.unavailable = 0
        """So many calls fail before anything happens."""
        self.lose_reply = 0
        """So many commits are written, and their reply is lost."""
        self.hold = 0
        """So many commits are on their way for long: they arrive right before the next one that is not their retry."""
        self.held: list[tuple[int, Commit]] = []
        self.between: Callable[[], None] = lambda: None
        """Called between the commits of one round trip: where a process dies that has sent a part of them."""
        self.ordered = Orders(None, None)
        """What the operator asks of all workers."""

    def begin(self, partition: int, state: bytes) -> None:
        """Start a partition as a bootstrap does."""
        self.parts[partition] = Part(Fence(0, "0:0", "0:0", state))

    def put(self, partition: int, customer: str, position: int, blob: bytes) -> None:
        """Load a customer as a bootstrap does."""
        self.parts[partition].states[customer] = blob
        self.parts[partition].index[customer] = position

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        return {partition: self._part(partition).fence for partition in partitions}

    def orders(self) -> Orders:
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailable("told to be away")
        return self.ordered

    def raise_epoch(self, partition: int, epoch: int, owner: str = "") -> None:
        part = self._part(partition)
        if part.fence.epoch >= epoch:
            raise Fenced(f"partition {partition}: another worker holds a higher epoch")
        self._note(partition, part)
        part.fence = replace(part.fence, epoch=epoch, owner=owner)

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        return {p: [self._part(p).states.get(customer) for customer in ids] for p, ids in wanted.items()}

    def key(self, partition: int, name: str) -> str:
        return f"{partition}:{name}"

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        return [self._part(partition).marks.get(hashed) for hashed in hashes]

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        part = self._part(partition)
        ordered = sorted((position, customer) for customer, position in part.index.items() if position > after)
        taken = ordered[:limit]
        if len(taken) == limit:
            taken = [pair for pair in ordered if pair[0] <= taken[-1][0]]
        ids = [customer for _, customer in taken]
        return Chunk(ids, [position for position, _ in taken], [part.states.get(customer) for customer in ids])

    def statistics(self, partition: int) -> bytes | None:
        return self._part(partition).statistics

    def outbox(self, partition: int) -> bytes:
        return self._part(partition).outbox

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        return self._part(partition).snapshots.get(sweep)

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        return self._part(partition).rows.get(f"{name}:{sweep}", b"")

    def day_log(self, partition: int) -> list[bytes]:
        return list(self._part(partition).days)

    def daily(self, partition: int, first_day: int) -> list[bytes]:
        return [data for day, data in sorted(self._part(partition).daily) if day >= first_day]

    def commit(self, partition: int, commit: Commit) -> None:
        if self.hold:
            self.hold -= 1
            self.held.append((partition, commit))
            raise StoreUnavailable("no answer in time")
        for late in [each for each in self.held if each[1] is not commit]:
            self.held.remove(late)
            with suppress(StoreRefused):
                self._commit(*late)
        self._commit(partition, commit)

    def commit_each(self, commits: Mapping[int, Commit]) -> dict[int, StoreError]:
        failures: dict[int, StoreError] = {}
        for n, (partition, commit) in enumerate(commits.items()):
            if n:
                self.between()
            try:
                self.commit(partition, commit)
            except StoreError as error:
                failures[partition] = error
        return failures

    def _commit(self, partition: int, commit: Commit) -> None:
        part = self._part(partition)
        if (part.fence.epoch, part.fence.owner) != (commit.epoch, commit.owner):
            raise Fenced(f"partition {partition}: another worker holds a higher epoch")
        if part.fence.last == commit.id:
            return
        if part.fence.last != commit.parent:
            raise OutOfStep(f"partition {partition}: Redis is not at the commit that this one follows")
        self._note(partition, part)
        self._write(part, commit)
        if self.lose_reply:
            self.lose_reply -= 1
            raise StoreUnavailable("the reply was lost")

    def _write(self, part: Part, commit: Commit) -> None:
        part.fence = Fence(commit.epoch, commit.id, commit.follows or commit.parent, commit.state, commit.owner)
        part.outbox = commit.outbox
        part.statistics = commit.statistics or part.statistics
        if commit.day_entry:
            part.days.append(commit.day_entry)
        here = {name: f"{name}:{commit.sweep}" for name in ("sample", "touched")}
        if commit.begins:
            for key in (*here.values(), f"sample:{commit.sweep - 2}", f"touched:{commit.sweep - 3}"):
                part.rows.pop(key, None)
        for name, more in (("sample", commit.sample), ("touched", commit.touched)):
            if more:
                part.rows[here[name]] = part.rows.get(here[name], b"") + more
        if commit.snapshot is not None:
            part.snapshots[commit.snapshot.sweep] = commit.snapshot.statistics
            part.snapshots.pop(commit.snapshot.sweep - 2, None)
        if commit.row is not None:
            row = commit.row
            part.daily.add((row.day, row.data))
            part.daily -= {(day, data) for day, data in part.daily if day < row.first_day}
        part.states.update(commit.states)
        part.index.update(commit.created)
        for customer in commit.deleted:
            part.states.pop(customer, None)
            part.index.pop(customer, None)
        part.marks.update(commit.marks)
        part.rows.update(commit.replaced)

    def _note(self, partition: int, part: Part) -> None:
        if self._journal is not None:
            before = part.copy()
            self._journal.note(lambda: self.parts.update({partition: before}))

    def _part(self, partition: int) -> Part:
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailable("told to be away")
        if partition not in self.parts:
            raise GenerationGone(f"partition {partition}: no state")
        return self.parts[partition]
