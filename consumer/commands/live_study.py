"""The running service's state as a study: everybody's published segment and ledger, and no lines, for none are kept."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd

from consumer.commands.cli_output import Tell
from consumer.commands.customers import everybody
from consumer.commands.place import Place
from consumer.commands.population import open_namespace
from consumer.commands.trend import trend_of
from consumer.exits import ExitCode, Stop
from consumer.scoring import first_days, within_horizon
from features.ledger import Ledger
from features.vector import NAMES, vectors
from models.bundle import FIXED
from reports.workbench.study import Past, Study, frame_of, nearest_labels

NOBODY_YET, GONE = "(new)", "(gone)"
"""Where customers come from who had no segment, and where those go who are erased or forgotten."""


def live_study(place: Place, progress: Tell) -> Study:
    """Read everybody, each as of his partition's day. Raises `Stop` where nobody is there, `StoreError`.

    What has no segment yet (no sweep has seen him) is not in the study.
    """
    found = open_namespace(place)
    ids: list[str] = []
    ledgers, firsts, frames = [], [], []
    for state, names, states in everybody(found.settings, found.store, found.states, "reading customers", progress):
        first = first_days(states, state.day)
        ledger = within_horizon(states, state.day - found.bundle.horizon_days)
        known = vectors(ledger, len(names), state.day, first, NAMES)
        labels = states.heads["segment"].astype(np.int64)
        # A segment that the model has no longer: until the next sweep says it, he is where that sweep will put him.
        present = np.isin(labels, [0, *(segment.id for segment in (*FIXED, *found.bundle.segments))])
        shown = np.where(present & (labels != 0), labels, nearest_labels(known, found.bundle))
        frames.append(frame_of(names, known, shown, found.bundle)[labels != 0])
        ledgers.append(replace(ledger, owner=ledger.owner + len(ids)))
        firsts.append(first)
        ids += names
    if not ids:
        raise Stop(ExitCode.USAGE, f"{place.settings.namespace} knows no customer yet: bootstrap, or let a worker run")
    return Study(
        source=f"the running service ({place.settings.namespace})",
        lines=None,
        funnel=pd.DataFrame(columns=["step", "kind", "lines", "customers", "value"]),
        ids=tuple(ids),
        ledger=Ledger(*(np.concatenate([getattr(each, f.name) for each in ledgers]) for f in fields(Ledger))),
        first_day=np.concatenate(firsts),
        day=max(state.day for state in found.states.values()),
        bundle=found.bundle,
        choice=None,
        currency=place.settings.currency,
        customers=pd.concat(frames),
    )


def past_of(place: Place) -> Past | None:
    """Return what the daily table holds, None where no sweep has left a day in it yet."""
    try:
        days = trend_of(place, place.settings.history_days).days
    except Stop:
        return None
    sizes = [(day.day, each.name, each.customers, each.revenue) for day in days for each in day.segments]
    flows = [
        (
            day.day,
            each.source.name if each.source else NOBODY_YET,
            each.target.name if each.target else GONE,
            each.cause,
            each.customers,
        )
        for day in days
        for each in day.flows or ()
    ]
    return Past(
        pd.DataFrame(sizes, columns=["day", "segment", "customers", "revenue"]),
        pd.DataFrame(flows, columns=["day", "source", "target", "cause", "customers"]),
    )
