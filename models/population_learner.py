"""The default learner: one Lloyd step a day over the living population, converged when asked."""

from __future__ import annotations

from dataclasses import dataclass

from models.bundle import Bundle
from models.learner import Evidence
from models.population import recentre
from models.sklearn_refine import refine


@dataclass(frozen=True, slots=True)
class PopulationLearner:
    """Each customer counts exactly once, however often he buys (DESIGN D4)."""

    name: str = "population"
    needs_touched: bool = False

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        """Return the recentred model, or the converged one where the evidence asks for it."""
        if evidence.refine:
            return refine(bundle, evidence.statistics, evidence.sample, evidence.day)
        return recentre(bundle, evidence.statistics, evidence.day)
