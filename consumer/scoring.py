"""What an event's step and a sweep's chunk share around the scores: the horizon before, heads and records after.

state --horizon--> ledger --models.scoring--> scores --label--> head, record
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isnan
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from consumer.messages import Cause, Emission, Runner, SegmentRecord
from consumer.partition import Sweep, iso
from features.codec import NO_DAY, States
from features.ledger import Ints, Ledger, expire, order_starts
from features.moves import CAUSES, MOVE, Moves, reverted
from features.vector import NAMES, Floats, vectors
from models.bundle import Bundle, Segment, segment_of
from models.centroids import NOWHERE, Indices, margin_of
from models.scoring import Scores

T = TypeVar("T")
Headers = tuple[tuple[str, bytes], ...]

_encode = msgspec.json.Encoder().encode
_SURE = float(1 << 40)


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
    heads = states.heads[rows]
    described = vectors(renumbered, len(rows), day, heads["first_day"].astype(np.int64), NAMES).values
    names, as_of, version = tuple(described), iso(day), bundle.version
    table = scores.table[rows]
    clear = margin_of(table, heads["segment"].astype(np.int64), bundle)
    segments, entered = _each(partial(named_segment, bundle), heads["segment"]), _each(iso, heads["entered_day"])
    previous = _each(lambda segment: named_segment(bundle, segment) if segment else None, heads["previous"])
    columns = zip(
        rows.tolist(),
        why,
        segments,
        previous,
        entered,
        heads["revision"].tolist(),
        rounded_all(clear.margin),
        _runners(bundle, table, clear.second),
        clear.held.tolist(),
        zip(*(rounded_all(column) for column in described.values()), strict=True),
        strict=True,
    )
    found = []
    for row, (cause, headers), segment, before, since, revision, margin, second, held, figures in columns:
        customer = customers[row]
        record = SegmentRecord(
            customer_id=customer,
            segment=segment,
            previous=before,
            cause=cause,
            revision=revision,
            as_of=as_of,
            entered_on=since,
            margin=margin,
            second=second,
            held=held,
            features=dict(zip(names, figures, strict=True)),
            model_version=version,
        )
        found.append(Emission("segments", customer.encode(), _encode(record), headers))
    return found


def _each(found: Callable[[int], T], values: npt.NDArray[Any]) -> list[T]:
    """Return what a function gives for each of many numbers that are mostly the same few."""
    raw: list[int] = values.tolist()
    known = {value: found(value) for value in set(raw)}
    return [known[value] for value in raw]


def _runners(bundle: Bundle, table: Floats, second: Ints) -> list[Runner | None]:
    """Return the second-best segments with their distances. table: (n, k), the customers' distances."""
    if bundle.k == 1:
        return [None] * len(second)
    names = [(each.id, each.name) for each in bundle.segments]
    distances = rounded_all(np.take_along_axis(table, np.maximum(second, 0)[:, None], axis=1)[:, 0])
    return [
        None if at == NOWHERE or distance is None else Runner(names[at][0], names[at][1], distance)
        for at, distance in zip(second.tolist(), distances, strict=True)
    ]


def named_segment(bundle: Bundle | None, segment_id: int) -> Segment:
    """Return a segment by id; one that the model does not have, or whose model is gone, is named by its id."""
    found = None if bundle is None else segment_of(bundle, segment_id)
    return found or Segment(segment_id, f"Segment {segment_id}")


def rounded(value: float) -> float | None:
    """Return a figure as records and commands show it, to 10^-6; None for what is undefined (NaN)."""
    return None if isnan(value) else round(value, 6)


def rounded_all(values: Floats) -> list[float | None]:
    """Return `rounded` of each: what k / 10^6 is for a whole k beyond doubt, and one by one the rest."""
    scaled = values * 1e6
    whole = np.rint(scaled)
    # Below 2^40 the product is off by less than 2^-13, so a thousandth from a half its rounding is that of the value.
    sure = (np.abs(scaled) < _SURE) & (np.abs(np.abs(scaled - whole) - 0.5) > 1e-3)
    found: list[float | None] = (whole / 1e6).tolist()
    for row in np.flatnonzero(~sure).tolist():
        found[row] = rounded(float(values[row]))
    return found
