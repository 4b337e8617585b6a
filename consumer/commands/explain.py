"""`explain`: why a customer is where he is, what changed since his last move, and the least that would move him.

stored state --> scores --> contributions of the features, for the nearest cluster and against the second nearest
             --> silence foretold, and the least order --> the smallest action, as a sentence
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from rich.console import RenderableType

from consumer.commands.cli_output import Output, cell, plain, table
from consumer.commands.lookup import NextMove, Stored, clearness, next_move, read_or_say
from consumer.commands.place import Place
from consumer.commands.population import readable
from consumer.outlook import first_order_day, next_moves
from consumer.partition import iso
from consumer.scoring import first_days, named_segment, rounded
from features.codec import States
from features.ledger import MONEY
from features.moves import CAUSES
from models.bundle import Bundle, Segment
from models.centroids import NOWHERE
from models.scoring import Scores
from reports.counterfactual import DAYS, LARGEST_ORDER, least_orders
from reports.explain import Nearest, contributions, since, two_nearest
from reports.first_move import NEVER
from reports.own_days import score_on

SMALLEST = 0.01
"""An order of less than that in currency units is any order."""


class Near(msgspec.Struct, frozen=True):
    """A cluster and the distance to it, in standard deviations of log units."""

    id: int
    name: str
    distance: float


class Contribution(msgspec.Struct, frozen=True):
    """What a feature adds to second.distance^2 - best.distance^2: above 0 it speaks for the best cluster."""

    feature: str
    value: float | None
    contribution: float


class Change(msgspec.Struct, frozen=True):
    """A feature of the model at the end of the day of the last move, and now."""

    feature: str
    then: float | None
    now: float | None


class LastMove(msgspec.Struct, frozen=True):
    """The last move, and what is dated after its day: orders, their net, returns that stand alone (currency units).

    cause: None where the state keeps no moves or lost this one (`segmenter upgrade`, a divergence). features: None
    where orders of then have expired, so that it is not known any more.
    """

    on: str
    previous: Segment | None
    cause: str | None
    days: int
    orders: int
    bought: float
    returned: float
    features: list[Change] | None


class LeastOrder(msgspec.Struct, frozen=True):
    """One more order of `amount`, on any day from `earliest` to `latest`, moves him to `segment`; on `earliest` no
    smaller one moves him.
    """

    amount: float
    earliest: str
    latest: str
    segment: Segment


class Explanation(msgspec.Struct, frozen=True):
    """best, second: the nearest clusters; held: he is published in another than the nearest, by the margin rule.

    best, second and contributions are None and empty for who stands outside the clusters. smallest: the order where
    there is one, else silence where it moves him within `DAYS` days, else "none".
    """

    customer_id: str
    as_of: str
    segment: Segment | None
    margin: float | None
    held: bool
    best: Near | None
    second: Near | None
    contributions: list[Contribution]
    difference: float | None
    last_move: LastMove | None
    next_move: NextMove | None
    order: LeastOrder | None
    smallest: Literal["order", "silence", "none"]
    in_words: str
    model_version: int


def show_explanation(place: Place, text: str, output: Output) -> None:
    """Print why a customer is where he is, or that he is unknown."""
    found = explain(read_or_say(place, text, output))
    output.result(
        found,
        f"[bold]{plain(found.customer_id)}[/bold]  {found.segment.name if found.segment else '(none yet)'}; as of "
        f"{found.as_of}",
        *_why(found),
        "",
        *_changed(found.last_move),
        "",
        f"What would move him: {found.in_words}",
    )


def explain(found: Stored) -> Explanation:
    """Explain one customer. Raises `Stop` where his model cannot be read."""
    states, state = found.states, found.state
    bundle = readable(found.bundle, state.sweep.version)
    today, labels = np.array([state.day]), states.heads["segment"].astype(np.int64)
    scores = score_on(states.ledger, first_days(states, state.day), today, bundle)
    clear = clearness(bundle, scores, labels)[0]
    clustered = bool(scores.vectors.clustered[0])
    near = two_nearest(scores.table) if clustered else None
    best = None if near is None else _near(bundle, scores, int(near.best[0]))
    second = None if near is None else _near(bundle, scores, int(near.second[0]))
    move, order = next_move(found, bundle), _least_order(found, bundle)
    silent = move is not None and move.in_days <= DAYS
    return Explanation(
        customer_id=found.customer,
        as_of=iso(state.day),
        segment=named_segment(bundle, int(labels[0])) if labels[0] else None,
        margin=clear.margin,
        held=clear.held,
        best=best,
        second=second,
        contributions=[] if near is None or second is None else _contributions(bundle, scores, near),
        difference=None if best is None or second is None else second.distance**2 - best.distance**2,
        last_move=_last_move(found, bundle, scores) if labels[0] else None,
        next_move=move,
        order=order,
        smallest="order" if order else "silence" if silent else "none",
        in_words=_in_words(order, move),
        model_version=bundle.version,
    )


def _least_order(found: Stored, bundle: Bundle) -> LeastOrder | None:
    states, state = found.states, found.state
    least = least_orders(
        states.ledger,
        first_days(states, state.day),
        states.heads["segment"].astype(np.int64),
        first_order_day(states, state),
        np.array([state.day + DAYS]),
        next_moves([found.customer], states, state, bundle, DAYS),
        bundle,
    )
    if least.day[0] == NEVER:
        return None
    return LeastOrder(
        amount=int(least.amount[0]) / MONEY,
        earliest=iso(int(least.day[0])),
        latest=iso(int(least.last_day[0])),
        segment=named_segment(bundle, int(least.segment[0])),
    )


def _contributions(bundle: Bundle, scores: Scores, near: Nearest) -> list[Contribution]:
    """Return what each feature adds, the weightiest first."""
    parts = contributions(scores.coordinates, near, bundle)[0].tolist()
    found = [
        Contribution(name, rounded(float(scores.vectors.values[name][0])), part)
        for name, part in zip(bundle.features, parts, strict=True)
    ]
    return sorted(found, key=lambda each: -abs(each.contribution))


def _near(bundle: Bundle, scores: Scores, cluster: int) -> Near | None:
    if cluster == NOWHERE:
        return None
    segment = bundle.segments[cluster]
    return Near(segment.id, segment.name, float(scores.table[0, cluster]))


def _last_move(found: Stored, bundle: Bundle, now: Scores) -> LastMove:
    states, day = found.states, found.state.day
    head, ledger, first = states.heads[0], states.ledger, first_days(states, day)
    entered = int(head["entered_day"])
    later = since(ledger, entered)
    features = None
    if len(ledger) and int(ledger.day.min()) == int(first[0]):  # nothing of his has ever expired
        then = score_on(ledger.take(ledger.day <= entered), first, np.array([entered]), bundle).vectors.values
        features = [
            Change(name, rounded(float(then[name][0])), rounded(float(now.vectors.values[name][0])))
            for name in bundle.features
        ]
    return LastMove(
        on=iso(entered),
        previous=named_segment(bundle, int(head["previous"])) if head["previous"] else None,
        cause=_cause(states),
        days=day - entered,
        orders=later.orders,
        bought=later.bought / MONEY,
        returned=later.returned / MONEY,
        features=features,
    )


def _cause(states: States) -> str | None:
    """Return why the one customer of some states is where he is, as far as his newest move tells."""
    head, kept = states.heads[0], states.moves.records[-1:]
    told = [
        int(move["cause"]) for move in kept if move["target"] == head["segment"] and move["day"] == head["entered_day"]
    ]
    return CAUSES[told[0]] if told else None


def _in_words(order: LeastOrder | None, move: NextMove | None) -> str:
    """Return the smallest action as a sentence, and what silence does."""
    silent = move is not None and move.in_days <= DAYS
    parts = []
    if order is not None:
        cents = -(-round(order.amount * MONEY) * 100 // MONEY) / 100  # up to whole hundredths: less does not do
        when = f"by {order.latest}" if order.latest > order.earliest else f"on {order.earliest}"
        amount = f"at least {cell(cents)}" if cents > SMALLEST else "any amount"
        parts.append(f"one more order of {amount} {when} moves him to {order.segment.name}")
    if move is not None and silent:
        parts.append(f"silent until {move.on}, in {move.in_days} days, he moves to {move.segment.name}")
    none = f"none within {DAYS} days: neither silence nor an order of up to {cell(LARGEST_ORDER // MONEY)}"
    return "; ".join(parts) or none


def _why(found: Explanation) -> list[RenderableType]:
    if found.best is None or found.second is None:
        return ["There is one cluster." if found.best else "He stands outside the clusters."]
    held = f", held in {found.segment.name} by the margin" if found.held and found.segment else ""
    parts = [(each.feature, each.value, f"{each.contribution:+.3f}") for each in found.contributions]
    first, then = (f"{near.name} ({near.distance:.2f})" for near in (found.best, found.second))
    return [
        f"nearest {first}, then {then}{held}",
        "",
        table(None, ["feature", "value>", "contribution>"], [*parts, ("sum", None, f"{found.difference:+.3f}")]),
        f"above 0: for {found.best.name}; below: for {found.second.name}",
    ]


def _changed(move: LastMove | None) -> list[RenderableType]:
    if move is None:
        return ["No move yet."]
    came = f"from {move.previous.name}" if move.previous else "first assigned"
    why = f", cause: {move.cause}" if move.cause else ""
    told = (
        f"Since {move.on} ({came}{why}): {move.days} days, {move.orders} orders of {cell(move.bought)}, returns of "
        f"{cell(move.returned)}"
    )
    if move.features is None:
        return [told, "what he was like then is not known: orders of then have left the horizon"]
    return [told, table(None, ["feature", "then>", "now>"], [(c.feature, c.then, c.now) for c in move.features])]
