"""How many segments: six criteria side by side, what each of them would take, and what the service's rule takes.

    choice (models.selection) ------> WCSS and its bend, silhouette, stability --+
    fits of the same customers -----> Calinski-Harabasz, Davies-Bouldin ---------+--> criteria --> verdicts
    references in the same box -----> gap statistic -----------------------------+

The rule and its reasons: docs/decisions/0003-choosing-k.md. The other criteria stand here to be seen, not to vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from features.ledger import Ints
from features.vector import COORDINATE_SCALE, Floats, coordinate
from models.centroids import distances, nearest
from models.selection import MAX_SAMPLE, MEAN_STABILITY, WORST_STABILITY, Choice, choose_k, fit
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import count, listed, share
from reports.workbench.sampling import said, sampled
from reports.workbench.segments.gap_statistic import REFERENCES, first_within_error, gap_statistic
from reports.workbench.segments.silhouette import REASONABLE, diagram, silhouettes, structure
from reports.workbench.study import Progress, Study, silent
from reports.workbench.tables import rows
from reports.workbench.theme import CONTRAST, PLAIN, styled

PANELS = {
    "wcss": "WCSS [sd²]",
    "silhouette": "silhouette",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin",
    "gap": "gap [nat. log]",
    "stability": "stability [ARI]",
}
"""The columns that are drawn, each with its axis: short, for a panel is low."""


MEASURES = {
    "wcss": "WCSS",
    "silhouette": "mean silhouette",
    "calinski_harabasz": "index",
    "davies_bouldin": "index",
    "gap": "gap",
    "stability": "mean ARI",
}


def section(study: Study, progress: Progress = silent) -> Section:
    """Return the section; a note where there are too few different customers to compare anything."""
    key, title = "choosing-k", "How many segments?"
    if study.clustered.empty:
        return Section(key, title, "", notes=("Nobody has a positive net in the horizon: nothing to cluster.",))
    points = coordinates(study)
    choice = study.choice or choose_k(points, progress=lambda done, of: progress("choosing k", done, of))
    if not choice.table:
        return Section(key, title, "", notes=(f"Numbers of segments cannot be compared: {choice.reason}.",))
    chosen = sampled(len(points), MAX_SAMPLE)
    labels = partitions(points[chosen], [row.k for row in choice.table])
    z = standardised(points[chosen])
    seen = z[sampled(len(z))]
    gaps = gap_statistic(seen, gap_ks(seen, choice.table[-1].k), lambda b: progress("gap statistic", b, REFERENCES))
    table = criteria(z, labels, choice).merge(gaps, on="k", how="outer")
    found = verdicts(table, choice)
    lead = (
        f"K-Means finds as many segments as it is asked for. Their number, k, is judged here by six criteria over "
        f"{said(len(chosen), len(points))}. The service takes what comes back when the customers are drawn again "
        "(stable), and of that the k at which the curve of the WCSS bends most; the others stand beside it to be seen. "
        "ARI, the adjusted Rand index, says how far two partitions agree: 1 wholly, 0 no more than by chance."
    )
    exhibits = (
        _verdicts(study, choice, found),
        _criteria(study, choice, table, len(seen)),
        _two(two_groups(study.clustered.iloc[chosen], labels[2]), len(points)),
    )
    fits = silhouettes(study)
    if fits.empty:
        return Section(key, title, lead, exhibits, notes=("All are in one segment: no silhouettes to draw.",))
    return Section(key, title, lead, (*exhibits, diagram(study, fits)))


def coordinates(study: Study) -> Ints:
    """Return the clustered customers' coordinates, int64 (m, d), in 2^-24 of log units: what the service clusters."""
    customers, bundle = study.clustered, study.bundle
    logs = [coordinate(name, customers[name].to_numpy(), bundle.recency_offset) for name in bundle.features]
    return np.stack(logs, axis=1)


def standardised(points: Ints) -> Floats:
    """Return coordinates in their own standard deviations, float64 (n, d); 0 spread counts as 1."""
    logs = points / COORDINATE_SCALE
    spread = logs.std(axis=0)
    return logs / np.where(spread > 0, spread, 1.0)


def partitions(points: Ints, ks: Sequence[int]) -> dict[int, Ints]:
    """Return by k the cluster of each customer under the service's own fit, int64 (n,)."""
    fits = {k: fit(points, k) for k in ks}
    return {k: nearest(distances(points, found.centroids, found.scale)) for k, found in fits.items()}


