"""When an erasure without a time of its own took place; the rest of its rules are in test_step.py."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from consumer.erasure import NEVER, dated, keyed_hash, with_revision
from features.transaction import Control

LONDON = ZoneInfo("Europe/London")
PUBLISHED = int(datetime(2024, 7, 1, 12, tzinfo=UTC).timestamp() * 1000)
WATERMARK = 1_000_000


def control(at: int | None, published_ms: int = PUBLISHED) -> Control:
    return Control(7, "erase", "c", at, published_ms)


@pytest.mark.parametrize("clock", ["wall", "event"])
def test_its_own_time_counts(clock: str) -> None:
    assert dated(control(5), clock, WATERMARK, LONDON) == control(5)  # type: ignore[arg-type]


def test_under_the_event_clock_it_took_place_at_the_watermark() -> None:
    assert dated(control(None), "event", WATERMARK, LONDON).at == WATERMARK


def test_under_the_wall_clock_it_took_place_when_it_was_published_by_the_zones_clock() -> None:
    local_noon = int(datetime(2024, 7, 1, 13, tzinfo=UTC).timestamp())  # summer time
    assert dated(control(None), "wall", WATERMARK, LONDON).at == local_noon


@pytest.mark.parametrize("published", [10**18, -(10**18)])
def test_a_time_of_publishing_that_no_calendar_has_gives_way_to_the_watermark(published: int) -> None:
    assert dated(control(None, published), "wall", WATERMARK, LONDON).at == WATERMARK


def test_a_mark_keeps_the_greater_revision_and_its_time() -> None:
    assert with_revision(None, 4) == b'{"at":%d,"revision":4}' % NEVER
    assert with_revision(b'{"at":9,"revision":6}', 4) == b'{"at":9,"revision":6}'
    assert with_revision(b'{"at":9,"revision":2}', 4) == b'{"at":9,"revision":4}'


def test_the_name_of_a_mark_depends_on_the_key() -> None:
    assert keyed_hash(b"a", "c") != keyed_hash(b"b", "c")
    assert len(keyed_hash(b"a", "c")) == 64
