"""Products to recommend: bought by similar customers, not yet by these.

    within a segment: pairs of products that the same customers bought  -->  who has one and lacks the other

Association rules of two products (Agrawal, Imielinski and Swami, 1993): of a rule a -> b the support is how many bought
both, the confidence the share of the buyers of a who bought b, and the lift that share over the share of all who did.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reports.workbench.segments.products import support

MOST_PRODUCTS = 1_500
"""Products of a segment that are paired, those with most customers: pairs grow with the square."""

LEAST_CONFIDENCE = 0.3
"""Below it most of those who are recommended the product would not have bought it either."""


def recommended(bought: pd.DataFrame, segments: list[str], count: int) -> pd.DataFrame:
    """Return for each segment the rules with the greatest lift, each product recommended once, `count` at most.

    bought: `products.purchases`. Columns: ``segment``, ``has`` and ``recommend`` (stock codes), ``both`` (customers of
    the segment who bought both), ``confidence_share``, ``lift`` (above 1, within the segment), ``candidates``
    (customers of the segment who have the one and lack the other). Both numbers of customers are at least
    `products.support`, the confidence is at least `LEAST_CONFIDENCE`.
    """
    found = [_of_segment(bought[bought["segment"] == name], count).assign(segment=name) for name in segments]
    columns = ["segment", "has", "recommend", "both", "confidence_share", "lift", "candidates"]
    return pd.concat(found, ignore_index=True)[columns]


def _of_segment(own: pd.DataFrame, count: int) -> pd.DataFrame:
    customers, owner = np.unique(own["customer"].astype(str), return_inverse=True)
    least = support(len(customers))
    totals = {str(code): int(n) for code, n in own["stock_code"].value_counts().items() if n >= least}
    codes = pd.Index(sorted(totals, key=lambda code: (-totals[code], code))[:MOST_PRODUCTS], dtype=str)
    at = codes.get_indexer(pd.Index(own["stock_code"].astype(str)))
    known = at >= 0
    matrix = sparse.csr_matrix(
        (np.ones(known.sum(), np.int64), (owner[known], at[known])), shape=(len(customers), len(codes))
    )
    both = (matrix.T @ matrix).toarray()
    buyers = both.diagonal()
    confidence = both / np.maximum(buyers, 1)[:, None]
    lift = confidence / (np.maximum(buyers, 1) / max(len(customers), 1))[None, :]
    candidates = buyers[:, None] - both
    wanted = (both >= least) & (candidates >= least) & (confidence >= LEAST_CONFIDENCE) & (lift > 1)
    has, recommend = np.nonzero(wanted)
    table = pd.DataFrame(
        {
            "has": codes[has],
            "recommend": codes[recommend],
            "both": both[has, recommend],
            "confidence_share": confidence[has, recommend],
            "lift": lift[has, recommend],
            "candidates": candidates[has, recommend],
        }
    )
    ordered = table.sort_values(["lift", "both", "has", "recommend"], ascending=[False, False, True, True])
    return ordered.drop_duplicates("recommend").head(count)
