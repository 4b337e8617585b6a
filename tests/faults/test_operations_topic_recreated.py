"""The input topic is another one: both ways on that docs/operations.md prints, run as printed (FAULTS 25)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.test_operations_input_loss import between, shell_of
from tests.faults.test_operations_state_lost import tick
from tests.faults.test_topic_recreated import recreate
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.runbook import Runbook

LIVES = Callable[..., Live]
HEADING = "Exit code 4: another topic"


@pytest.mark.long
@pytest.mark.fault(25)
def test_a_new_topic_is_begun_from_itself_or_from_a_history(lives: LIVES, fault: Fault) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    shell = shell_of(live)
    live.publish(between(6, 8))
    tick(live, 9)
    with shell.running("run"):
        live.settle()

    # The producers write everything into the new topic again.
    fault.inject()
    recreate(live, between(0, 10))
    tick(live, 11)
    assert shell("run").code == 4
    fault.fired()
    runbook = Runbook(shell)
    said = runbook.follow(HEADING, "--from-topic")
    runbook.end()
    assert "nothing differs" in said

    # They go on in another new topic, and a history goes up to then.
    fault.inject()
    recreate(live, between(12, 14))
    tick(live, 15)
    assert shell("run").code == 4
    fault.fired()
    live.write_history(between(0, 12))
    shell_of(live)
    said = runbook.follow(HEADING, "bootstrap --replace orders")
    runbook.end()
    fault.recovered()
    assert "nothing differs" in said
    fault.judge(live.verdict())
