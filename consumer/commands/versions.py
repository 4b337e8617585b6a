"""`model list`, `model diff`: which models there were and are, and what two of them would do differently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from rich.console import RenderableType
from rich.table import Table

from consumer.commands.cli_output import Output, plain, table
from consumer.commands.place import Place
from consumer.commands.population import Namespace, Population, open_namespace, population, seen_by
from consumer.exits import ExitCode, Stop
from consumer.partition import iso
from consumer.scoring import named_segment
from features.ledger import Ints
from features.vector import Floats
from models.bundle import Bundle, Change, Segment, centroid_array, content_hash, segment_of
from models.checkup import Checkup
from models.redis_registry import RedisRegistry

NAME = re.compile(r"(?:v?(?P<version>[1-9]\d{0,15})|c(?P<candidate>[1-9]\d{0,15}))", re.ASCII)
NEWEST = 20
"""Versions that are shown; there is one a day."""


class UnknownModel(Stop):
    """No model has the name that was asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.USAGE, message)


class Chosen(NamedTuple):
    """A model by its name: a version of the registry, or a candidate ("c3")."""

    name: str
    bundle: Bundle
    is_candidate: bool


class Version(msgspec.Struct, frozen=True):
    """A row of the list. name: what `promote` and `diff` call it; changes: of its segments, against its parent.

    inertia_ratio, silhouette, population: of its checkup (models.checkup), the last the greatest stability index; None
    where there was none, or it was not measured.
    """

    name: str
    live: bool
    hash: str
    day: str
    created_by: str
    k: int
    changes: tuple[Change, ...]
    inertia_ratio: float | None
    silhouette: float | None
    population: float | None


class Proposal(msgspec.Struct, frozen=True):
    """A candidate. pending: it waits for a person (models.candidate); look: the command that says who would move.

    gain, overlap: the inertia of the model of its day as a multiple of its own, and the share of the customers who keep
    their segment; stability: mean ARI of its k over bootstrap resamples, where that is another k than the live model's.
    """

    name: str
    pending: bool
    hash: str
    day: str
    created_by: str
    k: int
    changes: tuple[Change, ...]
    why: str
    gain: float | None
    overlap: float | None
    stability: float | None
    look: str


class Flow(msgspec.Struct, frozen=True):
    """Customers who go from one segment to another, and their net revenue in the horizon."""

    source: Segment
    target: Segment
    customers: int
    revenue: float


class Centre(msgspec.Struct, frozen=True):
    """A segment under two models; a centroid's coordinates are in the features' own units."""

    id: int
    name: str
    before: dict[str, float] | None
    after: dict[str, float] | None


class Difference(msgspec.Struct, frozen=True):
    """What `model diff` prints. flows: of all customers at their nearest centroid, ids as the two models give them."""

    before: str
    after: str
    segments: tuple[Centre, ...]
    customers: int
    differ: int
    flows: tuple[Flow, ...]


class Models(msgspec.Struct, frozen=True):
    """What `model list` prints, the newest versions first. older: versions that are not among them."""

    versions: list[Version]
    candidates: tuple[Proposal, ...]
    older: int


def chosen(found: Namespace, text: str) -> Chosen:
    """Return the model that a name means. Raises `UnknownModel`."""
    name = NAME.fullmatch(text.strip())
    if name is None:
        raise UnknownModel(f"{text!r} names no model: write a version such as 17, or a candidate such as c3")
    if name["candidate"]:
        candidates = found.registry.candidates()
        candidate = candidates.get(int(name["candidate"]))
        if candidate is None:
            there = ", ".join(f"c{n}" for n in candidates) or "none"
            raise UnknownModel(f"there is no candidate {text}; there is {there} (`segmenter model list`)")
        return Chosen(f"c{name['candidate']}", candidate.bundle, is_candidate=True)
    bundle = found.registry.load(int(name["version"]))
    if bundle is None:
        raise UnknownModel(
            f"there is no version {text}; the live one is {found.bundle.version} (`segmenter model list`)"
        )
    return Chosen(name["version"], bundle, is_candidate=False)


