"""No call waits for ever: what happens when the broker is not there, falls silent, or comes back."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.ports import Committed, OutputRecord, TransportError
from consumer.transport import kafka_sink
from consumer.transport.child import free_port
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings, KafkaSink, KafkaSource, SourceTuning
from tests.consumer.transport.transport_contract import collect, flow
from tests.harness.broker import Broker
from tests.harness.frozen import FreezableBroker

GROUP, TOPIC, OUTPUT = "group", "transactions", "segments"
SOON_S = 10.0
"""Far above what these calls take, far below the library's own 30 to 120 s: none hangs, on a busy machine either."""
TUNING = SourceTuning(call_timeout_s=1.0, rebalance_wait_s=0.5, session_timeout_s=6.0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@contextmanager
def fails_within(seconds: float) -> Iterator[None]:
    with within(seconds), pytest.raises(TransportError) as caught:
        yield
    assert caught.value.retriable


def descriptors() -> int:
    gc.collect()  # a refused connection's socket is closed by the collector
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


def end(count: Callable[[], int], most: int) -> bool:
    """Tell whether what is counted comes down to `most`."""
    deadline = time.monotonic() + 5
    while count() > most and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return count() <= most


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "kafka")  # the records that pytest keeps would hold connections alive


@pytest.fixture
def broker() -> Iterator[FreezableBroker]:
    with FreezableBroker() as broker:
        yield broker


@pytest.fixture
def settings(broker: FreezableBroker) -> KafkaSettings:
    settings = KafkaSettings(broker.bootstrap, embedded=True, connect_timeout_s=1.0)
    with admin(settings) as client:
        client.create([TopicSpec(TOPIC, 4), TopicSpec(OUTPUT, 4)])
    return settings


