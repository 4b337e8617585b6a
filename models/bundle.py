"""The published model: scaler, centroids and segments in one immutable value, named by a number and a content hash.

    index      0           1          2        <- a cluster's place in `centroids`, `segments` and `sizes`
    centroid  (2.1, ..)   (4.0, ..)  (5.2, ..)    in unscaled log space
    segment    11 Champ..  12 Loyal   13 Dormant  an id is an identity: it never follows from the index

A bundle is refused as a whole where anything in it cannot be: `BundleError` says what.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Literal

import msgspec
import numpy as np

from features.vector import NAMES, Floats

SCHEMA = 2
"""Version of the JSON form; all up to it are read. A version inherits its parent's, so an older worker can read on
until `segmenter upgrade`: what schema 1 has no field for is not in a schema-1 model, and not in its bytes.
"""

FIRST_CLUSTER_ID = 11
"""Segment ids of clusters begin here; the ones below are fixed."""

MAX_SEGMENT_ID = 65_535
"""A state keeps the id in two bytes."""

MAX_VERSION = 1 << 53
MAX_HORIZON = 100_000

HASH_CHARACTERS = 16
"""Hex characters of a content hash: 64 bits tell apart all models that a registry will ever hold."""

Maker = Literal[
    "bootstrap", "recentre", "refine", "republish", "refit", "rescue", "freeze", "promote", "rollback", "rename"
]
"""What made a version: a first fit, a Lloyd step, a fit to convergence, the same under a new number; a fit from scratch
adopted for its inertia, or for a cluster that nobody was left in; the same held still; a person's choice, that choice
taken back, and a name given by hand.
"""

State = dict[str, tuple[float, ...]]
"""What a learner keeps beside the centroids, as named rows of finite numbers."""


class BundleError(ValueError):
    """A model that cannot be used; the message says which part and why."""


class Segment(msgspec.Struct, frozen=True):
    """A kind of customer: an id that stays, and a name for people."""

    id: int
    name: str


Fate = Literal["born", "continued", "split", "merged", "retired", "restored"]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a segment between a version and its parent (models.lineage).

    id: the segment it is about; kin: of a split the segment it came out of, of a merger the one it went into, else
    None; customers: how many of those who were compared tell so. Restored is a segment that an older model, put back by
    a person, brought back with it.
    """

    fate: Fate
    id: int
    name: str
    kin: int | None
    customers: int


LAPSED = Segment(1, "Lapsed")
"""Customers without any order in the horizon."""

NO_NET = Segment(2, "No net purchases")
"""Customers without a positive order, or with a net <= 0, in the horizon (PROTOCOL C2)."""

FIXED = (LAPSED, NO_NET)
"""The segments outside K-Means, part of every model."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model version over d features and k clusters.

    version: 1, 2, 3, …; parent: content hash of the bundle it was made from, None at bootstrap;
    day: the day (since 1970-01-01) whose statistics it was made from; learner: who made it;
    features: d names of `features.vector.NAMES`; horizon_days: days of orders that count;
    margin: a published label moves only where d(new) < margin * d(old), in (0, 1];
    scale: d standard deviations of log units; centroids: k rows of d, unscaled log units;
    segments: k, aligned with centroids; learner_state: the learner's own; sizes: k, customers in
    each cluster of the statistics it was made from.

    Since schema 2 -- recency_offset: the recency coordinate is log(days + offset), 1 or more; lineage: what became of
    each segment, where this version was fitted anew; retired_id: the greatest id of a segment that is no more, 0 for
    none, so that no id comes back; named: ids whose name a person gave; replaced: since a rollback, the
    versions first <= v < stop whose moves it takes back.
    """

    version: int
    parent: str | None
    day: int
    learner: str
    features: tuple[str, ...]
    horizon_days: int
    margin: float
    scale: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]
    segments: tuple[Segment, ...]
    created_by: Maker
    sizes: tuple[int, ...]
    learner_state: State = {}
    schema: int = SCHEMA
    recency_offset: int = 1
    lineage: tuple[Change, ...] = ()
    retired_id: int = 0
    named: tuple[int, ...] = ()
    replaced: tuple[int, int] | None = None

    @property
    def k(self) -> int:
        """How many clusters."""
        return len(self.centroids)


