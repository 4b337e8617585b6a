"""How often will a customer buy, and for how much: BG/NBD and Gamma-Gamma, by pymc-marketing's closed forms.

    repeat purchases ~ Poisson at a rate of his own (Gamma over customers: r, alpha), until he stops for good, with a
    chance of his own after each repeat purchase (Beta over customers: a, b)
    money a purchase ~ Gamma around a mean of his own (inverse Gamma over customers: p, q, v)

Fader, Hardie and Lee, "Counting your customers the easy way" (Marketing Science 24, 2005); Fader and Hardie, "The
Gamma-Gamma model of monetary value" (2013). Priors are flat, so the mode of the posterior is the maximum of the
likelihood: nothing is drawn at random. The library is an extra (`clv`), imported when it is needed; without it each
function raises ImportError.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from features.vector import Floats

MONTH = 30
"""Days of the library's month."""


def available() -> bool:
    """Say whether the extra is installed."""
    return find_spec("pymc_marketing") is not None


def fit_purchases(summary: pd.DataFrame) -> Any:
    """Return a BG/NBD model of customers, as `reports.workbench.outlook.value_tables.summary` describes them.

    Raises ValueError where it does not converge.
    """
    with _quiet():
        from pymc_extras.prior import Prior
        from pymc_marketing.clv import BetaGeoModel

        model = BetaGeoModel(model_config={name: Prior("HalfFlat") for name in ("r", "alpha", "a", "b")})
        return _fitted(model, _columns(summary))


def fit_spend(summary: pd.DataFrame) -> Any:
    """Return a Gamma-Gamma model of customers with a repeat purchase.

    Raises ValueError where it does not converge, or where the spend of a customer has no mean (q <= 1).
    """
    with _quiet():
        from pymc_marketing.clv import GammaGammaModel

        model = _fitted(GammaGammaModel(), _columns(summary))
    q = parameters(model)["q"]
    if q <= 1:
        raise ValueError(f"its spend has no mean (q = {q:.2f}, above 1 is needed)")
    return model


def parameters(model: Any) -> dict[str, float]:
    """Return a model's parameters by name: r, alpha (days), a, b, or p, q, v (currency units)."""
    names = ("r", "alpha", "a", "b", "p", "q", "v")
    return {name: float(model.fit_result[name].to_numpy().ravel()[0]) for name in names if name in model.fit_result}


def expected_purchases(model: Any, summary: pd.DataFrame, days: int) -> Floats:
    """Return the purchase days to expect of n customers within some days, float64 (n,)."""
    return _values(model.expected_purchases(_columns(summary), future_t=days))


def chance_alive(model: Any, summary: pd.DataFrame) -> Floats:
    """Return the chances that n customers have not stopped for good, float64 (n,); 1 without a repeat purchase."""
    return _values(model.expected_probability_alive(_columns(summary)))


def expected_spend(spend: Any, summary: pd.DataFrame) -> Floats:
    """Return the money a purchase day to expect of n customers, float64 (n,); the mean of all without a repeat."""
    return _values(spend.expected_customer_spend(_columns(summary)))


def lifetime_value(model: Any, spend: Any, summary: pd.DataFrame, months: int, discount: float) -> Floats:
    """Return the money to expect of n customers within some months of 30 days, float64 (n,).

    What comes in a month counts at its end, divided by (1 + discount) ** months.
    """
    found = spend.expected_customer_lifetime_value(
        model, _columns(summary), future_t=months, discount_rate=discount, time_unit="D"
    )
    return _values(found)


def _columns(summary: pd.DataFrame) -> pd.DataFrame:
    names = {"frequency": "frequency", "recency": "recency", "age": "T", "spend": "monetary_value"}
    return summary[list(names)].astype(np.float64).rename(columns=names).assign(customer_id=np.arange(len(summary)))


def _values(found: Any) -> Floats:
    values: Floats = found.to_numpy().reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("its expectations are not finite")
    return values


def _fitted(model: Any, data: pd.DataFrame) -> Any:
    import pytensor

    # Without C: a fit is seconds by NumPy, and over a minute to compile at the first one; no compiler is needed.
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        model.fit(data, method="map", progressbar=False)
    if not np.isfinite(list(parameters(model).values())).all():
        raise ValueError("its parameters are not finite")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the libraries say to their developers, on import and at the edge of a parameter's range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