def criteria(z: Floats, labels: dict[int, Ints], choice: Choice) -> pd.DataFrame:
    """Return a row a k of the choice's table.

    ``k``; of the choice: ``wcss`` (squared standard deviations), ``bend`` (0 .. 1), ``silhouette``, ``stability`` and
    ``worst_stability`` (adjusted Rand index over resamples); of the partitions: ``calinski_harabasz`` (between over
    within variance, each by its degrees of freedom), ``davies_bouldin`` (mean over clusters of the worst ratio of
    spreads to distance). Both as in scikit-learn. z: float64 (n, d), whose labels these are.
    """
    return pd.DataFrame(
        [
            {
                "k": row.k,
                "wcss": row.inertia,
                "bend": row.bend,
                "silhouette": row.silhouette,
                "calinski_harabasz": float(calinski_harabasz_score(z, labels[row.k])),
                "davies_bouldin": float(davies_bouldin_score(z, labels[row.k])),
                "stability": row.stability,
                "worst_stability": row.worst,
            }
            for row in choice.table
        ]
    )


def gap_ks(z: Floats, last: int) -> list[int]:
    """Return the k whose gaps are asked for: from 1, no clusters, to one above the last, with which it is compared."""
    return list(range(1, min(last + 1, len(np.unique(z, axis=0)) - 1) + 1))


def verdicts(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return which k each criterion takes by itself: ``column``, ``criterion``, ``takes``, ``k``, ``measure``, its
    ``value`` there.

    k is missing where a criterion takes none. The last row is the service's rule. table: `criteria` with gaps.
    """
    by_k = {int(row["k"]): row for row in rows(table)}

    def at(column: str, sign: int = 1) -> int | None:
        known = [k for k, row in by_k.items() if not math.isnan(row[column])]
        return max(known, key=lambda k: (sign * by_k[k][column], -k), default=None)

    rules = (
        ("wcss", "elbow", "bends most below the line between its ends", at("bend")),
        ("silhouette", "silhouette", "greatest", at("silhouette")),
        ("calinski_harabasz", "Calinski-Harabasz", "greatest", at("calinski_harabasz")),
        ("davies_bouldin", "Davies-Bouldin", "least", at("davies_bouldin", -1)),
        ("gap", "gap statistic", "first within one error of the next", first_within_error(table.dropna(subset="gap"))),
        ("stability", "stability", "greatest mean over resamples", at("stability")),
        ("stability", "the service's rule", "of the stable, where the elbow is", choice.k),
    )
    return pd.DataFrame(
        [
            {
                "column": column,
                "criterion": name,
                "takes": takes,
                "k": math.nan if k is None else float(k),
                "measure": MEASURES[column],
                "value": math.nan if k is None else float(by_k[k][column]),
            }
            for column, name, takes, k in rules
        ]
    )


def two_groups(customers: pd.DataFrame, labels: Ints) -> pd.DataFrame:
    """Return what k = 2 finds, the group with the more orders first.

    Columns: ``group``, ``customers``, ``median_recency`` (days), ``median_orders``, ``median_net`` (currency units).
    """
    grouped = customers.groupby(labels).agg(
        customers=("monetary", "size"),
        median_recency=("recency", "median"),
        median_orders=("frequency", "median"),
        median_net=("monetary", "median"),
    )
    table = grouped.sort_values(["median_orders", "median_net"], ascending=False, ignore_index=True)
    table.insert(0, "group", ["first", "second"])
    return table


def _verdicts(study: Study, choice: Choice, found: pd.DataFrame) -> Exhibit:
    by_k: dict[float, list[str]] = {}
    for name, k in zip(found["criterion"].iloc[:-1], found["k"].iloc[:-1], strict=True):
        by_k.setdefault(math.inf if math.isnan(k) else k, []).append(str(name))
    others = "; ".join(f"{_words(k)}: {listed(by_k[k])}" for k in sorted(by_k))
    silhouette = next((row.silhouette for row in choice.table if row.k == choice.k), math.nan)
    return Exhibit(
        "k-verdicts",
        "What each criterion takes, and what the service takes",
        f"The service takes k = {choice.k}: {choice.reason}.{_given(study.bundle.k, choice)} "
        f"Each criterion alone would take {others}. "
        f"{_honesty(found, silhouette, choice.k)}",
        found.drop(columns="column"),
    )


def _given(k: int, choice: Choice) -> str:
    """Return what there is to know where the report's k is not the one that would be chosen."""
    if k == choice.k:
        return ""
    words = f" This report shows k = {k}, that of its model"
    row = next((row for row in choice.table if row.k == k), None)
    if row is None:
        return f"{words}, which was not among those compared."
    verdict = "is stable too" if row.is_stable else "is not stable"
    return f"{words}, which {verdict} (mean ARI {row.stability:.2f}, at least {row.worst:.2f})."


def _words(k: float) -> str:
    return "none of them" if math.isinf(k) else f"k = {k:.0f}"


def _honesty(found: pd.DataFrame, silhouette: float, k: int) -> str:
    """Return how much structure there is, by the silhouette at the chosen k and by who takes a trivial k."""
    indices = found[found["column"].isin(["silhouette", "calinski_harabasz", "davies_bouldin"])]
    trivial = [str(name) for name in indices.loc[indices["k"] == 2, "criterion"]]
    none = bool((found.loc[found["column"] == "gap", "k"] == 1).any())
    found_words = f"The mean silhouette at k = {k} is {silhouette:.2f}, which speaks for {structure(silhouette)}"
    if silhouette > REASONABLE and len(trivial) < 2 and not none:
        return f"{found_words}: the segments are likely to be groups that are there."
    doubts = [f"{listed(trivial)} would only cut the customers in two"] if trivial else []
    doubts += ["the gap statistic sees no clusters at all"] if none else []
    because = f" ({'; '.join(doubts)})" if doubts else ""
    return f"{found_words}{because}: the segments are a useful cut through a continuum, not natural kinds."


def _criteria(study: Study, choice: Choice, table: pd.DataFrame, gap_customers: int) -> Exhibit:
    first, last = choice.table[0], choice.table[-1]
    steadiest, least = (f(choice.table, key=lambda row: row.stability) for f in (max, min))
    figure = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.025)
    for row, (column, axis) in enumerate(PANELS.items(), start=1):
        _panel(figure, table, column, study.bundle.k, row)
        figure.update_yaxes(title_text=axis, row=row, col=1)
    styled(figure, height=1_020)
    figure.update_xaxes(title_text="k, number of segments", dtick=1, row=len(PANELS), col=1)
    return Exhibit(
        "k-criteria",
        "Six criteria over k",
        f"From k = {first.k} to {last.k} the WCSS, the squared distances to the centres (in standard deviations, sd) "
        f"that K-Means makes small, falls by {share(1 - last.inertia / first.inertia)}; a resample of the customers "
        f"gives k = {steadiest.k} back best (mean ARI {steadiest.stability:.2f}) and k = {least.k} worst "
        f"({least.stability:.2f}). Silhouette over "
        f"{choice.silhouette_customers:,} customers, gap over {gap_customers:,} and {REFERENCES} references, stability "
        f"over {choice.resamples} resamples.",
        table,
        figure,
    )


