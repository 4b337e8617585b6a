"""The registry in Redis: compare-and-set, and what was lost can be put back."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from features.redis_store import RedisAddress, connect
from features.store import InvalidKey
from models.bundle import content_hash
from models.candidate import Candidate
from models.checkup import check_up
from models.redis_registry import RedisRegistry
from tests.harness.commands import REPOSITORY
from tests.harness.store import Store
from tests.harness.world import first_model

ACL = REPOSITORY / "deploy" / "redis-users.acl"
FIRST = first_model()
SECOND = msgspec.structs.replace(FIRST, version=2, parent=content_hash(FIRST))


@pytest.fixture
def registry(each_redis: str, namespace: str) -> Iterator[RedisRegistry]:
    with connect(each_redis) as client:
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


def test_a_candidate_of_before_there_were_causes_is_read(registry: RedisRegistry, each_redis: str) -> None:
    registry.propose(Candidate(FIRST, "why"))
    with connect(each_redis) as client:
        key = registry._prefix + "candidates"
        old = msgspec.json.decode(client.hget(key, "1"))
        for name in ("cause", "over", "dying", "stability"):
            del old[name]
        client.hset(key, "1", msgspec.json.encode(old))
    assert registry.pending() == {1: Candidate(FIRST, "why")}


def test_checkups_lie_beside_their_versions_and_what_is_none_is_refused_by_its_key(
    registry: RedisRegistry, each_redis: str
) -> None:
    assert registry.checkups() == {}
    for version in (11, 9):
        bundle = msgspec.structs.replace(FIRST, version=version)
        registry.note(check_up(bundle, np.ones((5, 3), np.int64), 20_000, inertia_ratio=None, before=None))
    found = registry.checkups()
    assert list(found) == [9, 11]
    assert (found[9].customers, found[9].findings[0].kind) == (5, "cluster")
    with connect(each_redis) as client:
        client.hset(registry._prefix + "checkups", "12", b"{}")
    with pytest.raises(InvalidKey, match=r"checkups.*no checkup"):
        registry.checkups()


@pytest.mark.parametrize("user", ["segmenter-run", "segmenter-commands"])
def test_the_published_users_may_do_all_of_it(own_redis: Store, namespace: str, user: str) -> None:
    rules = next(text for text in ACL.read_text("utf-8").splitlines() if text.startswith(f"user {user} ")).split()[2:]
    rules = [rule.replace("{segmenter:", f"{{{namespace}:") for rule in rules if not rule.startswith("#")]
    with connect(own_redis.url) as admin:
        admin.execute_command("ACL SETUSER", user, *rules, ">secret")
    with connect(RedisAddress(own_redis.url, user, "secret")) as client:
        registry = RedisRegistry(client, namespace, "1")
        assert registry.publish(FIRST, expected=None)
        assert registry.publish(SECOND, expected=1, promoted=True)
        assert registry.keep(FIRST)
        assert registry.versions() == [1, 2]
        registry.note(check_up(SECOND, np.ones((5, 3), np.int64), 20_000, inertia_ratio=None, before=None))
        assert registry.propose(Candidate(FIRST, "why", cause="refit", over=2)) == 1
        assert (list(registry.pending()), list(registry.checkups())) == ([1], [2])
