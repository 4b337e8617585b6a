"""The gap statistic: does K-Means tighten these customers more than it tightens noise in the same box?

    Gap(k) = mean over B references of log W*(k)  -  log W(k)          W: WCSS of the best fit
    takes the smallest k with  Gap(k) >= Gap(k + 1) - s(k + 1)         s: sd of log W* times sqrt(1 + 1/B)

Tibshirani, Walther and Hastie, J. R. Statist. Soc. B 63 (2001) 411-423; references are uniform in the box along the
principal components (their choice b). It is the one criterion here that can answer 1: no clusters at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.vector import Floats

REFERENCES = 20
STARTS = 3
"""Random starts of each fit, the customers' and the references' alike: more for one side would lean the comparison."""


def gap_statistic(z: Floats, ks: Sequence[int], told: Callable[[int], None] | None = None) -> pd.DataFrame:
    """Return the gap of each k: ``k``, ``gap``, ``gap_error`` (the s above), both in natural logarithms.

    z: float64 (n, d), with more different rows than the greatest k; told: how many of `REFERENCES` are done.
    """
    rng = np.random.default_rng(0)
    centred = z - z.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    with threadpool_limits(limits=1):
        own = _log_wcss(turned, ks)
        references = np.empty((REFERENCES, len(ks)))
        for b in range(REFERENCES):
            references[b] = _log_wcss(rng.uniform(low, high, turned.shape), ks)
            if told:
                told(b + 1)
    return pd.DataFrame(
        {
            "k": list(ks),
            "gap": references.mean(axis=0) - own,
            "gap_error": references.std(axis=0) * math.sqrt(1 + 1 / REFERENCES),
        }
    )


def first_within_error(table: pd.DataFrame) -> int | None:
    """Return the k that the rule takes from the table of ascending, successive k; None where it takes none."""
    gap, error = table["gap"].to_numpy(), table["gap_error"].to_numpy()
    holds = np.flatnonzero(gap[:-1] >= gap[1:] - error[1:])
    return int(table["k"].iloc[holds[0]]) if len(holds) else None


def _log_wcss(points: Floats, ks: Sequence[int]) -> list[float]:
    return [math.log(KMeans(k, n_init=STARTS, random_state=0).fit(points).inertia_) for k in ks]
