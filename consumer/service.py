"""Put the parts together: from settings to a worker that runs, or to a bootstrap that loads; and the guards of both.

Guarantee: nothing starts on a state that was made for another topic, partition count, horizon, zone,
currency or clock; what differs, and what to do, is said with an exit code of its own (DESIGN section 5).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.guards import TopicGuard, state_gone
from consumer.observer import Observer
from consumer.partition import History, iso
from consumer.plan import Parts, Plan
from consumer.ports import TopicFacts, TransportError
from consumer.settings import Settings
from consumer.step import Mark
from consumer.stored import read_json
from consumer.transport.clients import CLIENTS
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_partitioner import partition_of, partitions_of
from consumer.transport.kafka_python_transport import KafkaReader, KafkaSettings, SourceTuning
from consumer.worker import Worker, never
from features.codec import SCHEMA, NewerSchema
from features.ledger import Ints
from features.redis_generation import Binding, GenerationLoader, read_binding
from features.redis_store import Client, RedisStore, connect, server_facts
from features.store import StoreRefused, StoreUnavailable
from features.transaction import DAY_SECONDS, today_in
from models.learner import learner_named
from models.redis_registry import RedisRegistry

if TYPE_CHECKING:  # pandas and scikit-learn take seconds, which a worker and a look-up need not wait for
    from consumer.history.bootstrap import Folded, Prepared, Progress
    from consumer.history.csv_source import History as CsvHistory
    from models.selection import Terms

WAIT_FOR_STATE_S = 1.0


def connect_redis(settings: Settings) -> Client:
    """Return a client, after checking that the store answers, each server of it, and never evicts."""
    authority = settings.redis_ssl_cafile
    if authority and not os.access(authority, os.R_OK):
        raise Stop(ExitCode.USAGE, f"SEGMENTER_REDIS_SSL_CAFILE: {authority} cannot be read")
    client = connect(settings.redis())
    for server in server_facts(client):
        if server.eviction != "noeviction":
            at = f" at {server.at}" if server.at else ""
            raise Stop(
                ExitCode.INCOMPATIBLE,
                f"Redis{at} has maxmemory-policy {server.eviction}: it would drop states silently; set it to "
                "noeviction",
            )
    return client


def open_state(settings: Settings) -> tuple[Client, Binding, RedisStore]:
    """Return a client, what the live generation is bound to, and its store. Raises `Stop` where there is no state."""
    client = connect_redis(settings)
    binding = read_binding(client, settings.namespace)
    if binding is None:
        raise Stop(
            ExitCode.USAGE, f"there is no state in namespace {settings.namespace} yet: `segmenter bootstrap` makes one"
        )
    refuse_newer(binding)
    return client, binding, RedisStore(client, settings.namespace, binding.generation)


def refuse_newer(binding: Binding) -> None:
    """Raise `Stop` where a newer version writes the state: nothing of it could be read (a downgrade)."""
    if binding.schema > SCHEMA:
        raise Stop(ExitCode.INCOMPATIBLE, str(NewerSchema(binding.schema)))


def local_partition_of(partitions: int) -> Callable[[str], int]:
    """Return customer id -> partition, remembering the answers for those who come often."""

    @lru_cache(maxsize=1 << 18)
    def home(customer: str) -> int:
        return partition_of(customer.encode(), partitions)

    return home


def local_partitions_of(partitions: int) -> Callable[[Sequence[str]], Ints]:
    """Return customers' ids -> int64 (n,), the partition of each."""
    return lambda customers: partitions_of([customer.encode() for customer in customers], partitions)


def check_binding(binding: Binding, facts: TopicFacts, settings: Settings, *, may_grow: bool = False) -> None:
    """Raise `Stop` where a state was made for another world; may_grow: more partitions are not another one."""
    refuse_newer(binding)
    guard = TopicGuard(settings.transactions_topic, binding.topic_id, binding.partitions, may_grow=may_grow)
    guard.check(facts, (), 0.0)
    rules = settings.rules
    made_for = {
        "horizon_days": (binding.horizon_days, rules.horizon_days),
        "timezone": (binding.timezone, settings.timezone),
        "currency": (binding.currency, settings.currency),
        "clock": (binding.clock, rules.clock),
    }
    for name, (theirs, ours) in made_for.items():
        if theirs != ours:
            raise Stop(
                ExitCode.INCOMPATIBLE,
                f"the state was made with {name}={theirs}, this worker has {ours}: set it back or bootstrap --replace",
            )


