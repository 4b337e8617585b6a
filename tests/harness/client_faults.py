"""Faults that no proxy can bring about, built into kafka-python inside the worker's own process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.producer.producer_batch import ProducerBatch

from consumer import watchdog


def let_expire(topic: str, while_there: Path) -> None:
    """Let batches of a topic reach their delivery timeout, sent or not, while a file is there."""
    truly = ProducerBatch.has_reached_delivery_timeout

    def reached(batch: Any, *args: Any, **named: Any) -> bool:
        return (batch.topic_partition.topic == topic and while_there.exists()) or truly(batch, *args, **named)

    ProducerBatch.has_reached_delivery_timeout = reached


def let_stall(begins: Path) -> None:
    """Let the group's consumer give nothing more of what it fetches, from when it has taken a file away.

    The file says what cures it: `seek`, or `rejoin`, a new consumer alone. STALLED_S: the watchdog's patience.
    """
    truly, truly_seek = Fetcher.fetched_records, KafkaConsumer.seek
    sick: dict[Fetcher, str] = {}
    if patience := os.environ.get("STALLED_S"):
        watchdog.STALLED_S, watchdog.EVERY_S = float(patience), float(patience) / 4

    def fetched(fetcher: Any, *args: Any, **named: Any) -> Any:
        if fetcher._subscriptions.subscription and begins.exists():
            sick[fetcher] = begins.read_text("utf-8")
            begins.unlink()
        return ({}, False) if fetcher in sick else truly(fetcher, *args, **named)

    def seek(consumer: Any, *args: Any, **named: Any) -> None:
        if sick.get(consumer._fetcher) == "seek":
            del sick[consumer._fetcher]
        truly_seek(consumer, *args, **named)

    Fetcher.fetched_records, KafkaConsumer.seek = fetched, seek
