"""`status`: where every partition stands, from what Redis and Kafka say, and why one is paused, from the workers.

Why a partition stands still is known to the worker that holds it, which says it at /readyz (consumer.telemetry.health).
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from rich.console import RenderableType

from consumer.commands.cli_output import Output, table
from consumer.commands.place import Place
from consumer.partition import PartitionState, decode_state, iso
from consumer.ports import TransportError
from consumer.recovery import parse_commit_id
from consumer.service import open_state
from consumer.settings import Settings
from consumer.telemetry.health import Health
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_settings import KafkaSettings
from features.identity import POSITION_BITS
from features.redis_generation import Binding
from features.redis_pause import read_pause
from features.store import Fence
from features.transaction import today_in
from models.redis_registry import RedisRegistry


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition. lag, end: None where Kafka does not say; swept: share of customers re-scored as of `day`.

    published: whether Kafka has the commit that Redis is at; None where the group has no offset of ours.
    """

    partition: int
    applied: int
    end: int | None
    lag: int | None
    day: str
    epoch: int
    sequence: int
    swept: float
    model_version: int
    published: bool | None


class Status(msgspec.Struct, frozen=True):
    """Everything that `status` says. notes: what stands still or is odd, each with what to do."""

    namespace: str
    generation: str
    clock: str
    model_version: int | None
    workers: int | None
    lag: int | None
    days_behind: int
    partitions: list[PartitionStatus]
    counters: dict[str, int]
    refused: dict[str, int]
    moves: dict[str, int]
    paused: dict[int, str]
    notes: list[str]


class Told(NamedTuple):
    """What Kafka and the workers said. ends: by partition; committed: the ids in the group's offsets; workers: members
    of the group, None where Kafka does not say; paused: partition -> why; troubles: what could not be asked.
    """

    ends: Mapping[int, int]
    committed: Mapping[int, str]
    workers: int | None
    paused: dict[int, str]
    troubles: tuple[str, ...]


def show_status(place: Place, workers: Sequence[str], output: Output) -> None:
    """Print the status. workers: addresses where workers serve /readyz; none: this machine's, if a port is set."""
    port = place.settings.metrics_port
    found = status(place, workers or ([f"http://127.0.0.1:{port}"] if port else []))
    output.result(found, *_shown(found))


def status(place: Place, asked: Sequence[str] = (), now: float | None = None) -> Status:
    """Ask Redis, Kafka where there is one, and the workers at `asked`."""
    settings = place.settings
    client, binding, store = open_state(settings)
    fences = store.fences(range(binding.partitions))
    states = {p: decode_state(fence.state) for p, fence in fences.items()}
    flag = read_pause(client, settings.namespace)
    version = RedisRegistry(client, settings.namespace, binding.generation).current()
    told = ask_others(place, states, asked)
    return status_of(settings, binding, fences, version, None if flag is None else str(flag), told, now)


def ask_others(place: Place, states: Mapping[int, PartitionState], asked: Sequence[str] = ()) -> Told:
    """Ask all but Redis: Kafka where there is one, and the workers at `asked`."""
    paused, unasked = paused_by(asked)
    ends, committed, workers, trouble = _kafka(place.kafka, place.settings, states)
    return Told(ends, committed, workers, paused, (*trouble, *unasked))


def status_of(
    settings: Settings,
    binding: Binding,
    fences: Mapping[int, Fence],
    version: int | None,
    flag: str | None,
    told: Told,
    now: float | None = None,
) -> Status:
    """Put together what Redis holds and what Kafka and the workers said. flag: why all is paused, None: it is not.

    now: seconds since 1970, by default this moment.
    """
    states = {p: decode_state(fence.state) for p, fence in fences.items()}
    paused = told.paused if flag is None else {**told.paused, -1: flag}
    rows = []
    for p, fence in fences.items():
        epoch, sequence = parse_commit_id(fence.last) or (0, 0)
        state, end = states[p], told.ends.get(p)
        rows.append(
            PartitionStatus(
                partition=p,
                applied=state.applied,
                end=end,
                lag=None if end is None else max(end - state.applied, 0),
                day=iso(state.day),
                epoch=max(epoch, fence.epoch),
                sequence=sequence,
                swept=1.0
                if state.sweep.cursor is None
                else round(max(state.sweep.cursor, 0) / (1 << POSITION_BITS), 3),
                model_version=state.sweep.version,
                published=None if p not in told.committed else told.committed[p] == fence.last,
            )
        )
    counters: Counter[str] = Counter()
    for state in states.values():
        counters.update(state.counters)
    today = today_in(settings.zone, time.time() if now is None else now)
    behind = max(today - min(state.day for state in states.values()), 0)
    return Status(
        namespace=settings.namespace,
        generation=binding.generation,
        clock=binding.clock,
        model_version=version,
        workers=told.workers,
        lag=sum(row.lag or 0 for row in rows) if told.ends else None,
        days_behind=behind,
        partitions=rows,
        counters={n: c for n, c in sorted(counters.items()) if "." not in n},
        refused=_group(counters, "refused."),
        moves=_group(counters, "moves."),
        paused=paused,
        notes=[*told.troubles, *_notes(binding, states, rows, told.workers, behind)],
    )


