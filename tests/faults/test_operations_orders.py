"""What an operator asks of running workers: stand still and go on, and write a newer schema (FAULTS 24).

The commands are those of docs/operations.md, run as printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from reports import verify_states
from tests.faults.test_operations_input_loss import between
from tests.faults.test_operations_state_lost import tick
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.next_version import NEXT
from tests.harness.runbook import Runbook
from tests.harness.served import Served

LIVES = Callable[..., Live]
NEXT_MODULE = {"CLI_MODULE": "tests.harness.next_version"}


@pytest.mark.long
def test_workers_stand_still_and_go_on_as_an_operator_says(lives: LIVES) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    runbook = Runbook(live.shell())
    worker = Served(live)
    live.publish(between(6, 8))
    wait_until(lambda: live.applied() == live.ends(), "the first days applied")
    session = live.settings.session_timeout_s
    said = runbook.follow("Everything shall stand still for a while", "segmenter pause")
    assert "paused by an operator since" in said
    assert said.count("wrong prices since noon") == 2  # by `pause`, and by `status`
    wait_until(lambda: "wrong prices since noon" in worker.ready().reasons, "a worker that says that it is paused")
    assert worker.ready().status == 503
    assert worker.alive()
    again = live.shell()("pause --reason again --json")
    assert (again.code, again.json["changed"], again.json["reason"]) == (0, False, "again")

    fences = live.store().fences(range(live.partitions))
    live.publish(between(8, 10))
    tick(live, 11)
    time.sleep(1.5 * session)  # its session would have ended, had it not gone on with its heartbeats
    assert live.store().fences(range(live.partitions)) == fences
    assert worker.takeovers == live.partitions

    runbook.follow("Everything shall stand still for a while", "segmenter resume")
    live.settle()
    assert worker.takeovers == live.partitions, "it has kept its partitions all the time"
    wait_until(lambda: worker.ready().status == 200, "a worker that is ready again", 15)
    again = live.shell()("resume --json")
    assert (again.code, again.json["changed"]) == (0, False)
    live.end()
    outcome = live.verdict()
    assert outcome.ok, outcome


@pytest.mark.long
@pytest.mark.fault(24)
def test_old_and_new_versions_share_a_group_until_the_upgrade_and_a_downgrade_is_refused(
    lives: LIVES, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = lives(max_poll_records=20)
    live.bootstrap(between(0, 6))
    old = Served(live)
    old.await_takeover()
    live.given |= NEXT_MODULE
    new = Served(live)
    new.await_takeover()
    live.publish(between(6, 9))
    tick(live, 10)
    live.settle()
    assert schemas(live) == {NEXT - 1}, "until the upgrade all can read what either writes"

    fault.inject(2)
    said = Runbook(live.shell()).follow("A new version", "segmenter upgrade")
    assert f"in schema {NEXT} instead of {NEXT - 1}" in said
    assert old.process.wait(30) == 6, old.output()
    assert "it was written by a newer version" in old.output()
    fault.fired()
    new.end()
    newer = Served(live)
    live.publish(between(9, 12))
    tick(live, 13)
    live.settle()
    fault.recovered()
    assert schemas(live) == {NEXT - 1, NEXT}, "a state is written anew when its customer comes by"
    assert live.shell()("upgrade --json").json["before"] == NEXT

    del live.given["CLI_MODULE"]
    for verb in ("run", "status", "upgrade"):
        downgraded = live.shell()(verb)
        assert downgraded.code == 6, verb
        assert "docs/operations.md, A new version" in downgraded.err
    fault.fired()
    newer.end()
    monkeypatch.setattr(verify_states, "SCHEMAS", (NEXT - 1, NEXT))  # as the next version's judge would
    fault.judge(live.verdict())


def schemas(live: Live) -> set[int]:
    return {blob[0] for blob in live.customers().values()}
