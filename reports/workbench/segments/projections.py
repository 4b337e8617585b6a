"""Customers on a flat map: principal components, which can be read, and t-SNE, which keeps neighbours together.

vectors (m, d) --PCA, everybody--> variance, loadings, scores --at most `sampling.AT_MOST`--> map
        +--------t-SNE, at most `TSNE_CUSTOMERS`----------------------------------------------> map
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from features.ledger import Ints
from features.vector import Floats
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import listed, share
from reports.workbench.sampling import said, sampled
from reports.workbench.study import Study
from reports.workbench.theme import CONTRAST, DIVERGING, PLAIN, segment_colours, styled

TSNE_CUSTOMERS = 2_000
"""Customers on the map of t-SNE: 6 s of one core. Whole days and orders lie so close that 4,000 take 30 s."""

PERPLEXITY = 30.0
"""About how many neighbours t-SNE tries to keep; a third of the customers where these are fewer."""

NEIGHBOURS = 15
"""Neighbours that a map is judged by."""

FEWEST = 10
"""Customers below which a map shows nothing."""

TELLING = 0.5
"""Correlation of a feature with a component from which a sentence names it."""


@dataclass(frozen=True, slots=True)
class Components:
    """c = min(m, d) components of m customers. variance: float64 (c,), shares of all; loadings: float64 (c, d),
    correlations of feature and component; scores: float64 (m, c), in the model's standard deviations.
    """

    variance: Floats
    loadings: Floats
    scores: Floats


def section(study: Study) -> Section:
    """Return the section; a note where there is nothing to flatten."""
    key, title, z = "projections", "How do the customers lie?", study.vectors
    if len(z) < FEWEST or len(np.unique(z, axis=0)) < 3:
        return Section(
            key, title, "", notes=(f"{len(z)} customers in the clusters: too few, or too equal, for a map.",)
        )
    if z.shape[1] < 2:
        return Section(key, title, "", notes=(f"One feature, {study.bundle.features[0]}: nothing to flatten.",))
    found = components(z)
    chosen = sampled(len(z), TSNE_CUSTOMERS)
    embedded = tsne(z[chosen])
    lead = (
        f"{len(study.bundle.features)} features of {said(len(z), len(z))} do not fit on paper. Principal components "
        "(PCA) are the straight directions in which customers differ most; t-SNE bends the space so that who is near "
        "stays near. Colours are the segments, which were found in the whole space, not on these maps."
    )
    exhibits = (_variance(found), _loadings(study, found), _pca_map(study, found), _tsne_map(study, chosen, embedded))
    return Section(key, title, lead, exhibits)


def components(z: Floats) -> Components:
    """Return the principal components of z, float64 (m, d); each with its greatest loading above 0.

    The loading of a feature is its correlation with the component: eigenvector * sqrt(eigenvalue) / sd of the feature
    (Jolliffe, Principal Component Analysis, 2002, 2.3); 0 for a feature that does not vary.
    """
    with threadpool_limits(limits=1):
        model = PCA(svd_solver="full").fit(z)
        scores = model.transform(z)
    spread = z.std(axis=0, ddof=1)
    raw = model.components_ * np.sqrt(model.explained_variance_)[:, None]
    loadings = np.divide(raw, spread, out=np.zeros_like(raw), where=spread > 1e-12)
    greatest = np.abs(loadings).argmax(axis=1)
    signs = np.where(loadings[np.arange(len(loadings)), greatest] < 0, -1.0, 1.0)
    return Components(model.explained_variance_ratio_, loadings * signs[:, None], scores * signs)


def between_share(values: Floats, labels: Sequence[object] | pd.Series) -> float:
    """Return the share of the variance of values, float64 (n,), that lies between groups (eta squared)."""
    frame = pd.DataFrame({"value": values, "group": np.asarray(labels)})
    centre = frame["value"].mean()
    total = float(((frame["value"] - centre) ** 2).sum())
    means = frame.groupby("group")["value"].transform("mean")
    return float(((means - centre) ** 2).sum()) / total if total > 0 else float("nan")


def tsne(z: Floats) -> Floats:
    """Return t-SNE's map of z, float64 (n, d) with d >= 2: float64 (n, 2), the same each time.

    van der Maaten and Hinton, JMLR 9 (2008) 2579-2605; started from the principal components, so that what is far
    apart has a reason to be (Kobak and Berens, Nature Communications 10, 2019).
    """
    with threadpool_limits(limits=1):
        model = TSNE(perplexity=perplexity(len(z)), init="pca", angle=0.8, max_iter=500, random_state=0, n_jobs=1)
        embedded: Floats = model.fit_transform(z).astype(np.float64)
    return embedded


def perplexity(n: int) -> float:
    """Return t-SNE's perplexity for n customers: it must be below their number."""
    return min(PERPLEXITY, n / 3)


