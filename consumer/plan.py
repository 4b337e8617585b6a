"""What the worker speaks to, and what it was told to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from consumer.leader import Registry, Renewal
from consumer.observer import Observer
from consumer.partition import History, Rules
from consumer.ports import Sink, Source, TopicReader
from consumer.publication import Topics
from features.ledger import Ints
from features.store import Store
from models.learner import Learner


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything outside that the worker speaks to."""

    source: Source
    sink: Sink
    reader: TopicReader
    store: Store
    registry: Registry
    learner: Learner
    observer: Observer


@dataclass(frozen=True, slots=True)
class Plan:
    """What the worker does with them."""

    topics: Topics
    rules: Rules
    history: History
    zone: ZoneInfo
    currency: str
    partitions: int
    partitions_of: Callable[[Sequence[str]], Ints]
    erasure_key: bytes = field(repr=False)
    refine_every_days: int = 7
    renewal: Renewal = "off"
    namespace: str = ""
    topic_id: str | None = None
    """Of the input topic that the state was made from; None where topics have no ids."""
    draining: bool = False
    """Whether the topic may have more partitions than the state: they are left alone (`run --drain`)."""
    skip_lost_input: bool = False
    """Whether to go on behind input that retention took unread, which is counted, instead of stopping (FAULTS 26)."""
    instance: str | None = None
    """The operator's name for this worker; two that share it fence each other."""
