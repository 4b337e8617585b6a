"""What an event's step and a sweep's chunk share around the scores: the horizon before, heads and records after.

state --horizon--> ledger --models.scoring--> scores --label--> head, record
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import msgspec
import numpy as np

from consumer.messages import Cause, Emission, Runner, SegmentRecord
from consumer.partition import Sweep, iso
from features.codec import NO_DAY, States
from features.ledger import Ints, Ledger, expire, order_starts
from features.moves import CAUSES, MOVE, Moves, reverted
from features.vector import NAMES, Floats, vectors
from models.bundle import Bundle, Segment, segment_of
from models.centroids import NOWHERE, Indices, margin_of
from models.scoring import Scores

Headers = tuple[tuple[str, bytes], ...]


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


def first_days(states: States, day: int) -> Ints:
    """Return the day of each customer's first order ever, int64 (n,); `day` for who has none."""
    first = states.heads["first_day"]
    return np.where(first == NO_DAY, day, first).astype(np.int64)


def anchors(states: States, sweep: Sweep, bundle: Bundle) -> Ints:
    """Return the labels to which a sweep holds its customers, int64 (n,): the published ones.

    In the first sweep after a rollback each label counts that no event has changed since the versions it takes back.
    """
    labels = states.heads["segment"].astype(np.int64)
    before = sweep.previous_version
    if bundle.replaced is None or before is None or before >= bundle.replaced[1]:
        return labels
    return reverted(states.moves, labels, *bundle.replaced)


def move(states: States, rows: Indices, labels: Ints, causes: Sequence[Cause], day: int, version: int) -> Moves:
    """Write new labels into the heads of `rows` (sorted); each gets the next revision. Return what is remembered of it.

    heads are the batch's own copy: they are written once, here, before they are encoded.
    """
    heads = states.heads
    heads["previous"][rows] = heads["segment"][rows]
    heads["segment"][rows] = labels
    heads["entered_day"][rows] = day
    heads["revision"][rows] += 1
    made = np.empty(len(rows), MOVE)
    made["revision"], made["day"], made["version"] = heads["revision"][rows], day, version
    made["source"], made["target"] = heads["previous"][rows], labels
    made["cause"] = [CAUSES.index(cause) for cause in causes]
    return Moves(rows.astype(np.int64), made)


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
    table, as_of = scores.table[rows], iso(day)
    clear = margin_of(table, states.heads["segment"][rows].astype(np.int64), bundle)
    margins, seconds, held = clear.margin.tolist(), clear.second.tolist(), clear.held.tolist()
    figures = zip(*([rounded(figure) for figure in column.tolist()] for column in described.values()), strict=True)
    heads = states.heads[["segment", "previous", "entered_day", "revision"]][rows].tolist()
    found = []
    for i, ((segment, previous, entered, revision), features) in enumerate(zip(heads, figures, strict=True)):
        customer = customers[rows[i]]
        record = SegmentRecord(
            customer_id=customer,
            segment=named_segment(bundle, segment),
            previous=named_segment(bundle, previous) if previous else None,
            cause=why[i][0],
            revision=revision,
            as_of=as_of,
            entered_on=iso(entered),
            margin=rounded(margins[i]),
            second=_runner(bundle, table[i], seconds[i]),
            held=held[i],
            features=dict(zip(described, features, strict=True)),
            model_version=bundle.version,
        )
        found.append(Emission("segments", customer.encode(), msgspec.json.encode(record), why[i][1]))
    return found


def _runner(bundle: Bundle, table: Floats, second: int) -> Runner | None:
    """Return the second-best segment with its distance. table: (k,), the customer's distances."""
    if second == NOWHERE:
        return None
    rival = bundle.segments[second]
    return Runner(rival.id, rival.name, round(float(table[second]), 6))


def named_segment(bundle: Bundle | None, segment_id: int) -> Segment:
    """Return a segment by id; one that the model does not have, or whose model is gone, is named by its id."""
    found = None if bundle is None else segment_of(bundle, segment_id)
    return found or Segment(segment_id, f"Segment {segment_id}")


def rounded(value: float) -> float | None:
    """Return a figure as records and commands show it, to 10^-6; None for what is undefined (NaN)."""
    return None if isnan(value) else round(value, 6)
