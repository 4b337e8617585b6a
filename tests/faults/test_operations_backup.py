"""A backup of Redis, days old, is put back: found, read again from there, equal to the oracle (FAULTS 8).

What follows the restart of the server is what docs/operations.md prints, run as printed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.faults.test_operations_input_loss import between, shell_of
from tests.faults.test_operations_state_lost import newest, tick
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.runbook import Runbook
from tests.harness.served import Served
from tests.harness.store import OwnStore, Store
from tests.harness.world import FIRST_DAY

LIVES = Callable[..., Live]


@pytest.mark.long
@pytest.mark.fault(8)
def test_a_restored_backup_is_found_and_everything_since_is_done_again(
    lives: LIVES, fault: Fault, own_redis: Store
) -> None:
    assert isinstance(own_redis, OwnStore)
    data, backup = own_redis.directory / "appendonlydir", own_redis.directory / "backup"
    live = lives(redis=own_redis.url, max_poll_records=50)
    live.bootstrap(between(0, 6))
    shell = shell_of(live)
    worker = Served(live)
    live.publish(between(6, 9))
    tick(live, 10)
    live.settle()
    shutil.copytree(data, backup)
    old = live.states()

    # What the backup knows nothing of: days, new customers, revisions, an erasure.
    live.publish(between(9, 14))
    live.publish([{"type": "erase", "customer_id": "c1", "at": f"{FIRST_DAY + timedelta(days=14)}T00:00:00"}])
    tick(live, 15)
    live.settle()
    before = newest(live)
    assert "c1" not in before
    fault.inject()
    own_redis.stop()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    own_redis.start()
    fault.ended()
    wait_until(lambda: worker.found("diverged") >= live.partitions, "a worker that finds the backup")
    fault.fired()
    live.settle()
    fault.recovered()
    assert all(live.states()[p].applied > state.applied for p, state in old.items())
    after = newest(live)
    assert after.keys() == before.keys()
    assert all(after[customer] >= revision for customer, revision in before.items())
    assert shell("lookup c1").code == 1
    worker.end()

    live.publish(between(14, 17))
    tick(live, 18)
    runbook = Runbook(shell)
    said = runbook.follow("Redis is restored from a backup")
    runbook.end()
    assert "nothing differs" in said
    fault.judge(live.verdict())
