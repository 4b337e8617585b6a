"""The embedded broker and store: real protocols, nothing left behind, and the traps that the module's head names."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata, TopicPartition

from consumer.transport.child import Child, ChildFailedError, free_port
from consumer.transport.embedded import DirectoryInUseError, EmbeddedBroker, EmbeddedStore

REPOSITORY = Path(__file__).parents[3]


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the broker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


def test_what_kafka_python_writes_to_the_broker_it_reads_again(broker: EmbeddedBroker) -> None:
    with _producer(broker) as producer:
        producer.send("transactions", key=b"17850", value=b"a line", partition=3).get(timeout=10)
    with _consumer(broker, TopicPartition("transactions", 3)) as consumer:
        record = next(consumer)
    assert (record.key, record.value) == (b"17850", b"a line")


def test_a_topic_appears_on_first_use_with_four_partitions(broker: EmbeddedBroker) -> None:
    with _producer(broker) as producer:
        assert producer.partitions_for("never-created") == {0, 1, 2, 3}


def test_a_transaction_is_readable_but_its_offsets_are_forgotten(broker: EmbeddedBroker) -> None:
    partition = TopicPartition("transactions", 0)
    with _producer(broker) as producer, _consumer(broker, partition, group_id="segmenter") as consumer:
        producer.send(partition.topic, value=b"in", partition=0).get(timeout=10)
        transactional = KafkaProducer(
            bootstrap_servers=broker.bootstrap, api_version=(2, 1), transactional_id="segmenter-0"
        )
        transactional.init_transactions()
        transactional.begin_transaction()
        transactional.send("customer-segments", value=b"out", partition=0)
        transactional.flush(timeout=10)
        transactional.send_offsets_to_transaction({partition: OffsetAndMetadata(1, "1:1", -1)}, "segmenter")
        transactional.commit_transaction()
        transactional.close()
        assert consumer.committed(partition) is None
    with _consumer(broker, TopicPartition("customer-segments", 0)) as reader:
        assert next(reader).value == b"out"


def test_unread_records_beyond_some_megabytes_are_lost(broker: EmbeddedBroker) -> None:
    partition = TopicPartition("transactions", 0)
    written = 12_000
    with _producer(broker) as producer:
        for _ in range(written):
            producer.send(partition.topic, value=bytes(1_000), partition=0)
        producer.flush(timeout=60)
    with _consumer(broker, partition) as consumer:
        earliest = consumer.beginning_offsets([partition])[partition]
        end = consumer.end_offsets([partition])[partition]
    assert end == written
    assert 0 < earliest < written


def test_a_stopped_broker_frees_its_port_and_says_that_it_is_not_started() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(RuntimeError, match="not started"):
        _ = broker.bootstrap
    broker.start()
    port = int(broker.bootstrap.rpartition(":")[2])
    assert broker.bootstrap.startswith("127.0.0.1:")
    assert listens(port)
    broker.stop()
    assert not listens(port)
    broker.stop()  # once more changes nothing


def test_two_brokers_live_side_by_side(broker: EmbeddedBroker) -> None:
    with EmbeddedBroker() as other:
        assert other.bootstrap != broker.bootstrap


# --- the store ------------------------------------------------------------------------------------------------------


def test_the_store_keeps_its_data_in_its_directory_from_run_to_run(tmp_path: Path) -> None:
    directory = tmp_path / "with a space" / "state"
    for run in range(3):
        with EmbeddedStore(directory) as store, redis.Redis.from_url(store.url) as client:
            assert client.incr("runs") == run + 1
    assert (directory / "appendonlydir").is_dir()


def test_the_store_refuses_writes_rather_than_evict_and_appends_each_second(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store, redis.Redis.from_url(store.url, decode_responses=True) as client:
        settings = client.config_get("maxmemory-policy", "appendonly", "appendfsync", "bind")
    expected = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "bind": "127.0.0.1"}
    assert settings == expected


def test_a_stopped_store_frees_its_port_and_its_process(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    with pytest.raises(RuntimeError, match="not started"):
        _ = store.url
    with store:
        port = port_of(store.url)
        pid = int((tmp_path / "lock").read_text())
        assert listens(port)
    assert not listens(port)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    store.stop()  # once more changes nothing


def test_an_error_in_the_body_stops_the_store_too(tmp_path: Path) -> None:
    ports: list[int] = []

    def crash(url: str) -> None:
        ports.append(port_of(url))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), EmbeddedStore(tmp_path) as store:
        crash(store.url)
    assert not listens(ports[0])


def test_a_second_store_on_the_same_directory_is_refused_by_the_first_ones_process(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path):
        holder = (tmp_path / "lock").read_text().strip()
        with pytest.raises(DirectoryInUseError, match=rf"in use by another embedded store \(process {holder}\)"):
            EmbeddedStore(tmp_path).start()
    with EmbeddedStore(tmp_path):
        pass  # and free again


def test_the_store_ends_with_its_owner_killed_and_leaves_the_directory_usable(tmp_path: Path) -> None:
    # On Linux the kernel ends it. Elsewhere it lives on, and its lock says so: then it is ended here by its id.
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from consumer.transport.embedded import EmbeddedStore
        store = EmbeddedStore(Path(sys.argv[1]))
        store.start()
        print(store.url, flush=True)
        sys.stdin.read()
    """)
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with redis.Redis.from_url(owner.stdout.readline().strip()) as client:
        client.set("survivor", "still here")
    pid = int((tmp_path / "lock").read_text())
    if sys.platform == "linux":
        server = os.pidfd_open(pid)
        owner.kill()
        owner.communicate()
        assert select.select([server], [], [], 10)[0], "the server outlived its owner"  # readable once it has ended
        os.close(server)
    else:
        owner.kill()
        owner.communicate()
        with pytest.raises(DirectoryInUseError):
            EmbeddedStore(tmp_path).start()
        os.kill(pid, signal.SIGKILL)
    with EmbeddedStore(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        assert client.get("survivor") == b"still here"


# --- child processes ------------------------------------------------------------------------------------------------


def test_a_server_that_ends_at_once_is_reported_with_its_output(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "echo no such option; exit 3"], directory=tmp_path, log=tmp_path / "log")
    child.start()
    with pytest.raises(ChildFailedError, match="ended while starting:\nno such option"):
        child.wait_until(lambda: False, seconds=30)


