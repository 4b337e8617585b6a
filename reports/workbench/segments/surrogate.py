"""What distinguishes a segment: a small decision tree that imitates the clusters, read out as rules in raw units.

    customers, raw features --tree, depth <= 3--> leaves --the leaves of one segment, joined--> rule
    the rule, as it is worded, on the same customers --> how many it describes, precision, recall

A surrogate explains a model by a simpler one that agrees with it (Craven and Shavlik, 1996); its fidelity is the share
of customers to whom both give the same segment. Thresholds are rounded before anything is counted, so the figures are
those of the words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from features.vector import Flags
from reports.workbench.measures import WHOLE, between

DEPTH = 3
"""Questions at most before an answer: more than three nobody remembers."""

SMALLEST_LEAF = 0.005
"""Share of the customers that a leaf holds at least: what describes a handful is no description."""

Clause = Mapping[str, tuple[float, float]]
"""Feature -> (low, high): low < value <= high; all must hold. No feature: everybody."""


class Leaf(NamedTuple):
    """Where a path through the tree ends: the clause that leads there, and the segment most customers there are in."""

    clause: Clause
    segment: str


def leaves(customers: pd.DataFrame, features: Sequence[str]) -> list[Leaf]:
    """Grow the tree over customers' `features` and ``segment``, and return its leaves; every customer is in one.

    A feature that is undefined counts as 0, as in the clustering. Two leaves that differ in nothing are one.
    """
    X = customers[list(features)].fillna(0.0).to_numpy()
    smallest = max(1, math.ceil(SMALLEST_LEAF * len(X)))
    grown = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=smallest, random_state=0)
    grown.fit(X, customers["segment"].astype(str).to_numpy())
    return list(_walk(grown, 0, {}, list(features)))


def _walk(grown: Any, node: int, clause: Clause, features: list[str]) -> list[Leaf]:
    tree = grown.tree_
    if tree.children_left[node] == -1:
        return [Leaf(clause, str(grown.classes_[tree.value[node][0].argmax()]))]
    name = features[tree.feature[node]]
    at = said(name, float(tree.threshold[node]))
    low, high = clause.get(name, (-math.inf, math.inf))
    if not low < at < high:  # rounding left nothing on one side of the threshold
        at = float(tree.threshold[node])
    below = _walk(grown, tree.children_left[node], {**clause, name: (low, at)}, features)
    above = _walk(grown, tree.children_right[node], {**clause, name: (at, high)}, features)
    if {leaf.segment for leaf in below + above} == {below[0].segment}:
        return [Leaf(clause, below[0].segment)]
    return below + above


def said(name: str, threshold: float) -> float:
    """Return a threshold as people say it: whole where the values are whole, else three significant digits."""
    if name in WHOLE:
        return float(math.floor(threshold))
    return float(f"{threshold:.3g}")


def described(customers: pd.DataFrame, clauses: Sequence[Clause]) -> Flags:
    """Say of each customer whether one of the clauses holds, bool (n,)."""
    found = np.zeros(len(customers), np.bool_)
    for clause in clauses:
        holds = np.ones(len(customers), np.bool_)
        for name, (low, high) in clause.items():
            values = customers[name].fillna(0.0).to_numpy()
            holds &= (values > low) & (values <= high)
        found |= holds
    return found


def rules(customers: pd.DataFrame, features: Sequence[str], segments: Sequence[str], currency: str) -> pd.DataFrame:
    """Return a row a segment: what describes it, and how well, on the customers the tree was grown on.

    Columns: ``segment``, ``rule`` (words; "" where the tree has no leaf for it), ``customers`` in the segment,
    ``described`` (customers for whom the rule holds), ``precision_share`` (of the described, those in the segment),
    ``recall_share`` (of the segment, those described); missing where there is nobody to divide by.
    """
    grown = leaves(customers, features)
    rows = []
    for segment in segments:
        clauses = [leaf.clause for leaf in grown if leaf.segment == segment]
        holds, members = described(customers, clauses), (customers["segment"] == segment).to_numpy()
        hits = int((holds & members).sum())
        rows.append(
            {
                "segment": segment,
                "rule": worded(clauses, features, currency),
                "customers": int(members.sum()),
                "described": int(holds.sum()),
                "precision_share": hits / holds.sum() if holds.any() else math.nan,
                "recall_share": hits / members.sum() if members.any() else math.nan,
            }
        )
    return pd.DataFrame(rows)


def fidelity(found: pd.DataFrame) -> float:
    """Return the share of customers to whom the rules give the segment they are in. found: `rules`."""
    hits = (found["precision_share"] * found["described"]).sum()
    return float(hits / found["customers"].sum())


def worded(clauses: Sequence[Clause], features: Sequence[str], currency: str) -> str:
    """Return clauses as words: their parts joined by "and", the clauses by "; or"."""
    parts = []
    for clause in clauses:
        spans = [between(name, *clause[name], currency) for name in features if name in clause]
        parts.append(" and ".join(spans) or "any customer")
    return "; or ".join(parts)