def paused_by(addresses: Sequence[str]) -> tuple[dict[int, str], list[str]]:
    """Ask workers what stands still; return (partition -> reason, which of them did not answer)."""
    paused: dict[int, str] = {}
    silent = []
    for address in addresses:
        try:
            paused |= _readiness(address).paused
        except (OSError, ValueError) as error:
            silent.append(f"the worker at {address} does not say what is paused: {error}")
    return paused, silent


def _readiness(address: str) -> Health:
    if not address.startswith(("http://", "https://")):
        raise ValueError("its address begins with http://")
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/readyz", timeout=3) as answer:  # noqa: S310 -- http only, see above
            body = answer.read()
    except urllib.error.HTTPError as error:  # 503: it is not ready, and says why
        body = error.read()
    return msgspec.json.decode(body, type=Health)


def _group(counters: Counter[str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counters.items()) if name.startswith(prefix)}


def _kafka(
    kafka: KafkaSettings | None, settings: Settings, states: Mapping[int, PartitionState]
) -> tuple[dict[int, int], dict[int, str], int | None, list[str]]:
    """Return (end offsets, committed ids, members of the group, what could not be asked)."""
    if kafka is None:
        return {}, {}, None, []
    try:
        reader = KafkaReader(kafka)
        try:
            topic = settings.transactions_topic
            ends = {p: reader.end_beyond(topic, p, state.applied) for p, state in states.items()}
        finally:
            reader.close()
        if kafka.embedded:  # its coordinator forgets offsets and does not describe groups
            return ends, {}, None, []
        with admin(kafka) as asked:
            offsets = asked.group_offsets(settings.group_id, settings.transactions_topic)
            return ends, {p: c.metadata for p, c in offsets.items()}, asked.group_members(settings.group_id), []
    except TransportError as error:
        return {}, {}, None, [f"Kafka: {error}; `segmenter doctor` says more"]


def _notes(
    binding: Binding, states: dict[int, PartitionState], rows: list[PartitionStatus], workers: int | None, behind: int
) -> list[str]:
    """Say what stands still, as far as it can be seen from outside."""
    notes = []
    if workers == 0:
        notes.append("no worker is in the group: start one with `segmenter run`")
    if binding.clock == "wall" and behind:
        notes.append(f"a partition's day is {behind} behind today: its sweep waits for a worker, or is on its way")
    if not all(state.sweep.number for state in states.values()):
        notes.append("the first sweep has not begun everywhere: nobody there has a segment yet")
    late = [row.partition for row in rows if row.published is False]
    if late:
        notes.append(
            f"partitions {late}: Redis is a commit ahead of Kafka; it is in flight, or the next takeover publishes it"
        )
    if workers and any(row.lag for row in rows):
        notes.append("a lag that stays: the worker's log and /readyz name the partitions that are paused, and why")
    return notes


def _shown(found: Status) -> list[RenderableType]:
    lag = "unknown" if found.lag is None else f"{found.lag:,}"
    workers = "unknown" if found.workers is None else str(found.workers)
    head = (
        f"{found.namespace}, generation {found.generation}, {found.clock} clock, model {found.model_version}; "
        f"workers: {workers}; lag: {lag}"
    )
    columns = ["partition>", "applied>", "lag>", "day", "epoch>", "sequence>", "swept>", "model>"]
    body = [
        (r.partition, r.applied, r.lag, r.day, r.epoch, r.sequence, f"{r.swept:.0%}", r.model_version)
        for r in found.partitions
    ]
    parts: list[RenderableType] = [head, "", table(None, columns, body), ""]
    names = {"records": found.counters, "refused": found.refused, "moves": found.moves}
    for title, counts in names.items():
        if counts:
            parts.append(f"{title}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))
    standing = [f"! partition {p} is paused: {why}" if p >= 0 else f"! {why}" for p, why in found.paused.items()]
    return parts + standing + [f"! {note}" for note in found.notes]
