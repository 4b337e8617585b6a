"""A real Kafka broker for the tests.

    SEGMENTER_TEST_KAFKA set?  --> that one; not ours to stop
    a Docker engine answers?   --> apache/kafka in a container
    Java and Maven are there?  --> the broker's jars, copied once into .cache/kafka, run by this machine's Java
    none of them               --> BrokerUnavailableError, one sentence that says what to install

The choice is a pure function of what was found, `choose_broker`. All three give the same object, `Broker`; on the last
two it can be stopped, killed and started again on the same port with the same data.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import docker
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from testcontainers.core.container import DockerContainer

from consumer.transport.child import Child, free_port
from tests.harness.frozen import until_stopped
from tests.harness.made_once import made_once

IMAGE = "apache/kafka:4.1.0"
OLDEST_JAVA = 17
REPOSITORY = Path(__file__).parents[2]
POM = Path(__file__).with_name("kafka-pom.xml")
JARS = REPOSITORY / ".cache" / "kafka"

UNAVAILABLE = (
    "no Kafka broker for the tests: set SEGMENTER_TEST_KAFKA=host:port, or start Docker, "
    f"or install Java {OLDEST_JAVA} and Maven (Debian, Ubuntu: apt install openjdk-17-jdk-headless maven; "
    "macOS: brew install openjdk@17 maven)"
)


class BrokerUnavailableError(RuntimeError):
    """No broker can be had here; the message says what to install."""


class NotOursError(RuntimeError):
    """The broker was given by SEGMENTER_TEST_KAFKA; the tests do not stop what they did not start."""


# --- the choice ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """A broker that runs already."""

    bootstrap: str


@dataclass(frozen=True, slots=True)
class Docker:
    """A container of this image."""

    image: str


@dataclass(frozen=True, slots=True)
class Jars:
    """The broker's jars, run by this Java."""

    java: str


Choice: TypeAlias = Given | Docker | Jars


def choose_broker(environ: Mapping[str, str], docker_answers: bool, java: str | None, maven: str | None) -> Choice:
    """Which broker the tests use.

    `java` is the path of a Java that is new enough, `maven` that of mvn (or of the jars, if they are here already).
    Raises BrokerUnavailableError.
    """
    given = environ.get("SEGMENTER_TEST_KAFKA", "").strip()
    if given:
        return Given(given)
    if docker_answers:
        return Docker(IMAGE)
    if java and maven:
        return Jars(java)
    raise BrokerUnavailableError(UNAVAILABLE)


def find_broker(environ: Mapping[str, str]) -> Choice:
    """Looks around on this machine and chooses."""
    given = bool(environ.get("SEGMENTER_TEST_KAFKA"))
    return choose_broker(
        environ,
        docker_answers=not given and _docker_engine_answers(),
        java=_java(),
        maven=str(JARS) if jars_of_the_pom().exists() else shutil.which("mvn"),
    )


def make_broker(choice: Choice) -> "Broker":
    """The broker of that choice, not yet started."""
    match choice:
        case Given(bootstrap):
            return GivenBroker(bootstrap)
        case Docker(image):
            return DockerBroker(image)
        case Jars(java):
            return JarsBroker(java)


def java_major(version_output: str) -> int:
    """The major version in the output of `java -version`; 0 if there is none."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_output)
    return int(found[1]) if found else 0


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        return None
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    return java if java_major(said.stderr + said.stdout) >= OLDEST_JAVA else None


def _docker_engine_answers() -> bool:
    # An installed client proves nothing: the engine itself is asked.
    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except Exception:  # noqa: BLE001 - whatever keeps it from answering, the answer is no
        return False


# --- the brokers --------------------------------------------------------------------------------------------------


class Broker(ABC):
    """A Kafka broker at `bootstrap` (host:port), from `start` to `close`."""

    bootstrap: str

    @abstractmethod
    def start(self) -> None:
        """Starts it, or starts it again on the same port with the same data; returns when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it in good order; its data stay."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it with -9; its data stay as they are."""

    @abstractmethod
    def freeze(self) -> None:
        """Stops it where it stands: connections stay open, new ones are accepted, nothing is answered."""

    @abstractmethod
    def thaw(self) -> None:
        """Lets it go on; returns when it answers."""

    @abstractmethod
    def close(self) -> None:
        """Ends it and removes its data."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class GivenBroker(Broker):
    """A broker that the tests were given."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        if not answers(self.bootstrap):
            raise BrokerUnavailableError(f"SEGMENTER_TEST_KAFKA names {self.bootstrap}, where no Kafka broker answers")

    def stop(self) -> None:
        raise NotOursError(f"{self.bootstrap} comes from SEGMENTER_TEST_KAFKA and is not the tests' to stop")

    def kill(self) -> None:
        self.stop()

    def freeze(self) -> None:
        self.stop()

    def thaw(self) -> None:
        self.stop()

    def close(self) -> None:
        """Leaves it alone."""


