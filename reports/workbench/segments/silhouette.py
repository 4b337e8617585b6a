"""The silhouette of each customer: how much nearer the next segment is than his own, drawn as the classic diagram.

    s = (b - a) / max(a, b)      a: mean distance to the others of his segment      b: to those of the next segment

Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53-65. Distances are the model's own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.metrics import silhouette_samples

from reports.workbench.exhibit import Exhibit
from reports.workbench.phrases import share
from reports.workbench.sampling import said, sampled
from reports.workbench.study import Study
from reports.workbench.theme import segment_colours, styled

BARS = 2_000
"""Bars of the diagram, at most: of more customers some stand for their neighbours in the order."""

REASONABLE = 0.50
STRUCTURE = ((0.70, "a strong structure"), (REASONABLE, "a reasonable structure"), (0.25, "a weak structure"))
"""Kaufman and Rousseeuw, Finding Groups in Data (1990), table 4: what a mean silhouette above each speaks for."""


def structure(silhouette: float) -> str:
    """Return what a mean silhouette speaks for: ``a weak structure``, ``no structure``."""
    return next((words for above, words in STRUCTURE if silhouette > above), "no structure")


def silhouettes(study: Study) -> pd.DataFrame:
    """Return ``customer``, ``segment``, ``silhouette`` (-1 .. 1), by segment and the greatest first.

    Of at most `sampling.AT_MOST` customers; of nobody where they are in one segment, or each in his own.
    """
    chosen = sampled(len(study.clustered))
    customers = study.clustered.iloc[chosen]
    if not 1 < customers["segment_id"].nunique() < len(customers):
        return pd.DataFrame({"customer": [], "segment": [], "silhouette": []})
    found = pd.DataFrame(
        {
            "customer": customers.index,
            "segment": customers["segment"].array,
            "silhouette": silhouette_samples(study.vectors[chosen], customers["segment_id"].to_numpy()),
        }
    )
    return found.sort_values(["segment", "silhouette"], ascending=[True, False], kind="stable", ignore_index=True)


def thinned(found: pd.DataFrame, at_most: int = BARS) -> pd.DataFrame:
    """Return at most so many rows, evenly spaced in their order, so that each segment keeps its share."""
    if len(found) <= at_most:
        return found
    return found.iloc[np.linspace(0, len(found) - 1, at_most).round().astype(int)].reset_index(drop=True)


def diagram(study: Study, found: pd.DataFrame) -> Exhibit:
    """Return the exhibit of `silhouettes` that has rows."""
    mean = float(found["silhouette"].mean())
    by_segment = found.groupby("segment", observed=True)["silhouette"].mean()
    best, worst = str(by_segment.idxmax()), str(by_segment.idxmin())
    below = found["silhouette"] < 0
    shown = thinned(found)
    shown.insert(0, "place", np.arange(1, len(shown) + 1))
    figure = go.Figure()
    colours = segment_colours(study.bundle)
    for name, part in shown.groupby("segment", observed=True):
        figure.add_bar(
            x=part["silhouette"],
            y=part["place"],
            orientation="h",
            name=str(name),
            marker={"color": colours[str(name)], "line": {"width": 0}},
            width=1,
        )
    figure.add_vline(x=mean, line={"dash": "dash", "color": "#8A8A8A"})
    figure.update_yaxes(autorange="reversed", showticklabels=False)
    drawn = "a bar each" if len(shown) == len(found) else f"{len(shown):,} of them drawn"
    return Exhibit(
        "silhouettes",
        "How well customers fit their segments",
        f"The mean silhouette of {said(len(found), len(study.clustered))} in {len(by_segment)} segments is {mean:.2f}, "
        f"which speaks for {structure(mean)} (1: far from every other segment, 0: between two). {best} hang together "
        f"most ({by_segment[best]:.2f}), {worst} least ({by_segment[worst]:.2f}). {share(float(below.mean()))} are on "
        f"average nearer to another segment than to their own{_where(found[below])}.",
        shown,
        styled(figure, x="silhouette [-1 to 1]; dashed: the mean", y=f"customers by segment, {drawn}", height=460),
    )


def _where(misfits: pd.DataFrame) -> str:
    """Return in which segment there are most of some customers; nothing of nobody."""
    if misfits.empty:
        return ""
    counts = misfits["segment"].astype(str).value_counts()
    return f", {'most' if counts.iloc[0] > len(misfits) / 2 else 'the largest part'} of them in {counts.index[0]}"
