r"""`model check`: the sentinel over the ledgers as they are, so that it needs no history of its own.

every customer's state --> daily inputs of the horizon          --models.sentinel-->        findings
                      \-> coordinates now and a week ago, sizes --models.sentinel_model-->
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import typer

from consumer.commands.cli_output import Output, Tell, table
from consumer.commands.customers import everybody
from consumer.commands.place import Place
from consumer.commands.population import Namespace, open_namespace
from consumer.commands.versions import Proposal, candidates_table, proposals, waits
from consumer.exits import ExitCode
from consumer.partition import iso
from features.codec import States
from features.ledger import Ints
from features.transaction import date_of
from features.vector import COORDINATE_SCALE, vectors
from models.bundle import Bundle, centroid_array, scale_array
from models.centroids import distances_under, nearest
from models.daily_inputs import DailyInputs, daily_inputs, nothing
from models.finding import Finding
from models.segments import misfits
from models.sentinel import FEWEST_DAYS, inspect
from models.sentinel_model import (
    FEWEST_CUSTOMERS,
    UNCOMPARED,
    decile_histograms,
    inspect_model,
    inspect_population,
)

WEEK = 7
FITS = 10
SAMPLE = 20_000
"""Customers that batch is fitted on: it costs seconds, and the ratio of inertias does not need more."""


class Check(msgspec.Struct, frozen=True):
    """What `model check --json` prints. inertia_ratio, silhouette: None below `FEWEST_CUSTOMERS` customers; pending:
    candidates that wait for a person, which is no alarm.
    """

    day: str
    version: int
    alarms: int
    information: int
    days_with_orders: int
    orders: int
    customers: int
    inertia_ratio: float | None
    silhouette: float | None
    findings: tuple[Finding, ...]
    pending: tuple[Proposal, ...] = ()


def run_check(place: Place, days: int, output: Output) -> None:
    """Print the findings of so many days; exit with 1 where one is an alarm."""
    namespace = open_namespace(place)
    day = min(state.day for state in namespace.states.values())
    with output.progress() as progress:
        customers = _read(place, namespace, day, progress)
        found = judge(customers, namespace.bundle, day, days, progress)
    waiting = tuple(each for each in proposals(namespace.registry) if each.pending)
    found = msgspec.structs.replace(found, pending=waiting)
    rows = [(f.severity, f.day.isoformat(), f.measure, f.message) for f in found.findings]
    advice = dict.fromkeys(f"{f.measure}, {f.kind}: {f.advice}" for f in found.findings)
    output.result(
        found,
        f"[bold]{found.alarms} alarms[/bold], {found.information} times information in the {days} days before "
        f"{found.day}; model {found.version}, {found.customers:,} customers, {found.orders:,} orders on "
        f"{found.days_with_orders} days",
        *([table(None, ["", "day", "what", "found"], rows), *advice] if rows else ["nothing is odd"]),
        *_not_judged(found),
        *([candidates_table(waiting)] if waiting else []),
        *map(waits, waiting),
    )
    if found.alarms:
        raise typer.Exit(int(ExitCode.DIFFERENCES))


def _not_judged(found: Check) -> list[str]:
    if found.days_with_orders > FEWEST_DAYS:
        return []
    return [f"a day's orders are judged once {FEWEST_DAYS} days with orders lie before it; {found.days_with_orders} do"]


@dataclass(frozen=True, slots=True)
class Seen:
    """Some customers' orders by day, and the clustered ones' coordinates, int64 (n, d), in three views.

    now: as of the partition's day. later, earlier: now and a week ago, both with a horizon that is a week shorter: the
    ledgers hold no more of a week ago, and like is compared with like.
    """

    inputs: DailyInputs
    now: Ints
    later: Ints
    earlier: Ints


def seen(states: States, bundle: Bundle, day: int, until: int) -> Seen:
    """Return what is to be seen of some customers of one partition; orders count before the day `until`."""
    horizon, first = bundle.horizon_days, states.heads["first_day"].astype(np.int64)
    inputs = daily_inputs(states.ledger, first, until - horizon, until)
    views = ((day, horizon), (day, horizon - WEEK), (day - WEEK, horizon - WEEK))
    return Seen(inputs, *(_coordinates(states, bundle, on, back) for on, back in views))


def _coordinates(states: States, bundle: Bundle, day: int, horizon: int) -> Ints:
    """Return the coordinates of those clustered as of a day, as they were then."""
    ledger = states.ledger.take((states.ledger.day <= day) & (states.ledger.day >= day - horizon))
    first = np.minimum(states.heads["first_day"].astype(np.int64), day)
    then = vectors(ledger, len(states.heads), day, first, bundle.features)
    return then.coordinates(bundle.features, bundle.recency_offset)[then.clustered]


def _read(place: Place, found: Namespace, until: int, progress: Tell) -> Seen:
    bundle = found.bundle
    nobody = np.empty((0, len(bundle.features)), np.int64)
    parts = [Seen(nothing(), nobody, nobody, nobody)]
    for state, _, states in everybody(place.settings, found.store, found.states, "reading customers", progress):
        parts.append(seen(states, bundle, state.day, until))
    inputs = nothing()
    for part in parts:
        inputs += part.inputs
    return Seen(inputs, *(np.concatenate([getattr(p, view) for p in parts]) for view in ("now", "later", "earlier")))


def judge(customers: Seen, bundle: Bundle, day: int, days: int, progress: Tell) -> Check:
    """Return the findings of the `days` days before `day`, and those of the population and the model as of it."""
    at = nearest(distances_under(bundle, customers.now))
    sizes = dict(zip((s.name for s in bundle.segments), np.bincount(at, minlength=bundle.k).tolist(), strict=True))
    names = {segment.id: segment.name for segment in bundle.segments}
    ratio, silhouette = _quality(customers.now, bundle, progress)
    findings = [
        *(finding for finding in inspect(customers.inputs) if finding.day >= date_of(day - days)),
        *inspect_population(day, _deciles(bundle, customers)),
        *inspect_model(day, sizes, {names[i]: name for i, name in misfits(bundle).items()}, ratio, silhouette),
    ]
    alarms = sum(finding.severity == "alarm" for finding in findings)
    return Check(
        day=iso(day),
        version=bundle.version,
        alarms=alarms,
        information=len(findings) - alarms,
        days_with_orders=len(customers.inputs),
        orders=int(customers.inputs.orders.sum()),
        customers=len(customers.now),
        inertia_ratio=ratio,
        silhouette=silhouette,
        findings=tuple(findings),
    )


def _deciles(bundle: Bundle, customers: Seen) -> dict[str, tuple[Ints, Ints]]:
    if not len(customers.earlier):
        return {}
    looked_at = [(i, name) for i, name in enumerate(bundle.features) if name != UNCOMPARED]
    return {name: decile_histograms(customers.earlier[:, i], customers.later[:, i]) for i, name in looked_at}


def _quality(now: Ints, bundle: Bundle, progress: Tell) -> tuple[float | None, float | None]:
    """Return the ratio of inertias to batch, and the silhouette, on a seeded sample."""
    from reports.quality import quality  # late: scikit-learn takes seconds to import

    if len(now) < FEWEST_CUSTOMERS:
        return None, None
    progress("fitting batch", 0, 1)
    chosen = np.random.default_rng(0).permutation(len(now))[:SAMPLE]
    found = quality(now[chosen] / COORDINATE_SCALE, centroid_array(bundle), scale_array(bundle), FITS)
    progress("fitting batch", 1, 1)
    return found.inertia_ratio, found.silhouette