SINCE_2 = ("recency_offset", "lineage", "retired_id", "named", "replaced")


class _Header(msgspec.Struct):
    schema: int


def encode(bundle: Bundle) -> bytes:
    """Return the canonical JSON: sorted keys, shortest decimals that read back exactly. Raises `BundleError`."""
    validate(bundle)
    if bundle.schema >= 2:
        return msgspec.json.encode(bundle, order="sorted")
    fields = {name: value for name, value in msgspec.structs.asdict(bundle).items() if name not in SINCE_2}
    return msgspec.json.encode(fields, order="sorted")


def decode(data: bytes) -> Bundle:
    """Return the bundle of `encode`'s bytes. Raises `BundleError` for anything that cannot be a model."""
    try:
        schema = msgspec.json.decode(data, type=_Header).schema
        if not 1 <= schema <= SCHEMA:
            raise BundleError(f"model has schema {schema}, this program reads up to {SCHEMA}: start a newer version")
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"model cannot be read: {error}") from error
    validate(bundle)
    return bundle


def content_hash(bundle: Bundle) -> str:
    """Return the first 64 bits of the SHA-256 of the canonical JSON, as hex: with the version, a model's name."""
    return sha256(encode(bundle)).hexdigest()[:HASH_CHARACTERS]


def successor(
    bundle: Bundle,
    *,
    day: int,
    created_by: Maker,
    centroids: Floats | None = None,
    scale: Floats | None = None,
    sizes: tuple[int, ...] | None = None,
) -> Bundle:
    """Return the next version of the same segments; what is None is inherited.

    centroids: float64 (k, d); scale: float64 (d,). What its parent changed about the segments is not told again.
    """
    return msgspec.structs.replace(
        bundle,
        version=bundle.version + 1,
        parent=content_hash(bundle),
        day=day,
        created_by=created_by,
        centroids=bundle.centroids if centroids is None else rows(centroids),
        scale=bundle.scale if scale is None else tuple(scale.tolist()),
        sizes=bundle.sizes if sizes is None else sizes,
        lineage=(),
    )


def rows(table: Floats) -> tuple[tuple[float, ...], ...]:
    """Return a float64 array of shape (k, d) as the tuples that a bundle holds."""
    return tuple(tuple(row) for row in table.tolist())


def centroid_array(bundle: Bundle) -> Floats:
    """Return the centroids as a read-only float64 array of shape (k, d)."""
    return _read_only(bundle.centroids)


def scale_array(bundle: Bundle) -> Floats:
    """Return the scale as a read-only float64 array of shape (d,)."""
    return _read_only(bundle.scale)


def segment_ids(bundle: Bundle) -> tuple[int, ...]:
    """Return the clusters' segment ids in the order of the centroids."""
    return tuple(segment.id for segment in bundle.segments)


def same_space(one: Bundle, other: Bundle) -> bool:
    """Say whether a customer has the same coordinates under both models."""
    return (one.features, one.recency_offset, one.horizon_days) == (
        other.features,
        other.recency_offset,
        other.horizon_days,
    )


def segment_of(bundle: Bundle, segment_id: int) -> Segment | None:
    """Return the segment, fixed or a cluster's, that has an id; None where the model has none."""
    return next((segment for segment in (*FIXED, *bundle.segments) if segment.id == segment_id), None)


@lru_cache(maxsize=64)
def _read_only(table: tuple[float, ...] | tuple[tuple[float, ...], ...]) -> Floats:
    array = np.array(table, np.float64)
    array.flags.writeable = False
    return array


