"""The report: all sections in the order of a reader's questions, as one page and a folder of tables.

In short -> can it be believed -> what is sold -> scores -> how many segments -> who they are -> who moves -> what to do
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from reports.workbench import method, summary
from reports.workbench.action import actions, movement
from reports.workbench.action.recommended_actions import Action, packaged
from reports.workbench.exhibit import Section
from reports.workbench.outlook import churn, value
from reports.workbench.page import page
from reports.workbench.sales import data_quality, exploration
from reports.workbench.segments import algorithms, choosing_k, products, profiles, projections, rfm_scores
from reports.workbench.study import Progress, Study


def sections(
    study: Study, progress: Progress, *, before: int | None = None, own_actions: Mapping[str, Action] | None = None
) -> list[Section]:
    """Return every section of a study.

    before: the day that movement is counted from, None for a quarter earlier. own_actions: by segment name, what to do,
    in place of the packaged table.
    """
    recommended = packaged() if own_actions is None else own_actions
    makers: tuple[Callable[[], Section], ...] = (
        partial(summary.section, study, before),
        partial(data_quality.section, study),
        partial(exploration.section, study),
        partial(rfm_scores.section, study),
        partial(choosing_k.section, study, progress),
        partial(projections.section, study),
        partial(algorithms.section, study),
        partial(profiles.section, study),
        partial(products.section, study),
        partial(movement.section, study, before, progress),
        partial(actions.section, study, recommended),
        partial(churn.section, study, progress),
        partial(value.section, study, progress),
        partial(method.section, study),
    )
    found = []
    for done, make in enumerate(makers):
        progress("writing sections", done, len(makers))
        found.append(make())
    progress("writing sections", len(makers), len(makers))
    return found


def html(study: Study, found: Sequence[Section]) -> str:
    """Return the page of some sections."""
    subtitle = f"{study.source}, as of {study.date:%-d %B %Y}"
    return page("Customers and their segments", subtitle, found, f"Made by segmenter from {study.source}.")


def tables(study: Study, found: Sequence[Section]) -> dict[str, pd.DataFrame]:
    """Return each exhibit's table by its key, and ``customers``: everybody with features and segment."""
    customers = study.customers.drop(columns="clustered").reset_index()
    customers["segment"] = customers["segment"].astype(str)
    return {each.key: each.data for section in found for each in section.exhibits} | {"customers": customers}