def open_worker(
    settings: Settings,
    observer: Observer,
    *,
    embedded: bool = False,
    now: Callable[[], float] = time.time,
    crash_point: Callable[[str], None] = never,
    stopping: Callable[[], bool] = lambda: False,
    skip_lost_input: bool = False,
    draining: bool = False,
) -> Worker | None:
    """Return a worker ready to run; waits for a bootstrap where there never was a state (None: stopped meanwhile).

    Raises `Stop` where there was one, as Kafka knows, and Redis has lost it.
    """
    client = connect_redis(settings)
    binding = read_binding(client, settings.namespace)
    if binding is None:
        refuse_lost_state(settings, settings.kafka(embedded=embedded))
        observer.paused(-1, f"no state in namespace {settings.namespace} yet: waiting for `segmenter bootstrap`")
    while binding is None:
        if stopping():
            return None
        time.sleep(WAIT_FOR_STATE_S)
        binding = read_binding(client, settings.namespace)
    parts, plan = open_parts(
        settings, observer, binding, client, embedded=embedded, crash_point=crash_point, draining=draining
    )
    plan = replace(plan, skip_lost_input=skip_lost_input, draining=draining)
    return Worker(parts, plan, now=now, crash_point=crash_point)


def refuse_lost_state(settings: Settings, kafka: KafkaSettings) -> None:
    """Raise `Stop` where the group has commits of ours: then there was a state (FAULTS 9)."""
    if kafka.embedded:  # its coordinator forgets offsets
        return
    topic = settings.transactions_topic
    with admin(kafka) as asked:
        committed = asked.group_offsets(settings.group_id, topic)
    if not committed:
        return
    reader = KafkaReader(kafka)
    try:
        bounds = {p: reader.bounds(topic, p) for p in range(reader.facts(topic).partitions)}
    finally:
        reader.close()
    stop = state_gone(settings.namespace, committed, bounds)
    if stop is not None:
        raise stop


def open_parts(
    settings: Settings,
    observer: Observer,
    binding: Binding,
    client: Client,
    *,
    embedded: bool = False,
    crash_point: Callable[[str], None] = never,
    draining: bool = False,
) -> tuple[Parts, Plan]:
    """Return what a worker of this state speaks to and does, after checking that topics and settings fit the state."""
    kafka = settings.kafka(embedded=embedded)
    reader = KafkaReader(kafka)
    check_binding(binding, reader.facts(settings.transactions_topic), settings, may_grow=draining)
    output = reader.facts(settings.segments_topic)
    if output.partitions != binding.partitions and not (draining and output.partitions > binding.partitions):
        raise Stop(
            ExitCode.TOPOLOGY,
            f"topic {settings.segments_topic} has {output.partitions} partitions, the input has {binding.partitions}: "
            "output partition = input partition; create it with `segmenter topics create`",
        )
    name = settings.instance or uuid.uuid4().hex
    through = CLIENTS[settings.kafka_client]
    parts = Parts(
        source=through.source(
            kafka,
            settings.transactions_topic,
            settings.group_id,
            instance=settings.instance,
            tuning=SourceTuning(
                max_poll_records=settings.max_poll_records, session_timeout_s=settings.session_timeout_s
            ),
        ),
        sink=through.sink(
            kafka,
            f"{settings.namespace}-{name}",
            settings.group_id,
            settings.transactions_topic,
            before_commit=lambda: crash_point("mid_transaction"),
        ),
        reader=reader,
        store=RedisStore(client, settings.namespace, binding.generation),
        registry=RedisRegistry(client, settings.namespace, binding.generation),
        learner=learner_named(settings.learner),
        observer=observer,
    )
    return parts, plan_of(settings, binding)


def plan_of(settings: Settings, binding: Binding) -> Plan:
    """Return what a worker does, from its settings and the state's binding."""
    return Plan(
        topics=replace(settings.topics, former=binding.former),
        rules=msgspec.structs.replace(settings.rules, schema=binding.schema),
        history=History(binding.cutoff, binding.has_ids),
        zone=settings.zone,
        currency=settings.currency,
        partitions=binding.partitions,
        partitions_of=local_partitions_of(binding.partitions),
        erasure_key=settings.erasure_key_bytes,
        refine_every_days=settings.refine_every_days,
        renewal=settings.renewal,
        namespace=settings.namespace,
        topic_id=binding.topic_id,
        instance=settings.instance,
    )


@dataclass(frozen=True, slots=True)
class Start:
    """Where a new generation begins to read, taken BEFORE the history is read (PROTOCOL H2)."""

    facts: TopicFacts
    ends: dict[int, int]
    earliest: dict[int, int]


