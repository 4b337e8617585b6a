"""The weeks before Christmas: a window that holds them says little about one that does not."""

from __future__ import annotations

import numpy as np

from features.transaction import date_of

BEGINS, ENDS = (11, 1), (12, 24)
"""Month and day of the first and the last day of the season."""


def season_days(start: int, end: int) -> int:
    """Return how many of the days start .. end - 1 (days since 1970-01-01) are in the season."""
    dates = map(date_of, np.arange(start, end).tolist())
    return sum(BEGINS <= (date.month, date.day) <= ENDS for date in dates)


def seasonal(start: int, end: int) -> str:
    """Return what a window holds of the season: ``39 of 90 days are in the weeks before Christmas``."""
    held = season_days(start, end)
    if held == 0:
        return f"none of {end - start} days is in the weeks before Christmas (1 November to 24 December)"
    be = "is" if held == 1 else "are"
    return f"{held} of {end - start} days {be} in the weeks before Christmas (1 November to 24 December)"
