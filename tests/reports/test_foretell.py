"""The next move of a silent customer is the one that looking at every day finds; the days are a plain loop's."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.foretold import daily, foretold
from benchmarks.present import Present
from features.ledger import Ints, fold, from_lines
from features.vector import NAMES, RFM
from models.bundle import LAPSED, NO_NET, Bundle, Segment
from reports.first_move import NEVER
from reports.foretell import foretell
from tests.features.ledgers import Line, columns, lines

CUSTOMERS = 4
BUNDLE = Bundle(
    version=1,
    parent=None,
    day=15_000,
    learner="population",
    features=RFM,
    horizon_days=365,
    margin=0.95,
    scale=(1.0, 1.0, 1.0),
    centroids=((1.0, 1.0, 3.0), (5.0, 1.0, 3.0)),
    segments=(Segment(11, "Champions"), Segment(12, "Dormant")),
    created_by="bootstrap",
    sizes=(0, 0),
)


@st.composite
def models(draw: st.DrawFn) -> Bundle:
    """Draw a model over one to four features, with a horizon of weeks so that its end is met."""
    features = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)))
    k = draw(st.integers(1, 4))
    at = st.floats(0, 8, width=32)
    return msgspec.structs.replace(
        BUNDLE,
        features=features,
        horizon_days=draw(st.integers(1, 60)),
        recency_offset=draw(st.sampled_from((1, 30))),
        margin=draw(st.sampled_from((0.5, 0.9, 0.95, 1.0))),
        scale=tuple(draw(st.floats(0.125, 3, width=32)) for _ in features),
        centroids=tuple(tuple(draw(at) for _ in features) for _ in range(k)),
        segments=tuple(Segment(11 + i, f"Cluster {i}") for i in range(k)),
        sizes=(0,) * k,
    )


def next_moves(rows: list[Line], labels: list[int], as_of: int, days: int = 400) -> list[tuple[int, int] | None]:
    """Foretell customers 0 .. n - 1 from their lines under BUNDLE; None: no move."""
    n = len(labels)
    first_day = np.full(n, as_of, np.int64)
    np.minimum.at(first_day, [row.owner for row in rows], [row.day for row in rows])
    found = foretell(from_lines(columns(rows)), first_day, np.array(labels), np.full(n, as_of), as_of + days, BUNDLE)
    pairs = zip(found.step.tolist(), found.segment.tolist(), strict=True)
    return [None if day == NEVER else (day, segment) for day, segment in pairs]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(lines, max_size=12),
    bundle=models(),
    as_of=st.integers(14_998, 15_012),
    labels=st.lists(st.sampled_from((1, 2, 11, 12, 13, 14, 99)), min_size=CUSTOMERS, max_size=CUSTOMERS),
    cap=st.sampled_from((2, 1_000)),
)
def test_every_move_of_the_silent_is_foretold_and_no_other(
    rows: list[Line], bundle: Bundle, as_of: int, labels: list[int], cap: int
) -> None:
    first_day = np.full(CUSTOMERS, as_of, np.int64)
    np.minimum.at(first_day, [row.owner for row in rows], [row.day for row in rows])
    at = Present(fold(from_lines(columns(rows)), cap), first_day, np.array(labels), as_of, bundle)
    assert foretold(at, as_of + 90) == daily(at, as_of + 90)


def test_the_horizon_is_365_days_after_the_order_and_the_day_after_that_he_has_lapsed() -> None:
    dormant = Line(0, 1, 15_000, 200_000, 1)
    assert next_moves([dormant], [12], 15_200) == [(15_366, LAPSED.id)]


def test_silence_moves_where_the_ratio_of_the_distances_passes_the_margin() -> None:
    # One order of 19.09: frequency ln 2, monetary ln 20.09 = 3.0; both centroids differ in recency alone.
    off = (1 - np.log(2)) ** 2
    days = [r for r in range(400) if off + (np.log1p(r) - 5) ** 2 < 0.95**2 * (off + (np.log1p(r) - 1) ** 2)]
    assert next_moves([Line(0, 1, 15_000, 190_900, 1)], [11], 15_000) == [(15_000 + days[0], 12)]


def test_a_return_that_leaves_the_horizon_brings_a_customer_back_into_the_clusters() -> None:
    rows = [Line(0, 1, 15_000, -500_000, -1), Line(0, 2, 15_100, 190_900, 1)]
    assert next_moves(rows, [NO_NET.id], 15_150) == [(15_366, 12)]


def test_an_order_that_leaves_behind_only_a_return_moves_him_out_of_the_clusters() -> None:
    rows = [Line(0, 1, 15_000, 500_000, 1), Line(0, 2, 15_100, -190_900, -1)]
    assert next_moves(rows, [12], 15_300) == [(15_366, NO_NET.id)]


@pytest.mark.parametrize(("label", "rows"), [(LAPSED.id, []), (0, [Line(0, 1, 15_000, 190_900, 1)])])
def test_who_has_lapsed_or_has_no_label_yet_has_no_next_move(label: int, rows: list[Line]) -> None:
    assert next_moves(rows, [label], 15_000) == [None]


def test_nothing_is_foretold_behind_the_last_day() -> None:
    dormant = Line(0, 1, 15_000, 200_000, 1)
    assert next_moves([dormant], [12], 15_200, days=165) == [None]
    assert next_moves([dormant], [12], 15_200, days=166) == [(15_366, LAPSED.id)]


def test_a_customer_is_foretold_the_same_in_any_company() -> None:
    rng = np.random.default_rng(0)
    rows = [Line(int(o), i, int(d), int(a), 1) for i, (o, d, a) in enumerate(_columns(rng))]
    labels = rng.integers(11, 13, 30).tolist()
    together = next_moves(rows, labels, 15_400)
    alone = [
        next_moves([row._replace(owner=0) for row in rows if row.owner == i], [labels[i]], 15_400)[0] for i in range(30)
    ]
    assert together == alone


def _columns(rng: np.random.Generator) -> Ints:
    return np.stack([rng.integers(0, 30, 90), rng.integers(15_050, 15_401, 90), rng.integers(1, 10**7, 90)], axis=1)
