"""The formulas of departure, against numbers worked by hand, exact fractions and plain loops."""

import math
from fractions import Fraction

import numpy as np
import pytest

from features.ledger import Ints
from models.daily_inputs import BINS, CENTRES, edge
from models.departure import beta_binomial_tail, level, reference, stability, tails, volume


def histogram(**bins: int) -> Ints:
    """b40=3: three orders in bin 40."""
    counts = np.zeros(BINS, np.int64)
    for name, n in bins.items():
        counts[int(name[1:])] = n
    return counts


# --- level ------------------------------------------------------------------------------------------------------------


def test_a_level_worked_by_hand() -> None:
    # 20 days of 8 orders, each one octave from the mean, half of them above it.
    days = np.stack([histogram(b40=4, b48=4)] * 20)
    moved = level(reference(days), histogram(b48=4))
    assert moved is not None
    # s^2 = 160 / (160 - 20) = 8/7, no variance between days, w_i = 8 / s^2 = 7: 1 / sqrt(s^2 / 4 + 1 / 140).
    assert moved.mean == pytest.approx((CENTRES[40] + CENTRES[48]) / 2)
    assert moved.shift == pytest.approx(1.0)
    assert moved.score == pytest.approx(1 / math.sqrt(2 / 7 + 1 / 140))


def test_a_level_is_that_of_a_random_effects_model_in_plain_loops() -> None:
    rng = np.random.default_rng(7)
    days = [rng.normal(70 + rng.normal(0, 3), 6, rng.integers(5, 40)).astype(int) for _ in range(30)]
    today = rng.normal(75, 6, 25).astype(int)
    pooled = sorted(bin_ for day in days for bin_ in day.tolist())
    low, high = (pooled[math.ceil(len(pooled) * q) - 1] for q in (0.01, 0.99))

    def logs(day: Ints) -> list[float]:
        return [(min(max(bin_, low), high) + 0.5) / 4 - 8 for bin_ in day.tolist()]

    values = [logs(day) for day in days]
    means = [sum(v) / len(v) for v in values]
    s2 = sum((x - m) ** 2 for v, m in zip(values, means, strict=True) for x in v) / (len(pooled) - len(days))
    w = [len(v) / s2 for v in values]
    centre = sum(a * m for a, m in zip(w, means, strict=True)) / sum(w)
    q = sum(a * (m - centre) ** 2 for a, m in zip(w, means, strict=True))
    t2 = max(0, (q - (len(days) - 1)) / (sum(w) - sum(a * a for a in w) / sum(w)))
    w = [1 / (s2 / len(v) + t2) for v in values]
    centre = sum(a * m for a, m in zip(w, means, strict=True)) / sum(w)
    shift = sum(logs(today)) / len(today) - centre
    found = level(
        reference(np.stack([np.bincount(day, minlength=BINS) for day in days])), np.bincount(today, minlength=BINS)
    )
    assert t2 > 0
    assert found is not None
    assert (found.mean, found.shift) == pytest.approx((centre, shift))
    assert found.score == pytest.approx(shift / math.sqrt(s2 / len(today) + t2 + 1 / sum(w)))


def test_the_same_shift_is_surer_with_more_orders_and_one_order_is_never_an_alarm() -> None:
    days = np.stack([histogram(b40=10, b48=10)] * 20)
    scores = [level(reference(days), histogram(b48=n)) for n in (1, 30, 3000)]
    assert [round(s.score, 1) if s else None for s in scores] == [1.0, 5.1, 18.3]  # 1 / sqrt(20/19 / n + 1/380)
    far = level(reference(days), histogram(b159=1))
    assert far is not None
    assert far.shift == pytest.approx(1.0)  # winsorised at the reference's limit


def test_orders_that_never_vary_have_no_level() -> None:
    assert level(reference(np.stack([histogram(b40=5)] * 20)), histogram(b41=5)) is None


# --- tails ------------------------------------------------------------------------------------------------------------


def exact_tail(k: int, n: int, a: int, b: int) -> Fraction:
    def beta(x: int, y: int) -> Fraction:
        return Fraction(math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1))

    return sum((math.comb(n, j) * beta(j + a, n - j + b) / beta(a, b) for j in range(k, n + 1)), Fraction(0))


