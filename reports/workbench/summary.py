"""The first page: what a busy reader takes away, every figure of it worked out from the data.

customers now and three months ago --> who brings the money, who came, who went, what to know before believing it
"""

from __future__ import annotations

import pandas as pd

from features.transaction import date_of
from models.bundle import LAPSED
from reports.workbench import phrases
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, money, share
from reports.workbench.segments.sizes import medians, sizes
from reports.workbench.study import Study
from reports.workbench.tables import greatest

BACK = 90
"""Days between the two looks at the segments, where nobody names the first."""


def section(study: Study, before: int | None = None) -> Section:
    """Return the section; its first table is the segments at a glance. before: the day to compare with."""
    table = segments(study)
    revenue = float(table["net"].sum())
    lead = (
        f"{count(len(study.customers), 'customer')} are known up to {study.date:%-d %B %Y}; in the "
        f"{study.bundle.horizon_days} days before it they netted {money(revenue, study.currency)}. They fall into "
        f"{count(study.bundle.k, 'segment')} by how recently, how often and for how much they buy, and those outside "
        "of them, who lapsed or never bought more than they gave back."
    )
    if study.clustered.empty:
        return Section("summary", "In short", lead, notes=("Nobody is in the clusters: there is nothing to segment.",))
    points = [_value(study, table), *_changes(study, study.day - BACK if before is None else before), *_doubts(study)]
    return Section("summary", "In short", lead, (_glance(study, table),), tuple(points))


def segments(study: Study) -> pd.DataFrame:
    """Return a row a segment that has anybody, the clusters first.

    Columns: ``segment``, ``customers``, ``customer_share``, ``net`` (currency units in the horizon), ``revenue_share``
    (of the clusters' net; none outside them, where a net may be below zero), ``median_recency`` (days),
    ``median_orders``, ``median_net``.
    """
    found = sizes(study.customers).merge(medians(study.customers).drop(columns="customers"), on="segment")
    return pd.DataFrame(
        {
            "segment": found["segment"],
            "customers": found["customers"],
            "customer_share": found["customers_share"],
            "net": found["revenue"],
            "revenue_share": found["revenue_share"],
            "median_recency": found["recency"],
            "median_orders": found["frequency"],
            "median_net": found["monetary"],
        }
    )


def _glance(study: Study, table: pd.DataFrame) -> Exhibit:
    largest = greatest(table, "customers")
    return Exhibit(
        "segments-at-a-glance",
        "Segments at a glance",
        f"The largest segment is {largest['segment']} with {share(largest['customer_share'])} of the customers and "
        f"{share(largest['revenue_share'])} of the net revenue; its middle customer spent "
        f"{money(largest['median_net'], study.currency)} in {count(int(largest['median_orders']), 'order')}.",
        table,
    )


def _value(study: Study, table: pd.DataFrame) -> str:
    best = greatest(table, "net")
    return (
        f"{best['segment']} bring most: {share(best['revenue_share'])} of the net revenue from "
        f"{share(best['customer_share'])} of the customers; the middle one ordered "
        f"{count(int(best['median_orders']), 'time')} and last bought {count(int(best['median_recency']), 'day')} "
        f"before {study.date:%-d %B %Y}."
    )


def _changes(study: Study, day: int) -> list[str]:
    """Return what changed since a day, under the same model."""
    if study.lines is None:  # the service keeps a horizon's records: a past day would lack its oldest ones
        return []
    before = study.as_of(day)
    if before.empty or not before["clustered"].any():
        return []
    now = study.customers[["segment_id", "segment"]].add_suffix("_now")
    both = before.join(now)
    moved = both[both["segment_id"] != both["segment_id_now"]]
    lapsed = both[(both["segment_id_now"] == LAPSED.id) & (both["segment_id"] != LAPSED.id)]
    changed = (
        f"In the {study.day - day} days before, {share(len(moved) / len(both))} of {count(len(both), 'customer')} "
        f"changed their segment and {count(len(study.customers) - len(both), 'customer')} came for the first time."
    )
    said = [changed]
    known_from = int(study.ledger.day.min())
    if day - study.bundle.horizon_days < known_from:
        said.append(
            f"The data begin on {phrases.day(date_of(known_from))}: a look at {phrases.day(date_of(day))} knows "
            f"{count(day - known_from, 'day')} of orders, not {study.bundle.horizon_days}: some moves are the data's."
        )
    best = study.segments[0]
    left = moved[moved["segment"].astype(str) == best]
    if len(left):
        to = greatest(left["segment_now"].astype(str).value_counts().reset_index(), "count")
        said.append(
            f"{count(len(left), 'customer')} left {best}, most of them for {to['segment_now']}; they had netted "
            f"{money(float(left['monetary'].sum()), study.currency)} in the year before."
        )
    if len(lapsed):
        said.append(
            f"{count(len(lapsed), 'customer')} lapsed: nothing in {study.bundle.horizon_days} days any more. They had "
            f"netted {money(float(lapsed['monetary'].sum()), study.currency)} as of {phrases.day(date_of(day))}."
        )
    return said


def _doubts(study: Study) -> list[str]:
    said = []
    chosen = [] if study.choice is None else [row for row in study.choice.table if row.k == study.bundle.k]
    if chosen:
        said.append(
            f"How sure are the {study.bundle.k} segments? Resampled, they come back with an agreement (adjusted Rand "
            f"index) of {chosen[0].stability:.2f}; their silhouette is {chosen[0].silhouette:.2f}"
            + (": they are a useful cut through a continuum, not islands." if chosen[0].silhouette < 0.5 else ".")
        )
    if study.lines is not None:
        guests = float(study.lines["customer"].isna().mean())
        if guests:
            said.append(f"{share(guests)} of the lines have no customer: their buyers are in no segment.")
    return said