class JarsBroker(Broker):
    """Broker and controller in one process of this machine's Java."""

    def __init__(self, java: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="segmenter-kafka-"))
        port, controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._properties = self._directory / "server.properties"
        self._java = [java, "-cp", f"{copied_jars()}/*", "-Dlog4j2.level=WARN"]
        self._child = Child(
            # Little memory and a collector without threads of its own: two cores run the tests beside it.
            [*self._java, "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "kafka.Kafka", str(self._properties)],
            directory=self._directory,
            log=self._directory / "broker.log",
        )
        settings = self._settings(self.bootstrap, f"127.0.0.1:{controller_port}")
        settings["log.dirs"] = str(self._directory / "data")
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _settings(self, listener: str, controller: str) -> dict[str, str]:
        return server_properties(listener, listener, controller)

    def start(self) -> None:
        if not (self._directory / "data").exists():
            self._format()
        self._child.start()
        self._child.wait_until(lambda: answers(self.bootstrap), seconds=60)

    def stop(self) -> None:
        self._child.stop(seconds=30)

    def kill(self) -> None:
        self._child.kill()

    def freeze(self) -> None:
        self._child.signal(signal.SIGSTOP)
        until_stopped(self._child.pid)

    def thaw(self) -> None:
        self._child.signal(signal.SIGCONT)
        self._child.wait_until(lambda: answers(self.bootstrap), seconds=60)

    def close(self) -> None:
        self._child.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _format(self) -> None:
        command = [*self._java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", "c2VnbWVudGVyLXRlc3RzLQ", "--config", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise BrokerUnavailableError(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")


class DockerBroker(Broker):
    """Broker and controller in one container, on a port of the host that stays the same over a restart.

    Written without a Docker engine at hand: checked for its types, not run.
    """

    def __init__(self, image: str) -> None:
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._container = DockerContainer(image).with_bind_ports(9092, port)
        for name, value in server_properties(self.bootstrap, "0.0.0.0:9092", "localhost:9093").items():
            self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        self._await_answer()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 90
        while not answers(self.bootstrap):  # which itself waits up to a second
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(f"the broker in the container {IMAGE} did not answer within 90 s")

    def stop(self) -> None:
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def freeze(self) -> None:
        self._container.get_wrapped_container().pause()

    def thaw(self) -> None:
        self._container.get_wrapped_container().unpause()
        self._await_answer()

    def close(self) -> None:
        if self._created:
            self._container.stop(force=True, delete_volume=True)


# --- what they have in common -------------------------------------------------------------------------------------


def server_properties(advertised: str, listener: str, controller: str) -> dict[str, str]:
    """The settings of a broker that is its own controller (KRaft), small and quick to answer."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{listener},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        # As in production, but for one node and few partitions
        "num.partitions": "4",
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        # Tests wait for nobody: groups form at once, short sessions are allowed, dead transactions end soon, and after
        # a kill -9 the controller soon forgets the broker's last life, which would keep the next one from registering
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "8388608",
        "log.cleaner.backoff.ms": "1000",
    }


def answers(bootstrap: str) -> bool:
    """Whether a broker there answers a request for its metadata."""
    quiet = logging.getLogger("kafka")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)  # a broker that is not yet up is no news here
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000, bootstrap_timeout_ms=1_000)
        try:
            return bool(admin.describe_cluster()["brokers"])
        finally:
            admin.close()
    except (KafkaError, OSError):
        return False
    finally:
        quiet.setLevel(level)


def copied_jars() -> Path:
    """The folder with the broker's jars; Maven copies them there the first time (43 MB, about ten seconds)."""
    return made_once(jars_of_the_pom(), _copy_jars)


def _copy_jars(folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={folder}"], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise BrokerUnavailableError(f"Maven could not fetch the broker's jars:\n{done.stdout[-2000:]}")


def jars_of_the_pom() -> Path:
    """Where the jars of the present pom are, once they are copied; another pom's are another folder's."""
    return JARS / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
