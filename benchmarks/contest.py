"""The contest: the same events, the same job, on one core each; how fast, at what CPU, and is it right?

    python -m benchmarks.contest [--peers raw,naive,quix,kafka_streams,ours] [--events 1000000] [--runs 3] [--json FILE]

The broker's first lap is not counted: its code is cold. Then the contestants run by turns, so that a noisy machine is
so for all; a ratio is taken within one round, the median over the rounds. A contestant whose records are not the
oracle's has no ratio. Slow ones get a tenth or a fiftieth of the events, customers and history: the same job, and less
of it. At the end `segmenter verify` recomputes ours of the last round. The result goes to the section `throughput` of
the JSON document; other sections stay. benchmarks/peers/README.md says what a peer is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena, Content, ContestError, Lap
from benchmarks.contestants import CONTESTANTS, DEFAULT, PEERS, Contestant, chosen, command
from benchmarks.oracle import Model, Output, State, differences, outputs, states
from benchmarks.ours import Namespace, scorings
from benchmarks.stream import Line, Stream, last_day, marks
from tests.harness.broker import REPOSITORY, find_broker, make_broker
from tests.harness.store import find_store, make_store

PATIENCE_S = 1_200.0
VERSION = r"<(?:artifactId|version|[\w.]+\.version)>([^<]+)<"
"""Names and versions in a pom, in their order."""

Row = dict[str, Any]


@dataclass
class Course:
    """One stream, what its topics hold, and what must come of it."""

    content: Content
    directory: Path

    def model(self, arena: Arena) -> Model:
        """Write the history and have the product fit the model that everybody gets."""
        self.content.stream.write_history(self.directory / "history.csv")
        namespace = Namespace(arena, self.content, self.directory, "kafka-python")
        namespace.bootstrap()
        found = namespace.model()
        found.write(self.directory / "model.json")
        arena.clear()
        return found

    @cached_property
    def lines(self) -> list[Line]:
        return list(self.content.stream.lines())

    def outputs(self, model: Model) -> dict[str, list[Output]]:
        return outputs([*self.content.stream.history(), *self.lines], model)

    @cached_property
    def states(self) -> dict[str, State]:
        day = (last_day() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
        return states([*self.content.stream.history(), *self.lines], day)


class Contest:
    """All rounds on one arena."""

    def __init__(self, arena: Arena, directory: Path, stream: Stream) -> None:
        self._arena, self._directory, self._stream = arena, directory, stream
        self._courses: dict[Stream, tuple[Course, dict[str, list[Output]]]] = {}
        self._unverified: list[tuple[Row, Namespace]] = []

    def stream(self, contestant: Contestant) -> Stream:
        """Return what a contestant has to do."""
        s, part = self._stream, contestant.part
        return Stream(s.events // part, s.warm_up // part, s.customers // part, s.seed)

    def run(self, contestant: Contestant, words: list[str], *, last: bool) -> Row:
        """Let one contestant run once; return its figures. An error is a figure too.

        last: of the last round. What ours left is kept from then on, for `verify`.
        """
        stream = self.stream(contestant)
        course, expected = self._course(stream)
        try:
            if contestant.kind == "ours":
                return self._ours(contestant, course, words, last)
            lap = self._peer(course, words)
            wrong = _raw_differences(contestant, lap, course) if contestant.kind == "raw" else None
            wrong = differences(expected, lap.records) if wrong is None else wrong
            return _row(lap, stream, wrong)
        except ContestError as error:
            return {"error": str(error)}
        finally:
            if not self._unverified:
                self._arena.clear()

    def verify(self) -> None:
        """Let `segmenter verify` recompute ours of the last round, at once; what it finds joins the rows."""
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda pair: pair[1].verify(), self._unverified)
            for (row, _), wrong in zip(self._unverified, found, strict=True):
                row["differences"] += len(wrong)
                row["first_differences"] += wrong[:3]
                row["verified"] = True

    def _peer(self, course: Course, words: list[str]) -> Lap:
        output = self._arena.topic()
        state = course.directory / output
        state.mkdir()
        environment = {each: value for each, value in os.environ.items() if not each.startswith("SEGMENTER_")} | {
            "BENCH_KAFKA": self._arena.kafka,
            "BENCH_INPUT": course.content.whole,
            "BENCH_OUTPUT": output,
            "BENCH_STATE": str(state),
            "BENCH_MODEL": str(course.directory / "model.json"),
            "BENCH_REDIS": self._arena.store,
            "PYTHONPATH": str(REPOSITORY),
        }
        try:
            return self._arena.lap(words, environment, output, course.directory / f"{output}.log", PATIENCE_S)
        finally:
            shutil.rmtree(state)

    def _ours(self, contestant: Contestant, course: Course, words: list[str], last: bool) -> Row:
        client = contestant.name.removeprefix("ours-")
        namespace = Namespace(self._arena, course.content, course.directory, client)
        namespace.bootstrap()
        log = course.directory / f"{namespace.output}.log"
        lap = self._arena.lap(words, namespace.environment, namespace.output, log, PATIENCE_S)
        stream = course.content.stream
        share = scorings(lap.causes, course.lines) / len(course.lines)
        row = _row(lap, stream, namespace.other_states(course.states))
        row |= {"scorings_s": round(row["events_s"] * share), "verified": False}
        if last:  # minutes of pure Python for a million events, so once
            self._unverified.append((row, namespace))
        return row

    def _course(self, stream: Stream) -> tuple[Course, dict[str, list[Output]]]:
        if stream not in self._courses:
            print(f"filling topics: {stream}", flush=True)
            directory = self._directory / f"{len(self._courses)}"
            directory.mkdir()
            course = Course(self._arena.content(stream), directory)
            self._courses[stream] = course, course.outputs(course.model(self._arena))
        return self._courses[stream]


def _raw_differences(contestant: Contestant, lap: Lap, course: Course) -> list[str]:
    everything = len(course.lines) + len(course.content.stream.history())
    expected = everything if "-produce-" in contestant.name else len(marks("start") + marks("end"))
    return [] if len(lap.records) == expected else [f"{len(lap.records)} records instead of {expected}"]


def _row(lap: Lap, stream: Stream, wrong: list[str]) -> Row:
    return {
        "events_s": round(stream.events / max(lap.seconds, 1e-3)),
        "seconds": round(lap.seconds, 3),
        "cpu_us": round(1e6 * lap.cpu_s / stream.events, 2),
        "store_cpu_us": round(1e6 * lap.store_cpu_s / stream.events, 2),
        "outputs": len(lap.records),
        "differences": len(wrong),
        "first_differences": wrong[:3],
        "load": round(lap.load, 2),
    }


def summary(contestant: Contestant, stream: Stream, rows: list[Row]) -> Row:
    """Return a contestant's entry: what it did, its medians, its runs."""
    whole = [row for row in rows if "error" not in row]
    figures = ("events_s", "scorings_s", "cpu_us", "store_cpu_us")
    names = [name for name in figures if whole and name in whole[0]]
    return {
        "guarantee": contestant.guarantee,
        "events": stream.events,
        "customers": stream.customers,
        "right": len(whole) == len(rows) and not any(row["differences"] for row in whole),
        "median": {name: statistics.median(row[name] for row in whole) for name in names},
        "runs": rows,
    }