def same_segment_share(plane: Floats, labels: Ints) -> float:
    """Return the share of each customer's nearest neighbours on a map that are in his segment, the mean of all.

    plane: float64 (n, 2); labels: int64 (n,). `NEIGHBOURS` of them, or all the others where these are fewer.
    """
    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(plane) - 1)).fit(plane).kneighbors(return_distance=False)
    return float((labels[near] == labels[:, None]).mean())


def by_chance(labels: Ints) -> float:
    """Return the share that `same_segment_share` would be if the map were shuffled."""
    sizes = np.unique(labels, return_counts=True)[1]
    n = len(labels)
    return float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


def _variance(found: Components) -> Exhibit:
    names = [f"PC{i + 1}" for i in range(len(found.variance))]
    running = np.cumsum(found.variance)
    table = pd.DataFrame({"component": names, "variance_share": found.variance, "running_share": running})
    figure = go.Figure()
    figure.add_bar(x=names, y=found.variance, marker_color=PLAIN, name="each")
    figure.add_scatter(x=names, y=running, mode="lines+markers", line_color=CONTRAST, name="up to here")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    enough = int(np.searchsorted(running, 0.9) + 1)
    return Exhibit(
        "pca-variance",
        "How much each principal component holds",
        f"PC1 holds {share(found.variance[0])} of the variance of {found.loadings.shape[1]} features, PC1 and PC2 "
        f"together {share(running[1])}: the map below leaves out {share(1 - running[1])}. 90 % take "
        f"{'one component' if enough == 1 else f'{enough} components'}.",
        table,
        styled(figure, x="principal component", y="share of the variance"),
    )


def _loadings(study: Study, found: Components) -> Exhibit:
    names = [f"PC{i + 1}" for i in range(len(found.variance))]
    table = pd.DataFrame(found.loadings, columns=list(study.bundle.features))
    table.insert(0, "component", names)
    sentences = [
        _goes_with(name, row, study.bundle.features) for name, row in zip(names[:2], found.loadings, strict=False)
    ]
    cells = go.Heatmap(
        z=found.loadings,
        x=list(study.bundle.features),
        y=names,
        zmin=-1,
        zmax=1,
        colorscale=DIVERGING,
        texttemplate="%{z:.2f}",
        colorbar={"title": "correlation"},
    )
    figure = go.Figure(cells)
    figure.update_yaxes(autorange="reversed")
    return Exhibit(
        "pca-loadings",
        "What the components are made of",
        " ".join(sentences),
        table,
        styled(figure, x="feature (its logarithm)", y="principal component", height=120 + 60 * len(names)),
    )


def _goes_with(name: str, loadings: Floats, features: Sequence[str]) -> str:
    said_of = {feature: f"{feature} ({value:.2f})" for feature, value in zip(features, loadings, strict=True)}
    up = [said_of[feature] for feature, value in zip(features, loadings, strict=True) if value >= TELLING]
    down = [said_of[feature] for feature, value in zip(features, loadings, strict=True) if value <= -TELLING]
    if not up:
        return f"{name} goes with no feature closely."
    return f"{name} grows with {listed(up)}" + (f" and falls with {listed(down)}." if down else ".")