@pytest.fixture
def source(settings: KafkaSettings) -> Iterator[KafkaSource]:
    source = KafkaSource(settings, TOPIC, GROUP, tuning=TUNING)
    deadline = time.monotonic() + 20
    while not source.membership().partitions and time.monotonic() < deadline:
        source.poll(0.2)
    yield source
    source.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_sink, "PUBLISH_TIMEOUT_S", 1.0)
    monkeypatch.setattr(kafka_sink, "OPEN_TIMEOUT_S", 1.0)
    monkeypatch.setattr(kafka_sink, "UNKNOWN_TOPIC_S", 1.0)
    monkeypatch.setattr(kafka_sink, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(kafka_sink, "DELIVERY_TIMEOUT_S", 0.8)


def make_sink(settings: KafkaSettings, hook: Callable[[], None] = lambda: None) -> KafkaSink:
    return KafkaSink(settings, "tx", GROUP, TOPIC, before_commit=hook)


def record() -> OutputRecord:
    return OutputRecord(OUTPUT, 0, b"k", b"v", ())


AT = {0: Committed(1, "1:1")}


@pytest.mark.parametrize("make", [make_sink, KafkaReader, lambda s: KafkaSource(s, TOPIC, GROUP)])
def test_address_where_nothing_listens_is_an_error_that_leaves_nothing_behind(
    make: Callable[[KafkaSettings], KafkaSink | KafkaReader | KafkaSource],
) -> None:
    settings = KafkaSettings(f"127.0.0.1:{free_port()}", connect_timeout_s=0.5)
    threads, files = threading.active_count(), descriptors()
    for _ in range(2):
        with fails_within(SOON_S):
            made = make(settings)
            if isinstance(made, KafkaSink):
                made.open()
    assert end(threading.active_count, threads)
    assert end(descriptors, files)


@pytest.mark.usefixtures("short")
def test_publish_to_a_silent_broker_fails_in_time_and_its_thread_ends(
    broker: FreezableBroker, settings: KafkaSettings, source: KafkaSource
) -> None:
    sink, threads = make_sink(settings), threading.active_count()
    sink.open()
    broker.freeze()
    with fails_within(SOON_S):
        sink.publish([record()], AT, source.membership())
    with pytest.raises(TransportError, match="opened"):
        sink.publish([record()], AT, source.membership())
    assert end(threading.active_count, threads)


@pytest.mark.usefixtures("short")
def test_broker_that_falls_silent_before_the_commit_fails_it_in_time(
    broker: FreezableBroker, settings: KafkaSettings, source: KafkaSource
) -> None:
    sink, threads = make_sink(settings, broker.freeze), threading.active_count()
    sink.open()
    with fails_within(SOON_S):
        sink.publish([record()], AT, source.membership())
    assert end(threading.active_count, threads)


@pytest.mark.usefixtures("short")
def test_offsets_of_an_empty_transaction_are_not_waited_for_either(
    broker: FreezableBroker, settings: KafkaSettings, source: KafkaSource
) -> None:
    sink = make_sink(settings)
    sink.open()
    broker.freeze()
    with fails_within(SOON_S):
        sink.publish([], AT, source.membership())


@pytest.mark.usefixtures("short")
def test_opening_fails_in_time_and_succeeds_when_the_broker_is_back(
    broker: FreezableBroker, settings: KafkaSettings, source: KafkaSource
) -> None:
    sink, threads = make_sink(settings), threading.active_count()
    broker.freeze()
    with fails_within(SOON_S):
        sink.open()
    assert end(threading.active_count, threads)
    broker.thaw()
    sink.open()
    sink.publish([record()], AT, source.membership())
    sink.close()


def test_source_answers_in_time_while_the_broker_is_silent(
    broker: FreezableBroker, settings: KafkaSettings, source: KafkaSource
) -> None:
    flow(source)
    broker.freeze()
    with within(SOON_S):
        assert not source.poll(0.5)
    with fails_within(SOON_S):
        source.committed(frozenset({0, 1}), 0.5)
    with fails_within(SOON_S):
        source.bounds(frozenset({0}))
    with within(SOON_S):
        source.close()


def test_reader_gives_up_a_silent_broker(broker: FreezableBroker, settings: KafkaSettings) -> None:
    reader = KafkaReader(settings, silence_s=0.7)
    assert reader.bounds(TOPIC, 0) == (0, 0)
    broker.freeze()
    with fails_within(SOON_S):
        list(reader.read(TOPIC, 0, 0, 1))
    with fails_within(SOON_S):
        reader.bounds(TOPIC, 0)
    with fails_within(SOON_S):
        reader.offset_at(TOPIC, 0, 0)
    with within(SOON_S):
        reader.close()


def test_same_objects_go_on_after_the_broker_was_killed_and_started(
    own_kafka: Broker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings(own_kafka.bootstrap)
    with admin(settings) as client:
        client.create([TopicSpec(namespace, 4)])
    source = KafkaSource(settings, namespace, GROUP, tuning=SourceTuning(session_timeout_s=10.0))
    sink = KafkaSink(settings, namespace, GROUP, namespace)
    sink.open()
    deadline = time.monotonic() + 20
    while not source.membership().partitions and time.monotonic() < deadline:
        source.poll(0.2)
    flow(source)
    record = OutputRecord(namespace, 0, b"k", b"before", ())
    sink.publish([record], AT, source.membership())
    assert [r.value for r in collect(source, 1)[0]] == [b"before"]

    own_kafka.kill()
    with monkeypatch.context() as patched, fails_within(20):
        patched.setattr(kafka_sink, "PUBLISH_TIMEOUT_S", 1.0)
        sink.publish([record], AT, source.membership())
    assert not source.poll(0.2)
    own_kafka.start()

    at = {0: Committed(2, "1:2")}

    def recover() -> None:
        source.poll(0.5)
        flow(source)
        sink.open()
        sink.publish([], at, source.membership())

    _until_it_works(recover)
    assert source.committed(frozenset({0}), 10.0) == {0: (2, "1:2")}
    sink.publish([record._replace(value=b"after")], at, source.membership())
    assert collect(source, 1)[0][-1].value == b"after"
    source.close()
    sink.close()


def _until_it_works(call: Callable[[], None]) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            return call()
        except TransportError as error:
            if not error.retriable:
                raise
    raise TimeoutError("it does not come back")
