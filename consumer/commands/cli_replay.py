"""What `replay` does and prints."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from consumer.commands.cli_options import day, moment
from consumer.commands.cli_output import Output, Tell
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.history.csv_source import History
from consumer.history.history_files import HistoryFiles
from consumer.history.replay import Pace, Published, Replay, Room, Window, events, parse_speed
from consumer.partition import decode_state, iso
from consumer.service import connect_redis
from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_writer import EventWriter
from features.redis_generation import read_binding
from features.redis_store import RedisStore


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The options as texts."""

    start: str | None = None
    until: str | None = None
    speed: str = "max"
    tick: str | None = None
    no_tick: bool = False


class Report(msgspec.Struct, frozen=True):
    """What `replay --json` prints."""

    topic: str
    events: int
    ticks: int
    first: str | None
    last: str | None
    closing_day: str | None
    partitions: dict[int, int]
    seconds: float
    stopped: bool


def run_replay(place: Place, files: HistoryFiles, plan: ReplayPlan, output: Output) -> None:
    """Publish what the options name; a signal ends it in good order."""
    for sentence in files.sentences():
        output.note(sentence)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with output.progress() as progress:
        report = publish(place, files, plan, progress, stop)
    rate = report.events / max(report.seconds, 1e-9)
    text = (
        f"{report.events:,} events and {report.ticks} ticks published to {report.topic} "
        f"in {report.seconds:.1f} s, {rate:,.0f}/s"
    )
    if report.stopped:
        text += "; stopped before the end"
    elif report.closing_day:
        text += f"; days end with {report.closing_day}"
    output.result(report, text)


def publish(place: Place, files: HistoryFiles, plan: ReplayPlan, progress: Tell, stop: threading.Event) -> Report:
    """Read, choose, publish, tick."""
    settings, kafka = place.settings, place.broker()
    factor = _speed(plan.speed)
    window = Window(moment(plan.start, "--from", settings), moment(plan.until, "--until", settings))
    closing = day(plan.tick, "--tick")
    chosen = window.of(files.read(settings, progress, everything=True))
    if not len(chosen):
        raise Stop(ExitCode.USAGE, "no line of the history lies between --from and --until: nothing to publish")
    reader = KafkaReader(kafka)
    try:
        partitions = reader.facts(settings.transactions_topic).partitions
        ends = {p: reader.bounds(settings.transactions_topic, p)[1] for p in range(partitions)}
    finally:
        reader.close()
    published = Published()
    room = Room(applied_since(place, ends), published).wait if place.embedded else _no_wait
    with EventWriter(kafka, settings.transactions_topic) as writer:
        replay = Replay(
            writer=writer,
            partition_of=writer.partition_of,
            partitions=partitions,
            pace=Pace(factor, time.monotonic, lambda seconds: _sleep(stop, seconds)),
            room=room,
            published=published,
            stopping=stop.is_set,
        )
        began = time.monotonic()
        replay.publish(events(chosen), len(chosen), lambda done, of: progress("publishing", done, of))
        stopped, count = stop.is_set(), published.total
        closing = closing if closing is not None else int(chosen.day[-1]) + 1
        ticks = 0 if plan.no_tick or stopped else partitions
        if ticks:
            replay.tick(closing)
    return Report(
        topic=settings.transactions_topic,
        events=count,
        ticks=ticks,
        first=_time(chosen, 0),
        last=_time(chosen, -1),
        closing_day=iso(closing) if ticks else None,
        partitions=dict(sorted(published.records.items())),
        seconds=round(time.monotonic() - began, 2),
        stopped=stopped,
    )


def applied_since(place: Place, ends: Mapping[int, int]) -> Callable[[], dict[int, int]]:
    """Return a question: how many records of each partition were applied after the offsets `ends`?"""
    client = connect_redis(place.settings)
    binding = read_binding(client, place.settings.namespace)
    if binding is None:
        raise Stop(ExitCode.USAGE, "an embedded broker keeps little: bootstrap and start the worker before you replay")
    store = RedisStore(client, place.settings.namespace, binding.generation)

    def applied() -> dict[int, int]:
        fences = store.fences(list(ends))
        return {p: max(decode_state(fence.state).applied - ends[p], 0) for p, fence in fences.items()}

    return applied


def _no_wait() -> None:
    """A real broker keeps what is published."""


def _speed(text: str) -> float | None:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise Stop(ExitCode.USAGE, str(error)) from None


def _sleep(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)


def _time(history: History, row: int) -> str:
    return history.take(slice(row, None) if row < 0 else slice(row, row + 1)).iso_times()[0]
