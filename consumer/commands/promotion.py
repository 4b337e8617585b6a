"""`model promote`, `model rollback`: a person's choice of the model, foretold customer by customer before it is made.

    choose -> ids by the customers that old and new share -> who moves -> publish by compare-and-set -> a sweep

Promotion makes exactly the moves that a dry run tells, unless input comes between the two.
"""

from __future__ import annotations

import msgspec

from consumer.commands.cli_output import Output, Tell
from consumer.commands.place import Place
from consumer.commands.population import Namespace, Population, open_namespace, population, seen_by
from consumer.commands.versions import Chosen, Flow, chosen, flows_of, flows_table, said
from consumer.exits import ExitCode, Stop
from consumer.partition import DayEntry, iso
from features.ledger import Ints
from models.bundle import Bundle, Change
from models.lineage import descend, overlap_of, reinstate

LARGE = ("promote", "refit", "rescue")
"""Makers whose versions a rollback takes back; a day's step is none of them."""


class Unpromotable(Stop):
    """A model that cannot go live as things stand: it does already, or another was made meanwhile."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.USAGE, message)


class Promotion(msgspec.Struct, frozen=True):
    """What `model promote` and `model rollback` print. version: the new number; of: the model that was chosen.

    moves: customers who get another segment, revenue: their net in the horizon; customers: all of them.
    """

    version: int
    of: str
    published: bool
    day: str
    changes: tuple[Change, ...]
    customers: int
    moves: int
    revenue: float
    flows: tuple[Flow, ...]


def promote(place: Place, name: str, output: Output, *, dry_run: bool) -> None:
    """Make a version or a candidate the live model, or say what that would do, and print it."""
    with output.progress() as tell:
        told = promoted(place, name, tell, dry_run=dry_run)
    _print(told, output)


def promoted(place: Place, name: str, tell: Tell, *, dry_run: bool) -> Promotion:
    """Make a version or a candidate the live model, or only say what that would do.

    Raises `UnknownModel`, `Unpromotable`, `Stop`, `StoreError`.
    """
    found = writable(place)
    model = chosen(found, name)
    if model.bundle.version == found.bundle.version and not model.is_candidate:
        raise Unpromotable(f"version {model.name} is the live model")
    everybody = population(found, msgspec.structs.replace(model.bundle, replaced=None), tell)
    return _finished(found, _made(found, model, everybody), everybody, model.name, dry_run=dry_run)


def roll_back(place: Place, output: Output, *, dry_run: bool) -> None:
    """Put the model back that was live before the last large change, and each label that no event has changed since."""
    found = writable(place)
    change, former = last_change(found)
    replaced = (change.version, found.bundle.version + 1)
    with output.progress() as tell:
        everybody = population(found, msgspec.structs.replace(former, version=replaced[1], replaced=replaced), tell)
    made = reinstate(
        found.bundle,
        former,
        _overlap(found, everybody, former),
        day=_today(found),
        created_by="rollback",
        replaced=replaced,
    )
    _print(_finished(found, made, everybody, str(former.version), dry_run=dry_run), output)


def writable(place: Place) -> Namespace:
    """Return a namespace whose models may say what became of their segments. Raises `Stop` where not yet."""
    found = open_namespace(place)
    if found.bundle.schema < 2:
        raise Unpromotable("the model has the form of an older version: `segmenter upgrade` first")
    return found


def last_change(found: Namespace) -> tuple[Bundle, Bundle]:
    """Return the newest version that a rollback takes back, and the one under which everybody was swept before it.

    That is not always its parent: a day's model is made when the day is swept, and used from the next day on. Raises
    `Stop` without any.
    """
    stop = found.bundle.version + 1
    for number in reversed(found.registry.versions()):
        bundle = found.registry.load(number) if number < stop else None
        if bundle is None:
            continue
        if bundle.created_by == "rollback" and bundle.replaced is not None:
            stop = bundle.replaced[0]
        elif bundle.created_by in LARGE:
            swept = _swept_before(found, number)
            former = None if swept is None else found.registry.load(swept)
            if former is not None:
                return bundle, former
    raise Stop(
        ExitCode.USAGE,
        "no version was promoted, refitted or rescued that is not taken back already; "
        "`segmenter model promote VERSION` brings any version back",
    )


def _swept_before(found: Namespace, version: int) -> int | None:
    """Return the newest model below a version under which a partition was swept."""
    entries = (msgspec.json.decode(entry, type=DayEntry) for p in found.states for entry in found.store.day_log(p))
    return max((entry.version for entry in entries if entry.version < version), default=None)


def _made(found: Namespace, model: Chosen, everybody: Population) -> Bundle:
    if model.bundle.horizon_days != found.binding.horizon_days:
        raise Unpromotable(
            f"{model.name} was made for a horizon of {model.bundle.horizon_days} days, the state keeps "
            f"{found.binding.horizon_days}"
        )
    overlap = _overlap(found, everybody, model.bundle)
    if model.is_candidate:
        return descend(found.bundle, model.bundle, overlap, day=_today(found), created_by="promote")
    return reinstate(found.bundle, model.bundle, overlap, day=_today(found), created_by="promote")


def _overlap(found: Namespace, theirs: Population, bundle: Bundle) -> Ints:
    ours = seen_by(found, theirs, bundle, found.bundle)
    return overlap_of(ours.clusters(found.bundle), theirs.clusters(bundle), found.bundle.k, bundle.k)


def _today(found: Namespace) -> int:
    return max(state.day for state in found.states.values())


def _finished(found: Namespace, bundle: Bundle, everybody: Population, of: str, *, dry_run: bool) -> Promotion:
    """Publish a model, unless it is only a dry run, and tell who moves. everybody: in its space."""
    old, new = everybody.labels, everybody.relabelled(bundle)
    moved = old != new
    flows = flows_of(old, new, everybody.values["monetary"], found.bundle, bundle)
    if not dry_run and not found.registry.publish(bundle, expected=found.bundle.version, promoted=True):
        raise Unpromotable("the day's model was made meanwhile: ask again")
    return Promotion(
        version=bundle.version,
        of=of,
        published=not dry_run,
        day=iso(bundle.day),
        changes=bundle.lineage,
        customers=len(everybody.ids),
        moves=int(moved.sum()),
        revenue=round(float(everybody.values["monetary"][moved].sum()), 2),
        flows=flows,
    )


def _print(told: Promotion, output: Output) -> None:
    head = f"version {told.version} of {told.day}: the model of {told.of}"
    output.result(
        told,
        f"{head} is live; the workers sweep everybody under it now" if told.published else f"{head}, not published",
        said(told.changes) or "every segment goes on",
        f"{told.moves:,} of {told.customers:,} customers move, with a revenue of {told.revenue:,.2f}",
        flows_table(told.flows) if told.flows else "",
    )
