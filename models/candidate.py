"""A candidate: a model that nobody was segmented by yet, for a person to look at and to promote."""

from __future__ import annotations

import msgspec

from models.bundle import Bundle

CANDIDATES = 16
"""Candidates that a registry keeps; the oldest gives way."""


class Candidate(msgspec.Struct, frozen=True):
    """Proposed by the leader, fitted on demand or read from a file.

    why: in words; gain, overlap: how it compared with the model of its day (models.challenger), None where it was not.
    """

    bundle: Bundle
    why: str
    gain: float | None = None
    overlap: float | None = None