def test_a_server_that_never_answers_is_ended_at_the_deadline(tmp_path: Path) -> None:
    child = Child(["sleep", "600"], directory=tmp_path, log=tmp_path / "log")
    child.start()
    with pytest.raises(ChildFailedError, match=r"did not answer within 0\.2 s"):
        child.wait_until(lambda: False, seconds=0.2)
    assert not child.running


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = Child(
        ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 600; done"],
        directory=tmp_path,
        log=tmp_path / "log",
    )
    child.start()
    child.wait_until(ready.exists, seconds=10)
    child.stop(seconds=0.2)
    assert not child.running


def test_a_port_that_is_taken_is_not_called_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        assert taken.getsockname()[1] not in {free_port() for _ in range(200)}


@contextlib.contextmanager
def _producer(broker: EmbeddedBroker) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, api_version=(2, 1))
    try:
        yield producer
    finally:
        producer.close(timeout=10)


@contextlib.contextmanager
def _consumer(
    broker: EmbeddedBroker, partition: TopicPartition, group_id: str | None = None
) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        api_version=(2, 1),
        group_id=group_id,
        enable_auto_commit=False,
        check_crcs=False,
        consumer_timeout_ms=10_000,
    )
    consumer.assign([partition])
    if group_id is None:
        consumer.seek_to_beginning(partition)
    try:
        yield consumer
    finally:
        consumer.close()
