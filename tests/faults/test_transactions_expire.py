"""An output batch expires inside a transaction: aborted, never committed (FAULTS 16).

The library would commit the transaction without the batch (tests/consumer/transport/test_kafka_python_defects.py, T1).
The segments' batches reach their delivery timeout in the worker's process; what the same transaction wrote to another
topic is there by then, and shows that it was aborted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from kafka import KafkaConsumer, TopicPartition

from consumer.transport.kafka_admin import admin
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, between, line, shopping

LIVES = Callable[..., Live]
LINES = list(shopping(16, customers=30, days=10, per_day=16))
TODAY = FIRST_DAY + timedelta(days=10)


def written(live: Live, topic: str) -> list[bytes]:
    """Return the values of all records of a topic, also of transactions that were aborted."""
    partitions = [TopicPartition(topic, p) for p in range(live.partitions)]
    found = []
    with KafkaConsumer(bootstrap_servers=live.settings.kafka_bootstrap, enable_auto_commit=False) as everything:
        everything.assign(partitions)
        everything.seek_to_beginning()
        ends = everything.end_offsets(partitions)
        while any(everything.position(each) < end for each, end in ends.items()):
            for records in everything.poll(timeout_ms=200).values():
                found += [record.value for record in records]
    return found


def offsets(live: Live) -> dict[int, tuple[int, str]]:
    with admin(live.kafka) as asked:
        return dict(asked.group_offsets(live.settings.group_id, live.settings.transactions_topic))


@pytest.mark.fault(16)
def test_a_transaction_whose_batch_expired_is_aborted_and_published_again(lives: LIVES, fault: Fault) -> None:
    live = lives(partitions=1, session_timeout_s=20.0)
    live.bootstrap(between(LINES, 0, 6))
    live.publish(between(LINES, 6, 10))
    live.tick(TODAY)
    expiring = live.directory / "expiring"
    live.given = {"EXPIRING": live.settings.segments_topic, "EXPIRING_WHILE": str(expiring)}
    worker = Served(live, ("never", 1, "kill"))
    live.settle()
    before = offsets(live)

    worker.freeze()  # so that one poll, and one transaction, takes all of it
    expiring.touch()
    live.writer.send(b"bad", b"no order", 0)
    live.publish(line(f"new-{n}", TODAY, event_id=f"new-{n}") for n in range(10))
    fault.inject()
    worker.thaw()

    def expired() -> list[str]:
        return [each["detail"] for each in worker.log("trouble") if each["what"] == "publishing"]

    wait_until(lambda: bool(expired()), "a batch that expires", 40)
    assert "Expiring" in expired()[0]
    fault.fired()
    wait_until(lambda: worker.ready().status == 503, "a worker that is not ready")
    assert written(live, live.settings.dead_letters_topic)[:1] == [b"no order"], "the transaction had begun to write"
    assert offsets(live) == before, "nothing of it is committed"

    expiring.unlink()
    fault.ended()
    live.settle()
    fault.recovered()
    letters = [letter.value for letter in live.records(live.settings.dead_letters_topic, 0)]
    assert letters == [b"no order"]
    assert len(written(live, live.settings.dead_letters_topic)) > len(letters), "written twice, aborted once at least"
    assert worker.process.poll() is None
    live.end()
    fault.judge(live.verdict())
