"""An output or dead-letter topic is missing or takes no record so large: paused and told, never skipped (FAULTS 17).

A topic that may not be written is the third case: tests/faults/test_kafka_secured.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from consumer.commands.status import paused_by
from consumer.transport.kafka_admin import admin
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, between, line, shopping

LIVES = Callable[..., Live]
LINES = list(shopping(17, customers=30, days=10, per_day=16))
TODAY = FIRST_DAY + timedelta(days=10)
SICK, WELL = 1, 0
"""Of two partitions the one with a record that cannot be written, and the other."""


@contextmanager
def asked(live: Live) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
    yield client
    client.close()


def delete(live: Live, topic: str) -> None:
    with asked(live) as client:
        client.delete_topics([topic])
    with admin(live.kafka) as found:
        wait_until(lambda: found.facts(topic) is None, "a topic that is gone")


def create(live: Live) -> None:
    """Do what docs/operations.md says of a missing topic."""
    done = live.shell()(f"topics create --partitions {live.partitions}")
    assert done.code == 0, done.err


def narrow(live: Live, topic: str, most: int) -> None:
    """Let a topic take no batch above so many bytes."""
    with asked(live) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(most)})])


def offsets(live: Live) -> dict[int, int]:
    with admin(live.kafka) as found:
        committed = found.group_offsets(live.settings.group_id, live.settings.transactions_topic)
    return {partition: at.offset for partition, at in committed.items()}


def told(live: Live, worker: Served, partition: int, reason: str) -> None:
    """Await that a partition stands still, and that all who may be asked say why."""
    wait_until(lambda: reason in worker.ready().paused.get(str(partition), ""), f"a pause: {reason}", 40)
    assert worker.ready().status == 503
    assert worker.metric("segmenter_paused", partition=str(partition)) == 1
    paused = [each["reason"] for each in worker.log("partition paused") if each["partition"] == partition]
    assert reason in paused[-1]
    assert reason in paused_by([f"http://127.0.0.1:{worker.port}"])[0][partition]  # what `segmenter status` shows


def mended(live: Live, worker: Served, fault: Fault) -> None:
    """Await that it goes on by itself, everything published."""
    fault.ended()
    live.settle(60)
    fault.recovered()
    wait_until(lambda: worker.ready().status == 200, "a worker that is ready again")
    assert worker.metric("segmenter_paused") == 0


@pytest.mark.fault(17)
@pytest.mark.parametrize("amiss", ["narrow", pytest.param("missing", marks=pytest.mark.long)])
def test_a_dead_letter_that_cannot_be_written_pauses_its_partition_alone_until_it_can(
    lives: LIVES, fault: Fault, amiss: str
) -> None:
    live = lives(partitions=2)
    live.bootstrap(between(LINES, 0, 6))
    live.publish(between(LINES, 6, 10))
    live.tick(TODAY)
    worker = Served(live)
    live.settle()
    topic = live.settings.dead_letters_topic
    if amiss == "narrow":
        narrow(live, topic, 1_000)
    else:
        delete(live, topic)
    before = offsets(live)
    fault.inject()
    live.writer.send(b"bad", b"x" * 5_000, SICK)
    live.publish(line(f"c{n}", TODAY, event_id=f"again-{n}") for n in range(20))
    told(live, worker, SICK, "raise its max.message.bytes" if amiss == "narrow" else f"topic {topic} does not exist")
    wait_until(lambda: offsets(live)[WELL] > before[WELL], "the other partition goes on", 20)
    assert offsets(live)[SICK] == before[SICK]
    fault.fired()
    if amiss == "narrow":
        narrow(live, topic, 1 << 24)
    else:
        create(live)
    mended(live, worker, fault)
    assert [letter.value for letter in live.records(topic, SICK)] == [b"x" * 5_000]
    live.end()
    fault.judge(live.verdict())


@pytest.mark.long
@pytest.mark.fault(17)
def test_a_segment_that_cannot_be_written_pauses_until_it_can(lives: LIVES, fault: Fault) -> None:
    live = lives(partitions=2, session_timeout_s=20.0)
    live.bootstrap(between(LINES, 0, 6))
    live.publish(between(LINES, 6, 8))
    topic = live.settings.segments_topic
    # Before anything is published: whoever deletes a topic with records loses them, and no worker brings them back.
    worker = Served(live, ("after_commit", 1, "stop"))
    worker.await_frozen()
    fault.inject()
    delete(live, topic)
    worker.thaw()
    for partition in (WELL, SICK):
        told(live, worker, partition, f"topic {topic} does not exist")
    assert not any(offsets(live).values())
    fault.fired()
    create(live)
    mended(live, worker, fault)

    narrow(live, topic, 100)
    before, sold = offsets(live), between(LINES, 8, 10)
    fault.inject()
    live.publish([*sold, *(line(f"new-{n}", TODAY, event_id=f"new-{n}") for n in range(20))])
    live.tick(TODAY)
    for partition in (WELL, SICK):
        told(live, worker, partition, f"topic {topic} takes no record of ")
    stuck = offsets(live)
    assert sum(stuck.values()) < sum(before.values()) + len(sold)
    fault.fired()
    narrow(live, topic, 1 << 20)
    mended(live, worker, fault)
    assert worker.process.poll() is None
    live.end()
    fault.judge(live.verdict())