def ratios(entries: dict[str, Row]) -> dict[str, dict[str, Row]]:
    """Return for each of ours and each other: by how much ours is faster, and cheaper (store included), in a round.

    Where one of the two is not right there is no ratio.
    """
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for ours, other in ((a, b) for a in entries for b in entries if a.startswith("ours-") and b != a):
        if not (entries[ours]["right"] and entries[other]["right"]):
            continue
        pairs = list(zip(entries[ours]["runs"], entries[other]["runs"], strict=True))
        speeds = [a["events_s"] / b["events_s"] for a, b in pairs]
        costs = [_cost(b) / max(_cost(a), 0.01) for a, b in pairs]
        found[ours][other] = {
            "events_s": round(statistics.median(speeds), 3),
            "events_s_runs": [round(each, 3) for each in speeds],
            "cpu": round(statistics.median(costs), 3),
        }
    return found


def _cost(row: Row) -> float:
    return float(row["cpu_us"] + row["store_cpu_us"])


def machine() -> Row:
    """Return what the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": [round(each, 2) for each in os.getloadavg()],
    }


def versions(contestants: list[Contestant]) -> Row:
    """Return what ran: ours by its commit and libraries, a Python peer by its pins, a Java peer by its pom."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    found: Row = {"commit": commit.stdout.strip()}
    found |= {each: version(each) for each in ("kafka-python", "confluent-kafka", "redis", "hiredis", "numpy")}
    for each in contestants:
        for file, pin in (("requirements.lock", r"(?m)^([\w.-]+==[^\s;]+)"), ("pom.xml", VERSION)):
            path = PEERS / each.name / file
            if path.exists():
                found.setdefault(each.name, []).extend(re.findall(pin, path.read_text(encoding="utf-8")))
    return found


