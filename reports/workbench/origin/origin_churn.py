"""How well the origin's models learn their own label back: features and label are made of the same three numbers.

Spark's trees in scikit-learn: 20 of depth 5, which split at the borders of 32 quantile bins and not between any two
values. That is why they miss a few customers of a label that two thresholds define.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from features.vector import Flags, Floats
from reports.workbench.outlook.churn_models import FOREST

BOOSTED = "gradient-boosted trees"
BINS, TREES, DEPTH = 32, 20, 5
TEST_SHARE = 0.3

FEWEST = 20
"""Customers of either kind below which nothing is said."""


def leaky_auc(x: Floats, label: Flags, seed: int) -> dict[str, float]:
    """Return the area under the ROC curve by model, on the 30 % of n customers that were kept apart.

    x: float64 (n, d), the features that the label, bool (n,), was made of. Empty where either kind is too rare.
    """
    if min(int(label.sum()), int((~label).sum())) < FEWEST:
        return {}
    x_train, x_test, y_train, y_test = train_test_split(binned(x), label, test_size=TEST_SHARE, random_state=seed)
    models = {
        FOREST: RandomForestClassifier(TREES, max_depth=DEPTH, random_state=seed),
        BOOSTED: GradientBoostingClassifier(n_estimators=TREES, max_depth=DEPTH, random_state=seed),
    }
    return {
        name: float(roc_auc_score(y_test, model.fit(x_train, y_train).predict_proba(x_test)[:, 1]))
        for name, model in models.items()
    }


def binned(x: Floats) -> Floats:
    """Return, a value, the number of its quantile bin in its column, float64 (n, d) in 0 .. 31."""
    shares = np.linspace(0, 1, BINS + 1)[1:-1]
    columns = [np.searchsorted(np.unique(np.quantile(column, shares)), column) for column in x.T]
    return np.stack(columns, axis=1).astype(np.float64)
