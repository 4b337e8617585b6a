"""Ward's method: the two groups are joined whose union adds least to the WCSS, until one is left; and its tree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.cluster.hierarchy import dendrogram, fcluster, linkage

from features.ledger import Ints
from features.vector import Floats
from reports.workbench.exhibit import Exhibit
from reports.workbench.theme import CONTRAST, PLAIN, styled

LEAVES = 24
"""Groups that the dendrogram begins with: below them it would be black."""

LAST_JOINS = 10
"""Joins among which the longest wait is looked for: more than ten segments have no names."""


def ward(z: Floats) -> Floats:
    """Return Ward's tree as scipy's linkage, float64 (n - 1, 4). Quadratic in memory. z: float64 (n, d).

    Ward, J. Am. Stat. Assoc. 58 (1963) 236-244; a join's height is the root of twice the WCSS it adds.
    """
    tree: Floats = linkage(z, "ward")
    return tree


def cut(tree: Floats, k: int) -> Ints:
    """Return the clusters, int64 (n,), of a tree cut to at most k."""
    labels: Ints = fcluster(tree, k, "maxclust").astype(np.int64)
    return labels


def longest_wait(tree: Floats) -> int:
    """Return how many groups stand over the greatest rise in height between one join and the next, of the last ones."""
    heights = tree[-LAST_JOINS:, 2]
    return len(heights) - int(np.argmax(np.diff(heights)))


def tree_exhibit(tree: Floats, k: int) -> Exhibit:
    """Return the top of the tree of `ward`, with the height at which it falls into k groups."""
    drawn = dendrogram(tree, p=LEAVES, truncate_mode="lastp", no_plot=True)
    across, up = np.array(drawn["icoord"]), np.array(drawn["dcoord"])
    sizes = [int(text[1:-1]) if text.startswith("(") else 1 for text in drawn["ivl"]]
    heights = tree[:, 2]
    line = float((heights[-k] + heights[-k + 1]) / 2) if k > 1 else float(heights[-1] * 1.05)
    table = pd.DataFrame(
        {
            "height": up[:, 1],
            "left": across[:, 0],
            "right": across[:, 2],
            "left_foot": up[:, 0],
            "right_foot": up[:, 3],
        }
    ).sort_values("height", ascending=False, ignore_index=True)
    figure = go.Figure()
    gap = np.full((len(across), 1), np.nan)
    figure.add_scatter(
        x=np.hstack([across, gap]).ravel(), y=np.hstack([up, gap]).ravel(), mode="lines", line_color=PLAIN, name="joins"
    )
    figure.add_hline(y=line, line={"dash": "dash", "color": CONTRAST})
    figure.update_xaxes(
        tickvals=[5 + 10 * i for i in range(len(sizes))], ticktext=[f"{n:,}" for n in sizes], tickangle=90
    )
    figure.update_layout(showlegend=False)
    natural = longest_wait(tree)
    verdict = "the k of this report" if natural == k else f"this report has {k} (dashed)"
    return Exhibit(
        "dendrogram",
        "Ward's tree",
        f"The greatest rise between two joins leaves {natural} groups standing; {verdict}. The last join is at "
        f"{heights[-1]:,.1f} standard deviations (sd), the one before at {heights[-2]:,.1f}. The last {len(table)} "
        "joins are drawn; below stands how many customers each group has.",
        table,
        styled(figure, x="customers in a group", y="height of the join [sd]", height=460),
    )
