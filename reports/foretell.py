"""When a customer who stays silent moves, and where to, under the present model (docs/segments.md, "Silence foretold").

    day + 1 ......... edge ............ edge ..... until
            recency     an order leaves the horizon, or a window of 30, 90 or 365 days:
            and tenure  everything may jump; in between only recency and tenure grow, by a day a day

At each edge he is scored anew; between two edges `first_move` looks for the first day. So a customer costs a score for
each edge before his move, and a few more, where scoring him each day would cost one a day.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from features.ledger import Ints, Ledger
from features.vector import Vectors
from models.bundle import Bundle
from models.centroids import Indices
from models.scoring import Scores, scored
from reports.first_move import NEVER, FirstMoves, first_moves
from reports.own_days import of_customers, score_on

DAYS = 400
"""How far ahead a look-up looks: past the default horizon of 365 days, by when a silent customer has lapsed."""

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
        now, own = day[rows], labels[rows]
        edge = np.minimum(_next_edges(ledger, now, bundle), until + 1)
        scores = score_on(ledger, first_day[rows], now, bundle)
        moves = first_moves(_silently(scores, bundle), np.zeros_like(now), edge - 1 - now, own, bundle)
        hit = moves.step != NEVER
        found[rows[hit]], segment[rows[hit]] = now[hit] + moves.step[hit], moves.segment[hit]
        day[rows] = edge
        left = np.flatnonzero(~hit & (edge <= until))
        rows, ledger = rows[left], of_customers(ledger, left)
    return FirstMoves(found, segment)


def _silently(scores: Scores, bundle: Bundle) -> Callable[[Indices, Ints], Scores]:
    """Return the scores of customers some days later, while no order leaves the horizon or a window."""

    def later(rows: Indices, days: Ints) -> Scores:
        known = scores.vectors
        values = {name: v[rows] + days if name in AGEING else v[rows] for name, v in known.values.items()}
        return scored(Vectors(values, known.lapsed[rows], known.clustered[rows]), bundle)

    return later


def _next_edges(ledger: Ledger, now: Ints, bundle: Bundle) -> Ints:
    """Return the first day after each customer's `now` on which one of his records leaves the horizon or a window.

    A record dated ahead of the day (clocks differ) neither ages nor is left alone: until its day each day is an edge.
    """
    windows = {int(name.rpartition("_")[2]) for name in bundle.features if name[-1].isdigit()}
    edges, today = np.full(len(now), NEVER), now[ledger.owner]
    for days in {bundle.horizon_days, *windows}:
        leaves = ledger.day + days + 1
        np.minimum.at(edges, ledger.owner, np.where(leaves > today, leaves, NEVER))
    ahead = ledger.owner[ledger.day > today]
    edges[ahead] = np.minimum(edges[ahead], now[ahead] + 1)
    return edges
