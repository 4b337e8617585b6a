"""Lifelong ids: which cluster of a new fit is which segment of the old model, decided by the customers they share.

    overlap C[i, j]: customers in segment i before and in cluster j after

    keep    the matching of segments and clusters under which most customers keep their id; a pair stands only where
            the cluster has nobody's customers more than that segment's, and at least half of one are in the other
    split   a cluster without a pair, at least half of it out of one segment that goes on      a new id
    born    any other cluster without a pair                                                    a new id
    merged  a segment without a pair, at least half of it in one cluster                        its id retires
    retired any other segment without a pair                                                    its id retires

The classes are those of MONIC (Spiliopoulou et al., KDD 2006), whose survival threshold of one half is kept. A
cluster's number in a fit is chance and decides nothing; new ids are above every id there ever was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from features.ledger import Ints
from models import segments
from models.bundle import (
    Bundle,
    Change,
    Fate,
    Maker,
    Segment,
    centroid_array,
    content_hash,
    rows,
    segment_ids,
    validate,
)
from models.centroids import Indices

SURVIVAL = 0.5
"""Least share of a segment's or of a cluster's customers by which the two are the same."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """How k new clusters follow from the segments before them.

    heir: int64 (k,), the old segment's index whose id each goes on under, -1 for none; out_of: int64 (k,), the
    old index that a new one split from, -1 for none; into: int64 (k_old,), the new index that an old one merged
    into, -1 for none (continued or retired); overlap: int64 (k_old, k).
    """

    heir: Ints
    out_of: Ints
    into: Ints
    overlap: Ints


def overlap_of(before: Indices, after: Indices, k_before: int, k_after: int) -> Ints:
    """Return the customers by (old cluster, new cluster), int64 (k_before, k_after); indices below 0 count nowhere."""
    both = (before >= 0) & (after >= 0)
    counts = np.bincount(before[both] * k_after + after[both], minlength=k_before * k_after)
    return counts.reshape(k_before, k_after).astype(np.int64)


def kinship(overlap: Ints) -> Kinship:
    """Return what became of each segment. overlap: int64 (k_old, k), of `overlap_of`; ties go to the lower index."""
    old, new = overlap.sum(axis=1), overlap.sum(axis=0)
    of_old = overlap / np.maximum(old, 1)[:, None]
    of_new = overlap / np.maximum(new, 1)[None, :]
    heir, out_of = np.full(len(new), -1), np.full(len(new), -1)
    into = np.full(len(old), -1)
    for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
        # A handful that joins a crowd does not give the crowd its id.
        if 0 < overlap[i, j] == overlap[:, j].max() and max(of_old[i, j], of_new[i, j]) >= SURVIVAL:
            heir[j] = i
    for j in np.flatnonzero((heir < 0) & (new > 0)):
        origin = int(np.argmax(of_new[:, j]))
        if of_new[origin, j] >= SURVIVAL and origin in heir:
            out_of[j] = origin
    for i in np.flatnonzero(~np.isin(np.arange(len(old)), heir) & (old > 0)):
        target = int(np.argmax(of_old[i]))
        if of_old[i, target] >= SURVIVAL:
            into[i] = target
    return Kinship(heir, out_of, into, overlap)


def descend(parent: Bundle, fitted: Bundle, overlap: Ints, *, day: int, created_by: Maker) -> Bundle:
    """Return the version after `parent`: what was fitted, under the ids of the segments that it continues.

    fitted: a whole model; its version, and its segments' ids and names, count for nothing. overlap: int64
    (parent.k, fitted.k), of `overlap_of`. Continuing segments keep their names, the others are named by the rule among
    the names that are left; clusters stand in the order of their ranks, best first. Raises `BundleError` where no id
    is left or the parent is of schema 1.
    """
    centroids = centroid_array(fitted)
    kin = kinship(overlap)
    heir = kin.heir.tolist()
    kept = {j: parent.segments[i].name for j, i in enumerate(heir) if i >= 0}
    names = segments.names(centroids, fitted.features, kept)
    order = segments.order(segments.names(centroids, fitted.features))
    fresh = [j for j in order if j not in kept]
    first = max(parent.retired_id, *segment_ids(parent)) + 1
    ids = {j: first + n for n, j in enumerate(fresh)} | {j: parent.segments[heir[j]].id for j in kept}
    ordered = msgspec.structs.replace(
        fitted,
        centroids=rows(centroids[order]),
        segments=tuple(Segment(ids[j], names[j]) for j in order),
        sizes=tuple(fitted.sizes[j] for j in order),
        learner_state={name: tuple(row[j] for j in order) for name, row in fitted.learner_state.items()},
        named=tuple(n for n in parent.named if n in ids.values()),
        replaced=None,
    )
    changes = tuple(_changes(parent, kin, ids, names, order))
    return _follow(parent, ordered, changes, day=day, created_by=created_by)


def reinstate(
    parent: Bundle,
    former: Bundle,
    overlap: Ints,
    *,
    day: int,
    created_by: Literal["promote", "rollback"],
    replaced: tuple[int, int] | None = None,
) -> Bundle:
    """Return the version after `parent` with all that an older version of the same registry held, its ids included.

    overlap: int64 (parent.k, former.k). The only way in which a retired id comes back: it means what it meant.
    """
    ids, back = set(segment_ids(parent)), set(segment_ids(former))
    into = kinship(overlap).into.tolist()
    changes = [
        Change(
            "continued" if segment.id in ids else "restored",
            segment.id,
            segment.name,
            None,
            int(overlap[:, j].sum()),
        )
        for j, segment in enumerate(former.segments)
    ]
    for i, segment in enumerate(parent.segments):
        if segment.id not in back:
            kin = former.segments[into[i]].id if into[i] >= 0 else None
            fate: Fate = "retired" if kin is None else "merged"
            changes.append(Change(fate, segment.id, segment.name, kin, int(overlap[i].sum())))
    former = msgspec.structs.replace(former, replaced=replaced)
    return _follow(parent, former, tuple(changes), day=day, created_by=created_by)


def _follow(parent: Bundle, contents: Bundle, changes: tuple[Change, ...], *, day: int, created_by: Maker) -> Bundle:
    """Return the version after `parent` that holds what another model does. Raises `BundleError`."""
    gone = set(segment_ids(parent)) - set(segment_ids(contents))
    made = msgspec.structs.replace(
        contents,
        version=parent.version + 1,
        parent=content_hash(parent),
        day=day,
        created_by=created_by,
        schema=parent.schema,
        lineage=changes,
        retired_id=max({parent.retired_id, *gone}),
    )
    validate(made)
    return made


def _changes(
    parent: Bundle, kin: Kinship, ids: dict[int, int], names: Sequence[str], order: Sequence[int]
) -> Iterator[Change]:
    """Yield what became of every segment: the clusters in their order, then the ids that retire."""
    sizes = kin.overlap.sum(axis=0).tolist()
    for j in order:
        i, origin = int(kin.heir[j]), int(kin.out_of[j])
        if i >= 0:
            yield Change("continued", ids[j], names[j], None, int(kin.overlap[i, j]))
        elif origin >= 0:
            yield Change("split", ids[j], names[j], parent.segments[origin].id, int(kin.overlap[origin, j]))
        else:
            yield Change("born", ids[j], names[j], None, sizes[j])
    for i, segment in enumerate(parent.segments):
        if i in kin.heir:
            continue
        target = int(kin.into[i])
        if target >= 0:
            yield Change("merged", segment.id, segment.name, ids[target], int(kin.overlap[i, target]))
        else:
            yield Change("retired", segment.id, segment.name, None, int(kin.overlap[i].sum()))
