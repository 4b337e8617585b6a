"""What the notebook that this project grew from printed: josphine1407/customer-segmentation-Bigdata-analysis.

Its file is UCI Online Retail as one CSV; nothing here says anything about another file.
"""

from __future__ import annotations

import pandas as pd

LINES, UNITS, NET = 541_909, 5_176_450, 9_747_747.934
"""By which the file is known, in whatever encoding and form of date: rows, sum of Quantity, of Quantity x UnitPrice."""

NO_CUSTOMER, NO_DESCRIPTION = 135_080, 1_454
CUSTOMERS, SCORED = 4_372, 4_331

RUNS = {
    2: (9081.909224, 0.658529),
    3: (5332.152914, 0.609288),
    4: (4284.837585, 0.532765),
    5: (3509.772595, 0.523621),
    6: (3165.398223, 0.516744),
    7: (3005.434749, 0.462033),
    8: (2596.618015, 0.465569),
    9: (2395.501362, 0.431887),
    10: (2252.045612, 0.413584),
}
"""k -> (WCSS, silhouette), each of one run from one seed."""

SEEDS = {2: 0, 3: 9, 4: 19, 5: 10_017, 6: 85, 7: 1507, 8: 725, 9: 1811, 10: 1103}
LAST_REPRODUCED = 6
"""k -> a seed of ours. Up to `LAST_REPRODUCED` it leads to the recorded run, above it to the nearest of 3,000."""

CHOSEN_K = 2
SIZES, RECENCIES = (3_159, 1_172), (38.31, 232.64)
"""Of the two clusters, the fresher first: customers, mean recency in days."""

BUYER, LAPSED = "17389", "16339"
"""Two customers that it shows: 43 invoices and yesterday; one invoice 285 days ago."""
BUYER_INVOICES, BUYER_SCORE, LAPSED_SCORE = 43, 15.135598, 290.402227
BUYER_NAME, LAPSED_NAME = "Dormant", "Elite"

CHURNED = 1_983
FOREST_AUC, BOOSTED_AUC = 0.99987, 0.99988


def is_recorded_file(lines: pd.DataFrame) -> bool:
    """Say whether lines (reports.workbench.lines) are those of the file that was recorded."""
    net = float((lines["quantity"] * lines["price"]).sum())
    return (len(lines), int(lines["quantity"].sum())) == (LINES, UNITS) and abs(net - NET) < 0.005
