"""`lookup`: what is known of one customer, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import msgspec
import numpy as np
import typer

from consumer.commands.cli_output import Output, cell, plain, table
from consumer.commands.place import Place
from consumer.exits import ExitCode
from consumer.outlook import next_moves, next_moves_across
from consumer.partition import PartitionState, decode_state, iso
from consumer.scoring import first_days, named_segment, rounded, within_horizon
from consumer.service import local_partition_of, open_state
from consumer.settings import Settings
from features.codec import NO_DAY, States, decode_states
from features.identity import canonical_id
from features.ledger import Ints
from features.redis_generation import Binding
from features.redis_store import RedisStore
from features.vector import NAMES, vectors
from models.bundle import Bundle, Segment
from models.centroids import margin_of
from models.redis_registry import RedisRegistry
from models.scoring import Scores, scored
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
class Opened:
    """A state that is open, for one look-up or for many. models: the versions that were read; one never changes."""

    settings: Settings
    binding: Binding
    store: RedisStore
    registry: RedisRegistry
    home: Callable[[str], int]
    models: dict[int, Bundle] = field(default_factory=dict)

    def model(self, version: int) -> Bundle | None:
        """Return a version of the model, None where the registry has lost it. Raises `StoreError`."""
        if version not in self.models and (found := self.registry.load(version)) is not None:
            self.models[version] = found
        return self.models.get(version)


def opened(settings: Settings) -> Opened:
    """Open the live generation. Raises `Stop` where there is none, `StoreError`."""
    client, binding, store = open_state(settings)
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    return Opened(settings, binding, store, registry, local_partition_of(binding.partitions))


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


class Row(NamedTuple):
    """One customer as he was read: his state's bytes, and how his partition stands."""

    customer: str
    partition: int
    blob: bytes
    standing: PartitionState


@dataclass(frozen=True, slots=True)
class Group:
    """n customers, at least one, whose partitions stand on one day under one model. states: theirs, in their order.

    standing: each one's partition; keys, bytes: of each one's state.
    """

    customers: Sequence[str]
    partitions: Sequence[int]
    keys: Sequence[str]
    bytes: Sequence[int]
    states: States
    standing: Sequence[PartitionState]
    horizon_days: int
    bundle: Bundle | None


def read(state: Opened, customer: str) -> Stored | None:
    """Read one customer by his canonical id; None for an unknown one. Raises `StoreError`, `InvalidState`."""
    for group in grouped(state, read_rows(state, [customer])):
        return Stored(
            customer=customer,
            partition=group.partitions[0],
            key=group.keys[0],
            bytes=group.bytes[0],
            states=group.states,
            state=group.standing[0],
            horizon_days=group.horizon_days,
            bundle=group.bundle,
        )
    return None


def read_rows(state: Opened, customers: Sequence[str]) -> list[Row]:
    """Read customers by their different canonical ids, in two round trips; unknown ones are left out.

    Raises `StoreError`, `GenerationGone` where another state has taken this one's place.
    """
    wanted: dict[int, list[str]] = {}
    for customer in customers:
        wanted.setdefault(state.home(customer), []).append(customer)
    blobs = state.store.load(wanted)
    standing = {partition: decode_state(fence.state) for partition, fence in state.store.fences(sorted(wanted)).items()}
    return [
        Row(customer, partition, blob, standing[partition])
        for partition, ids in wanted.items()
        for customer, blob in zip(ids, blobs[partition], strict=True)
        if blob is not None
    ]


def grouped(state: Opened, rows: Sequence[Row]) -> list[Group]:
    """Decode what was read, those together who can be computed together. Raises `StoreError`, `InvalidState`."""
    alike: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.standing.day, row.standing.sweep.version), []).append(row)
    return [
        Group(
            customers=[row.customer for row in some],
            partitions=[row.partition for row in some],
            keys=[state.store.keys.customer(row.partition, row.customer).decode() for row in some],
            bytes=[len(row.blob) for row in some],
            states=decode_states([row.blob for row in some]),
            standing=[row.standing for row in some],
            horizon_days=state.binding.horizon_days,
            bundle=state.model(version),
        )
        for (_, version), some in alike.items()
    ]


def read_or_say(place: Place, text: str, output: Output) -> Stored:
    """Read one customer, or say that he is unknown and end."""
    customer = canonical_id(text)
    found = read(opened(place.settings), customer)
    if found is None:
        say_unknown(place, customer, output)
    return found


