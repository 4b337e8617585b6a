"""`lookup`: what is known of one customer, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import msgspec
import numpy as np
import typer

from consumer.commands.cli_output import Output, cell, plain, table
from consumer.commands.place import Place
from consumer.exits import ExitCode
from consumer.outlook import next_moves
from consumer.partition import PartitionState, decode_state, iso
from consumer.scoring import first_days, named_segment, rounded, within_horizon
from consumer.service import local_partition_of, open_state
from features.codec import NO_DAY, States, decode_states
from features.identity import canonical_id
from features.vector import NAMES, vectors
from models.bundle import Bundle, Segment, segment_ids
from models.centroids import margin_of
from models.redis_registry import RedisRegistry
from models.scoring import Scores, score
from reports.first_move import NEVER
from reports.foretell import DAYS


class NextMove(msgspec.Struct, frozen=True):
    """The move of a customer who stays silent, under the present model; in_days: after the partition's day."""

    on: str
    in_days: int
    segment: Segment


class Customer(msgspec.Struct, frozen=True):
    """A customer as of the partition's day. distances: to each cluster, in standard deviations of log units; margin,
    held: see `Clearness`.
    """

    customer_id: str
    segment: Segment | None
    previous: Segment | None
    entered_on: str | None
    revision: int
    as_of: str
    features: dict[str, float | None]
    distances: dict[str, float]
    margin: float | None
    held: bool
    first_order: str | None
    last_order: str | None
    next_move: NextMove | None
    records: int
    remembered_events: int
    partition: int
    key: str
    bytes: int
    model_version: int


def show_customer(place: Place, text: str, output: Output) -> None:
    """Print a customer, or that he is unknown."""
    found = described(read_or_say(place, text, output))
    segment = found.segment.name if found.segment else "(none yet: the first sweep gives it)"
    previous = f", before that {found.previous.name}" if found.previous else ""
    since = f" since {found.entered_on}" if found.entered_on else ""
    rows = [(name, cell(value)) for name, value in found.features.items()]
    where = [
        ("revision", found.revision),
        ("model", found.model_version),
        ("first order", found.first_order),
        ("last order", found.last_order),
        ("orders kept", found.records),
        ("partition", found.partition),
        ("key", plain(found.key)),
    ]
    near = sorted(found.distances.items(), key=lambda pair: pair[1])
    output.result(
        found,
        f"[bold]{plain(found.customer_id)}[/bold]  {segment}{since}{previous}; as of {found.as_of}",
        silence_in_words(found.next_move) if found.segment else "",
        *_clearness_in_words(found),
        "",
        table(None, ["feature", "value>"], rows),
        "",
        table(None, ["", ""], where),
        "distances: " + ", ".join(f"{name} {distance:.2f}" for name, distance in near) if near else "",
    )


def _clearness_in_words(found: Customer) -> list[str]:
    if found.margin is None:
        return []
    held = "; held: another cluster is nearer, by less than the margin rule asks" if found.held else ""
    return [f"margin {found.margin:.2f} (1 on a centroid, 0 halfway to the next){held}"]


def silence_in_words(move: NextMove | None) -> str:
    """Return what silence does, as a sentence."""
    if move is None:
        return f"silent, he stays there for {DAYS} days at least"
    return f"silent, he moves to {move.segment.name} on {move.on}, in {move.in_days} days"


@dataclass(frozen=True, slots=True)
class Stored:
    """One customer as he is stored, with the partition that he is in. bundle: the model of its sweep."""

    customer: str
    partition: int
    key: str
    bytes: int
    states: States
    state: PartitionState
    horizon_days: int
    bundle: Bundle | None


