"""A store and a registry that read real ones and keep every write to themselves (for `run --dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from consumer.leader import Registry
from features.store import Chunk, Commit, Fence, Orders, Store, StoreError
from models.bundle import Bundle
from models.candidate import Candidate
from models.checkup import Checkup


@dataclass(slots=True)
class _Written:
    """What one partition's dry commits left."""

    fence: Fence | None = None
    states: dict[str, bytes | None] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    statistics: bytes | None = None
    outbox: bytes | None = None
    snapshots: dict[int, bytes] = field(default_factory=dict)
    daily: list[tuple[int, bytes]] = field(default_factory=list)
    rows: dict[tuple[str, int], bytes] = field(default_factory=dict)
    days: list[bytes] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)


class OverlayStore:
    """A `features.store.Store` that reads another one and keeps all writes to itself."""

    def __init__(self, under: Store) -> None:
        self._under = under
        self._written: dict[int, _Written] = {}

    def _of(self, partition: int) -> _Written:
        return self._written.setdefault(partition, _Written())

    def fences(self, partitions: Sequence[int]) -> dict[int, Fence]:
        """Return the fences as first read, then as written here: the state's own worker may go on meanwhile."""
        unread = [p for p in partitions if self._of(p).fence is None]
        for partition, found in (self._under.fences(unread) if unread else {}).items():
            self._of(partition).fence = found
        return {p: fence for p in partitions if (fence := self._of(p).fence) is not None}

    def raise_epoch(self, partition: int, epoch: int, owner: str = "") -> None:
        """Note the epoch here."""
        self._of(partition).fence = replace(self.fences([partition])[partition], epoch=epoch, owner=owner)

    def load(self, wanted: Mapping[int, Sequence[str]]) -> dict[int, list[bytes | None]]:
        """Return states, those written here first."""
        missing = {p: [c for c in ids if c not in self._of(p).states] for p, ids in wanted.items()}
        below = self._under.load(missing)
        found = {p: dict(zip(ids, below.get(p, []), strict=True)) for p, ids in missing.items()}
        return {p: [(self._of(p).states | found[p])[c] for c in ids] for p, ids in wanted.items()}

    def orders(self) -> Orders:
        """Return what the operator asks; a dry run writes nothing, and so goes on while all are paused."""
        return self._under.orders()._replace(paused=None)

    def key(self, partition: int, name: str) -> str:
        """Return how a message calls a place."""
        return self._under.key(partition, name)

    def marks(self, partition: int, hashes: Sequence[str]) -> list[bytes | None]:
        """Return marks, those written here first."""
        below = self._under.marks(partition, hashes)
        ours = self._of(partition).marks
        return [ours.get(hashed, mark) for hashed, mark in zip(hashes, below, strict=True)]

    def chunk(self, partition: int, after: int, limit: int) -> Chunk:
        """Return the next customers of both; goes on where customers ended here left less than `limit`."""
        ids: list[str] = []
        positions: list[int] = []
        blobs: list[bytes | None] = []
        more = True
        while more and len(ids) < limit:
            below = self._under.chunk(partition, after, limit)
            more = len(below.ids) >= limit
            part = self._merged(partition, after, below, below.positions[-1] if more else None)
            ids, positions, blobs = ids + part.ids, positions + part.positions, blobs + part.blobs
            after = below.positions[-1] if more else after
        return Chunk(ids, positions, blobs)

    def _merged(self, partition: int, after: int, below: Chunk, last: int | None) -> Chunk:
        """Put the customers written here among those below, up to the position `last`."""
        written = self._of(partition)
        found = {c: (p, blob) for c, p, blob in zip(below.ids, below.positions, below.blobs, strict=True)}
        for customer, position in written.positions.items():
            if position > after and (last is None or position <= last):
                found[customer] = position, None
        for customer in found.keys() & written.states.keys():
            found[customer] = found[customer][0], written.states[customer]
        ended = {customer for customer, blob in written.states.items() if blob is None}
        order = sorted((position, customer) for customer, (position, _) in found.items() if customer not in ended)
        ids = [customer for _, customer in order]
        return Chunk(ids, [position for position, _ in order], [found[customer][1] for customer in ids])

    def statistics(self, partition: int) -> bytes | None:
        """Return the newest statistics."""
        return self._of(partition).statistics or self._under.statistics(partition)

    def outbox(self, partition: int) -> bytes:
        """Return the newest outbox."""
        ours = self._of(partition).outbox
        return self._under.outbox(partition) if ours is None else ours

    def snapshot(self, partition: int, sweep: int) -> bytes | None:
        """Return a finished sweep's statistics."""
        return self._of(partition).snapshots.get(sweep) or self._under.snapshot(partition, sweep)

    def rows(self, partition: int, name: str, sweep: int) -> bytes:
        """Return rows below with those added here."""
        ours = self._of(partition).rows
        if f"={name}" in {key for key, number in ours if number == sweep}:
            return ours[f"={name}", sweep]
        return self._under.rows(partition, name, sweep) + ours.get((name, sweep), b"")

    def day_log(self, partition: int) -> list[bytes]:
        """Return the day log with the entries added here."""
        return self._under.day_log(partition) + self._of(partition).days

    def daily(self, partition: int, first_day: int) -> list[bytes]:
        """Return the rows of the daily table with those added here."""
        ours = [data for day, data in self._of(partition).daily if day >= first_day]
        return self._under.daily(partition, first_day) + ours

    def commit(self, partition: int, commit: Commit) -> None:
        """Keep a commit here."""
        written = self._of(partition)
        written.fence = Fence(commit.epoch, commit.id, commit.follows or commit.parent, commit.state, commit.owner)
        written.states |= commit.states
        written.states |= dict.fromkeys(commit.deleted)
        written.positions |= commit.created
        written.outbox, written.statistics = commit.outbox, commit.statistics or written.statistics
        written.marks |= commit.marks
        for name, more in (("sample", commit.sample), ("touched", commit.touched)):
            written.rows[name, commit.sweep] = written.rows.get((name, commit.sweep), b"") + more
        for name, left in commit.replaced.items():
            kind, _, number = name.partition(":")
            written.rows[f"={kind}", int(number)] = left
        if commit.day_entry is not None:
            written.days.append(commit.day_entry)
        if commit.snapshot is not None:
            written.snapshots[commit.snapshot.sweep] = commit.snapshot.statistics
        if commit.row is not None:
            written.daily.append((commit.row.day, commit.row.data))

    def commit_each(self, commits: Mapping[int, Commit]) -> dict[int, StoreError]:
        """Keep commits here; none fails."""
        for partition, commit in commits.items():
            self.commit(partition, commit)
        return {}