def main() -> None:
    """Run all rounds, print each run and the medians, write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(DEFAULT), help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--events", type=int, default=1_000_000, help="measured events")
    parser.add_argument("--customers", type=int, default=100_000, help="and as many events to warm up with")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="few events, for the tests: no figure of it means anything"
    )
    given = parser.parse_args()
    stream = Stream(4_000, 2_000, 1_000) if given.quick else Stream(given.events, given.customers, given.customers)
    contestants = chosen(given.peers.split(","))
    words = {each.name: command(each) for each in contestants}
    about = machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the peer, the broker and the store end too
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # broker, store and the reader here; peers get core 0
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    rows: dict[str, list[Row]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="segmenter-contest-") as directory,
        make_broker(find_broker(own)) as broker,
        make_store(find_store(own)) as store,
    ):
        contest = Contest(Arena(broker.bootstrap, store.url), Path(directory), stream)
        first = contestants[-1]
        print(f"warming the broker: {_sentence(contest.run(first, words[first.name], last=False))}", flush=True)
        for n in range(given.runs):
            for contestant in contestants if n % 2 else contestants[::-1]:
                row = contest.run(contestant, words[contestant.name], last=n == given.runs - 1)
                rows[contestant.name].append(row)
                print(f"round {n + 1} {contestant.name:26} {_sentence(row)}", flush=True)
        contest.verify()
        entries = {each.name: summary(each, contest.stream(each), rows[each.name]) for each in contestants}
    section = {
        "made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "quick": given.quick,
        "stream": {"events": stream.events, "warm_up": stream.warm_up, "customers": stream.customers},
        "runs": given.runs,
        "machine": about,
        "versions": versions(contestants),
        "peers": entries,
        "ratios": {} if given.quick else ratios(entries),
    }
    for ours, others in section["ratios"].items():
        for other, ratio in others.items():
            print(f"{ours} to {other}: {ratio['events_s']:.2f} x the events a second, {ratio['cpu']:.2f} x by CPU")
    if given.json:
        document = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        given.json.write_text(json.dumps(document | {"throughput": section}, indent=2) + "\n", encoding="utf-8")


def _sentence(row: Row) -> str:
    if "error" in row:
        return str(row["error"])
    scored = f", {row['scorings_s']:,} scorings/s" if "scorings_s" in row else ""
    verdict = "right" if not row["differences"] else f"WRONG: {row['differences']} {row['first_differences']}"
    return (
        f"{row['events_s']:9,} events/s{scored}, CPU {row['cpu_us']:.1f} + store {row['store_cpu_us']:.1f} us an event,"
        f" {row['outputs']:,} outputs, {verdict}"
    )


if __name__ == "__main__":
    main()
