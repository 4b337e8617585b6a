"""The gap statistic against its definition, and on shops whose number of groups is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from reports.workbench.segments import gap_statistic as module
from reports.workbench.segments.gap_statistic import first_within_error, gap_statistic


def blobs(groups: int, rng: np.random.Generator) -> np.ndarray:
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])[:groups]
    return np.concatenate([centre + rng.normal(scale=0.5, size=(60, 2)) for centre in centres])


@pytest.mark.parametrize("groups", [1, 3])
def test_the_rule_finds_the_groups_that_are_there(groups: int) -> None:
    found = gap_statistic(blobs(groups, np.random.default_rng(3)), [1, 2, 3, 4, 5])
    assert first_within_error(found) == groups


def test_the_gap_is_the_references_mean_log_wcss_less_the_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pairwise distances, as the paper defines W; the axes of these customers are those of the coordinates."""
    monkeypatch.setattr(module, "REFERENCES", 4)
    rng = np.random.default_rng(5)
    z = np.column_stack([np.repeat([-4.0, 4.0], 20), np.tile([-1.0, 1.0], 20)])

    def log_w(points: np.ndarray, k: int) -> float:
        labels = KMeans(k, n_init=2, random_state=1).fit_predict(points)
        groups = [points[labels == group] for group in range(k)]
        pairs = [((group[:, None] - group[None]) ** 2).sum() / (2 * len(group)) for group in groups]
        return float(np.log(sum(pairs)))

    found = gap_statistic(z, [1, 2])
    boxes = [rng.uniform([-4, -1], [4, 1], z.shape) for _ in range(40)]
    for k, gap, error in zip((1, 2), found["gap"], found["gap_error"], strict=True):
        logs = [log_w(box, k) for box in boxes]
        # Other references: their mean lies within four of its standard errors.
        assert gap == pytest.approx(np.mean(logs) - log_w(z, k), abs=4 * np.std(logs) / np.sqrt(4))
        assert 0.2 * np.std(logs) < error < 3 * np.std(logs)


def test_the_first_k_within_one_error_of_the_next_is_taken() -> None:
    table = pd.DataFrame({"k": [1, 2, 3, 4], "gap": [0.1, 0.5, 0.52, 0.9], "gap_error": [0.1, 0.1, 0.05, 0.1]})
    assert first_within_error(table) == 2
    rising = table.assign(gap=[0.1, 0.5, 0.8, 1.2])
    assert first_within_error(rising) is None


def test_all_references_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFERENCES", 3)
    told: list[int] = []
    gap_statistic(blobs(1, np.random.default_rng(0)), [1, 2], told.append)
    assert told == [1, 2, 3]
