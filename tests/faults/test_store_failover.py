r"""Redis fails over to a replica that lags: found by the sequence, read again, equal; no mixed state (FAULTS 10).

workers --> front (the stable address) --> primary --link, held back--> replica
                                   \- - - after the failover - - - - - -^
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from features.redis_store import connect
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.proxy import Proxy
from tests.harness.served import Served
from tests.harness.store import Store, find_store, make_store
from tests.harness.world import between, shopping

LIVES = Callable[..., Live]
SLOW_S = 1.0
"""So long one worker is still led to the old primary."""


@dataclass
class Pair:
    """A primary and its replica; `front` leads to the primary, `slow` too, but hears of a failover later."""

    primary: Store
    replica: Store
    front: Proxy
    slow: Proxy

    @property
    def url(self) -> str:
        return self.front.url_of(self.primary.url)

    @contextmanager
    def replicating(self) -> Iterator[Proxy]:
        """Let the replica follow the primary through a link that can be held back."""
        with Proxy(*place(self.primary)) as link, connect(self.replica.url) as client:
            client.replicaof(link.host, link.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "a replica in step")
            yield link

    def promote(self) -> None:
        with connect(self.replica.url) as client:
            client.replicaof("NO", "ONE")
        self.front.point_at(*place(self.replica))
        self.primary, self.replica = self.replica, self.primary


def place(store: Store) -> tuple[str, int]:
    parts = urlsplit(store.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@pytest.fixture
def pair(own_redis: Store) -> Iterator[Pair]:
    given = {name: value for name, value in os.environ.items() if name != "SEGMENTER_TEST_REDIS"}
    with ExitStack() as stack:
        other = make_store(find_store(given))
        stack.callback(other.close)
        other.start()
        front, slow = (stack.enter_context(Proxy.to_redis(own_redis.url)) for _ in range(2))
        yield Pair(own_redis, other, front, slow)


@contextmanager
def lagging(live: Live, pair: Pair, lines: list[dict[str, Any]]) -> Iterator[None]:
    """Publish some days; from a third of them on the replica gets nothing; run the block after two thirds."""
    before = live.applied()
    with pair.replicating() as link:
        live.publish(lines)
        live.tick(date.fromisoformat(lines[-1]["invoice_date"][:10]) + timedelta(days=1))
        wait_until(lambda: live.applied() >= before + len(lines) // 3, "a third applied")
        with link.black_hole():
            wait_until(lambda: live.applied() >= before + len(lines) * 2 // 3, "two thirds applied")
            assert link.swallowed, "the replica lacks something"
            yield


@pytest.mark.fault(10)
def test_what_a_lagging_replica_lacks_is_done_again(lives: LIVES, fault: Fault, pair: Pair) -> None:
    live = lives(redis=pair.url, max_poll_records=10)
    lines = list(shopping(10, customers=50, days=18, per_day=40))
    live.bootstrap(between(lines, 0, 6))
    workers = [Served(live), Served(live, redis_url=pair.slow.url_of(pair.primary.url))]

    with lagging(live, pair, between(lines, 6, 12)):
        fault.inject()
        pair.primary.kill()
        pair.promote()
        pair.slow.point_at(*place(pair.primary))
    fault.ended()
    wait_until(lambda: sum(w.found("diverged") for w in workers) > 0, "a partition whose writes were lost", 30)
    fault.fired()
    live.settle()
    fault.recovered()

    # The old primary lives on, and one worker goes on with it for a while: what it writes there is lost as well.
    seen = workers[1].found("diverged")
    pair.replica.start()
    with lagging(live, pair, between(lines, 12, 18)):
        fault.inject()
        pair.promote()
    time.sleep(SLOW_S)
    pair.slow.point_at(*place(pair.primary))
    fault.ended()
    wait_until(lambda: workers[1].found("diverged") > seen, "a partition that was written elsewhere", 30)
    fault.fired()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())