def read(place: Place, text: str) -> Stored | None:
    """Read one customer; None for an unknown id."""
    settings = place.settings
    client, binding, store = open_state(settings)
    customer = canonical_id(text)
    partition = local_partition_of(binding.partitions)(customer)
    blob = store.load({partition: [customer]})[partition][0]
    if blob is None:
        return None
    state = decode_state(store.fences([partition])[partition].state)
    return Stored(
        customer=customer,
        partition=partition,
        key=store.keys.customer(partition, customer).decode(),
        bytes=len(blob),
        states=decode_states([blob]),
        state=state,
        horizon_days=binding.horizon_days,
        bundle=RedisRegistry(client, settings.namespace, binding.generation).load(state.sweep.version),
    )


def read_or_say(place: Place, text: str, output: Output) -> Stored:
    """Read one customer, or say that he is unknown and end."""
    found = read(place, text)
    if found is None:
        say_unknown(place, canonical_id(text), output)
    return found


def say_unknown(place: Place, customer: str, output: Output) -> NoReturn:
    """Say that a customer is unknown, and end."""
    output.error(
        ExitCode.DIFFERENCES, f"unknown id {customer!r}: no order of his was applied in {place.settings.namespace}"
    )
    raise typer.Exit(int(ExitCode.DIFFERENCES))


def described(found: Stored) -> Customer:
    """Return what is known of a customer."""
    state, states, bundle = found.state, found.states, found.bundle
    head = states.heads[0]
    first = int(head["first_day"])
    ledger = within_horizon(states, state.day - found.horizon_days)
    first_day = first_days(states, state.day)
    values = vectors(ledger, 1, state.day, first_day, NAMES).values
    scores = None if bundle is None else score(ledger, first_day, state.day, bundle)
    clear = clearness(bundle, scores, int(head["segment"]))
    return Customer(
        customer_id=found.customer,
        segment=named_segment(bundle, int(head["segment"])) if head["segment"] else None,
        previous=named_segment(bundle, int(head["previous"])) if head["previous"] else None,
        entered_on=iso(int(head["entered_day"])) if head["segment"] else None,
        revision=int(head["revision"]),
        as_of=iso(state.day),
        features={name: rounded(float(column[0])) for name, column in values.items()},
        distances=_distances(bundle, scores),
        margin=clear.margin,
        held=clear.held,
        first_order=None if first == NO_DAY else iso(first),
        last_order=None if first == NO_DAY else iso(int(head["last_day"])),
        next_move=None if bundle is None else next_move(found, bundle),
        records=len(states.ledger),
        remembered_events=len(states.seen.id),
        partition=found.partition,
        key=found.key,
        bytes=found.bytes,
        model_version=state.sweep.version,
    )


def next_move(found: Stored, bundle: Bundle) -> NextMove | None:
    """Return a customer's next move in silence, None where there is none in `DAYS` days."""
    moves = next_moves([found.customer], found.states, found.state, bundle, DAYS)
    day, segment = int(moves.step[0]), int(moves.segment[0])
    return None if day == NEVER else NextMove(iso(day), day - found.state.day, named_segment(bundle, segment))


class Clearness(NamedTuple):
    """How clear one customer's label is, as his records say it (`models.centroids.margin_of`).

    margin: 1 - d(nearest) / d(second nearest), None for who stands outside the clusters; held: he is published in
    another cluster than the nearest, by the margin rule.
    """

    margin: float | None
    held: bool


def clearness(bundle: Bundle | None, scores: Scores | None, label: int) -> Clearness:
    """Return how clear a label is. scores: of one customer; None as the model is where that is lost."""
    if bundle is None or scores is None or not scores.vectors.clustered[0]:
        return Clearness(None, held=False)
    found = margin_of(scores.table, np.array([label]), bundle)
    return Clearness(rounded(float(found.margin[0])), bool(found.held[0]))


def _distances(bundle: Bundle | None, scores: Scores | None) -> dict[str, float]:
    if bundle is None or scores is None or not scores.vectors.clustered[0]:
        return {}
    names = {segment.id: segment.name for segment in bundle.segments}
    return {names[i]: round(float(d), 6) for i, d in zip(segment_ids(bundle), scores.table[0], strict=True)}
