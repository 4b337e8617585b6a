"""The registry in Redis: compare-and-set, and what was lost can be put back."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from features.redis_store import connect
from models.bundle import content_hash
from models.candidate import Candidate
from models.redis_registry import RedisRegistry
from tests.harness.world import first_model

FIRST = first_model()
SECOND = msgspec.structs.replace(FIRST, version=2, parent=content_hash(FIRST))


@pytest.fixture
def registry(redis_url: str, namespace: str) -> Iterator[RedisRegistry]:
    with connect(redis_url) as client:
        made = RedisRegistry(client, namespace, "1")
        assert made.publish(FIRST, expected=None)
        yield made


def test_a_version_is_published_only_on_top_of_the_live_one(registry: RedisRegistry) -> None:
    assert not registry.publish(SECOND, expected=None)
    assert registry.publish(SECOND, expected=1)
    assert (registry.current(), registry.load(2), registry.load(3)) == (2, SECOND, None)


def test_a_version_that_was_lost_is_put_back_and_live_again(registry: RedisRegistry) -> None:
    assert registry.keep(SECOND)
    assert (registry.current(), registry.load(2)) == (2, SECOND)


def test_a_version_that_is_there_is_kept_as_it_is(registry: RedisRegistry) -> None:
    registry.publish(SECOND, expected=1)
    assert registry.keep(FIRST)
    assert not registry.keep(msgspec.structs.replace(FIRST, margin=0.5))
    assert (registry.current(), registry.load(1)) == (2, FIRST)


def test_a_candidate_waits_until_a_person_chooses_any_model(registry: RedisRegistry) -> None:
    for over in (1, 1):
        registry.propose(Candidate(FIRST, "why", cause="refit", over=over))
    assert list(registry.pending()) == [1, 2]
    assert registry.publish(SECOND, expected=1)  # the day's model answers nobody
    assert list(registry.pending()) == [1, 2]
    third = msgspec.structs.replace(SECOND, version=3, parent=content_hash(SECOND), created_by="promote")
    assert registry.publish(third, expected=2, promoted=True)
    assert registry.pending() == {}
    assert list(registry.candidates()) == [1, 2]
    registry.propose(Candidate(FIRST, "why", cause="refit", over=3))
    assert list(registry.pending()) == [3]


def test_a_candidate_of_before_there_were_causes_is_read(registry: RedisRegistry, redis_url: str) -> None:
    registry.propose(Candidate(FIRST, "why"))
    with connect(redis_url) as client:
        key = registry._prefix + "candidates"
        old = msgspec.json.decode(client.hget(key, "1"))
        for name in ("cause", "over", "dying", "stability"):
            del old[name]
        client.hset(key, "1", msgspec.json.encode(old))
    assert registry.pending() == {1: Candidate(FIRST, "why")}
