"""Topics and groups as the broker knows them: make ours, describe them, say what differs from what we need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
    TopicAuthorizationFailedError,
    for_code,
)

from consumer.ports import Committed, TopicFacts, TransportError
from consumer.transport.kafka_committed import committed_of
from consumer.transport.kafka_errors import LIBRARY_ERRORS, build, transport_error
from consumer.transport.kafka_producer import discard
from consumer.transport.kafka_settings import KafkaSettings

_COORDINATOR_WAKES = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
_COORDINATOR_TIMEOUT_S = 20.0
_DEAD_LETTER_BYTES = str(16 << 20)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as we need it. replication -1: as the cluster's default says."""

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    replication: int = -1


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic as it is, beside what was asked for; no differences means fit for use.

    topic_id: None where the topic does not exist.
    """

    name: str
    topic_id: str | None
    partitions: int
    configs: Mapping[str, str]
    differences: tuple[str, ...]


def our_topics(
    transactions: str, segments: str, dead_letters: str, erasures: str, partitions: int, *, replication: int = -1
) -> tuple[TopicSpec, ...]:
    """Return the four topics of DESIGN section 4, all with the same partitions: output follows input (PROTOCOL A6).

    The compacted two keep the newest record of each customer for ever. Dead letters may be larger than any event.
    """
    compacted = {"cleanup.policy": "compact"}
    return (
        TopicSpec(transactions, partitions, {"cleanup.policy": "delete"}, replication),
        TopicSpec(segments, partitions, compacted, replication),
        TopicSpec(dead_letters, partitions, {"max.message.bytes": _DEAD_LETTER_BYTES}, replication),
        TopicSpec(erasures, partitions, compacted, replication),
    )


def topic_facts(settings: KafkaSettings, topic: str) -> TopicFacts:
    """Return the id and partition count of one topic.

    The embedded broker knows no topic ids: its cluster's stands in, which is new with each start, as its logs are.
    Raises `TransportError`, not retriable where the topic does not exist.
    """
    with admin(settings) as kafka:
        found = kafka.facts(topic)
    if found is None:
        raise TransportError(f"topic {topic} does not exist", retriable=False)
    return found


@contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdmin]:
    """Open a `KafkaAdmin` for a few questions, and close it."""
    kafka = KafkaAdmin(settings)
    try:
        yield kafka
    finally:
        kafka.close()


class KafkaAdmin:
    """A connection for questions about topics and groups. Every method raises `TransportError`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect."""
        self._settings = settings
        shared = {key: value for key, value in settings.client().items() if key != "metrics_enabled"}
        self._client = build(KafkaAdminClient, **shared, request_timeout_ms=15_000)

    def close(self) -> None:
        """Free the connection."""
        self._client.close()

    def create(self, specs: Sequence[TopicSpec]) -> tuple[TopicReport, ...]:
        """Create what is missing, change nothing that exists, and return `describe` of it all."""
        missing = [spec for spec, known in zip(specs, self._known(specs), strict=True) if known is None]
        if missing:
            self._do("creating topics", lambda: self._create(missing))
        return self.describe(specs)

    def describe(self, specs: Sequence[TopicSpec]) -> tuple[TopicReport, ...]:
        """Return each topic as it is, with its differences from the spec."""
        found = self._known(specs)
        configs = self._configs([spec.name for spec, known in zip(specs, found, strict=True) if known])
        return tuple(_report(spec, known, configs.get(spec.name, {})) for spec, known in zip(specs, found, strict=True))

    def facts(self, topic: str) -> TopicFacts | None:
        """Return a topic's id and partitions, None where it does not exist; no right to see its settings is needed."""
        known = self._known([TopicSpec(topic, 0)])[0]
        return None if known is None else TopicFacts(*known)

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have so many partitions; it can never have fewer again."""
        self._do("adding partitions", lambda: self._client.create_partitions({topic: partitions}))

    def group_members(self, group: str) -> int:
        """Return how many members the group has; 0 for a group that does not exist."""
        described = self._coordinated(f"describing group {group}", lambda: self._client.describe_groups([group]))
        return len(described.get(group, {}).get("members") or [])

    def group_offsets(self, group: str, topic: str) -> dict[int, Committed]:
        """Return the group's committed offsets in a topic, stable or not."""
        listed = self._coordinated(f"listing the offsets of {group}", lambda: self._client.list_group_offsets(group))
        return {
            each.partition: committed_of(at)
            for each, at in listed.get(group, {}).items()
            if each.topic == topic and at.offset >= 0
        }

    def broker_settings(self, names: Sequence[str]) -> dict[str, str]:
        """Return settings of one broker, e.g. `offsets.retention.minutes`; what it does not know is left out."""
        cluster = self._do("describing the cluster", self._client.describe_cluster)
        broker = str(cluster["brokers"][0]["broker_id"])
        asked = [ConfigResource(ConfigResourceType.BROKER, broker)]
        found = self._do("describing a broker", lambda: self._client.describe_configs(asked, config_filter="all"))
        known = found.get("broker", {}).get(broker, {})
        return {name: known[name]["value"] for name in names if name in known}

    def _known(self, specs: Sequence[TopicSpec]) -> list[tuple[str, int] | None]:
        """Return (id, partitions) of each topic, None where it does not exist."""
        described = self._do("describing topics", lambda: self._client.describe_topics([each.name for each in specs]))
        by_name = {each["name"]: each for each in described}
        cluster = self._cluster_id() if self._settings.embedded else None
        return [_identity(by_name[each.name], cluster) for each in specs]

    def _cluster_id(self) -> str:
        described: dict[str, Any] = self._do("describing the cluster", self._client.describe_cluster)
        return (
            f"{described['cluster_id']}:{described['brokers'][0]['port']}"  # the id alone may come again in a process
        )

    def _create(self, missing: Sequence[TopicSpec]) -> None:
        if self._settings.embedded:
            self._touch(missing)
            return
        asked = {
            each.name: {
                "num_partitions": each.partitions,
                "replication_factor": each.replication,
                "configs": dict(each.configs),
            }
            for each in missing
        }
        answer = self._client.create_topics(asked, raise_errors=False)
        for each in answer["topics"]:
            if each["error_code"] not in (0, 36):  # 36: somebody else was quicker
                raise for_code(each["error_code"])(f"{each['name']}: {each['error_message']}")
        self._client.wait_for_topics(list(asked))

    def _touch(self, missing: Sequence[TopicSpec]) -> None:
        """Make the embedded broker create topics, by asking for them as a producer does."""
        producer = build(KafkaProducer, **self._settings.client(), allow_auto_create_topics=True, max_block_ms=10_000)
        try:
            for each in missing:
                producer.partitions_for(each.name)
        finally:
            discard(producer)

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if self._settings.embedded or not names:
            return {}  # the embedded broker answers no questions about settings
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = self._do("describing topics", lambda: self._client.describe_configs(asked, config_filter="all"))
        return {
            name: {key: value["value"] for key, value in configs.items()}
            for name, configs in found.get("topic", {}).items()
        }

    def _coordinated(self, doing: str, ask: Callable[[], _Answer]) -> _Answer:
        """Ask the group's coordinator, which on a fresh cluster takes seconds to appear."""
        deadline = time.monotonic() + _COORDINATOR_TIMEOUT_S
        while True:
            try:
                return ask()
            except _COORDINATOR_WAKES as error:
                if time.monotonic() > deadline:
                    raise transport_error(doing, error) from error
                time.sleep(0.1)
            except LIBRARY_ERRORS as error:
                raise transport_error(doing, error) from error

    def _do(self, doing: str, call: Callable[[], _Answer]) -> _Answer:
        try:
            return call()
        except LIBRARY_ERRORS as error:
            raise transport_error(doing, error) from error


def _identity(described: Mapping[str, Any], embedded_cluster: str | None) -> tuple[str, int] | None:
    if described["error_code"] == TopicAuthorizationFailedError.errno:
        raise transport_error("describing topics", TopicAuthorizationFailedError({described["name"]}))
    if described["error_code"]:
        return None
    topic_id = described.get("topic_id") or f"{embedded_cluster}/{described['name']}"
    return str(topic_id), len(described["partitions"])


def _report(spec: TopicSpec, known: tuple[str, int] | None, configs: Mapping[str, str]) -> TopicReport:
    if known is None:
        return TopicReport(spec.name, None, 0, {}, ("does not exist",))
    topic_id, partitions = known
    differences = [f"{partitions} partitions, not {spec.partitions}"] if partitions != spec.partitions else []
    differences += [
        f"{name} is {configs[name]}, not {wanted}"
        for name, wanted in spec.configs.items()
        if name in configs and configs[name] != wanted
    ]
    return TopicReport(spec.name, topic_id, partitions, configs, tuple(differences))