def _panel(figure: go.Figure, table: pd.DataFrame, column: str, shown: int, row: int) -> None:
    part, place = table.dropna(subset=[column]), {"row": row, "col": 1}
    line = {"mode": "lines+markers", "marker_color": PLAIN}
    error = {"array": part["gap_error"], "color": PLAIN} if column == "gap" else None
    figure.add_scatter(x=part["k"], y=part[column], error_y=error, name=column, showlegend=False, **line, **place)
    if column == "stability":
        worst, dotted = part["worst_stability"], {"color": PLAIN, "dash": "dot"}
        figure.add_scatter(x=part["k"], y=worst, line=dotted, name="stability, the worst resample", **line, **place)
        for least in (MEAN_STABILITY, WORST_STABILITY):
            figure.add_hline(y=least, line={"dash": "dash", "color": "#8A8A8A"}, **place)
    there = part[part["k"] == shown]
    diamond = {"color": CONTRAST, "size": 12, "symbol": "diamond"}
    name = f"k = {shown}, in this report"
    figure.add_scatter(
        x=there["k"], y=there[column], mode="markers", marker=diamond, name=name, showlegend=row == 1, **place
    )


def _two(table: pd.DataFrame, of: int) -> Exhibit:
    one, other = rows(table)
    active = one["median_recency"] < other["median_recency"] and one["median_net"] > other["median_net"]
    figures = (
        f"{count(one['customers'], 'customer')} (medians: {one['median_recency']:,g} days since the last order, "
        f"{one['median_orders']:,g} orders) and {count(other['customers'], 'customer')} "
        f"({other['median_recency']:,g} days, {other['median_orders']:,g})"
    )
    verdict = (
        "it only parts the active from the rest: those with more orders also bought later and for more"
        if active
        else "it is another cut than active or not: those with more orders did not also buy both later and for more"
    )
    return Exhibit(
        "k-two",
        "What k = 2 would give",
        f"k = 2 finds {figures} among {said(int(table['customers'].sum()), of)}; {verdict}.",
        table,
    )
