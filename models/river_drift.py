"""Small shifts that last: river's Page-Hinkley test (a two-sided CUSUM; Page, 1954) over daily scores.

It is fed standard scores, one a day, so that a day of 30 orders and one of 3,000 weigh as much as they know.
"""

from __future__ import annotations

from collections.abc import Sequence

from river.drift import PageHinkley

ALLOWANCE = 0.5
"""In standard deviations of a day's score: shifts of less than twice that are let pass."""

DECISION = 10.0
"""In the same unit. Simulated: a shift by one deviation is told after 20 days (median), one by two after 8; by chance
it tells once in 12,000 days a measure, once in 2,700 where neighbouring days correlate by 0.3."""

FEWEST = 14


def shifts(scores: Sequence[float]) -> list[int]:
    """Return the indices at which a lasting shift of the scores is told; after each the test begins anew."""
    test = PageHinkley(min_instances=FEWEST, delta=ALLOWANCE, threshold=DECISION, alpha=1.0)
    told = []
    for index, score in enumerate(scores):
        test.update(score)  # type: ignore[no-untyped-call]  # river types it nowhere
        if test.drift_detected:
            told.append(index)
    return told
