"""A learner that learns nothing: each day's model is the one before, under the next number."""

from __future__ import annotations

from models.bundle import Bundle, successor
from models.learner import Evidence


class FixedLearner:
    """Implements `models.learner.Learner`."""

    name = "fixed"
    needs_touched = False

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        return successor(bundle, day=evidence.day, created_by="recentre")
