"""Customers whose rates, chances to stop and spend are known: the models find them, and say what the formulas say.

`make clv` installs the extra and runs these; `make test` leaves them out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from reports.workbench.outlook import pymc_value, value
from reports.workbench.study import Study

pytestmark = [
    pytest.mark.clv,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
]

R, ALPHA, A, B = 0.9, 25.0, 0.8, 3.0
P, Q, V = 4.0, 3.5, 80.0
AHEAD = 90


@dataclass(frozen=True)
class World:
    """Simulated customers: `summary` as of the day, and what each did in the 90 days after it."""

    summary: pd.DataFrame
    after: np.ndarray


@pytest.fixture(scope="module")
def world() -> World:
    """4,000 customers, drawn as Fader, Hardie and Lee say."""
    draws = np.random.default_rng(5)
    rows, after = [], []
    for _ in range(4_000):
        rate, stop = draws.gamma(R, 1 / ALPHA), draws.beta(A, B)
        age, now, times = draws.integers(60, 360), 0.0, []
        while True:
            now += draws.exponential(1 / rate)
            if now > age + AHEAD:
                break
            times.append(now)
            if draws.random() < stop:
                break
        past = [time for time in times if time <= age]
        spend = draws.gamma(P, 1 / draws.gamma(Q, 1 / V), len(past)).mean() if past else 0.0
        rows.append((len(past), past[-1] if past else 0.0, age, spend))
        after.append(len(times) - len(past))
    return World(pd.DataFrame(rows, columns=["frequency", "recency", "age", "spend"]), np.array(after))


@pytest.fixture(scope="module")
def purchases(world: World) -> object:
    return pymc_value.fit_purchases(world.summary)


def log_likelihood(at: np.ndarray, summary: pd.DataFrame) -> float:
    """BG/NBD's, written down from the paper (equation 6)."""
    r, alpha, a, b = at
    x, t, T = (summary[name].to_numpy(float) for name in ("frequency", "recency", "age"))
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    first = common + betaln(a, b + x) - (r + x) * np.log(alpha + T)
    second = common + betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t)
    return float(np.where(x > 0, np.logaddexp(first, second), first).sum())


def test_known_parameters_are_recovered(world: World, purchases: object) -> None:
    found = pymc_value.parameters(purchases)
    assert found["r"] == pytest.approx(R, rel=0.12)
    assert found["alpha"] == pytest.approx(ALPHA, rel=0.15)
    assert found["r"] / found["alpha"] == pytest.approx(R / ALPHA, rel=0.05)
    assert found["a"] / (found["a"] + found["b"]) == pytest.approx(A / (A + B), rel=0.1)


def test_the_parameters_are_those_of_the_greatest_likelihood(world: World, purchases: object) -> None:
    found = pymc_value.parameters(purchases)
    negative = lambda at: -log_likelihood(np.exp(at), world.summary)  # noqa: E731 -- the minimiser's sign and scale
    best = minimize(negative, np.zeros(4), method="Nelder-Mead", options={"maxiter": 4_000})
    ours = log_likelihood(np.array([found[name] for name in ("r", "alpha", "a", "b")]), world.summary)
    assert ours == pytest.approx(-best.fun, abs=0.1)
    assert [found[name] for name in ("r", "alpha", "a", "b")] == pytest.approx(np.exp(best.x).tolist(), rel=0.03)


def test_expectations_are_those_of_the_formula_in_the_order_of_the_customers(world: World, purchases: object) -> None:
    r, alpha, a, b = (pymc_value.parameters(purchases)[name] for name in ("r", "alpha", "a", "b"))
    some = world.summary.iloc[::500]
    x, t, T = (some[name].to_numpy(float) for name in ("frequency", "recency", "age"))
    # Equation 10 of the paper.
    shrunk = ((alpha + T) / (alpha + T + AHEAD)) ** (r + x) * hyp2f1(
        r + x, b + x, a + b + x - 1, AHEAD / (alpha + T + AHEAD)
    )
    gone = np.where(x > 0, a / (b + x - 1) * ((alpha + T) / (alpha + t)) ** (r + x), 0.0)
    expected = (a + b + x - 1) / (a - 1) * (1 - shrunk) / (1 + gone)
    assert pymc_value.expected_purchases(purchases, some, AHEAD) == pytest.approx(expected, rel=1e-6)
    assert pymc_value.chance_alive(purchases, some) == pytest.approx(1 / (1 + gone), rel=1e-6)


