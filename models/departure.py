"""How far a day, or a population, departs from what it is compared with: the formulas, and nothing of what follows.

Each takes integer histograms and returns a number that already knows how many orders or customers it rests
on: a standard score, a chance, or an index with its expectation taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.special import betaln

from features.ledger import Ints
from features.vector import Floats
from models.daily_inputs import CENTRES, edge

TAIL_SHARE = 0.01
"""Of the reference's orders lie beyond each limit."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The days that a day is compared with.

    counts: int64 (days, BINS), orders; n: int64 (days,), orders a day, none of them 0; low, high: first and last
    bin within the limits that `TAIL_SHARE` of all these orders lie beyond.
    """

    counts: Ints
    n: Ints
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Level:
    """A day's mean of log2 against the reference's: mean + shift, and the shift in standard errors."""

    mean: float
    shift: float
    score: float


@dataclass(frozen=True, slots=True)
class Tail:
    """How many of a day's orders lie beyond a limit (in the measure's unit), what share is usual, and the chance."""

    limit: float
    beyond: int
    orders: int
    usual: float
    chance: float


@dataclass(frozen=True, slots=True)
class Volume:
    """A day's orders against what its weekday had: expected orders, and log(n / expected) in standard errors."""

    expected: float
    score: float


@dataclass(frozen=True, slots=True)
class Stability:
    """A population stability index without its small-sample expectation, and the standard deviation of that."""

    index: float
    deviation: float


def reference(counts: Ints) -> Reference:
    """Return the reference of some days' histograms, int64 (days, BINS), one day at least and no day without orders."""
    share: Floats = np.cumsum(counts.sum(axis=0)) / counts.sum()
    low, high = np.searchsorted(share, (TAIL_SHARE, 1 - TAIL_SHARE)).tolist()
    return Reference(counts, counts.sum(axis=1), low, high)


def level(usual: Reference, today: Ints) -> Level | None:
    """Compare a day's mean of logs with the days before it; None where all their orders lie in one bin.

    today: int64 (BINS,), one order at least. With s^2 the variance within days, t^2 the one between days beyond
    s^2 / n_i (DerSimonian and Laird, 1986) and w_i = 1 / (s^2 / n_i + t^2):

        score = (m - M) / sqrt(s^2 / n + t^2 + 1 / sum w_i)      M = sum w_i m_i / sum w_i

    as in the prediction interval of a random-effects model (Higgins, Thompson and Spiegelhalter, 2009). Logs are
    winsorised at the reference's limits: one order, however large, weighs no more than about 2.5 s.
    """
    n = usual.n
    x = np.clip(CENTRES, CENTRES[usual.low], CENTRES[usual.high])
    means = usual.counts @ x / n
    within = float((usual.counts @ (x * x) - n * means**2).sum() / max(n.sum() - len(n), 1))
    if within <= _NOTHING:
        return None
    w = n / within
    spread = float(w @ (means - w @ means / w.sum()) ** 2)
    room = float(w.sum() - w @ w / w.sum())
    between = max(0.0, spread - (len(n) - 1)) / room if room > 0 else 0.0
    w = 1 / (within / n + between)
    mean, orders = float(w @ means / w.sum()), int(today.sum())
    shift = float(today @ x) / orders - mean
    return Level(mean, shift, shift / float(np.sqrt(within / orders + between + 1 / w.sum())))


_NOTHING = 1e-9
"""A variance below it is the noise of arithmetic: bins lie a quarter apart."""


def tails(usual: Reference, today: Ints) -> tuple[Tail, Tail]:
    """Count a day's orders, int64 (BINS,), below and above the reference's limits.

    The chance of so many is beta-binomial: what a binomial predicts whose share was itself counted (K + 1/2 of
    N + 1: Jeffreys' prior). Where the reference's days differ by more than a binomial's, all counts are first divided
    by Pearson's chi^2 / (days - 1) (quasi-likelihood; McCullagh and Nelder, 1989).
    """
    return (
        _tail(edge(usual.low), usual, today, slice(usual.low)),
        _tail(edge(usual.high + 1), usual, today, slice(usual.high + 1, None)),
    )


def _tail(limit: float, usual: Reference, today: Ints, outside: slice) -> Tail:
    n, beyond = usual.n, usual.counts[:, outside].sum(axis=1)
    total, far = int(n.sum()), int(beyond.sum())
    orders, found = int(today.sum()), int(today[outside].sum())
    share = far / total
    if found <= share * orders:
        return Tail(limit, found, orders, share, 1.0)
    dispersion = 1.0
    if far and len(n) > 1:
        pearson = ((beyond - n * share) ** 2 / (n * share * (1 - share))).sum()
        dispersion = max(1.0, float(pearson) / (len(n) - 1))
    k, m = int(found / dispersion), int(orders / dispersion)
    chance = beta_binomial_tail(k, m, far / dispersion + 0.5, (total - far) / dispersion + 0.5)
    return Tail(limit, found, orders, share, chance)


def beta_binomial_tail(k: int, n: int, a: float, b: float) -> float:
    """Return P(X >= k) of a beta-binomial variable of n trials with the parameters a and b."""
    if k <= 0:
        return 1.0
    j = np.arange(k, n + 1)
    logs = betaln(j + a, n - j + b) - betaln(a, b) - np.log(n + 1) - betaln(j + 1, n - j + 1)
    return min(1.0, float(np.exp(logs).sum()))


def volume(days: Ints, orders: Ints, day: int, today: int) -> Volume:
    """Compare a day's orders with those of the same weekday; with all days' where the reference has not three of it.

    days, orders: int64 (n,), the reference, n > 0. In logs, from the weekday's median, in units of 1.4826 times the
    median absolute residual over all weekdays: a day before a holiday spoils neither (Rousseeuw and Croux, 1993). A
    Poisson count's own variance, 1 / expected, is the least that is believed.
    """
    weekday, logs = days % 7, np.log(orders)
    if np.count_nonzero(weekday == day % 7) < 3:
        weekday = np.full_like(days, day % 7)
    medians = np.zeros(7)
    for each in set(weekday.tolist()):
        medians[each] = median(logs[weekday == each].tolist())
    expected = float(np.exp(medians[day % 7]))
    deviation = 1.4826 * median(np.abs(logs - medians[weekday]).tolist())
    # A median of m values varies by pi / 2 times as much as their mean.
    variance = max(deviation**2, 1 / expected) * (1 + np.pi / 2 / np.count_nonzero(weekday == day % 7))
    return Volume(expected, float(np.log(today / expected) / np.sqrt(variance)))


def stability(before: Ints, after: Ints) -> Stability:
    """Return the population stability index of two histograms, int64 (B,), without what chance alone gives it.

        PSI = sum (q_i - p_i) ln(q_i / p_i)

    Of two samples of n and m from one population it is about (1/n + 1/m) chi^2 with B - 1 degrees of freedom, so its
    expectation is (B - 1)(1/n + 1/m) and its deviation sqrt(2 (B - 1))(1/n + 1/m) (Yurdakul and Naranjo, 2020). Bins
    empty in both do not count; to the others 1/2 is added, so that one customer in a new bin is no infinity.
    """
    filled = (before + after) > 0
    n, m, bins = int(before.sum()), int(after.sum()), int(filled.sum())
    if not n or not m:
        return Stability(0.0, 0.0)
    p, q = ((counts[filled] + 0.5) / (counts.sum() + 0.5 * bins) for counts in (before, after))
    chance = 1 / n + 1 / m
    index = float(((q - p) * np.log(q / p)).sum()) - (bins - 1) * chance
    return Stability(index, float(np.sqrt(2 * (bins - 1))) * chance)