def _pca_map(study: Study, found: Components) -> Exhibit:
    chosen = sampled(len(found.scores))
    table = _placed(study, chosen, found.scores[chosen, :2], ("pc1", "pc2"))
    figure = _clouds(study, table)
    reach = float(np.abs(found.scores[chosen, :2]).max()) * 0.8
    for feature, (x, y) in zip(study.bundle.features, found.loadings[:2].T * reach, strict=True):
        figure.add_annotation(
            x=x,
            y=y,
            ax=0,
            ay=0,
            xref="x",
            yref="y",
            axref="x",
            ayref="y",
            arrowhead=2,
            arrowwidth=2,
            arrowcolor=CONTRAST,
        )
        figure.add_annotation(x=x * 1.12, y=y * 1.12, text=feature, showarrow=False, font={"color": CONTRAST})
    one, two = (between_share(table[axis].to_numpy(), table["segment"]) for axis in ("pc1", "pc2"))
    return Exhibit(
        "pca-map",
        "Customers on the first two principal components",
        f"Of the differences between {said(len(chosen), len(found.scores))} along PC1 {share(one)} are differences "
        f"between segments, along PC2 {share(two)}; the rest is within them. Arrows point to where a feature grows, "
        "the longer the closer it goes with this plane.",
        table,
        styled(
            figure,
            x=f"PC1, {share(found.variance[0])} of the variance [model's standard deviations]",
            y=f"PC2, {share(found.variance[1])} [standard deviations]",
            height=560,
        ),
    )


def _tsne_map(study: Study, chosen: Ints, embedded: Floats) -> Exhibit:
    table = _placed(study, chosen, embedded, ("x", "y"))
    labels = study.clustered["segment_id"].to_numpy()[chosen]
    same, chance = same_segment_share(embedded, labels), by_chance(labels)
    neighbours = min(NEIGHBOURS, (len(chosen) - 1) // 2)
    trust = float(trustworthiness(study.vectors[chosen], embedded, n_neighbors=neighbours))
    return Exhibit(
        "tsne-map",
        "Customers on a map of neighbours (t-SNE)",
        f"Of a customer's {min(NEIGHBOURS, len(chosen) - 1)} nearest neighbours on this map of "
        f"{said(len(chosen), len(study.clustered))} {share(same)} are in his segment, by chance {share(chance)} would "
        f"be. Whether neighbours here are neighbours in truth (trustworthiness): {trust:.3f} of 1. Perplexity, about "
        f"how many neighbours it tries to keep: {perplexity(len(chosen)):.0f}. Only who is beside whom counts; "
        "distances between islands and their sizes say nothing.",
        table,
        styled(_clouds(study, table), x="t-SNE 1 [no unit]", y="t-SNE 2 [no unit]", height=560),
    )


def _placed(study: Study, chosen: Ints, plane: Floats, axes: tuple[str, str]) -> pd.DataFrame:
    customers = study.clustered.iloc[chosen]
    table = pd.DataFrame({"customer": customers.index, "segment": customers["segment"].astype(str).array})
    table[list(axes)] = plane
    return table


def _clouds(study: Study, table: pd.DataFrame) -> go.Figure:
    """Return a scatter plot of a table's last two columns, a trace a segment in the model's order."""
    figure, (across, up) = go.Figure(), table.columns[-2:]
    colours = segment_colours(study.bundle)
    for name in study.segments:
        part = table[table["segment"] == name]
        figure.add_scatter(
            x=part[across].round(3),
            y=part[up].round(3),
            mode="markers",
            name=name,
            marker={"color": colours[name], "size": 4, "opacity": 0.6},
            hoverinfo="name",
        )
    return figure.update_layout(legend_itemsizing="constant")
