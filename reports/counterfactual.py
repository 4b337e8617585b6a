"""The least order that would move a customer, from which day and until when (docs/segments.md, "Why").

    days      since ......... day ============== last_day ... silence moves him, or `until`
                              the first day on which any order moves him; the least amount that does so on it;
                              and how long that very amount still moves him to that very segment

"Least" is exact: on `day` no smaller amount, to 1/10,000, moves him. A day counts only while silence has not moved him.
An order moves him where he is in another segment at the end of its day than before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features.ledger import MONEY, Ints, Ledger, Lines, fold, from_lines, merge
from models.bundle import Bundle
from models.centroids import Indices
from models.scoring import Scores
from reports.first_move import NEVER, FirstMoves, first_moves
from reports.own_days import of_customers, score_on

DAYS = 90
"""How far ahead an action is looked for; advice for later than that is none."""

LARGEST_ORDER = 1_000_000 * MONEY
"""Above it no order is looked for: where only that would move a customer, none does."""

NEW_ORDER = (1 << 64) - 1
"""The hash of the order that is not there yet."""


class LeastOrders(NamedTuple):
    """By customer, int64 of shape (n,): the first day on which an order moves him (`NEVER`: none does), the least
    amount in 1/10,000, the segment he then is in, and the last day on which that amount still takes him there.
    """

    day: Ints
    amount: Ints
    segment: Ints
    last_day: Ints


def least_orders(
    ledger: Ledger, first_day: Ints, labels: Ints, since: Ints, until: Ints, silent: FirstMoves, bundle: Bundle
) -> LeastOrders:
    """Return the least order of each of n customers, in the days since .. until, both included.

    first_day, labels, since, until: int64 of shape (n,); labels: published segments, 0 (none yet) for those who are
    left out; silent: their next moves, as foretold from the labels. The order has one unit of goods and is the only
    line that comes; the model is held.
    """
    last = np.minimum(until, silent.step - 1)
    last = np.where(labels == 0, since - 1, last)
    day, last_day = np.full(len(labels), NEVER), np.full(len(labels), NEVER)
    amount, segment = np.zeros(len(labels), np.int64), labels.copy()
    # Most who move at all do so on the first day; only the others are tried on every later one.
    rows = np.flatnonzero(since <= last)
    for first, final in ((since, since), (since + 1, last)):
        at = _days(rows, first, final)
        orders = _Orders(of_customers(ledger, at.row), first_day[at.row], at.day, labels[at.row], bundle)
        moves = orders.least()
        hit = moves.step != NEVER
        np.minimum.at(day, at.row[hit], at.day[hit])
        best = hit & (at.day == day[at.row])
        amount[at.row[best]], segment[at.row[best]] = moves.step[best], moves.segment[best]
        rows = rows[day[rows] == NEVER]
    at = _days(np.flatnonzero(day != NEVER), day, last)
    orders = _Orders(of_customers(ledger, at.row), first_day[at.row], at.day, labels[at.row], bundle)
    reached = orders.scores(np.arange(len(at.row)), amount[at.row]).labels(labels[at.row], bundle)
    elsewhere = reached != segment[at.row]
    np.minimum.at(last_day, at.row[elsewhere], at.day[elsewhere] - 1)
    return LeastOrders(day, amount, segment, np.where(day == NEVER, NEVER, np.minimum(last_day, last)))


class _CustomerDays(NamedTuple):
    """Pairs of a customer and a day, int64 of one length; sorted by both."""

    row: Ints
    day: Ints


def _days(rows: Indices, first: Ints, last: Ints) -> _CustomerDays:
    """Return the customers `rows`, each on every day from first[row] to last[row]."""
    counts = np.maximum(last[rows] - first[rows] + 1, 0)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return _CustomerDays(np.repeat(rows, counts).astype(np.int64), np.repeat(first[rows], counts) + offset)


@dataclass(frozen=True, slots=True)
class _Orders:
    """m customers, each with one order of some amount on a day of his own."""

    ledger: Ledger
    first_day: Ints
    day: Ints
    labels: Ints
    bundle: Bundle

    def least(self) -> FirstMoves:
        """Return the least amounts that move them.

        Each feature goes one way with the amount. He must be in the clusters from the first amount looked at: it is
        the one that makes his net in the horizon positive.
        """
        alive = self.ledger.day >= self.day[self.ledger.owner] - self.bundle.horizon_days
        net = np.zeros(len(self.day), np.int64)
        np.add.at(net, self.ledger.owner[alive], self.ledger.net[alive])
        low = np.maximum(1, 1 - net)
        return first_moves(self.scores, low, np.full_like(low, LARGEST_ORDER), self.labels, self.bundle)

    def scores(self, rows: Indices, amounts: Ints) -> Scores:
        """Return their scores at the end of the day of an order of these amounts, in 1/10,000."""
        n = len(rows)
        new = np.full(n, NEW_ORDER, np.uint64)
        none = np.zeros(n, np.uint64)
        order = from_lines(Lines(np.arange(n), new, self.day[rows], amounts, np.ones(n, np.int64), none))
        ledger = fold(merge(of_customers(self.ledger, rows), order))
        first_day = np.minimum(self.first_day[rows], self.day[rows])
        return score_on(ledger, first_day, self.day[rows], self.bundle)
