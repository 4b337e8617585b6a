"""`demo`: the main job from end to end, on the embedded pair, in one command.

    1 start    broker and store; the worker as a process of its own, which waits for a state
    2 history  read, cut at the first of a month near 45 % of its days, bootstrapped
    3 stream   the rest published as events, in time order, never more than the broker keeps; a closing tick
    4 settle   every partition has applied all, swept the closing day, and its model is made
    5 verify   all that went in and all that came out, recomputed independently; the clusters against batch
    6 report   demo.json, and what to look at next

What was published and what came out is recorded on the way: the embedded broker keeps about 5 MB a partition.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec
from rich.console import Console

from consumer import service
from consumer.commands.cli_output import Output
from consumer.commands.cli_topics import create_embedded
from consumer.commands.cli_verify import RECORDED
from consumer.commands.place import Place, emptied, hosted, settings_from
from consumer.commands.whole_file import check_place, whole_file
from consumer.demo.demo_recorder import Recorder, Seen
from consumer.demo.demo_report import Demo, Stopwatch, finish, show
from consumer.demo.demo_view import Scene, View, step
from consumer.demo.recording import Recording
from consumer.exits import ExitCode, Stop
from consumer.history.bootstrap import Prepared
from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_source import History
from consumer.history.history_files import HistoryFiles
from consumer.history.replay import Pace, Published, Replay, Room, events
from consumer.messages import SegmentRecord
from consumer.partition import PartitionState, decode_state, iso
from consumer.ports import InputRecord
from consumer.transport.child import Child
from consumer.transport.embedded import PARTITIONS
from consumer.transport.kafka_writer import EventWriter
from features.redis_generation import read_binding
from features.redis_store import RedisStore
from features.transaction import DAY_SECONDS, EPOCH_ORDINAL
from models.redis_registry import RedisRegistry

NAMESPACE = "demo"
HISTORY_SHARE = 0.45
STUCK_AFTER_S = 120.0
LOOK_EVERY_S = 0.1


def run_demo(files: HistoryFiles, directory: Path, report: Path, k: int, output: Output) -> None:
    """Do all six steps, write the report, and end with exit code 1 where verification found differences."""
    check_place(report, "--report", ("",))
    console = output.err if output.as_json else output.out
    clock = Stopwatch()
    told = settings_from()
    meaning = {"currency": told.currency, "timezone": told.timezone}
    with hosted(emptied(directory), fixed=True, namespace=NAMESPACE, clock="event", **meaning) as place:
        worker = _worker(directory)
        try:
            demo = _run(place, worker, files, k, console, clock)
            worker.signal(signal.SIGTERM)  # it leaves while we verify: it has nothing left to do
            result = finish(demo, clock, console)
            worker.stop(seconds=25)
        finally:
            worker.kill()
    result = msgspec.structs.replace(result, seconds=clock.all())
    with whole_file(report, "--report") as file:
        file.write(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    show(result, demo, report, console)
    if output.as_json:
        output.result(result)
    if not result.good:
        raise SystemExit(int(ExitCode.DIFFERENCES))


def _run(place: Place, worker: Child, files: HistoryFiles, k: int, console: Console, clock: Stopwatch) -> Demo:
    settings, kafka = place.settings, place.broker()
    for sentence in files.sentences():
        console.print(sentence, markup=False)
    create_embedded(settings, kafka)
    with clock("bootstrap"), step(console, "Reading the history and clustering its customers"):
        history, past, future, prepared = _bootstrapped(place, files, k)
    cutoff, closing = int(future.day[0]), int(future.day[-1]) + 1
    console.print(what_went_out(history.funnel), markup=False)
    console.print(
        f"{len(past):,} lines before {iso(cutoff)} are the history; {len(future):,} follow through Kafka", markup=False
    )
    scene = Scene(title="", of=len(future))
    recording = Recording(_recorded(place))
    t = settings.topics
    recorder = Recorder(kafka, (t.output, t.dead_letters, t.erasures), PARTITIONS, recording, _reader(scene, t.output))
    recorder.start()
    with clock("stream"), View(console, scene) as view:
        watch = _Watch(place, worker, recorder, scene, view)
        published = _publish(place, future, closing, watch)
        watch.until_settled(published.records, closing)
        recorder.stop()
        recording.close()
    return Demo(place, files, history, past, prepared, cutoff, closing, published.total - PARTITIONS, PARTITIONS, scene)


def _bootstrapped(place: Place, files: HistoryFiles, k: int) -> tuple[History, History, History, Prepared]:
    """Return (all lines, the history, the rest by time, what was loaded)."""
    settings, kafka = place.settings, place.broker()
    client = service.connect_redis(settings)
    start = service.begin_bootstrap(settings, kafka, client, replace=False)
    everything = files.read(settings, lambda _stage, _done, _of: None, everything=True)
    history = everything.take(everything.kept)
    if not len(history):
        raise Stop(ExitCode.USAGE, "the file has no line that could be used; `segmenter bootstrap` tells why")
    cut = cut_day(history) * DAY_SECONDS - 1
    past, future = history.split(cut)[0], everything.split(cut)[1]
    if not len(past) or not len(future):
        raise Stop(
            ExitCode.USAGE, "all lines are of one day: the demo needs some days of history and some days to come"
        )
    future = future.take(future.time.argsort(kind="stable"))
    prepared = service.bootstrap(
        settings, kafka, client, past, start, k=k, progress=lambda _stage, _done, _of: None, now=time.time()
    )
    return history, past, future, prepared


def what_went_out(funnel: Funnel) -> str:
    """Say how many lines were read, which rules took how many of them out of the clustering, and why the first."""
    out = [f"{rule.lines:,} {rule.name}" for rule in funnel.rules if rule.effect == "out" and rule.lines]
    said = f"lines read: {funnel.lines:,}; left out: {', '.join(out) or 'none'}"
    if not funnel.unreadable:
        return said
    first = funnel.unreadable[0]
    return f"{said}; unreadable first: {Path(first.file).name} row {first.row}, {first.reason}"


def cut_day(history: History) -> int:
    """Return the first day of the stream: the first of a month nearest to 45 % of the days, if one lies inside."""
    first, last = int(history.day.min()), int(history.day.max())
    wanted = first + max(round((last - first + 1) * HISTORY_SHARE), 1)
    months = [day for day in range(first + 1, last + 1) if date.fromordinal(day + EPOCH_ORDINAL).day == 1]
    nearest = min(months, key=lambda day: abs(day - wanted), default=wanted)
    return nearest if abs(nearest - wanted) <= 16 and last - first >= 60 else wanted


def _publish(place: Place, future: History, closing: int, watch: _Watch) -> Published:
    """Publish the rest and the closing tick, and record each record as it goes out."""
    settings, kafka = place.settings, place.broker()
    published, recording = Published(), Recording(_recorded(place))

    def sent(partition: int, number: int, key: bytes | None, value: bytes) -> None:
        record = InputRecord(number, int(time.time() * 1000), key, value)
        recording.append(settings.transactions_topic, partition, [record])

    with EventWriter(kafka, settings.transactions_topic) as writer:
        replay = Replay(
            writer=writer,
            partition_of=writer.partition_of,
            partitions=PARTITIONS,
            pace=Pace(None, time.monotonic, time.sleep),
            room=Room(watch.applied, published).wait,
            sent=sent,
            published=published,
        )
        replay.publish(events(future), len(future), lambda _done, _of: None)
        replay.tick(closing)
    recording.close()
    return published


class _Watch:
    """Looks at the partitions while the demo runs: for the view, for room in the broker, and for the end."""

    def __init__(self, place: Place, worker: Child, recorder: Recorder, scene: Scene, view: View) -> None:
        client = service.connect_redis(place.settings)
        binding = read_binding(client, place.settings.namespace)
        assert binding is not None, "the demo has bootstrapped"
        self._store = RedisStore(client, place.settings.namespace, binding.generation)
        self._registry = RedisRegistry(client, place.settings.namespace, binding.generation)
        self._worker, self._recorder, self._scene, self._view = worker, recorder, scene, view
        self._began = time.monotonic()

    def states(self) -> dict[int, PartitionState]:
        """Look once, and let the view know. Raises where the worker or the recorder has failed."""
        if not self._worker.running:
            raise Stop(ExitCode.INTERNAL, f"the worker ended:\n{self._worker.output()}")
        self._recorder.check()
        fences = self._store.fences(range(PARTITIONS))
        states = {p: decode_state(fence.state) for p, fence in fences.items()}
        self._scene.day = iso(min(state.day for state in states.values()))
        self._scene.progress(sum(state.applied for state in states.values()), time.monotonic())
        self._view.refresh()
        return states

    def applied(self) -> Mapping[int, int]:
        """Return how many records of each partition are applied; the topic began with us."""
        return {p: state.applied for p, state in self.states().items()}

    def until_settled(self, ends: Mapping[int, int], closing: int) -> None:
        """Return when all is applied, swept as of the closing day, and that day's model is made."""
        progress, patience = None, time.monotonic() + STUCK_AFTER_S
        while True:
            states = self.states()
            done = all(s.applied == ends[p] and s.day == closing and s.sweep.ended for p, s in states.items())
            if done and self._model_day() == closing:
                return
            if states != progress:
                progress, patience = states, time.monotonic() + STUCK_AFTER_S
            if time.monotonic() > patience:
                raise Stop(ExitCode.INTERNAL, f"nothing has moved for {STUCK_AFTER_S:g} s:\n{self._worker.output()}")
            time.sleep(LOOK_EVERY_S)

    def _model_day(self) -> int | None:
        number = self._registry.current()
        bundle = None if number is None else self._registry.load(number)
        return None if bundle is None else bundle.day


def _worker(directory: Path) -> Child:
    """Start the worker's process; it waits for a state."""
    child = Child(
        [sys.executable, "-m", "consumer.demo.demo_worker", str(directory.resolve())],
        directory=Path.cwd(),
        log=directory / "worker.log",
    )
    child.start()
    return child


def _recorded(place: Place) -> Path:
    assert place.directory is not None, "the demo is embedded"
    return place.directory / RECORDED


def _reader(scene: Scene, topic: str) -> Seen:
    decode = msgspec.json.Decoder(SegmentRecord).decode

    def seen(of: str, _partition: int, records: Sequence[InputRecord]) -> None:
        if of == topic:
            for record in records:
                if record.value is not None:
                    scene.publish(decode(record.value))

    return seen