@pytest.mark.parametrize(
    ("k", "n", "a", "b"), [(0, 5, 1, 1), (1, 5, 1, 1), (3, 10, 2, 40), (12, 60, 7, 500), (5, 5, 3, 9)]
)
def test_the_beta_binomial_tail_is_exact(k: int, n: int, a: int, b: int) -> None:
    assert beta_binomial_tail(k, n, a, b) == pytest.approx(float(exact_tail(k, n, a, b)), rel=1e-9)


def test_a_tail_counts_orders_beyond_the_limits_and_their_chance() -> None:
    # 1,000 orders, 5 of them far below, 5 far above: the limits are the edges of the bulk.
    days = np.stack([histogram(b40=99, **({"b20": 1} if day % 2 else {"b90": 1})) for day in range(10)])
    below, above = tails(reference(days), histogram(b10=1, b40=6, b89=1, b120=2))
    assert (below.beyond, below.orders, below.limit) == (1, 10, edge(40))
    assert (above.beyond, above.orders, above.limit) == (3, 10, edge(41))
    assert below.usual == above.usual == pytest.approx(0.005)
    # The days differ by more than a binomial's (5 of 10 have one, by turns): chi^2 / 9 = 1.117 and 8 orders are left.
    dispersion = sum((x - 0.5) ** 2 for x in (1, 0) * 5) / (100 * 0.005 * 0.995) / 9
    k, n = int(3 / max(dispersion, 1)), int(10 / max(dispersion, 1))
    assert above.chance == pytest.approx(beta_binomial_tail(k, n, 5.5, 995.5), rel=1e-9)


def test_no_more_than_usual_is_no_tail() -> None:
    days = np.stack([histogram(b40=99, b90=1)] * 20)
    assert [tail.chance for tail in tails(reference(days), histogram(b40=10))] == [1.0, 1.0]


# --- volume -----------------------------------------------------------------------------------------------------------


def test_a_volume_worked_by_hand() -> None:
    days = np.arange(56)
    orders = np.where(days % 7 == 3, 40, 10)
    steady = volume(days, orders, day=56 + 3, today=120)
    # Nothing varies but Poisson's 1/40; a median of eight adds pi / 2 / 8 of it.
    assert steady.expected == pytest.approx(40)
    assert steady.score == pytest.approx(math.log(3) / math.sqrt((1 + math.pi / 16) / 40))


def test_a_closed_weekday_that_opens_is_compared_with_all_days() -> None:
    days = np.array([day for day in range(56) if day % 7 != 6])
    opened = volume(days, np.full(48, 10), day=62, today=10)
    assert (opened.expected, opened.score) == pytest.approx((10, 0), abs=1e-9)


# --- stability --------------------------------------------------------------------------------------------------------


def test_a_stability_index_worked_by_hand() -> None:
    # p = (1/2, 1/2), q = (80.5, 20.5) / 101: (q1 - p1) ln(q1 / p1) + (q2 - p2) ln(q2 / p2) = 0.40629; less 1 x 2/100.
    found = stability(np.array([50, 50]), np.array([80, 20]))
    assert found.index == pytest.approx(0.38629, abs=1e-5)
    assert found.deviation == pytest.approx(0.0282843, abs=1e-6)


def test_two_samples_of_one_population_have_an_index_of_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    pairs = [stability(rng.multinomial(400, shares), rng.multinomial(300, shares)) for _ in range(2_000)]
    indices = np.array([pair.index for pair in pairs])
    expectation, deviation = 9 * (1 / 400 + 1 / 300), math.sqrt(18) * (1 / 400 + 1 / 300)
    assert abs(indices.mean()) < 0.05 * expectation  # without the correction it would be the whole of it
    assert indices.std() == pytest.approx(deviation, rel=0.1)


def test_bins_that_nobody_is_in_change_nothing_and_nobody_at_all_is_no_change() -> None:
    some, more = np.array([30, 20, 50]), np.array([20, 30, 50])
    assert stability(some, more) == stability(np.r_[0, some, 0], np.r_[0, more, 0])
    assert stability(some * 0, more).index == 0
