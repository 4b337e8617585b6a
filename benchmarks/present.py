"""A file as it stands on the day after its last: ledger, model and published labels; what comes next starts there.

The model is fitted on that day's customers. Labels are those of daily sweeps over the last weeks under it, so some are
held by the margin where another cluster is nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.retail import Retail
from features.ledger import Ints, Ledger, expire, fold, from_lines
from features.vector import vectors
from models.bundle import Bundle
from models.scoring import score
from models.selection import Terms, fit, found

HORIZON = 365
SWEEPS = 28


@dataclass(frozen=True, slots=True)
class Present:
    """n customers as of `day`. ledger: expired to the horizon; first_day, labels: int64 (n,)."""

    ledger: Ledger
    first_day: Ints
    labels: Ints
    day: int
    bundle: Bundle


def present(
    retail: Retail, features: tuple[str, ...], *, margin: float = 0.95, recency_offset: int = 1, k: int = 4
) -> Present:
    """Return everybody on the day after the file's last, under a model over `features`."""
    lines, n, day = retail.lines, len(retail.customers), retail.until
    first_day = np.full(n, day, np.int64)
    np.minimum.at(first_day, lines.owner, lines.day)
    ledger, _ = expire(from_lines(lines), day - HORIZON)
    known = vectors(ledger, n, day, first_day, features)
    terms = Terms(day, features, "population", HORIZON, margin, recency_offset)
    bundle = found(fit(known.coordinates(features, recency_offset)[known.clustered], k), terms)
    labels = np.zeros(n, np.int64)
    for then in range(day - SWEEPS, day + 1):
        past, _ = expire(from_lines(lines.take(lines.day <= then)), then - HORIZON)
        labels = score(past, first_day, then, bundle).labels(labels, bundle)
    return Present(fold(ledger), first_day, labels, day, bundle)
