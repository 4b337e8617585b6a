"""A history as a study: clustered by the very code that bootstraps the service, so that both say the same.

History (everything) --> lines, funnel
       kept lines --fold, choose k, cluster, name (consumer.history.bootstrap)--> model --> Study
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from consumer.history.bootstrap import Folded, Progress, prepare
from consumer.history.csv_frame import frame
from consumer.history.csv_source import History, fold_history
from consumer.settings import Settings
from features.codec import Seen
from models.learner import DEFAULT
from models.selection import Terms
from reports.workbench.study import Study, customers_on


def study_of(history: History, settings: Settings, *, k: int | None, progress: Progress) -> Study:
    """Return the study of a history that was read with `everything`, as of the day after its last counted line.

    progress: told (stage, done, of). Raises ValueError where there is nobody to cluster.
    """
    kept = history.take(history.kept)
    ids, ledger = fold_history(kept)
    newest = int(kept.time.max())
    day = int(kept.day.max()) + 1
    terms = Terms(day, settings.features, DEFAULT, settings.horizon_days, settings.margin, settings.recency_offset_days)
    none = np.empty(0, np.int64)
    seen = Seen(none, none.astype(np.uint64), none)
    prepared = prepare(Folded(ids, ledger, seen, 0, None, newest), terms, k=k, progress=progress)
    first = prepared.states.heads["first_day"].astype(np.int64)
    return Study(
        source=", ".join(Path(file).name for file in history.files),
        lines=frame(history),
        funnel=funnel_frame(history),
        ids=ids,
        ledger=ledger,
        first_day=first,
        day=day,
        bundle=prepared.bundle,
        choice=prepared.choice,
        currency=settings.currency,
        customers=customers_on(ids, ledger, first, day, prepared.bundle),
    )


def funnel_frame(history: History) -> pd.DataFrame:
    """Return what cleaning did to the lines, as `Study.funnel` describes it."""
    rows = history.funnel.rows()
    columns = {"step": "name", "kind": "kind", "lines": "lines", "customers": "customers", "value": "value"}
    return pd.DataFrame({ours: [getattr(row, theirs) for row in rows] for ours, theirs in columns.items()})