def begin_bootstrap(settings: Settings, kafka: KafkaSettings, client: Client, *, replace: bool) -> Start:
    """Check that a bootstrap may run, and note where the input ends now."""
    binding = read_binding(client, settings.namespace)
    if binding is not None and not replace:
        raise Stop(
            ExitCode.USAGE,
            f"namespace {settings.namespace} holds a state already (generation {binding.generation}, up to "
            f"{_cutoff_text(binding.cutoff)}): --replace makes a new one; revisions go on",
        )
    if not kafka.embedded:
        with admin(kafka) as asked:
            members = asked.group_members(settings.group_id)
        if members:
            raise Stop(
                ExitCode.USAGE,
                f"{members} workers are running in group {settings.group_id}: stop them first, they hold the old state",
            )
    reader = KafkaReader(kafka)
    try:
        facts = reader.facts(settings.transactions_topic)
        bounds = {p: reader.bounds(settings.transactions_topic, p) for p in range(facts.partitions)}
    finally:
        reader.close()
    return Start(facts, {p: end for p, (_, end) in bounds.items()}, {p: first for p, (first, _) in bounds.items()})


def bootstrap(
    settings: Settings,
    kafka: KafkaSettings,
    client: Client,
    history: CsvHistory,
    start: Start,
    *,
    k: int | None,
    progress: Progress,
    now: float,
) -> Prepared:
    """Make a generation from a history and flip it in. Raises `Stop`, `StoreError`, `TransportError`."""
    from consumer.history.bootstrap import fold_files

    marks = erasure_marks(settings, kafka, start.facts.partitions)
    history = without_erased(history, marks, settings.erasure_key_bytes)
    if not len(history):
        raise Stop(ExitCode.USAGE, NO_LINE)
    new = new_generation(settings, kafka, start, marks, int(history.time.max()), has_ids=history.has_ids, now=now)
    return make_generation(settings, client, fold_files(history, settings.rules), new, k=k, progress=progress)


NO_LINE = "the history has no line to start from; see the funnel for what was refused, and why"