def test_what_is_foretold_comes(world: World, purchases: object) -> None:
    foretold = pymc_value.expected_purchases(purchases, world.summary, AHEAD)
    order = np.argsort(foretold, kind="stable")
    for part in (order, *np.array_split(order, 5)):
        off = world.after[part] - foretold[part]
        assert abs(off.mean()) < 3.5 * off.std() / np.sqrt(len(off))  # standard errors of what came
    assert np.corrcoef(foretold, world.after)[0, 1] > 0.6


def test_known_spend_is_recovered_and_shrunk_towards_the_mean(world: World, purchases: object) -> None:
    again = world.summary[world.summary["frequency"] > 0]
    spend = pymc_value.fit_spend(again)
    found = pymc_value.parameters(spend)
    p, q, v = (found[name] for name in ("p", "q", "v"))
    assert p * v / (q - 1) == pytest.approx(P * V / (Q - 1), rel=0.06)
    assert p == pytest.approx(P, rel=0.25)
    assert q == pytest.approx(Q, rel=0.15)
    x, mean = again["frequency"].to_numpy(float), again["spend"].to_numpy()
    expected = (q - 1) / (p * x + q - 1) * (p * v / (q - 1)) + p * x / (p * x + q - 1) * mean
    assert pymc_value.expected_spend(spend, again) == pytest.approx(expected, rel=1e-9)
    # A year's value: what each month adds, at that month's discount.
    ends = np.stack([pymc_value.expected_purchases(purchases, again, 30 * month) for month in range(1, 4)])
    added = np.diff(ends, axis=0, prepend=0.0) / 1.02 ** np.arange(1, 4)[:, None]
    worth = pymc_value.lifetime_value(purchases, spend, again, 3, 0.02)
    assert worth == pytest.approx(added.sum(axis=0) * expected, rel=1e-9)


def test_the_same_customers_give_the_same_figures(world: World, purchases: object) -> None:
    again = pymc_value.parameters(pymc_value.fit_purchases(world.summary))
    assert again == pymc_value.parameters(purchases)


def test_a_shop_gets_its_own_sentences(sample: Study) -> None:
    """The sample's spend goes with its frequency, so Gamma-Gamma is not asked; without what makes it so, it is."""
    assert sample.lines is not None
    refused = value.section(sample)
    assert [exhibit.key for exhibit in refused.exhibits] == [
        "value-holdout",
        "value-calibration",
        "value-assumption",
        "value-parameters",
        "value-by-segment",
    ]
    assert any("purchases are foretold and money is not" in note for note in refused.notes)
    assert any("begins on 1 December 2010" in note for note in refused.notes)
    assert "39 of 90 days are in the weeks before Christmas" in refused.exhibits[0].sentence
    draws = np.random.default_rng(0)
    paid = np.abs(sample.lines["amount"]).sample(frac=1.0, random_state=1).to_numpy()
    paid = np.minimum(paid, np.quantile(paid, 0.9)) * draws.uniform(0.9, 1.1, len(paid))
    lines = sample.lines.assign(amount=np.sign(sample.lines["amount"]) * paid)
    lines = lines[~lines.duplicated(["customer", "invoice"])]
    other = value.section(replace(sample, lines=lines))
    assert other.exhibits[-1].key == "value-by-customer"
    by_customer, by_segment = other.exhibits[-1].data, other.exhibits[-2].data
    assert by_segment["total"].sum() == pytest.approx(by_customer["value"].sum())
    assert by_segment["total_share"].sum() == pytest.approx(1.0)
    for ours, theirs in zip(refused.exhibits, other.exhibits, strict=False):
        assert ours.key == theirs.key
        assert ours.sentence != theirs.sentence
