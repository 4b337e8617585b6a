"""When a customer who stays silent moves, and where to, under the present model (docs/segments.md, "Silence foretold").

    day + 1 ......... edge ............ edge ..... until
            recency     an order leaves the horizon, or a window of 30, 90 or 365 days:
            and tenure  everything may jump; in between only recency and tenure grow, by a day a day

At each edge he is scored anew; between two edges `first_move` looks for the first day. So a customer costs a score for
each edge before his move, and a few more, where scoring him each day would cost one a day. Of few customers many
stretches are looked at together, for it is the call that costs and not the row: a look-up takes one turn of the loop,
not one an edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from features.ledger import Ints, Ledger
from features.vector import Vectors
from models.bundle import Bundle
from models.centroids import Indices
from models.scoring import Scores, scored
from reports.first_move import NEVER, FirstMoves, first_moves, from_zero
from reports.own_days import of_customers, score_on

DAYS = 400
"""How far ahead a look-up looks: past the default horizon of 365 days, by when a silent customer has lapsed."""

AT_ONCE = 1 << 13
"""Records that are scored together, where that many are left: enough for the call not to count."""

AGEING = frozenset({"recency", "tenure"})
"""Features that grow by a day a day."""


def foretell(ledger: Ledger, first_day: Ints, labels: Ints, as_of: Ints, until: int, bundle: Bundle) -> FirstMoves:
    """Return the day of each customer's next move if no line of his comes any more and the model stays as it is.

    first_day, labels, as_of: int64 of shape (n,), the day of the first order ever, the published segment (0, none yet:
    nothing is foretold) and the day as of which it was published; until: the last day looked at. Days count from
    1970-01-01; the steps of the result are days.
    """
    day = as_of + 1
    found, segment = np.full(len(labels), NEVER), labels.copy()
    rows = np.flatnonzero((labels != 0) & (day <= until))
    ledger = of_customers(ledger, rows)
    while len(rows):
        ways = _stretches(ledger, day[rows], until, AT_ONCE // max(len(ledger), 1) + 1, bundle)
        who = rows[ways.owner]
        scores = score_on(of_customers(ledger, ways.owner), first_day[who], ways.first, bundle)
        moves = first_moves(_silently(scores, bundle), np.zeros_like(who), ways.last - ways.first, labels[who], bundle)
        hit = np.flatnonzero(moves.step != NEVER)[::-1]  # a customer's first stretch is written last
        found[who[hit]], segment[who[hit]] = ways.first[hit] + moves.step[hit], moves.segment[hit]
        day[who] = ways.last + 1
        left = np.flatnonzero((found[rows] == NEVER) & (day[rows] <= until))
        rows, ledger = rows[left], of_customers(ledger, left)
    return FirstMoves(found, segment)


def _silently(scores: Scores, bundle: Bundle) -> Callable[[Indices, Ints], Scores]:
    """Return the scores of customers some days later, while no order leaves the horizon or a window."""

    def later(rows: Indices, days: Ints) -> Scores:
        known = scores.vectors
        values = {name: v[rows] + days if name in AGEING else v[rows] for name, v in known.values.items()}
        return scored(Vectors(values, known.lapsed[rows], known.clustered[rows]), bundle)

    return later


class _Stretches(NamedTuple):
    """Days on which nothing but recency and tenure grows, by customer and day; int64 (m,), both ends included."""

    owner: Ints
    first: Ints
    last: Ints


def _stretches(ledger: Ledger, now: Ints, until: int, most: int, bundle: Bundle) -> _Stretches:
    """Return the first stretches of each customer from his `now` to `until`, so many each at most.

    A new one begins where one of his records leaves the horizon or a window. A record dated ahead of the day (clocks
    differ) neither ages nor is left alone: until its day each day is a stretch of its own.
    """
    n = len(now)
    windows = {int(name.rpartition("_")[2]) for name in bundle.features if name[-1].isdigit()}
    last_record = np.full(n, np.iinfo(np.int64).min)
    np.maximum.at(last_record, ledger.owner, ledger.day)
    ahead = np.clip(np.minimum(last_record, until), now, now + most) - now
    owners, begins = [np.arange(n), np.repeat(np.arange(n), ahead)], [now, np.repeat(now + 1, ahead) + from_zero(ahead)]
    for days in {bundle.horizon_days, *windows}:
        leaves = ledger.day + days + 1
        later = (leaves > now[ledger.owner]) & (leaves <= until)
        owners.append(ledger.owner[later])
        begins.append(leaves[later])
    owner, first = np.concatenate(owners), np.concatenate(begins)
    order = np.lexsort((first, owner))
    owner, first = owner[order], first[order]
    new = np.r_[True, (owner[1:] != owner[:-1]) | (first[1:] != first[:-1])]
    owner, first = owner[new], first[new]
    last = np.where(np.r_[owner[1:] == owner[:-1], False], np.r_[first[1:] - 1, until], until)
    kept = np.arange(len(owner)) - np.searchsorted(owner, owner) < most
    return _Stretches(owner[kept], first[kept], last[kept])
