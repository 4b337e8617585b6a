"""The same guarantees where a worker speaks through librdkafka: kill -9, and a group that changes its client.

The points are those of test_kill9.py, whose records stand for both clients.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from consumer.ports import TransportError
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.librdkafka_sink import LibrdkafkaSink
from consumer.transport.librdkafka_source import LibrdkafkaSource
from tests.consumer.transport.test_librdkafka_transport import LibrdkafkaTransport
from tests.consumer.transport.transport_contract import (
    ReaderContract,
    RetentionContract,
    SinkContract,
    SourceContract,
    Transport,
)
from tests.faults.test_kafka_secured import PASSWORD, enter, users
from tests.faults.test_kill9 import dies_at, stream
from tests.harness.live import Live, wait_until
from tests.harness.secured import MECHANISM, SecuredBroker

LIVES = Callable[..., Live]
OURS, OTHER = "librdkafka", "kafka-python"


def settles_right(live: Live) -> None:
    """Everything is applied, no record is lost or doubled, and each label is the one recomputed."""
    live.settle()
    live.end()
    outcome = live.verdict()
    assert outcome.ok, outcome


@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("after_commit", 3),
        pytest.param("after_load", 4, marks=pytest.mark.long),
        pytest.param("mid_transaction", 5, marks=pytest.mark.long),
        pytest.param("mid_sweep", 4, marks=pytest.mark.long),
        pytest.param("after_publish", 6, marks=pytest.mark.long),
    ],
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(lives: LIVES, point: str, times: int) -> None:
    live = lives(kafka_client=OURS)
    stream(live)
    dies_at(live, point, times)
    live.start()
    settles_right(live)


@pytest.mark.long
def test_a_recovery_that_is_killed_twice_changes_nothing(lives: LIVES) -> None:
    live = lives(kafka_client=OURS)
    stream(live)
    for point, times in (("after_commit", 3), ("during_recovery", 2), ("during_recovery", 1)):
        dies_at(live, point, times)
    live.start()
    settles_right(live)


@pytest.mark.long
@pytest.mark.parametrize(("first", "then"), [(OTHER, OURS), (OURS, OTHER)])
def test_a_group_changes_its_client_worker_by_worker(lives: LIVES, first: str, then: str) -> None:
    live = lives()
    stream(live, days=30)
    leaving = live.start(SEGMENTER_KAFKA_CLIENT=first)
    live.await_progress(100)
    live.start(SEGMENTER_KAFKA_CLIENT=then)
    live.await_progress(200)
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(30) == 0
    settles_right(live)


@pytest.mark.long
def test_of_two_workers_with_a_client_each_one_is_killed_halfway(lives: LIVES) -> None:
    live = lives()
    stream(live, days=30)
    first = live.start(SEGMENTER_KAFKA_CLIENT=OURS)
    live.start(SEGMENTER_KAFKA_CLIENT=OTHER)
    wait_until(lambda: live.applied() * 2 > live.ends(), "half of the input applied")
    first.kill()
    assert first.wait() == -signal.SIGKILL
    settles_right(live)


@pytest.mark.long
def test_password_and_tls_and_the_documented_rights_are_enough(lives: LIVES, secured_kafka: SecuredBroker) -> None:
    live = lives(kafka=secured_kafka.bootstrap, kafka_client=OURS, partitions=2)
    runner, _ = users(live, secured_kafka)
    stream(live)
    enter(live, secured_kafka, runner)
    live.start()
    settles_right(live)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl_password": "another"}, "are SEGMENTER_KAFKA_SASL_USER and its password those that the brokers know"),
        ({"sasl_mechanism": "PLAIN"}, "SEGMENTER_KAFKA_SASL_"),
        ({"ssl_cafile": None}, "SEGMENTER_KAFKA_SSL_CAFILE must hold the authority"),
    ],
)
def test_what_the_brokers_refuse_is_said_with_its_setting(
    secured_kafka: SecuredBroker, change: dict[str, str | None], said: str
) -> None:
    secured_kafka.add_user("till", PASSWORD)
    right = KafkaSettings(
        secured_kafka.secured,
        security_protocol="SASL_SSL",
        sasl_mechanism=MECHANISM,
        sasl_user="till",
        sasl_password=PASSWORD,
        ssl_cafile=str(secured_kafka.authority),
        connect_timeout_s=5.0,
    )
    wrong = replace(right, **change)  # type: ignore[arg-type]
    for connect in (LibrdkafkaSink(wrong, "t", "g", "in").open, lambda: LibrdkafkaSource(wrong, "in", "g")):
        with pytest.raises(TransportError, match=said) as caught:
            connect()
        assert not caught.value.retriable


@pytest.fixture
def transport(kafka_bootstrap: str) -> Iterator[Transport]:
    made = LibrdkafkaTransport(KafkaSettings(kafka_bootstrap))
    yield made
    made.close()


@pytest.mark.long
class TestLibrdkafka(SourceContract, RetentionContract, ReaderContract, SinkContract):
    """What of the contract tests/consumer/transport/test_librdkafka_transport.py leaves for longer runs."""