def validate(bundle: Bundle) -> None:
    """Raise `BundleError` where shapes, ranges, names or ids of a bundle cannot be."""
    for broken, message in _complaints(bundle):
        if broken:
            raise BundleError(f"model version {bundle.version}: {message}")


def _complaints(bundle: Bundle) -> list[tuple[bool, str]]:
    """Return (is it so?, what is wrong), in the order in which they make sense to a reader."""
    d, k = len(bundle.features), len(bundle.centroids)
    ids = [segment.id for segment in bundle.segments]
    names = [segment.name for segment in (*FIXED, *bundle.segments)]
    unknown = sorted(set(bundle.features) - set(NAMES))
    return [
        (not 1 <= bundle.schema <= SCHEMA, f"schema is {bundle.schema}, not 1 to {SCHEMA}"),
        (
            bundle.schema < 2 and any(getattr(bundle, name) != _NOTHING[name] for name in SINCE_2),
            "schema 1 knows no recency offset, lineage or names given by hand: `segmenter upgrade` comes first",
        ),
        (not 1 <= bundle.recency_offset <= MAX_HORIZON, f"a recency offset of {bundle.recency_offset} days cannot be"),
        (not 0 <= bundle.retired_id <= MAX_SEGMENT_ID, f"a retired segment cannot have the id {bundle.retired_id}"),
        (
            bundle.replaced is not None and not 1 <= bundle.replaced[0] < bundle.replaced[1] <= bundle.version,
            f"versions {bundle.replaced} cannot have been replaced",
        ),
        (not set(bundle.named) <= set(ids), f"of the segments {bundle.named} named by hand some are not there"),
        (not 1 <= bundle.version <= MAX_VERSION, "a version is 1 or greater, and no more than 2^53"),
        (not -719_163 < bundle.day <= 2_932_896, f"day {bundle.day} is none of the calendar"),
        (bundle.version > 1 and not bundle.parent, "a version above 1 names its parent's hash"),
        (not bundle.learner, "no learner is named"),
        (not 0 < bundle.margin <= 1, f"margin {bundle.margin} is not in (0, 1]"),
        (not 1 <= bundle.horizon_days <= MAX_HORIZON, f"horizon of {bundle.horizon_days} days cannot be"),
        (d == 0 or len(set(bundle.features)) < d, f"features {bundle.features} are empty or repeat"),
        (bool(unknown), f"unknown features {unknown}"),
        (k == 0, "there is no centroid"),
        (any(len(row) != d for row in bundle.centroids), f"a centroid has not {d} coordinates, one a feature"),
        (len(bundle.scale) != d, f"scale has {len(bundle.scale)} numbers for {d} features"),
        (
            not _finite(bundle.scale) or min(bundle.scale, default=1.0) <= 0,
            f"scale {bundle.scale} is not finite and above 0",
        ),
        (not all(map(_finite, bundle.centroids)), "a centroid is not finite"),
        (len(ids) != k, f"{len(ids)} segments for {k} centroids"),
        (len(set(ids)) < len(ids), f"segment ids {ids} repeat"),
        (
            any(not FIRST_CLUSTER_ID <= i <= MAX_SEGMENT_ID for i in ids),
            f"segment ids {ids}: clusters begin at {FIRST_CLUSTER_ID} and end at {MAX_SEGMENT_ID}",
        ),
        (len(set(names)) < len(names), f"segment names {names} repeat"),
        (not all(name.strip() for name in names), "a segment has no name"),
        (
            len(bundle.sizes) != k or any(not 0 <= n < 1 << 63 for n in bundle.sizes),
            f"sizes {bundle.sizes} do not fit {k} clusters",
        ),
        (not all(map(_finite, bundle.learner_state.values())), "the learner's state is not finite"),
    ]


_NOTHING = {field.name: field.default for field in msgspec.structs.fields(Bundle)}


def _finite(numbers: tuple[float, ...]) -> bool:
    return bool(np.isfinite(numbers).all())
