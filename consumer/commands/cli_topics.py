"""What `topics create` and `topics show` do and print."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from consumer.commands.cli_output import Output, table
from consumer.exits import ExitCode
from consumer.settings import Settings
from consumer.transport.kafka_admin import KafkaAdmin, TopicReport, TopicSpec, admin, our_topics
from consumer.transport.kafka_settings import KafkaSettings


def specs(settings: Settings, partitions: int, replication: int = -1) -> tuple[TopicSpec, ...]:
    """Return the four topics as these settings need them."""
    t = settings.topics
    return our_topics(t.input, t.output, t.dead_letters, t.erasures, partitions, replication=replication)


def create_topics(settings: Settings, partitions: int, replication: int, output: Output) -> None:
    """Create what is missing and show all."""
    with admin(settings.kafka()) as kafka:
        reports = kafka.create(specs(settings, partitions, replication))
    _print(reports, output)


def show_topics(settings: Settings, output: Output) -> None:
    """Show the topics beside what they should be."""
    with admin(settings.kafka()) as kafka:
        reports = described(kafka, settings)
    _print(reports, output)


def described(kafka: KafkaAdmin, settings: Settings) -> tuple[TopicReport, ...]:
    """Return the four topics and their differences; all should have the input's number of partitions."""
    first = kafka.describe(specs(settings, 1)[:1])[0]
    return kafka.describe(specs(settings, first.partitions or 1))


def create_embedded(settings: Settings, kafka_settings: KafkaSettings) -> None:
    """Make the embedded broker have the topics: always four partitions, no settings."""
    with admin(kafka_settings) as kafka:
        kafka.create(specs(settings, 4))


def _print(reports: Sequence[TopicReport], output: Output) -> None:
    rows = [
        (
            r.name,
            r.partitions if r.topic_id else "",
            r.configs.get("cleanup.policy", ""),
            "; ".join(r.differences) or "fit",
        )
        for r in reports
    ]
    output.result(reports, table(None, ["topic", "partitions>", "cleanup", "differences"], rows))
    if any(r.differences for r in reports):
        raise typer.Exit(int(ExitCode.DIFFERENCES))