def say_unknown(place: Place, customer: str, output: Output) -> NoReturn:
    """Say that a customer is unknown, and end."""
    output.error(
        ExitCode.DIFFERENCES, f"unknown id {customer!r}: no order of his was applied in {place.settings.namespace}"
    )
    raise typer.Exit(int(ExitCode.DIFFERENCES))


def described(found: Stored) -> Customer:
    """Return what is known of a customer."""
    group = Group(
        [found.customer],
        [found.partition],
        [found.key],
        [found.bytes],
        found.states,
        [found.state],
        found.horizon_days,
        found.bundle,
    )
    return describe(group)[0]


def describe(group: Group) -> list[Customer]:
    """Return what is known of each customer of a group, all of them computed at once."""
    states, bundle, day = group.states, group.bundle, group.standing[0].day
    n, heads = len(group.customers), states.heads
    ledger = within_horizon(states, day - group.horizon_days)
    first_day = first_days(states, day)
    known = vectors(ledger, n, day, first_day, NAMES)
    scores = None if bundle is None else scored(known, bundle)
    labels = heads["segment"].astype(np.int64)
    clear = clearness(bundle, scores, labels)
    near = _distances(bundle, scores, n)
    silent = _next_moves(group)
    records = np.bincount(states.ledger.owner, minlength=n).tolist()
    remembered = np.bincount(states.seen.owner, minlength=n).tolist()
    columns = {name: column.tolist() for name, column in known.values.items()}
    return [
        Customer(
            customer_id=group.customers[i],
            segment=named_segment(bundle, segment) if segment else None,
            previous=named_segment(bundle, previous) if previous else None,
            entered_on=iso(entered) if segment else None,
            revision=revision,
            as_of=iso(day),
            features={name: rounded(column[i]) for name, column in columns.items()},
            distances=near[i],
            margin=clear[i].margin,
            held=clear[i].held,
            first_order=None if first == NO_DAY else iso(first),
            last_order=None if first == NO_DAY else iso(last),
            next_move=silent[i],
            records=records[i],
            remembered_events=remembered[i],
            partition=group.partitions[i],
            key=group.keys[i],
            bytes=group.bytes[i],
            model_version=group.standing[i].sweep.version,
        )
        for i, (segment, previous, entered, revision, first, last) in enumerate(heads[_TOLD].tolist())
    ]


_TOLD = ["segment", "previous", "entered_day", "revision", "first_day", "last_day"]


def next_move(found: Stored, bundle: Bundle) -> NextMove | None:
    """Return a customer's next move in silence, None where there is none in `DAYS` days."""
    moves = next_moves([found.customer], found.states, found.state, bundle, DAYS)
    return _told(int(moves.step[0]), int(moves.segment[0]), found.state.day, bundle)


def _next_moves(group: Group) -> list[NextMove | None]:
    if group.bundle is None:
        return [None] * len(group.customers)
    moves = next_moves_across(group.customers, group.states, group.standing, group.bundle, DAYS)
    told = zip(moves.step.tolist(), moves.segment.tolist(), strict=True)
    return [_told(step, segment, group.standing[0].day, group.bundle) for step, segment in told]


def _told(day: int, segment: int, today: int, bundle: Bundle) -> NextMove | None:
    return None if day == NEVER else NextMove(iso(day), day - today, named_segment(bundle, segment))


class Clearness(NamedTuple):
    """How clear one customer's label is, as his records say it (`models.centroids.margin_of`).

    margin: 1 - d(nearest) / d(second nearest), None for who stands outside the clusters; held: he is published in
    another cluster than the nearest, by the margin rule.
    """

    margin: float | None
    held: bool


def clearness(bundle: Bundle | None, scores: Scores | None, labels: Ints) -> list[Clearness]:
    """Return how clear n labels are. labels: int64 (n,); scores: None as the model is where that is lost."""
    if bundle is None or scores is None:
        return [Clearness(None, held=False)] * len(labels)
    found = margin_of(scores.table, labels, bundle)
    told = zip(scores.vectors.clustered.tolist(), found.margin.tolist(), found.held.tolist(), strict=True)
    return [Clearness(rounded(margin) if inside else None, inside and held) for inside, margin, held in told]


def _distances(bundle: Bundle | None, scores: Scores | None, customers: int) -> list[dict[str, float]]:
    if bundle is None or scores is None:
        return [{}] * customers
    names = [segment.name for segment in bundle.segments]
    told = zip(scores.vectors.clustered.tolist(), scores.table.tolist(), strict=True)
    return [{name: round(d, 6) for name, d in zip(names, row, strict=True)} if inside else {} for inside, row in told]
