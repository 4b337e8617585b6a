"""Ward's tree against the sums of squares that it joins by, and the part of it that is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.workbench.segments.ward import cut, longest_wait, tree_exhibit, ward
from reports.workbench.study import Study


@pytest.fixture(scope="module")
def few(sample: Study) -> Study:
    return replace(sample, customers=sample.clustered.iloc[::8])


def wcss(z: np.ndarray, labels: np.ndarray) -> float:
    parts = [z[labels == i] for i in set(labels.tolist())]
    return sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in parts)


def test_a_join_is_as_high_as_the_root_of_twice_the_wcss_it_adds(few: Study) -> None:
    z = few.vectors
    tree = ward(z)
    for k in range(1, 8):
        assert len(set(cut(tree, k).tolist())) == k
        added = wcss(z, cut(tree, k)) - wcss(z, cut(tree, k + 1))
        assert tree[-k, 2] == pytest.approx(np.sqrt(2 * added))


def test_the_longest_wait_is_before_the_greatest_rise() -> None:
    tree = np.zeros((6, 4))
    tree[:, 2] = [1, 2, 3, 10, 11, 12]  # after three joins of seven, four groups stand
    assert longest_wait(tree) == 4


def test_the_drawn_joins_are_the_last_of_the_tree_and_the_line_cuts_it_into_k(few: Study) -> None:
    tree = ward(few.vectors)
    exhibit = tree_exhibit(tree, 3)
    assert exhibit.data["height"].tolist() == pytest.approx(tree[-23:, 2][::-1])
    assert exhibit.figure is not None
    (line,) = exhibit.figure.layout.shapes
    assert (tree[:, 2] > line.y0).sum() == 2
    leaves = [int(text.replace(",", "")) for text in exhibit.figure.layout.xaxis.ticktext]
    assert (len(leaves), sum(leaves)) == (24, len(few.clustered))


def test_few_customers_have_a_whole_tree() -> None:
    z = np.array([[0.0], [1.0], [5.0], [6.5]])
    exhibit = tree_exhibit(ward(z), 1)
    assert len(exhibit.data) == 3
    assert "leaves 2 groups standing; this report has 1" in exhibit.sentence