def list_models(place: Place, output: Output, *, everything: bool) -> None:
    """Print versions, the newest first, and the candidates."""
    found = open_namespace(place)
    models = models_of(found.registry, found.bundle.version, everything=everything)
    versions, candidates, more = models.versions, models.candidates, models.older
    parts: list[RenderableType] = [
        table(
            "Versions",
            ["version", "of", "k>", "made by", "inertia / batch>", "silhouette>", "PSI>", "segments"],
            [
                (f"{v.name}{' live' if v.live else ''}", v.day, v.k, v.created_by, *_seen(v), said(v.changes))
                for v in versions
            ],
        ),
        f"{more} older ones: --all shows them" if more else "",
    ]
    if candidates:
        parts += [candidates_table(candidates), *(waits(each) for each in candidates if each.pending)]
    output.result({"versions": versions, "candidates": candidates}, *parts)


def models_of(registry: RedisRegistry, live: int, *, everything: bool = False) -> Models:
    """Return the versions of a registry, all or the newest, and its candidates. Raises `Stop`, `StoreError`."""
    numbers, checkups = registry.versions(), registry.checkups()
    shown = numbers if everything else numbers[-NEWEST:]
    versions = [_row(registry, number, live, checkups.get(number)) for number in reversed(shown)]
    return Models(versions, proposals(registry), len(numbers) - len(versions))


def proposals(registry: RedisRegistry) -> tuple[Proposal, ...]:
    """Return the candidates of a registry, the oldest first. Raises `InvalidKey` where one is none."""
    pending = registry.pending()
    return tuple(
        Proposal(
            name=f"c{name}",
            pending=name in pending,
            hash=content_hash(each.bundle),
            day=iso(each.bundle.day),
            created_by=each.bundle.created_by,
            k=each.bundle.k,
            changes=each.bundle.lineage,
            why=each.why,
            gain=each.gain,
            overlap=each.overlap,
            stability=each.stability,
            look=f"segmenter model promote c{name} --dry-run",
        )
        for name, each in registry.candidates().items()
    )


def candidates_table(candidates: Sequence[Proposal]) -> Table:
    """Return the candidates for people."""
    rows = [(c.name, c.pending, c.day, c.k, _compared(c), plain(c.why)) for c in candidates]
    return table("Candidates", ["name", "pending", "of", "k>", "against its day's model", "why"], rows)


def waits(candidate: Proposal) -> str:
    """Return how a person looks at a candidate and decides."""
    return (
        f"{candidate.name} waits for a person: `{candidate.look}` says who would move, without --dry-run it goes live"
    )


def said(changes: tuple[Change, ...]) -> str:
    """Return what became of the segments in words; those that simply go on are not told."""
    words = {
        "born": "{0} is born",
        "split": "{0} splits from {1}",
        "merged": "{0} merges into {1}",
        "retired": "{0} retires",
        "restored": "{0} is back",
    }
    told = [words[c.fate].format(f"{c.id} {c.name}", c.kin) for c in changes if c.fate != "continued"]
    return plain("; ".join(told))


def _row(registry: RedisRegistry, number: int, live: int, checkup: Checkup | None) -> Version:
    bundle = registry.load(number)
    if bundle is None:
        raise Stop(ExitCode.INCOMPATIBLE, f"model version {number} is listed and cannot be read")
    return Version(
        name=str(number),
        live=number == live,
        hash=content_hash(bundle),
        day=iso(bundle.day),
        created_by=bundle.created_by,
        k=bundle.k,
        changes=bundle.lineage,
        inertia_ratio=None if checkup is None else checkup.inertia_ratio,
        silhouette=None if checkup is None else checkup.silhouette,
        population=None if checkup is None else checkup.shift,
    )


def _seen(row: Version) -> tuple[str, str, str]:
    """Return the figures of a version's checkup for people."""
    figures = ((row.inertia_ratio, ".4f"), (row.silhouette, ".3f"), (row.population, ".3f"))
    ratio, silhouette, population = ("" if value is None else f"{value:{form}}" for value, form in figures)
    return ratio, silhouette, population


