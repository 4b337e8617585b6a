"""Redis emptied: no worker goes on with empty features, and the runbook leads back, from the topic alone (FAULTS 9).

A namespace's keys stand for the whole store, which the tests share; the commands are those of docs/operations.md.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.faults.test_operations_input_loss import between, delete_before, shell_of
from tests.harness.commands import Inside, Shell
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.runbook import Runbook
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
HEADING = "Redis was emptied"


def empty_store(live: Live) -> int:
    """Remove every key of the world; return how many there were."""
    keys = list(live.client.scan_iter(match=f"{{{live.settings.namespace}:*".encode(), count=1_000))
    live.client.delete(*keys)
    return len(keys)


def tick(live: Live, days: int) -> None:
    live.tick(FIRST_DAY + timedelta(days=days))


def from_topic_shell(live: Live) -> Shell:
    return Inside(live.directory, live.environment())


def begin_from_topic(live: Live) -> Shell:
    """Let a world begin with nothing but its topic: its only history is what was published."""
    live.publish(between(0, 8))
    shell = from_topic_shell(live)
    made = shell("bootstrap --from-topic --k 3 --json")
    assert made.code == 0, made.err
    return shell


@pytest.mark.long
@pytest.mark.fault(9)
def test_an_emptied_store_stops_workers_and_the_topic_brings_everything_back(lives: LIVES, fault: Fault) -> None:
    live = lives()
    shell = begin_from_topic(live)
    # An erasure, a refusal and an event from far ahead: none may come back with the topic.
    live.publish([{"type": "erase", "customer_id": "c0", "at": f"{FIRST_DAY + timedelta(days=9)}T00:00:00"}])
    live.publish([line("c1", FIRST_DAY + timedelta(days=9), quantity=0), line("c1", FIRST_DAY + timedelta(days=300))])
    live.publish(between(8, 14))
    tick(live, 15)
    with shell.running("run") as worker:
        live.settle()
        erased = live.states()
        assert sum(state.erased for state in erased.values()) == 1
        before = newest(live)
        fault.inject()
        assert empty_store(live)
        live.publish(between(14, 15))  # a commit at the latest finds it
        wait_until(lambda: worker.poll() is not None, "the worker's end")
        assert worker.returncode == 3
    again = shell("run")
    assert again.code == 3
    assert "Redis holds no state of namespace" in again.err
    assert f"partition 0: up to offset {erased[0].applied} applied, the log holds 0 to " in again.err
    assert "bootstrap --from-topic" in again.err
    fault.fired()

    # What comes meanwhile was never applied: an erasure in it leaves its tombstone and mark, a refusal its letter.
    live.publish([{"type": "erase", "customer_id": "c2", "at": f"{FIRST_DAY + timedelta(days=15)}T00:00:00"}])
    live.publish(between(15, 17))
    tick(live, 18)
    runbook = Runbook(shell)
    said = runbook.follow(HEADING, "--from-topic")
    runbook.end()
    fault.recovered()
    assert "nothing differs" in said
    after = newest(live)
    assert after.keys() >= before.keys() - {"c2"}
    assert all(after[customer] >= revision for customer, revision in before.items() if customer in after)
    assert shell("lookup c2").code in (0, 1)
    fault.judge(live.verdict())


def newest(live: Live) -> dict[str, int]:
    """Return the last revision of each customer that the output knows as living."""
    found: dict[str, int] = {}
    for record in live.output():
        customer = (record.key or b"").decode()
        if record.value is None:
            found.pop(customer, None)
        else:
            found[customer] = json.loads(record.value)["revision"]
    return found


@pytest.mark.long
@pytest.mark.fault(9)
def test_what_the_topic_does_not_hold_is_named_and_covered_by_the_files(lives: LIVES, fault: Fault) -> None:
    live = lives()
    only_in_the_file = [line("old-timer", FIRST_DAY + timedelta(days=n)) for n in range(3)]
    live.bootstrap([*only_in_the_file, *between(0, 8)])
    shell = shell_of(live)
    live.publish(between(8, 12))
    tick(live, 13)
    with shell.running("run"):
        live.settle()
    fault.inject()
    empty_store(live)
    refused = shell("bootstrap --from-topic --k 3")
    assert refused.code == 3
    assert "have no line in" in refused.err
    assert not list(live.client.scan_iter(match=f"{{{live.settings.namespace}:*".encode()))
    fault.fired()
    made = shell("bootstrap --from-topic orders.csv.gz --k 3 --json")
    assert made.code == 0, made.err
    live.publish(between(13, 15))
    tick(live, 16)
    with shell.running("run"):
        live.settle()
    fault.recovered()
    found = shell("verify --json orders.csv.gz")
    assert found.code == 0, found.out
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(9)
def test_a_log_that_begins_later_stops_the_rebuild_with_the_gap(lives: LIVES, fault: Fault) -> None:
    live = lives()
    shell = begin_from_topic(live)
    with shell.running("run"):
        wait_until(lambda: all(s.sweep.number for s in live.states().values()), "the first sweep")
    fault.inject()
    empty_store(live)
    delete_before(live, {0: 3, 1: 1})
    for refused in (shell("run"), shell("bootstrap --from-topic")):
        assert refused.code == 3
        assert "first 3 records" in refused.err or "the first 3 of partition 0, 1 of partition 1" in refused.err
    fault.fired()
    accepted = shell("bootstrap --from-topic --on-input-loss accept --k 3 --json")
    assert accepted.code == 0, accepted.err
    assert [p[:2] for p in accepted.json["partitions"]] == [[0, 3], [1, 1], [2, 0], [3, 0]]
    live.publish(between(8, 10))
    tick(live, 11)
    with shell.running("run"):
        live.settle()
    found = shell("verify --json")
    assert found.code == 0, found.out
    fault.unstreamed("what retention took is accepted as lost; verify compares the rest")


@pytest.mark.fault(9)
def test_a_new_namespace_waits_for_its_first_bootstrap(lives: LIVES, fault: Fault) -> None:
    live = lives()
    live.publish(list(shopping(3, days=3)))
    shell = from_topic_shell(live)
    fault.inject()
    with shell.running("run") as worker:
        log = live.directory / "run.log"
        wait_until(lambda: "waiting for `segmenter bootstrap`" in log.read_text(), "the worker to say that it waits")
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    fault.fired()
    fault.unstreamed("nothing was ever applied")
