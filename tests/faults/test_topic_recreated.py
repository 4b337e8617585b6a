"""The input topic is deleted and created again, under a worker and while none runs: found by its id (FAULTS 25).

The new topic holds more than the old one did, so that every offset that the state knows is there, with other records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from kafka import KafkaAdminClient

from consumer.transport.kafka_admin import TopicSpec, admin
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.traffic import HISTORY_DAYS, Traffic
from tests.harness.world import FIRST_DAY, line

LIVES = Callable[..., Live]
FOREIGN = 400
LATER = FIRST_DAY + timedelta(days=HISTORY_DAYS + 6)


def recreate(live: Live, lines: Iterable[Mapping[str, Any]] | None = None) -> None:
    """Delete the input topic, make it again with as many partitions, and fill it: by default with others' orders."""
    topic = live.settings.transactions_topic
    client = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
    client.delete_topics([topic])
    client.close()
    with admin(live.kafka) as asked:
        wait_until(lambda: asked.facts(topic) is None, "a topic that is gone", 20)
        asked.create([TopicSpec(topic, live.partitions)])
    live.open()
    live.publish(lines or [line(f"foreign-{n}", LATER, event_id=f"f-{n}") for n in range(FOREIGN)])


@pytest.mark.fault(25)
@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.long)], ids=["running", "frozen"])
def test_a_topic_made_anew_ends_the_worker_before_it_reads_any_of_it(
    lives: LIVES, fault: Fault, *, frozen: bool
) -> None:
    live = lives(session_timeout_s=20.0)
    traffic = Traffic(live)
    worker = Served(live)
    traffic.sell(days=5)
    live.settle()
    before, known = live.states(), live.customers()

    fault.inject(2)
    if frozen:  # it wakes up with a fetch under way, and metadata of before
        worker.freeze()
    recreate(live)
    if frozen:
        worker.thaw()
    assert worker.process.wait(30) == 4, worker.output()
    assert "deleted and created again" in worker.output()
    fault.fired()
    assert live.states() == before
    again = live.shell()("run")
    assert again.code == 4, again.err
    assert "deleted and created again since the bootstrap" in again.err
    assert "bootstrap --replace" in again.err
    fault.fired()
    assert (live.states(), live.customers()) == (before, known)

    if not frozen:
        fault.unstreamed("not a record of the new topic is read")
        return
    fault.ended()
    done = live.shell()(f"bootstrap --replace {live.history_file} --k 3")
    assert done.code == 0, done.err
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    fault.judge(live.verdict())
