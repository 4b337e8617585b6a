"""What a look-up says of one stored customer; distances by hand."""

from __future__ import annotations

from math import dist, log

import msgspec
import numpy as np
import pytest

from consumer.commands.explain import explain
from consumer.commands.lookup import Customer, Stored, described
from features.codec import Seen, States, blank_heads
from features.ledger import MONEY, from_lines
from models.bundle import LAPSED, Segment
from tests.consumer.test_outlook import partition_on
from tests.features.ledgers import Line, columns
from tests.reports.test_foretell import BUNDLE

TODAY = 15_100
MODEL = msgspec.structs.replace(
    BUNDLE,
    centroids=((1.0, 0.7, 3.0), (3.0, 0.7, 3.0), (6.0, 0.7, 3.0)),
    segments=(Segment(11, "Champions"), Segment(12, "Promising"), Segment(13, "Dormant")),
    sizes=(0, 0, 0),
)


def stored(recency: int, segment: int) -> Stored:
    """One customer with one order of 20, so many days ago."""
    heads = blank_heads(1)
    heads["segment"], heads["entered_day"] = segment, TODAY - 5
    heads["first_day"] = heads["last_day"] = TODAY - recency
    none = np.empty(0, np.int64)
    ledger = from_lines(columns([Line(0, 1, TODAY - recency, 20 * MONEY, 1)]))
    states = States(heads, ledger, Seen(none, none.astype(np.uint64), none))
    return Stored("12748", 0, "key", 0, states, partition_on(TODAY, None), 365, MODEL)


def by_hand(recency: int) -> float:
    """1 - d_best / d_second; the scale is 1."""
    at = (log(recency + 1), log(2), log(21))
    best, second, *_ = sorted(dist(at, centroid) for centroid in MODEL.centroids)
    return 1 - best / second


@pytest.mark.parametrize(("recency", "segment", "held"), [(1, 11, False), (8, 12, False), (6, 12, True), (7, 11, True)])
def test_margin_and_held_are_those_of_the_records(recency: int, segment: int, held: bool) -> None:
    # Halfway between the first two centroids is exp(2) - 1 = 6.4 days.
    found = described(stored(recency, segment))
    assert found.margin == pytest.approx(by_hand(recency), abs=1e-6)
    assert found.held is held
    told = explain(stored(recency, segment))
    assert (told.margin, told.held) == (found.margin, found.held)


@pytest.mark.parametrize(("recency", "segment"), [(366, LAPSED.id), (1, 0)])
def test_who_stands_outside_the_clusters_or_was_never_swept_has_no_margin(recency: int, segment: int) -> None:
    found: Customer = described(stored(recency, segment))
    assert (found.margin, found.held) == (None, False)
