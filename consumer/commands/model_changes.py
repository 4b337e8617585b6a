"""`model refit`, `import`, `export`, `name`, `freeze`: what a person may do to models beside choosing one.

A fit on demand and a file become candidates, which segment nobody until they are promoted.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from consumer.commands.cli_output import Output, plain, table
from consumer.commands.place import Place
from consumer.commands.population import open_namespace, population
from consumer.commands.promotion import writable
from consumer.commands.versions import chosen, said
from consumer.commands.whole_file import whole_file
from consumer.exits import ExitCode, Stop
from consumer.partition import iso
from consumer.service import connect_redis
from features.orders import Freeze
from features.redis_pause import end_freeze, read_freeze, set_freeze
from models.bundle import Bundle, BundleError, Change, Segment, content_hash, decode, encode, successor
from models.candidate import Candidate

MAX_BYTES = 1 << 20
"""A model of ten clusters takes about 3 KB; a file of more than this is none."""
MAX_NAME = 64


class Proposed(msgspec.Struct, frozen=True):
    """A candidate as `model refit` and `model import` print it.

    gain, overlap: against the live model (models.challenger); None for a file. stability: of its k over bootstrap
    resamples, where it is another k than the live model's.
    """

    name: str
    hash: str
    k: int
    why: str
    changes: tuple[Change, ...]
    gain: float | None
    overlap: float | None
    stability: float | None


class Renamed(msgspec.Struct, frozen=True):
    """What `model name` did."""

    version: int
    before: Segment
    after: Segment


class Frozen(msgspec.Struct, frozen=True):
    """What `model freeze` did. until: the last day, None where models are learned."""

    namespace: str
    until: str | None
    reason: str


def refit(place: Place, k: int | None, output: Output) -> None:
    """Fit from scratch to everybody, and keep it as a candidate; without a k, with that of a bootstrap."""
    from models.challenger import compare
    from models.challenger import refit as fit_anew
    from models.selection import choose_k

    found = writable(place)
    with output.progress() as tell:
        everybody = population(found, progress=tell)
        inside = everybody.coordinates[everybody.clustered]
        why, stability = f"fitted on demand with k = {k}", None
        if k != found.bundle.k:  # another k is for a person to judge, by how steady it is too
            choice = choose_k(inside, progress=lambda done, total: tell("choosing k", done, total))
            if k is None:
                k, why = choice.k, f"fitted on demand: {choice.reason}"
            if k != found.bundle.k:
                stability = next((round(row.stability, 6) for row in choice.table if row.k == k), None)
        day = max(state.day for state in found.states.values())
        made = fit_anew(found.bundle, inside, k, day=day, created_by="refit")
    against = compare(found.bundle, made, inside)
    candidate = Candidate(
        made,
        why,
        round(against.gain, 6),
        round(against.overlap, 6),
        cause="refit",
        over=found.bundle.version,
        stability=stability,
    )
    _tell(found.registry.propose(candidate), candidate, output)


def import_model(place: Place, path: Path, output: Output) -> None:
    """Read a model from a file into a candidate. Raises `Stop` where it is none."""
    found = writable(place)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Stop(ExitCode.USAGE, f"{path}: a model's file has less than {MAX_BYTES:,} bytes")
        bundle = decode(path.read_bytes())
    except OSError as error:
        raise Stop(ExitCode.USAGE, f"{path}: {error.strerror}") from error
    except BundleError as error:
        raise Stop(ExitCode.USAGE, f"{path} is no model: {error}") from error
    horizon = found.binding.horizon_days
    if bundle.horizon_days != horizon:
        raise Stop(
            ExitCode.USAGE,
            f"{path} was made for a horizon of {bundle.horizon_days} days, the state keeps {horizon}",
        )
    why = f"read from {path.name}, version {bundle.version} of {iso(bundle.day)}"
    candidate = Candidate(bundle, why, cause="import", over=found.bundle.version)
    _tell(found.registry.propose(candidate), candidate, output)


def export_model(place: Place, name: str | None, out: Path, output: Output) -> None:
    """Write a model as the JSON that `import_model` reads."""
    found = open_namespace(place)
    bundle = found.bundle if name is None else chosen(found, name).bundle
    with whole_file(out, "--out") as file:
        file.write(encode(bundle))
    output.result(
        {"path": str(out), "version": bundle.version, "hash": content_hash(bundle)},
        plain(f"version {bundle.version} ({content_hash(bundle)}) is in {out}"),
    )


def rename(place: Place, segment_id: int, name: str, output: Output) -> None:
    """Give a segment a name by hand: it stays, whatever the rule would say."""
    found = writable(place)
    bundle, name = found.bundle, name.strip()
    old = next((segment for segment in bundle.segments if segment.id == segment_id), None)
    if old is None:
        ids = ", ".join(f"{segment.id} ({segment.name})" for segment in bundle.segments)
        raise Stop(ExitCode.USAGE, f"no cluster has the id {segment_id}; there are {ids}")
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise Stop(ExitCode.USAGE, f"a name has 1 to {MAX_NAME} printable characters")
    made = _renamed(bundle, Segment(segment_id, name))
    if not found.registry.publish(made, expected=bundle.version):
        raise Stop(ExitCode.USAGE, "the day's model was made meanwhile: run it again")
    output.result(
        Renamed(made.version, old, Segment(segment_id, name)),
        plain(f"{segment_id} is called {name} instead of {old.name}, from the next turn of the day on"),
    )


def _renamed(bundle: Bundle, segment: Segment) -> Bundle:
    made = msgspec.structs.replace(
        successor(bundle, day=bundle.day, created_by="rename"),
        segments=tuple(segment if each.id == segment.id else each for each in bundle.segments),
        named=tuple(sorted({*bundle.named, segment.id})),
    )
    try:
        encode(made)
    except BundleError as error:
        raise Stop(ExitCode.USAGE, f"{segment.name!r} cannot be the name: {error}") from error
    return made


def freeze(place: Place, until: int | None, reason: str, output: Output) -> None:
    """Let no model be learned until the end of a day; None: let it be learned again."""
    client, namespace = connect_redis(place.settings), place.settings.namespace
    old = read_freeze(client, namespace)
    if until is None:
        end_freeze(client, namespace)
        told = "was not frozen" if old is None else "learns again"
        output.result(Frozen(namespace, None, ""), f"the model of {namespace} {told}")
        return
    set_freeze(client, namespace, Freeze(until, reason))
    because = f": {reason}" if reason else ""
    output.result(
        Frozen(namespace, iso(until), reason),
        plain(f"the centroids of {namespace} stand still until {iso(until)}{because}; customers move as before"),
    )


def _tell(name: int, candidate: Candidate, output: Output) -> None:
    bundle = candidate.bundle
    told = Proposed(
        f"c{name}",
        content_hash(bundle),
        bundle.k,
        candidate.why,
        bundle.lineage,
        candidate.gain,
        candidate.overlap,
        candidate.stability,
    )
    rows = [(each.id, plain(each.name), size) for each, size in zip(bundle.segments, bundle.sizes, strict=True)]
    compared = ""
    if candidate.gain is not None and candidate.overlap is not None:
        compared = (
            f"the live model's inertia is {candidate.gain:.4f} times its own; "
            f"{candidate.overlap:.1%} of the customers keep their segment"
        )
    output.result(
        told,
        f"candidate c{name}: {plain(candidate.why)}",
        table(None, ["id>", "segment", "customers>"], rows),
        compared,
        ""
        if candidate.stability is None
        else f"over bootstrap resamples k = {bundle.k} comes back with a mean ARI of {candidate.stability:.2f}",
        said(bundle.lineage),
        f"`segmenter model promote c{name} --dry-run` says who would move",
    )
