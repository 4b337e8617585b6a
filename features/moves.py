"""A customer's moves between segments, the newest ones: ragged records beside his state (features.codec).

    | revision 4 | day 4 | model version 4 | source 2 | target 2 | cause 1 |      little-endian, packed

A move is what was published: the same revision, day, cause and model as the output record that tells of it. Source 0:
he had no segment yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.ledger import Ints

MAX_MOVES = 16
"""Moves kept a customer; the oldest give way."""

CAUSES = ("bootstrap", "purchase", "return", "late", "silence", "model")
"""A cause is stored as its place here; new ones are added at the end."""

MOVE = np.dtype(
    [
        ("revision", "<u4"),
        ("day", "<i4"),  # days since 1970-01-01
        ("version", "<u4"),  # of the model that moved him
        ("source", "<u2"),
        ("target", "<u2"),
        ("cause", "<u1"),
    ]
)


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves of customers 0..n-1. owner: int64, sorted; records: MOVE, as many, by revision within an owner."""

    owner: Ints
    records: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.owner)

    def flows(self) -> Counter[tuple[int, int, str]]:
        """Count the moves by (source, target, cause)."""
        found = self.records
        columns = (found["source"].tolist(), found["target"].tolist(), found["cause"].tolist())
        return Counter((source, target, CAUSES[cause]) for source, target, cause in zip(*columns, strict=True))


def no_moves() -> Moves:
    """Return the moves of customers who never moved."""
    return Moves(np.empty(0, np.int64), np.empty(0, MOVE))


def joined(moves: Moves, later: Sequence[Moves]) -> Moves:
    """Add later moves, each collection later than the one before; of each customer the newest `MAX_MOVES` stay."""
    added = [each for each in later if len(each)]
    if not added:
        return moves
    owner = np.concatenate([moves.owner, *(each.owner for each in added)])
    records = np.concatenate([moves.records, *(each.records for each in added)])
    order = np.argsort(owner, kind="stable")
    owner, records = owner[order], records[order]
    last = np.searchsorted(owner, owner, side="right")
    kept = last - np.arange(len(owner)) <= MAX_MOVES
    return Moves(owner[kept], records[kept])


def reverted(moves: Moves, labels: Ints, first: int, stop: int) -> Ints:
    """Return the labels with the moves under models first <= version < stop taken back, int64 (n,).

    labels: int64 (n,), the present ones. Of a customer whom only silence and models have moved since the first of these
    moves the label before it is returned; orders that moved him on one day and back before the next turn count as none,
    for whether they do depends on where batches fall (PROTOCOL C3). All others keep their label, and so do those whose
    label before is no longer kept or was taken back already.
    """
    found = labels.copy()
    version = moves.records["version"]
    concerned = np.unique(moves.owner[(version >= first) & (version < stop)])
    starts, ends = np.searchsorted(moves.owner, concerned), np.searchsorted(moves.owner, concerned, side="right")
    for owner, start, end in zip(concerned.tolist(), starts.tolist(), ends.tolist(), strict=True):
        own = moves.records[start:end]
        since = own[own["version"] >= first]
        forgotten = len(since) == MAX_MOVES or since["source"][0] == 0
        if not forgotten and since["version"].max() < stop and not _moved_by_himself(since):
            found[owner] = since["source"][0]
    return found


def _moved_by_himself(moves: npt.NDArray[np.void]) -> bool:
    """Say whether his orders have changed his label from one turn of the day to a later one. moves: MOVE, his own."""
    start = None
    for source, target, cause in moves[["source", "target", "cause"]].tolist():
        if CAUSES[cause] in ("silence", "model"):
            if start not in (None, source):
                return True
            start = None
        elif start is None:
            start = source
        last = target
    return start not in (None, last)
