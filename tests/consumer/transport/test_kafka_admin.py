"""Topics are made once, never changed, and what differs from our needs is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.ports import Committed, TransportError
from consumer.transport.embedded import EmbeddedBroker
from consumer.transport.kafka_admin import KafkaAdmin, TopicSpec, admin, our_topics, topic_facts
from consumer.transport.kafka_python_transport import KafkaSettings, KafkaSink, KafkaSource, SourceTuning
from tests.harness.live import wait_until


@pytest.fixture
def settings(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap)


@pytest.fixture
def client(settings: KafkaSettings) -> Iterator[KafkaAdmin]:
    with admin(settings) as client:
        yield client


def ours(namespace: str, partitions: int = 4) -> tuple[TopicSpec, ...]:
    return our_topics(
        f"{namespace}-transactions", f"{namespace}-segments", f"{namespace}-dead", f"{namespace}-erasures", partitions
    )


def test_our_topics_share_their_partitions_and_the_lasting_ones_are_compacted(
    client: KafkaAdmin, namespace: str
) -> None:
    reports = client.create(ours(namespace))
    assert [report.partitions for report in reports] == [4, 4, 4, 4]
    assert [report.configs["cleanup.policy"] for report in reports] == ["delete", "compact", "delete", "compact"]
    assert int(reports[2].configs["max.message.bytes"]) > int(reports[0].configs["max.message.bytes"])
    assert [report.differences for report in reports] == [()] * 4


def test_creating_twice_changes_nothing(client: KafkaAdmin, namespace: str) -> None:
    assert client.create(ours(namespace)) == client.create(ours(namespace))


def test_existing_topic_is_left_as_it_is_and_its_differences_are_named(client: KafkaAdmin, namespace: str) -> None:
    client.create([TopicSpec(f"{namespace}-segments", 3, {"cleanup.policy": "delete"})])
    report = client.create(ours(namespace))[1]
    assert (report.partitions, report.configs["cleanup.policy"]) == (3, "delete")
    assert report.differences == ("3 partitions, not 4", "cleanup.policy is delete, not compact")


def test_missing_topic_is_described_as_missing(client: KafkaAdmin, settings: KafkaSettings, namespace: str) -> None:
    (report, *_) = client.describe(ours(namespace))
    assert (report.topic_id, report.partitions, report.differences) == (None, 0, ("does not exist",))
    with pytest.raises(TransportError, match="does not exist"):
        topic_facts(settings, namespace)


def test_impossible_topic_is_refused_with_the_brokers_reason(client: KafkaAdmin, namespace: str) -> None:
    with pytest.raises(TransportError, match=namespace):
        client.create([TopicSpec(namespace, 1, replication=9)])


def test_group_is_counted_and_its_offsets_listed(settings: KafkaSettings, client: KafkaAdmin, namespace: str) -> None:
    client.create([TopicSpec(namespace, 4)])
    assert client.group_members(namespace) == 0
    source = KafkaSource(settings, namespace, namespace, tuning=SourceTuning(session_timeout_s=6.0))
    while not source.membership().partitions:
        source.poll(0.2)
    sink = KafkaSink(settings, namespace, namespace, namespace)
    sink.open()
    sink.publish([], {1: Committed(5, "2:3")}, source.membership())
    assert client.group_members(namespace) == 1
    # A transaction is committed before its offsets are: the coordinator carries them over a moment later.
    wait_until(lambda: client.group_offsets(namespace, namespace) == {1: (5, "2:3")}, "offsets that are carried over")
    source.close()
    sink.close()
    assert client.group_members(namespace) == 0


def test_settings_of_the_broker_can_be_asked(client: KafkaAdmin) -> None:
    known = client.broker_settings(["offsets.retention.minutes", "no.such.setting"])
    assert known.keys() == {"offsets.retention.minutes"}
    assert int(known["offsets.retention.minutes"]) > 0


def test_embedded_broker_makes_topics_and_tells_them_from_those_of_its_last_life() -> None:
    facts = []
    for _ in range(2):
        with EmbeddedBroker() as broker:
            settings = KafkaSettings(broker.bootstrap, embedded=True)
            with admin(settings) as client:
                reports = client.create(ours("demo"))
                assert [report.differences for report in reports] == [()] * 4
                assert client.create(ours("demo")) == reports
            facts.append(topic_facts(settings, "demo-segments"))
    assert facts[0].partitions == 4
    assert facts[0].topic_id != facts[1].topic_id
