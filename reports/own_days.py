"""Customers scored each as of a day of his own, by the very code that scores everybody as of one day.

    a ledger seen t days later  =  the ledger with its days t earlier

for features depend on differences of days alone. So everybody's days are counted from his own: his day becomes 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.ledger import Ints, Ledger, expire
from models.bundle import Bundle
from models.scoring import Scores, score


def score_on(ledger: Ledger, first_day: Ints, days: Ints, bundle: Bundle) -> Scores:
    """Score the customers 0 .. n - 1, customer i as of days[i].

    ledger: need not be expired; first_day, days: int64 of shape (n,), days since 1970-01-01.
    """
    own = replace(ledger, day=ledger.day - days[ledger.owner])
    kept, _ = expire(own, -bundle.horizon_days)
    return score(kept, first_day - days, 0, bundle)


def of_customers(ledger: Ledger, rows: Ints) -> Ledger:
    """Return the records of the customers `rows`, who become 0 .. len(rows) - 1; one may be named several times."""
    starts = np.asarray(np.searchsorted(ledger.owner, rows))
    counts = np.asarray(np.searchsorted(ledger.owner, rows, side="right")) - starts
    index = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    return replace(ledger.take(index), owner=np.repeat(np.arange(len(rows)), counts))
