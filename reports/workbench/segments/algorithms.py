"""Other algorithms beside K-Means: DBSCAN, which looks for dense places, and Ward, which joins from the bottom up.

vectors, at most `sampling.AT_MOST` --+-- K-Means: the study's segments --+
                                      +-- DBSCAN, eps from the knee ------+--> scores of each, ARI of each pair
                                      +-- Ward, cut at the same k --------+
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, davies_bouldin_score, silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints
from features.vector import Floats
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, listed, share
from reports.workbench.sampling import said, sampled
from reports.workbench.segments.dbscan import (
    NOISE,
    dbscan,
    dense_places,
    distances_exhibit,
    k_distances,
    knee,
    min_samples_for,
    places_exhibit,
)
from reports.workbench.segments.ward import cut, tree_exhibit, ward
from reports.workbench.study import Study
from reports.workbench.theme import RAMP, styled

AGREEMENT = ((0.90, "almost the same groups as"), (0.80, "much the same groups as"), (0.65, "partly the groups of"))
"""Steinley, Psychological Methods 9 (2004) 386-396: excellent, good and moderate recovery by ARI; below it poor."""


def section(study: Study) -> Section:
    """Return the section; a note where there are too few customers for one of the algorithms."""
    key, title, k = "algorithms", "Would another algorithm see the same segments?", study.bundle.k
    chosen = sampled(len(study.clustered))
    customers, z = study.clustered.iloc[chosen], study.vectors[chosen]
    neighbours = min_samples_for(z.shape[1])
    if len(z) <= max(neighbours, k) or len(np.unique(z, axis=0)) < 3:
        return Section(
            key, title, "", notes=(f"{len(z)} customers in the clusters: too few, or too equal, to compare.",)
        )
    if k == 1:
        return Section(key, title, "", notes=("Everybody is in one segment: there are no borders to compare.",))
    curve = k_distances(z, neighbours)
    at = knee(curve)
    if curve[at] <= 0:
        note = f"So many customers equal {neighbours - 1} others in every feature that DBSCAN has no distance to go by."
        return Section(key, title, "", notes=(note,))
    dense = dbscan(z, float(curve[at]), neighbours)
    tree = ward(z)
    labels = {
        f"K-Means, k = {k}": customers["segment_id"].to_numpy(),
        f"Ward, cut at {k}": cut(tree, k),
        "DBSCAN": dense,
    }
    lead = (
        "K-Means draws borders halfway between centres. DBSCAN looks for places where customers are dense and calls "
        "the rest noise; Ward joins the two nearest groups again and again. If there were natural groups, all three "
        f"would find them. Over {said(len(chosen), len(study.clustered))}, in the same distances."
    )
    table, pairs = compared(z, labels), agreement(labels)
    exhibits = (
        _compared(table, pairs),
        _agreement(pairs),
        distances_exhibit(curve, at, neighbours),
        *([places_exhibit(dense_places(customers, dense))] if dense.max() >= 0 else []),
        tree_exhibit(tree, k),
    )
    notes = () if dense.max() >= 0 else ("DBSCAN found no dense place: everybody is noise to it.",)
    return Section(key, title, lead, exhibits, notes=notes)


def compared(z: Floats, labels: dict[str, Ints]) -> pd.DataFrame:
    """Return a row an algorithm: ``algorithm``, ``clusters``, ``largest_share``, ``noise_share``, ``silhouette``,
    ``calinski_harabasz``, ``davies_bouldin``.

    The three indices are of those who are not noise, and missing where there are fewer than two clusters.
    """
    return pd.DataFrame([{"algorithm": name, **_judged(z, found)} for name, found in labels.items()])


def agreement(labels: dict[str, Ints]) -> pd.DataFrame:
    """Return a row a pair: ``one``, ``other``, ``ari``, the adjusted Rand index; noise is a group of its own.

    Hubert and Arabie, J. of Classification 2 (1985) 193-218: 1 for the same partition, 0 as by chance.
    """
    return pd.DataFrame(
        [
            {"one": one, "other": other, "ari": float(adjusted_rand_score(labels[one], labels[other]))}
            for one in labels
            for other in labels
        ]
    )


def _judged(z: Floats, labels: Ints) -> dict[str, float]:
    inside = labels != NOISE
    sizes = np.unique(labels[inside], return_counts=True)[1]
    row: dict[str, float] = {
        "clusters": len(sizes),
        "largest_share": sizes.max() / len(labels) if len(sizes) else math.nan,
        "noise_share": 1 - float(inside.mean()),
    }
    indices = {
        "silhouette": silhouette_score,
        "calinski_harabasz": calinski_harabasz_score,
        "davies_bouldin": davies_bouldin_score,
    }
    judge = 1 < len(sizes) < inside.sum()
    with threadpool_limits(limits=1):
        return row | {name: float(f(z[inside], labels[inside])) if judge else math.nan for name, f in indices.items()}


def _compared(table: pd.DataFrame, pairs: pd.DataFrame) -> Exhibit:
    names = table["algorithm"].tolist()
    aris = {
        str(name): float(pairs.loc[(pairs["one"] == names[0]) & (pairs["other"] == name), "ari"].iloc[0])
        for name in names[1:]
    }
    sees = [f"{name} sees {_agrees(ari)} K-Means (ARI {ari:.2f})" for name, ari in aris.items()]
    dense = table.iloc[-1]
    noise = (
        f"DBSCAN finds {count(int(dense['clusters']), 'cluster')} and calls {share(dense['noise_share'])} of the "
        "customers noise"
    )
    same = min(aris.values()) >= AGREEMENT[1][0]
    meaning = (
        "Three ways of looking find one partition: the segments do not hang on the choice of K-Means."
        if same
        else "Where the borders run is a choice of the algorithm: the segments are a useful cut, not groups that every "
        "method finds."
    )
    return Exhibit(
        "algorithms-compared",
        "K-Means, Ward and DBSCAN side by side",
        f"{listed(sees)}; {noise}. {meaning} Greater is better for silhouette and Calinski-Harabasz, less for "
        "Davies-Bouldin; all three favour round groups, as K-Means does.",
        table,
    )


def _agrees(ari: float) -> str:
    return next((words for least, words in AGREEMENT if ari >= least), "other groups than")


def _agreement(pairs: pd.DataFrame) -> Exhibit:
    grid = pairs.pivot(index="one", columns="other", values="ari")
    names = pairs["one"].drop_duplicates().tolist()
    grid = grid.reindex(index=names, columns=names)
    different = pairs[pairs["one"] != pairs["other"]].sort_values("ari", kind="stable")
    least, most = different.iloc[0], different.iloc[-1]
    cells = go.Heatmap(
        z=grid.to_numpy(),
        x=names,
        y=names,
        zmin=0,
        zmax=1,
        colorscale=RAMP,
        texttemplate="%{z:.2f}",
        colorbar={"title": "ARI"},
    )
    figure = go.Figure(cells)
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "algorithms-agreement",
        "How far the algorithms agree",
        f"{most['one']} and {most['other']} agree most (ARI {most['ari']:.2f}), {least['one']} and {least['other']} "
        f"least ({least['ari']:.2f}); 1 is the same partition, 0 no more than chance. Noise is a group of its own.",
        pairs,
        styled(figure, x="algorithm", y="algorithm"),
    )