def new_generation(
    settings: Settings,
    kafka: KafkaSettings,
    start: Start,
    marks: Mapping[int, Mapping[str, bytes]],
    cutoff: int,
    *,
    has_ids: bool,
    now: float,
) -> NewGeneration:
    """Return what a generation begins with whose history ends at `cutoff` (local seconds)."""
    return NewGeneration(
        facts=start.facts,
        day=first_day(settings, cutoff // DAY_SECONDS, now),
        cutoff=cutoff,
        has_ids=has_ids,
        applied=_first_offsets(settings, kafka, start, cutoff),
        marks=marks,
    )


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """What a generation is bound to and begins with. from_topic, number: see `Binding`; None, the next one."""

    facts: TopicFacts
    day: int
    cutoff: int | None
    has_ids: bool
    applied: Mapping[int, int]
    marks: Mapping[int, Mapping[str, bytes]]
    from_topic: tuple[int, ...] | None = None
    former: tuple[int, ...] = ()
    number: int | None = None


def make_generation(
    settings: Settings, client: Client, folded: Folded, new: NewGeneration, *, k: int | None, progress: Progress
) -> Prepared:
    """Cluster a folded history, load it beside what is live and flip it in. Raises `Stop`, `StoreError`."""
    from consumer.history.bootstrap import load, prepare

    try:
        prepared = prepare(folded, first_terms(settings, new.day), k=k, progress=progress)
    except ValueError as error:
        raise Stop(ExitCode.USAGE, str(error)) from error
    binding = first_binding(settings, client, new)
    load(
        prepared,
        GenerationLoader(client, settings.namespace, binding.generation),
        RedisRegistry(client, settings.namespace, binding.generation),
        binding,
        applied=new.applied,
        marks=new.marks,
        partition_of=local_partition_of(new.facts.partitions),
        progress=progress,
    )
    return prepared


def first_terms(settings: Settings, day: int) -> Terms:
    """Return what the first model is made for."""
    from models.selection import Terms

    return Terms(
        day=day,
        features=settings.features,
        learner=settings.learner,
        horizon_days=settings.horizon_days,
        margin=settings.margin,
        recency_offset=settings.recency_offset_days,
    )


def first_binding(settings: Settings, client: Client, new: NewGeneration) -> Binding:
    """Return what the generation after the live one is bound to."""
    old = read_binding(client, settings.namespace)
    return Binding(
        generation=str(int(old.generation) + 1 if old is not None else new.number or 1),
        topic_id=new.facts.topic_id,
        partitions=new.facts.partitions,
        horizon_days=settings.horizon_days,
        timezone=settings.timezone,
        currency=settings.currency,
        cutoff=new.cutoff,
        has_ids=new.has_ids,
        day=new.day,
        clock=settings.clock,
        schema=SCHEMA,
        first_schema=SCHEMA,
        from_topic=new.from_topic,
        former=new.former or (old.former if old is not None else ()),
    )


def first_day(settings: Settings, newest: int, now: float) -> int:
    """Return the day clock's first value: today by the wall clock, the history's last day by the event clock."""
    today = today_in(settings.zone, now)
    if newest > today + 1:
        raise Stop(ExitCode.USAGE, f"the history goes to {iso(newest)}, in the future: is the date format right?")
    if settings.clock == "wall" and newest < today - settings.horizon_days:
        raise Stop(
            ExitCode.USAGE,
            f"the history ends on {iso(newest)}, more than {settings.horizon_days} days ago: all would be Lapsed. "
            "Did you mean --clock event?",
        )
    return newest if settings.clock == "event" else max(today, newest)


def _first_offsets(settings: Settings, kafka: KafkaSettings, start: Start, cutoff: int | None) -> dict[int, int]:
    """Return each partition's first offset to read: what was published since shortly before the cutoff (H2)."""
    if cutoff is None:
        return dict(start.earliest)
    since = datetime(1970, 1, 1, tzinfo=settings.zone).replace(tzinfo=None) + timedelta(
        seconds=cutoff - settings.dedupe_days * DAY_SECONDS
    )
    since_ms = int(since.replace(tzinfo=settings.zone).astimezone(UTC).timestamp() * 1000)
    reader = KafkaReader(kafka)
    offsets = {}
    try:
        for partition, end in start.ends.items():
            found = reader.offset_at(settings.transactions_topic, partition, since_ms) if since_ms > 0 else None
            offsets[partition] = end if found is None else min(found, end)
            earliest = start.earliest[partition]
            if offsets[partition] == earliest > 0:
                check_gap(settings, reader, partition, earliest, cutoff)
    finally:
        reader.close()
    return offsets


def check_gap(settings: Settings, reader: KafkaReader, partition: int, earliest: int, cutoff: int) -> None:
    """Stop where retention took what was published between the cutoff and the log's first record."""
    first = next(iter(reader.read(settings.transactions_topic, partition, earliest, earliest + 1)), None)
    if first is None:
        return
    begins = datetime.fromtimestamp(first.timestamp / 1000, settings.zone)
    ends = datetime(1970, 1, 1) + timedelta(seconds=cutoff)  # noqa: DTZ001 -- local wall clock, compared as such
    if begins.replace(tzinfo=None) > ends:
        raise Stop(
            ExitCode.INPUT_LOST,
            f"partition {partition}: the history ends at {ends.isoformat()}, the log begins with offset {earliest} at "
            f"{begins.isoformat()}: what was published between is gone; take a later history",
        )


def erasure_marks(settings: Settings, kafka: KafkaSettings, partitions: int) -> dict[int, dict[str, bytes]]:
    """Read every erasure mark from its topic: they outlive a state (H4)."""
    reader = KafkaReader(kafka)
    found: dict[int, dict[str, bytes]] = {}
    try:
        for partition in range(partitions):
            start, stop = reader.bounds(settings.erasures_topic, partition)
            records = reader.read(settings.erasures_topic, partition, start, stop) if start < stop else ()
            found[partition] = {r.key.decode(): r.value for r in records if r.key and r.value}
    finally:
        reader.close()
    return found


def without_erased(history: CsvHistory, marks: Mapping[int, Mapping[str, bytes]], key: bytes) -> CsvHistory:
    """Drop the lines of erased customers dated at or before their erasure."""
    return without_erased_at(history, erased_at(marks), key)


def erased_at(marks: Mapping[int, Mapping[str, bytes]]) -> dict[str, int]:
    """Return when each customer was erased, local seconds by keyed hash."""
    return {hashed: read_json(mark, Mark).at for part in marks.values() for hashed, mark in part.items()}


def without_erased_at(history: CsvHistory, erased: Mapping[str, int], key: bytes) -> CsvHistory:
    """Drop the lines of customers dated at or before their erasure, as `erased_at` returns it."""
    if not erased:
        return history
    never_erased = np.iinfo(np.int64).min
    at = np.array([erased.get(keyed_hash(key, customer), never_erased) for customer in history.customers])
    return history.take(history.time > at[history.owner])


def _cutoff_text(cutoff: int | None) -> str:
    return "no history" if cutoff is None else iso(cutoff // DAY_SECONDS)


def explain(error: Exception) -> tuple[ExitCode, str]:
    """Return exit code and sentence for an error that reaches the rim."""
    if isinstance(error, Stop):
        return error.code, str(error)
    if isinstance(error, StoreUnavailable | TransportError):
        return ExitCode.INTERNAL, f"{error}; `segmenter doctor` says which part cannot be reached"
    if isinstance(error, StoreRefused | NewerSchema):
        return ExitCode.INCOMPATIBLE, str(error)
    return ExitCode.INTERNAL, f"{type(error).__name__}: {error}"
