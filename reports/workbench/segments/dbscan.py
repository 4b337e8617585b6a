"""DBSCAN: dense places, the distance that counts as near, and what the places it finds have in common.

z --k_distances--> curve --knee--> eps --dbscan--> dense places, noise
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from features.ledger import Ints
from features.vector import Floats
from models.selection import bend
from reports.workbench.exhibit import Exhibit
from reports.workbench.phrases import count, listed, share
from reports.workbench.theme import CONTRAST, PLAIN, styled

NOISE = -1
"""DBSCAN's label of who is in no dense place."""

STEPS = 0.25
"""Share of the customers from which places of one and the same number of orders are called what DBSCAN sees."""


def min_samples_for(d: int) -> int:
    """Return DBSCAN's min_samples for d features, the customer himself among them: 2 d.

    Sander, Ester, Kriegel and Xu, Data Mining and Knowledge Discovery 2 (1998) 169-194.
    """
    return 2 * d


def k_distances(z: Floats, min_samples: int) -> Floats:
    """Return each customer's distance to his (min_samples - 1)-th neighbour, the greatest first: float64 (n,).

    An eps of that distance makes him the core of a dense place (Ester and others, KDD 1996). z: float64 (n, d).
    """
    found = NearestNeighbors(n_neighbors=min_samples - 1).fit(z).kneighbors()[0][:, -1]
    return np.sort(found)[::-1]


def knee(curve: Floats) -> int:
    """Return where a falling curve, float64 (n,), bends most: the rule that also finds the elbow of k."""
    return int(np.argmax(bend(curve.tolist())))


def dbscan(z: Floats, eps: float, min_samples: int) -> Ints:
    """Return DBSCAN's clusters, int64 (n,), from 0, `NOISE` for who is in none. z: float64 (n, d); eps in its units."""
    labels: Ints = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(z).astype(np.int64)
    return labels


def dense_places(customers: pd.DataFrame, dense: Ints) -> pd.DataFrame:
    """Return DBSCAN's clusters, the largest first, noise left out.

    Columns: ``cluster``, ``customers``, ``customer_share``, ``median_recency`` (days), ``fewest_orders``,
    ``most_orders``, ``median_net`` (currency units).
    """
    grouped = customers[dense != NOISE].groupby(dense[dense != NOISE])
    table: pd.DataFrame = grouped.agg(
        customers=("monetary", "size"),
        median_recency=("recency", "median"),
        fewest_orders=("frequency", "min"),
        most_orders=("frequency", "max"),
        median_net=("monetary", "median"),
    )
    table = table.sort_values("customers", ascending=False, kind="stable", ignore_index=True)
    table.insert(0, "cluster", np.arange(1, len(table) + 1))
    table.insert(2, "customer_share", table["customers"] / len(customers))
    return table


def distances_exhibit(curve: Floats, at: int, neighbours: int) -> Exhibit:
    """Return the curve of `k_distances` with its knee at a place; neighbours: min_samples."""
    places = np.unique(np.linspace(0, len(curve) - 1, 1_000).round().astype(int))
    places = np.union1d(places, [at])
    table = pd.DataFrame({"place": places + 1, "distance": curve[places], "knee": places == at})
    figure = go.Figure()
    figure.add_scatter(x=table["place"], y=table["distance"], mode="lines", line_color=PLAIN, name="distance")
    figure.add_scatter(
        x=[at + 1],
        y=[curve[at]],
        mode="markers",
        marker={"color": CONTRAST, "size": 11, "symbol": "diamond"},
        name=f"knee: eps = {curve[at]:.2f}",
    )
    return Exhibit(
        "k-distances",
        "How near DBSCAN should look",
        f"{share(1 - (at + 1) / len(curve))} of the customers have {neighbours - 1} others within {curve[at]:.2f} of "
        "the model's standard deviations (sd), where the curve bends most; that is DBSCAN's eps, with min_samples "
        f"{neighbours} (twice the number of features). The median customer has them within {np.median(curve):.2f}.",
        table,
        styled(
            figure,
            x="customers, the most lonely first",
            y=f"distance to neighbour {neighbours - 1} [sd]",
        ),
    )


def places_exhibit(table: pd.DataFrame) -> Exhibit:
    """Return the table of `dense_places`, of one or more."""
    single = table[table["fewest_orders"] == table["most_orders"]]
    orders = [f"{value:.0f}" for value in sorted(set(single["fewest_orders"]))]
    held = float(single["customer_share"].sum())
    steps = "there density follows the steps of a count, not kinds of customers." if held >= STEPS else "a small part."
    said_of = (
        f"{len(single)} of {count(len(table), 'cluster')}, {share(held)} of the customers, "
        f"{'holds' if len(single) == 1 else 'hold'} only people with one and the same number of orders "
        f"({listed(orders)}): {steps}"
        if len(single)
        else f"None of the {count(len(table), 'cluster')} holds only people with one and the same number of orders."
    )
    return Exhibit(
        "dbscan-clusters",
        "What DBSCAN finds",
        f"{said_of} The largest cluster holds {share(float(table['customer_share'].iloc[0]))}.",
        table,
    )