def _compared(row: Proposal) -> str:
    parts = [] if row.gain is None or row.overlap is None else [f"inertia / {row.gain:.3f}, {row.overlap:.0%} stay"]
    if row.stability is not None:
        parts.append(f"its k comes back in resamples with an ARI of {row.stability:.2f}")
    return "; ".join(parts)


def show_difference(place: Place, first: str, second: str, output: Output) -> None:
    """Print how two models differ, and which customers they put elsewhere."""
    found = open_namespace(place)
    before, after = chosen(found, first), chosen(found, second)
    with output.progress() as tell:
        everybody = population(found, before.bundle, tell)
    theirs = seen_by(found, everybody, before.bundle, after.bundle)
    labels = [_nearest_ids(p, b.bundle) for p, b in ((everybody, before), (theirs, after))]
    inside = everybody.clustered
    flows = flows_of(
        labels[0][inside], labels[1][inside], everybody.values["monetary"][inside], before.bundle, after.bundle
    )
    ids = dict.fromkeys(s.id for b in (before, after) for s in b.bundle.segments)
    centres = tuple(
        Centre(
            i,
            (segment_of(after.bundle, i) or named_segment(before.bundle, i)).name,
            _centre(before.bundle, i),
            _centre(after.bundle, i),
        )
        for i in ids
    )
    told = Difference(before.name, after.name, centres, int(inside.sum()), sum(flow.customers for flow in flows), flows)
    features = list(dict.fromkeys((*before.bundle.features, *after.bundle.features)))
    output.result(
        told,
        table(
            f"{before.name} and {after.name}",
            ["id>", "segment", *(f"{name}>" for name in features)],
            [(c.id, plain(c.name), *(_both(c, name) for name in features)) for c in centres],
        ),
        f"{told.differ:,} of {told.customers:,} clustered customers are nearest to another segment",
        flows_table(flows),
    )


def _nearest_ids(everybody: Population, bundle: Bundle) -> Ints:
    return np.array([segment.id for segment in bundle.segments])[everybody.clusters(bundle)]


def _centre(bundle: Bundle, segment_id: int) -> dict[str, float] | None:
    """Return a centroid in the features' own units: the inverse of features.vector.coordinate."""
    for segment, centroid in zip(bundle.segments, centroid_array(bundle).tolist(), strict=True):
        if segment.id == segment_id:
            offsets = [bundle.recency_offset if name == "recency" else 1 for name in bundle.features]
            natural = np.exp(centroid) - offsets
            return {name: round(float(value), 2) for name, value in zip(bundle.features, natural, strict=True)}
    return None


def _both(centre: Centre, feature: str) -> str:
    values = [None if side is None else side.get(feature) for side in (centre.before, centre.after)]
    texts = ["–" if value is None else f"{value:,.1f}" for value in values]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} -> {texts[1]}"


def flows_of(old: Ints, new: Ints, revenue: Floats, before: Bundle, after: Bundle) -> tuple[Flow, ...]:
    """Return who goes where, the greatest revenue first. old, new: int64 (n,), segment ids; revenue: float64 (n,)."""
    moved = old != new
    pairs = sorted({*zip(old[moved].tolist(), new[moved].tolist(), strict=True)})
    flows = []
    for source, target in pairs:
        rows = (old == source) & (new == target)
        flows.append(
            Flow(
                named_segment(before, source),
                named_segment(after, target),
                int(rows.sum()),
                round(float(revenue[rows].sum()), 2),
            )
        )
    return tuple(sorted(flows, key=lambda flow: -flow.revenue))


def flows_table(flows: tuple[Flow, ...]) -> Table:
    """Return the flows for people."""
    rows = [(_title(f.source), _title(f.target), f.customers, f"{f.revenue:,.2f}") for f in flows]
    return table("Moves", ["from", "to", "customers>", "revenue>"], rows)


def _title(segment: Segment) -> str:
    return f"{segment.id} {plain(segment.name)}"
