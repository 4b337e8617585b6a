"""A candidate: a model that nobody was segmented by yet, for a person to look at and to promote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from models.bundle import Bundle

CANDIDATES = 16
"""Candidates that a registry keeps; the oldest gives way."""

Cause = Literal["rescue", "challenger", "refit", "import"]
"""Proposed by the leader for a dying segment, or because a fit from scratch won; asked for by a person, or a file."""


class Candidate(msgspec.Struct, frozen=True):
    """Proposed by the leader, fitted on demand or read from a file.

    why: in words; gain, overlap: how it compared with the model of its day (models.challenger), None where it was not;
    over: the version that was live when it was proposed; dying: ids of the segments that a rescue is for; stability:
    mean adjusted Rand index of its k over bootstrap resamples (models.selection), where k is another one than the live
    model's.
    """

    bundle: Bundle
    why: str
    gain: float | None = None
    overlap: float | None = None
    cause: Cause | None = None
    over: int = 0
    dying: tuple[int, ...] = ()
    stability: float | None = None


def pending(candidates: Mapping[int, Candidate], promoted: int | None) -> dict[int, Candidate]:
    """Return those that wait for a person: proposed since one was last promoted, or a model rolled back.

    promoted: the version that a person chose last, None where none ever did. Whoever chooses answers all that lay
    before him: what they were compared with is live no more.
    """
    return {name: each for name, each in candidates.items() if promoted is None or each.over >= promoted}


def is_proposed(cause: Cause, dying: tuple[int, ...], waiting: Mapping[int, Candidate]) -> bool:
    """Say whether one for the same cause, and the same dying segments, waits already."""
    return any((each.cause, each.dying) == (cause, dying) for each in waiting.values())
