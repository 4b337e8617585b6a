"""A learner makes the next model from a day's evidence; all of them pass one conformance suite.

    population   recentres from every living customer, and converges when asked (default; DESIGN D4)
    minibatch    scikit-learn's MiniBatchKMeans on the customers touched that day
    river        river's KMeans on the customers touched that day, one by one

`update` is a function of its arguments: no clock, no randomness, nothing kept between calls. What a
learner remembers travels in the bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from features.ledger import Ints
from models.bundle import Bundle
from models.population import Statistics

DEFAULT = "population"

REFINE_EVERY = 7
"""Days between refinements: 1 keeps closest to batch with 2.4 times the returns to a segment just left."""


CHALLENGE_EVERY = 14
"""Days between two challenges by a fit from scratch (models.challenger)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a day leaves to learn from; coordinates are int64 in 2^-24 of log units.

    day: days since 1970-01-01; statistics: of every clustered customer under the present bundle, all
    partitions added up; sample: (m, d), a uniform sample of these customers; touched: (t, d), the
    vectors of the customers with an event that day, in the order of arrival (empty unless the
    learner `needs_touched`); refine: converge, rather than take one step.
    """

    day: int
    statistics: Statistics
    sample: Ints
    touched: Ints
    refine: bool = False


def no_evidence(bundle: Bundle, day: int) -> Evidence:
    """Return the evidence of a day on which nobody is left."""
    d = len(bundle.features)
    nobody = np.empty((0, d), np.int64)
    return Evidence(day, Statistics.zeros(bundle.k, d), nobody, nobody)


def refinement_due(bundle: Bundle, day: int, every: int = REFINE_EVERY) -> bool:
    """Return whether the model made of `day` is to be converged: every so many days, and daily while it is new.

    A fresh clustering's best optimum can change within days of the bootstrap, and one step a day follows
    slowly (docs/decisions/0008). A function of the present model and the day alone: nothing to remember,
    a replay does the same, and days that were left out do not skip a refinement.
    """
    return day // every > bundle.day // every or bundle.version <= every


def challenge_due(bundle: Bundle, day: int) -> bool:
    """Return whether the model made of `day` meets a challenger: a function of the present model and the day alone."""
    return day // CHALLENGE_EVERY > bundle.day // CHALLENGE_EVERY


class Learner(Protocol):
    """Makes the next version of a model; tests/models/test_learner_conformance.py says what that means."""

    @property
    def name(self) -> str:
        """How settings and bundles call it."""

    @property
    def needs_touched(self) -> bool:
        """Whether it learns from the vectors of the customers touched that day."""

    def update(self, bundle: Bundle, evidence: Evidence) -> Bundle:
        """Return version + 1 with the same features, k, segments and margin; `bundle` stays as it is."""


_MAKERS = {
    "population": ("models.population_learner", "PopulationLearner"),
    "minibatch": ("models.sklearn_learner", "MiniBatchLearner"),
    "river": ("models.river_learner", "RiverLearner"),
}
NAMES = tuple(_MAKERS)


def learner_named(name: str) -> Learner:
    """Return a learner with its default settings; its library is imported only now. Raises ValueError."""
    if name not in _MAKERS:
        raise ValueError(f"no learner is called {name!r}; there are {', '.join(NAMES)}")
    module, maker = _MAKERS[name]
    make: Callable[[], Learner] = getattr(import_module(module), maker)
    return make()
