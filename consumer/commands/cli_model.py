"""What `model show` does and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import RenderableType

from consumer.commands.cli_output import Output, in_per_cent, plain, table
from consumer.commands.place import Place
from consumer.commands.population import Namespace, Population, open_namespace, population, segment_profiles
from consumer.history.profile import Profile
from consumer.partition import iso
from features.vector import COORDINATE_SCALE
from models.bundle import Bundle, centroid_array, content_hash, scale_array
from models.checkup import Checkup
from models.segments import misfits


class Report(msgspec.Struct, frozen=True):
    """What `model show --json` prints. centroids: unscaled log units; quality: None unless asked for.

    named: ids whose name a person gave; misfits: by id, the name that the rule would give now, where it is another one;
    checkup: the leader's newest of this version or one before it, None before the first.
    """

    version: int
    hash: str
    parent: str | None
    day: str
    learner: str
    created_by: str
    features: tuple[str, ...]
    margin: float
    recency_offset: int
    scale: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]
    segments: tuple[Profile, ...]
    named: tuple[int, ...]
    misfits: dict[int, str]
    checkup: Checkup | None
    quality: dict[str, Any] | None = None


def show_model(place: Place, output: Output, *, quality: bool) -> None:
    """Print the live model, with its quality where that is asked for."""
    found = open_namespace(place)
    everybody = population(found)
    bundle = found.bundle
    measured = measure(everybody, bundle) if quality else None
    report = report_of(found, segment_profiles(found, everybody), measured)
    head = (
        f"version {report.version} ({report.hash}) of {report.day}, {report.created_by} by {report.learner}: "
        f"{', '.join(report.features)}; margin {report.margin}, recency offset {report.recency_offset}"
    )
    parts: list[RenderableType] = [head, "", segments_table(report.segments, None)]
    for segment in bundle.segments:
        if segment.id in report.misfits:
            ruled = report.misfits[segment.id]
            parts.append(plain(f"the name of {segment.id} {segment.name} no longer fits: by its place it is {ruled}"))
    if report.checkup is not None:
        parts += ["", *map(plain, told(report.checkup))]
    if measured is not None:
        parts += ["", table("Quality", ["measure", "value"], [(k, _text(v)) for k, v in measured.items()])]
    output.result(report, *parts)


def report_of(found: Namespace, segments: tuple[Profile, ...], quality: dict[str, Any] | None) -> Report:
    """Return what there is to say about the live model. Raises `StoreError`."""
    bundle = found.bundle
    return Report(
        version=bundle.version,
        hash=content_hash(bundle),
        parent=bundle.parent,
        day=iso(bundle.day),
        learner=bundle.learner,
        created_by=bundle.created_by,
        features=bundle.features,
        margin=bundle.margin,
        recency_offset=bundle.recency_offset,
        scale=bundle.scale,
        centroids=bundle.centroids,
        segments=segments,
        named=bundle.named,
        misfits=misfits(bundle),
        checkup=newest(found.registry.checkups(), bundle.version),
        quality=quality,
    )


def newest(checkups: Mapping[int, Checkup], version: int) -> Checkup | None:
    """Return the checkup of a version, else of the greatest below it that had one."""
    known = [number for number in checkups if number <= version]
    return checkups[max(known)] if known else None


def told(checkup: Checkup) -> list[str]:
    """Return a checkup for people: its figures in a line, then what was odd."""
    figures = [f"{checkup.customers:,} customers"]
    if checkup.inertia_ratio is not None:
        figures.append(f"inertia {checkup.inertia_ratio:.4f} times that of a fresh batch fit")
    if checkup.silhouette is not None:
        figures.append(f"silhouette {checkup.silhouette:.3f}")
    if checkup.against is not None:
        indices = ", ".join(f"{name} {index:.3f}" for name, index in checkup.population.items())
        figures.append(f"population stability index against {iso(checkup.against)}: {indices}")
    head = f"checkup of version {checkup.version} on {iso(checkup.day)}: {'; '.join(figures)}"
    return [head, *(finding.sentence for finding in checkup.findings)]


def measure(everybody: Population, bundle: Bundle) -> dict[str, Any]:
    """Compare the model with batch fits of the very same vectors (reports.quality, which knows nothing of models/)."""
    from reports.quality import quality

    vectors = everybody.coordinates[everybody.clustered] / COORDINATE_SCALE
    return quality(vectors, centroid_array(bundle), scale_array(bundle)).report()


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def segments_table(segments: tuple[Profile, ...], title: str | None) -> RenderableType:
    """Return one row a segment: size, share of revenue, medians."""
    rows = [
        (s.id, s.name, s.customers, f"{s.share_of_customers:.1%}", in_per_cent(s.share_of_revenue), *_medians(s))
        for s in segments
    ]
    columns = ["id>", "segment", "customers>", "share>", "revenue>", "days ago>", "orders>", "net>"]
    return table(title, columns, rows)


def _medians(segment: Profile) -> tuple[str, ...]:
    return tuple(
        "" if value is None else f"{value:,.0f}" for value in (segment.recency, segment.frequency, segment.monetary)
    )
