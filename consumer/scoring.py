"""From ledgers to labels: the shared half of an event's step and a sweep's chunk.

ledger --vectors--> coordinates --distances--> nearest (statistics) and label (published)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from consumer.messages import Cause, Emission, Runner, SegmentRecord
from consumer.partition import iso
from features.codec import States
from features.ledger import Ints, Ledger, expire, order_starts
from features.vector import NAMES, Flags, Floats, Vectors, vectors
from models.bundle import Bundle, Segment, centroid_array, scale_array, segment_ids, segment_of
from models.centroids import NOWHERE, Indices, distances, margin_of, nearest, publish_labels
from models.population import Statistics

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """n customers as of one day under one model. coordinates: int64 (n, d); table: distances (n, k);
    cluster: nearest centroid's index, NOWHERE for those outside the clusters.
    """

    vectors: Vectors
    coordinates: Ints
    table: Floats
    cluster: Indices

    def labels(self, anchors: Ints, bundle: Bundle) -> Ints:
        """Return the segment ids that the margin rule publishes (PROTOCOL C3)."""
        return publish_labels(anchors, self.table, self.vectors.clustered, self.vectors.lapsed, bundle)

    def statistics(self, rows: Flags) -> Statistics:
        """Return the contribution of the chosen customers, each at his nearest centroid."""
        return Statistics.of(self.coordinates[rows], self.cluster[rows], self.table.shape[1])


def score(ledger: Ledger, first_day: Ints, day: int, bundle: Bundle) -> Scores:
    """Score the customers 0 .. len(first_day) - 1, whose ledger is expired to the day's horizon."""
    known = vectors(ledger, len(first_day), day, first_day.astype(np.int64), bundle.features)
    coordinates = known.coordinates(bundle.features)
    table = distances(coordinates, centroid_array(bundle), scale_array(bundle))
    cluster = np.where(known.clustered, nearest(table), NOWHERE)
    return Scores(known, coordinates, table, cluster)


def rescored(scores: Scores, bundle: Bundle) -> Scores:
    """Return the same customers on the same day under another model of the same features."""
    table = distances(scores.coordinates, centroid_array(bundle), scale_array(bundle))
    cluster = np.where(scores.vectors.clustered, nearest(table), NOWHERE)
    return Scores(scores.vectors, scores.coordinates, table, cluster)


def within_horizon(states: States, first_day: int) -> Ledger:
    """Drop what expired from the ledger, and carry its orders and net in the heads (PROTOCOL C1)."""
    ledger, old = expire(states.ledger, first_day)
    if len(old):
        starts = order_starts(old)
        owner, net = old.owner[starts], np.add.reduceat(old.net, starts)
        ends = np.r_[starts[1:], len(old)] - 1
        orders = np.where(old.orders[ends] > 0, old.orders[ends], net > 0)
        heads = states.heads
        np.add.at(heads["past_orders"], owner, orders.astype(np.uint32))
        np.add.at(heads["past_net"], owner, net)
    return ledger


def move(states: States, rows: Indices, labels: Ints, day: int) -> None:
    """Write new labels into the heads of `rows`; each gets the next revision.

    heads are the batch's own copy: they are written once, here, before they are encoded.
    """
    heads = states.heads
    heads["previous"][rows] = heads["segment"][rows]
    heads["segment"][rows] = labels
    heads["entered_day"][rows] = day
    heads["revision"][rows] += 1


def republish(states: States, rows: Indices) -> None:
    """Give customers who stay where they are a new revision (`--emit all`, a repair)."""
    states.heads["revision"][rows] += 1


def emissions(
    customers: Sequence[str],
    states: States,
    ledger: Ledger,
    scores: Scores,
    rows: Indices,
    why: Sequence[tuple[Cause, Headers]],
    day: int,
    bundle: Bundle,
) -> list[Emission]:
    """Return the records of `rows` (sorted indices), after `move`; `why` goes along with rows."""
    if not len(rows):
        return []
    local = np.full(len(states.heads), -1)
    local[rows] = np.arange(len(rows))
    own = ledger.take(local[ledger.owner] >= 0)
    renumbered = Ledger(local[own.owner], own.order, own.day, own.net, own.units, own.lines, own.orders)
    first_day = states.heads["first_day"][rows].astype(np.int64)
    described = vectors(renumbered, len(rows), day, first_day, NAMES).values
    margins, seconds = _runners(states, scores, rows, bundle)
    found = []
    for i, row in enumerate(rows.tolist()):
        head = states.heads[row]
        customer = customers[row]
        record = SegmentRecord(
            customer_id=customer,
            segment=_segment(bundle, int(head["segment"])),
            previous=_segment(bundle, int(head["previous"])) if head["previous"] else None,
            cause=why[i][0],
            revision=int(head["revision"]),
            as_of=iso(day),
            entered_on=iso(int(head["entered_day"])),
            margin=margins[i],
            second=seconds[i],
            features={name: _number(float(column[i])) for name, column in described.items()},
            model_version=bundle.version,
        )
        found.append(Emission("segments", customer.encode(), msgspec.json.encode(record), why[i][1]))
    return found


def _runners(
    states: States, scores: Scores, rows: Indices, bundle: Bundle
) -> tuple[list[float | None], list[Runner | None]]:
    """Return margin and second-best segment of `rows`; None for those outside the clusters."""
    ids = np.array(segment_ids(bundle))
    labels = states.heads["segment"][rows]
    table = scores.table[rows]
    inside = (labels[:, None] == ids).any(axis=1)
    own = np.where(inside, (labels[:, None] == ids).argmax(axis=1), 0)
    found = margin_of(table, own)
    margins: list[float | None] = []
    runners: list[Runner | None] = []
    for i, clustered in enumerate(inside.tolist()):
        second = int(found.second[i])
        margins.append(round(float(found.margin[i]), 6) if clustered else None)
        if not clustered or second == NOWHERE:
            runners.append(None)
            continue
        rival = bundle.segments[second]
        runners.append(Runner(rival.id, rival.name, round(float(table[i, second]), 6)))
    return margins, runners


def _segment(bundle: Bundle, segment_id: int) -> Segment:
    """Return a segment by id; one that this model no longer has keeps its id and is named so."""
    return segment_of(bundle, segment_id) or Segment(segment_id, f"Segment {segment_id}")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