class OverlayRegistry:
    """A registry of models that keeps what is published to itself."""

    def __init__(self, under: Registry) -> None:
        self._under = under
        self._made: dict[int, Bundle] = {}
        self._checkups: dict[int, Checkup] = {}

    def current(self) -> int | None:
        """Return the live version."""
        return max(self._made) if self._made else self._under.current()

    def load(self, version: int) -> Bundle | None:
        """Return a version."""
        return self._made.get(version) or self._under.load(version)

    def publish(self, bundle: Bundle, expected: int | None) -> bool:
        """Keep a version here."""
        if self.current() != expected:
            return False
        self._made[bundle.version] = bundle
        return True

    def propose(self, candidate: Candidate) -> int:
        """Propose nothing: nobody will look here."""
        del candidate
        return 0

    def pending(self) -> dict[int, Candidate]:
        """Return nothing: what is proposed here goes nowhere."""
        return {}

    def note(self, checkup: Checkup) -> None:
        """Keep a checkup here."""
        self._checkups[checkup.version] = checkup

    def checkups(self) -> dict[int, Checkup]:
        """Return all of them."""
        return self._under.checkups() | self._checkups

    def keep(self, bundle: Bundle) -> bool:
        """Put a version back here."""
        return (self.load(bundle.version) or self._made.setdefault(bundle.version, bundle)) == bundle
