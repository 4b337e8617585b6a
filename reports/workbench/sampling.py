"""Which customers a method looks at that cannot take everybody: a uniform choice, the same each time.

An exhibit that was made of a choice says so, with its n.
"""

from __future__ import annotations

import numpy as np

from features.ledger import Ints

AT_MOST = 5_000
"""Customers that what is quadratic looks at, and marks of a plot."""


def sampled(n: int, at_most: int = AT_MOST) -> Ints:
    """Return the places of at most `at_most` of n rows, in their order, int64; all of them where they fit."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:at_most])


def said(n: int, of: int) -> str:
    """Return how many were looked at: ``4,243 customers``, ``a random choice of 5,000 of 20,112 customers``."""
    return f"{n:,} customers" if n == of else f"a random choice of {n:,} of {of:,} customers"
