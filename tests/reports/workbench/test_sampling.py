"""A choice of customers is uniform, in order, and the same each time."""

from __future__ import annotations

import numpy as np

from reports.workbench.sampling import said, sampled


def test_all_are_taken_where_they_fit() -> None:
    assert sampled(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert said(5, 5) == "5 customers"


def test_of_more_a_fixed_uniform_choice_is_taken_in_order() -> None:
    chosen = sampled(100_000, 10_000)
    assert (np.diff(chosen) > 0).all()
    assert (sampled(100_000, 10_000) == chosen).all()
    # Of each tenth about a thousand: six standard deviations of a hypergeometric count.
    assert np.abs(np.histogram(chosen, bins=10, range=(0, 100_000))[0] - 1_000).max() < 6 * 28.5
    assert said(10_000, 100_000) == "a random choice of 10,000 of 100,000 customers"
