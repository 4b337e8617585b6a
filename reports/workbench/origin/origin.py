"""The origin's notebook beside this project: each figure it recorded, reproduced by its own rules, and corrected.

lines --origin_steps--> the origin's features --origin_kmeans, origin_churn--> reproduced
Study (the service's own code) ---------------------------------------------> corrected

Recorded figures are shown only for the file that they were recorded on (origin_recorded.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from features.vector import Floats
from reports.workbench.origin import origin_recorded as recorded
from reports.workbench.origin.origin_kmeans import Run, best_wcss, search
from reports.workbench.origin.origin_rows import (
    SEED,
    Row,
    choosing_rows,
    churn_rows,
    clusters_rows,
    customers_rows,
    lines_rows,
)
from reports.workbench.origin.origin_steps import origin_of
from reports.workbench.study import Progress, Study

STARTS = 30
"""Seeds that are tried, a k, beside `origin_recorded.SEEDS`."""


def comparison(study: Study, progress: Progress, starts: int = STARTS) -> tuple[Row, ...]:
    """Return the table. Raises ValueError for a study without lines. starts: as of `STARTS`."""
    if study.lines is None:
        raise ValueError("the origin's steps begin with order lines, and this study has none")
    lines, theirs = study.lines, recorded.is_recorded_file(study.lines)
    origin = origin_of(lines, pd.Timestamp(study.date))
    runs, best = _clusterings(origin.x, theirs, starts, progress)
    progress("churn", 0, 1)
    rows = (
        *lines_rows(lines),
        *customers_rows(origin, study),
        *choosing_rows(runs, best, study, theirs),
        *clusters_rows(origin, runs, study),
        *churn_rows(origin, study),
    )
    progress("churn", 1, 1)
    return rows if theirs else tuple(replace(row, recorded=None) for row in rows)


def _clusterings(x: Floats, theirs: bool, starts: int, progress: Progress) -> tuple[dict[int, Run], dict[int, float]]:
    """Return, by k, the run nearest to the recorded one (on another file: the best), and the least WCSS found."""
    different = len(np.unique(x, axis=0))
    ks = [k for k in recorded.RUNS if k <= different]
    runs, best = {}, {}
    for done, k in enumerate(ks):
        progress("K-Means as recorded", done, len(ks))
        seeds = dict.fromkeys([recorded.SEEDS[k], *range(starts)])
        runs[k] = search(x, k, list(seeds), recorded.RUNS[k] if theirs else None)
        best[k] = min(best_wcss(x, k, SEED), runs[k].wcss)
    progress("K-Means as recorded", len(ks), len(ks))
    return runs, best
