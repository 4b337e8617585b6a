"""A Redis Cluster under a running worker: killed workers, killed masters, a failover, a slot that moves (FAULTS 33).

workers -- one address --> masters; a partition's keys lie in one slot: its master dies, or another one gets it
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from redis.crc import key_slot

from features.orders import binding_key
from features.redis_store import Keys
from tests.faults.test_kill9 import is_killed_and_recovers
from tests.harness.commands import REPOSITORY
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.redis_cluster import StoreCluster
from tests.harness.served import Served
from tests.harness.world import between, shopping

LIVES = Callable[..., Live]
PARTITIONS = 6
SAMPLE = REPOSITORY / "Dataset" / "sample.csv.gz"


def partition_key(live: Live, partition: int) -> bytes:
    return Keys(live.settings.namespace, "any").generation(partition)


def model_key(live: Live) -> bytes:
    return binding_key(live.settings.namespace)


def publish(live: Live, lines: list[dict[str, Any]]) -> None:
    live.publish(lines)
    live.tick(day_after(lines))


def day_after(lines: list[dict[str, Any]]) -> date:
    return date.fromisoformat(lines[-1]["invoice_date"][:10]) + timedelta(days=1)


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("after_commit", 3),
        pytest.param("after_load", 4, marks=pytest.mark.long),
        pytest.param("mid_commit", 4, marks=pytest.mark.long),
        pytest.param("mid_transaction", 5, marks=pytest.mark.long),
        pytest.param("mid_sweep", 4, marks=pytest.mark.long),
        pytest.param("after_publish", 6, marks=pytest.mark.long),
    ],
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(
    lives: LIVES, fault: Fault, redis_cluster: StoreCluster, point: str, times: int
) -> None:
    is_killed_and_recovers(lives(redis=redis_cluster.url, partitions=PARTITIONS), fault, point, times)


@pytest.mark.fault(33)
def test_a_master_killed_and_started_again_is_waited_for(lives: LIVES, fault: Fault, own_cluster: StoreCluster) -> None:
    live = lives(redis=own_cluster.url, partitions=PARTITIONS, max_poll_records=20)
    lines = list(shopping(8, customers=50, days=22, per_day=40))
    live.bootstrap(between(lines, 0, 6))
    workers = [Served(live), Served(live)]
    for tag, days in ((partition_key(live, 0), between(lines, 6, 14)), (model_key(live), between(lines, 14, 22))):
        before = live.applied()
        publish(live, days)
        wait_until(lambda: live.applied() >= before + len(days) // 3, "a third applied")  # noqa: B023
        fault.inject()
        master = own_cluster.home(tag)
        master.kill()
        wait_until(lambda: all(worker.ready().status == 503 for worker in workers), "workers that say so")
        assert all(worker.alive() for worker in workers)
        fault.fired()
        master.start()
        fault.ended()
        live.settle()
        fault.recovered()
        wait_until(lambda: all(worker.ready().status == 200 for worker in workers), "workers that are ready again")
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(33)
def test_a_replica_takes_over_and_what_it_lacks_is_done_again(
    lives: LIVES, fault: Fault, own_cluster: StoreCluster
) -> None:
    """The models lie on another master: versions that only theirs had would be lost with it (docs/decisions/0024)."""
    live = lives(redis=own_cluster.url, partitions=PARTITIONS, max_poll_records=10)
    lines = list(shopping(10, customers=50, days=18, per_day=40))
    live.bootstrap(between(lines, 0, 6))
    homes = [own_cluster.home(partition_key(live, partition)) for partition in range(PARTITIONS)]
    master = next(home for home in homes if home is not own_cluster.home(model_key(live)))
    theirs = [p for p in range(PARTITIONS) if own_cluster.home(partition_key(live, p)) is master]
    replica = own_cluster.add_replica(master)
    worker = Served(live)
    before = live.applied()
    days = between(lines, 6, 18)
    publish(live, days)
    wait_until(lambda: live.applied() >= before + len(days) // 3, "a third applied")
    with own_cluster.cut_off(replica, master):
        known = {p: live.states()[p].applied for p in theirs}
        wait_until(lambda: all(live.states()[p].applied > known[p] for p in theirs), "writes that the replica lacks")
        fault.inject()
        master.kill()
    wait_until(lambda: own_cluster.home(partition_key(live, theirs[0])) is replica, "a replica that took over")
    fault.ended()
    wait_until(lambda: worker.found("diverged") > 0, "a partition whose writes were lost", 30)
    fault.fired()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(33)
def test_slots_move_to_a_new_node_under_the_worker(lives: LIVES, fault: Fault, own_cluster: StoreCluster) -> None:
    live = lives(redis=own_cluster.url, partitions=PARTITIONS, max_poll_records=20)
    lines = list(shopping(9, customers=50, days=21, per_day=40))
    live.bootstrap(between(lines, 0, 6))
    worker = Served(live)
    new = own_cluster.add()
    for n, tag in enumerate((partition_key(live, 0), partition_key(live, 1), model_key(live))):
        before = live.applied()
        days = between(lines, 6 + 5 * n, 11 + 5 * n)
        live.publish(days)
        wait_until(lambda: live.applied() >= before + len(days) // 3, "a third applied")  # noqa: B023
        troubles = len(worker.log("trouble"))
        fault.inject()
        with own_cluster.moving(key_slot(tag), new) as carry:
            assert carry(3) == 3
            live.tick(day_after(days))  # each partition has something to write
            wait_until(lambda: len(worker.log("trouble")) > troubles, "a worker that waits")  # noqa: B023
        fault.fired()
        fault.ended()
        live.settle()
        fault.recovered()
        assert own_cluster.home(tag) is new
    live.end()
    fault.judge(live.verdict())


@pytest.mark.fault(33)
def test_the_commands_run_on_a_cluster_from_the_bootstrap_to_the_verification(
    lives: LIVES, fault: Fault, redis_cluster: StoreCluster
) -> None:
    live = lives(redis=redis_cluster.url, partitions=PARTITIONS, max_poll_records=500)
    shell = live.shell()
    done = shell(f"bootstrap {SAMPLE} --until 2011-11-20 --json")
    assert done.code == 0, done.err
    worker = live.start("after_commit", 4)
    sent = shell(f"replay {SAMPLE} --from 2011-11-20 --json").json
    fault.inject()
    wait_until(lambda: worker.poll() is not None, "the kill")
    assert live.crash_file.exists()
    fault.fired()
    fault.ended()
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    assert sent["events"] > 1_000
    said = shell(f"verify {SAMPLE} --json")
    assert said.code == 0, said.out
    for command in ("status", "doctor", "model show", "trend", f"bootstrap --replace {SAMPLE} --json"):
        done = shell(command)
        assert done.code == 0, (command, done.err, done.out)
    fault.unstreamed("`segmenter verify` judges")
