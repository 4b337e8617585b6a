"""Actions: what to do with each segment, who is about to leave it by silence, and which products to offer.

table of actions + medians ----------> a row a segment
ledger --foretell, 30 days ahead-----> who moves on which day if he stays silent, and his revenue
purchases --recommended--------------> products that customers like these bought, and these have not
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from features.transaction import date_of
from models.bundle import LAPSED
from reports.first_move import NEVER
from reports.foretell import foretell
from reports.workbench.action.recommendations import LEAST_CONFIDENCE, recommended
from reports.workbench.action.recommended_actions import Action
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.lines import described
from reports.workbench.measures import value
from reports.workbench.phrases import count, listed, money, share, unit
from reports.workbench.segments.products import purchases
from reports.workbench.study import Study, named
from reports.workbench.tables import greatest, rows
from reports.workbench.theme import segment_colours, styled

AHEAD = 30
"""Days looked ahead: as far as a campaign is planned."""

OFFERS = 3
"""Products recommended to a segment."""


def section(study: Study, actions: Mapping[str, Action]) -> Section:
    """Return the section. actions: by segment name (`recommended_actions.packaged` or a person's own)."""
    lead = (
        "One row of the table of actions for each segment, with the medians that its customers really have; then who "
        f"leaves a segment within {AHEAD} days if no order of theirs comes and the model stays as it is."
    )
    exhibits, notes = [_table(study, actions)], []
    if without := [name for name in present(study) if name not in actions]:
        notes.append(f"The table of actions has no row for {listed(without)}: name it there to see one here.")
    leavers = leaving(study)
    if leavers.empty:
        notes.append(f"Nobody leaves a segment by {AHEAD} days of silence.")
    else:
        exhibits += [_flows(study, leavers), _leavers(study, leavers)]
        lapsing = leavers[leavers["target"] == LAPSED.name].drop(columns="target").reset_index(drop=True)
        if len(lapsing):
            exhibits.append(_lapsing(study, lapsing))
        else:
            notes.append(f"Nobody lapses within {AHEAD} days.")
    offers = pd.DataFrame() if study.lines is None else products(study)
    if len(offers):
        exhibits.append(_offers(offers))
    elif study.lines is None:
        notes.append("The running service keeps no lines: products to recommend are known from files only.")
    else:
        notes.append(
            "No two products were bought together by enough customers of a segment to recommend one for another."
        )
    return Section("actions", "What to do?", lead, tuple(exhibits), notes=tuple(notes))


def present(study: Study) -> list[str]:
    """Return the names of the segments that have anybody, the clusters first."""
    counts = study.customers["segment"].value_counts()
    return [str(name) for name in study.customers["segment"].cat.categories if counts[name]]


def table(study: Study, actions: Mapping[str, Action]) -> pd.DataFrame:
    """Return a row a segment that has anybody: ``segment``, ``customers``, ``measured``, then `Action`'s other fields.

    measured: the medians in words; a segment without a row of the table has empty cells.
    """
    found = []
    for name in present(study):
        own = study.customers[study.customers["segment"] == name]
        action = actions.get(name, Action(name, "", "", "", "", ""))
        found.append({"segment": name, "customers": len(own), "measured": measured(own, study), **action._asdict()})
    return pd.DataFrame(found)


def measured(own: pd.DataFrame, study: Study) -> str:
    """Return what a segment's customers are like, in medians of who has the figure."""
    medians = own[["recency", "frequency", "monetary", "tenure"]].median()
    if not own["recency"].notna().any():
        return f"no order in {study.bundle.horizon_days} days; first line {medians['tenure']:,.0f} days ago"
    return (
        f"last order {medians['recency']:,.0f} days ago, {value('frequency', medians['frequency'], study.currency)} "
        f"{'order' if medians['frequency'] == 1 else 'orders'}, {money(medians['monetary'], study.currency)} net in "
        f"{study.bundle.horizon_days} days"
    )


def leaving(study: Study) -> pd.DataFrame:
    """Return who moves within `AHEAD` days of silence, the greatest revenue first (reports.foretell).

    Columns: ``customer``, ``day`` (ISO, on which the sweep would move him), ``source``, ``target``, ``revenue`` (net in
    the horizon as of the study's day, currency units). Each customer's first move alone.
    """
    labels = study.customers["segment_id"].reindex(list(study.ids)).fillna(0).to_numpy().astype(np.int64)
    as_of = np.full(len(labels), study.day)
    before = study.ledger.take(study.ledger.day < study.day)
    moved = foretell(before, study.first_day, labels, as_of, study.day + AHEAD, study.bundle)
    hit = np.flatnonzero(moved.step != NEVER)
    ids = [study.ids[row] for row in hit.tolist()]
    found = pd.DataFrame(
        {
            "customer": pd.Series(ids, dtype=str),
            "day": [date_of(step).isoformat() for step in moved.step[hit].tolist()],
            "source": study.customers["segment"].reindex(ids).astype(str).to_numpy(),
            "target": np.asarray(named(moved.segment[hit], study.bundle), dtype=object),
            "revenue": study.customers["monetary"].reindex(ids).to_numpy(),
        }
    )
    return found.sort_values(["revenue", "customer"], ascending=[False, True], ignore_index=True)


def products(study: Study) -> pd.DataFrame:
    """Return what to recommend, as `recommendations.recommended`, with the products' names beside their codes."""
    bought = purchases(study)
    found = recommended(bought[bought["segment"].isin(study.segments)], study.segments, OFFERS)
    assert study.lines is not None
    names = {str(code): str(name) for code, name in described(study.lines).items()}
    found["has"] = [f"{names[code]} ({code})" for code in found["has"]]
    found["recommend"] = [f"{names[code]} ({code})" for code in found["recommend"]]
    return found


def _table(study: Study, actions: Mapping[str, Action]) -> Exhibit:
    found = table(study, actions)
    clusters = study.clustered.groupby("segment", observed=True)["monetary"].sum()
    if clusters.empty:
        said = f"{count(len(study.customers), 'customer')}, none of them in a cluster."
    else:
        first = str(clusters.index[int(clusters.to_numpy().argmax())])
        action = actions.get(first)
        said = f"{first} bring most revenue, {share(float(clusters.max() / clusters.sum()))} of the clusters' net"
        said += f": {action.campaign}." if action else ", and the table has no row for them."
    return Exhibit("recommended-actions", "Campaign, channel, offer and KPI for each segment", said, found)


def _flows(study: Study, leavers: pd.DataFrame) -> Exhibit:
    found = leavers.groupby(["source", "target"]).agg(customers=("customer", "size"), revenue=("revenue", "sum"))
    found = found.reset_index().sort_values("revenue", ascending=False, ignore_index=True)
    first = greatest(found, "revenue")
    said = (
        f"{count(len(leavers), 'customer')} of {len(study.customers):,} leave their segment within {AHEAD} days of "
        f"silence, with {money(leavers['revenue'].sum(), study.currency)} net in {study.bundle.horizon_days} days; the "
        f"dearest are the {first['customers']:,} from {first['source']} to {first['target']} "
        f"({money(first['revenue'], study.currency)})."
    )
    colours = segment_colours(study.bundle)
    figure = go.Figure(
        go.Bar(
            y=[f"{row['source']} to {row['target']} (n = {row['customers']:,})" for row in rows(found)],
            x=found["revenue"],
            orientation="h",
            marker_color=[colours[name] for name in found["source"]],
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure = styled(figure, x=f"net in the horizon of those who leave [{unit(study.currency)}]", y="from and to")
    return Exhibit("moves-ahead", f"Moves foretold for {AHEAD} days of silence", said, found, figure)


def _leavers(study: Study, leavers: pd.DataFrame) -> Exhibit:
    first = rows(leavers)[0]
    soonest = str(leavers["day"].min())
    said = (
        f"First comes the one with most revenue: {money(first['revenue'], study.currency)}, from {first['source']} to "
        f"{first['target']} on {first['day']}. The soonest of the {len(leavers):,} moves on {soonest}."
    )
    return Exhibit("customers-leaving", "Who moves on which day unless he orders", said, leavers, whole=False)


def _lapsing(study: Study, lapsing: pd.DataFrame) -> Exhibit:
    said = (
        f"{count(len(lapsing), 'customer')} lapse between {lapsing['day'].min()} and {lapsing['day'].max()} unless an "
        f"order comes: their last is then over {study.bundle.horizon_days} days old; it concerns "
        f"{money(lapsing['revenue'].sum(), study.currency)}."
    )
    return Exhibit("about-to-lapse", "Customers about to lapse, and on which day", said, lapsing, whole=False)


def _offers(offers: pd.DataFrame) -> Exhibit:
    best = greatest(offers, "lift")
    said = (
        f"The closest pair is among {best['segment']}: of those who have {best['has']}, "
        f"{share(best['confidence_share'])} bought {best['recommend']} too, {best['lift']:.1f} times the share in the "
        f"segment; {count(best['candidates'], 'customer')} with the one lack the other."
    )
    title = f"Products to recommend: pairs of greatest lift, confidence {LEAST_CONFIDENCE:.0%} or more"
    return Exhibit("products-to-recommend", title, said, offers)
