"""The product in the contest: a namespace for each run, its states and model from a bootstrap of the history.

What it puts out cannot be the peers' records: its model learns as days turn. So `segmenter verify` recomputes every
state and every record of a run, and the plain loop of the contest's oracle tells what everybody's features must be.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena, Cause, Content, ContestError
from benchmarks.oracle import Model, State
from benchmarks.stream import PARTITIONS, Line
from consumer.transport.kafka_partitioner import partition_of
from tests.harness.broker import REPOSITORY

K = 4


class Namespace:
    """One namespace of the product: its own topics but for the input, its own keys in the store."""

    def __init__(self, arena: Arena, content: Content, directory: Path, client: str) -> None:
        """directory: holds history.csv; client: a value of SEGMENTER_KAFKA_CLIENT."""
        name = f"contest-{uuid.uuid4().hex[:6]}"
        self.output = f"{name}-segments"
        self._directory, self._name = directory, name
        topics = ("segments", "dead_letters", "erasures")
        given = {f"SEGMENTER_{each.upper()}_TOPIC": f"{name}-{each.replace('_', '-')}" for each in topics}
        given |= {"SEGMENTER_TRANSACTIONS_TOPIC": content.live, "SEGMENTER_NAMESPACE": name}
        given |= {"SEGMENTER_KAFKA_BOOTSTRAP": arena.kafka, "SEGMENTER_REDIS_URL": arena.store}
        given |= {"SEGMENTER_CLOCK": "event", "SEGMENTER_KAFKA_CLIENT": client, "PYTHONPATH": str(REPOSITORY)}
        plain = {each: value for each, value in os.environ.items() if not each.startswith("SEGMENTER_")}
        self.environment = plain | given

    def bootstrap(self) -> None:
        """Make the topics, the states and the first model."""
        self._segmenter("topics", "create", "--partitions", str(PARTITIONS))
        self._segmenter("bootstrap", "history.csv", "--k", str(K))

    def model(self) -> Model:
        """Return the live model as peers read it: its centroids in units of its scale, about their mean."""
        file = self._directory / f"{self._name}-model.json"
        self._segmenter("model", "export", "--out", str(file))
        found = json.loads(file.read_text(encoding="utf-8"))
        scale, sizes, centroids = found["scale"], found["sizes"], found["centroids"]
        mean = [sum(n * c[j] for n, c in zip(sizes, centroids, strict=True)) / sum(sizes) for j in range(len(scale))]
        return Model(
            tuple(found["features"]),
            tuple(mean),
            tuple(scale),
            tuple(tuple((x - m) / s for x, m, s in zip(c, mean, scale, strict=True)) for c in centroids),
        )

    def verify(self) -> list[str]:
        """Return what `segmenter verify` finds, which recomputes everything. The worker must be down."""
        verdict = json.loads(self._segmenter("verify", "history.csv", "--json", fails=True))
        kinds = ("state_differences", "output_differences", "revision_errors")
        return [f"verify: {verdict[kind]} {kind}" for kind in kinds if verdict[kind]]

    def other_states(self, expected: Mapping[str, State]) -> list[str]:
        """Return whose stored features are not the expected ones. The worker must be down."""
        file = self._directory / f"{self._name}.csv"
        self._segmenter("export", "--out", str(file))
        with file.open(encoding="utf-8") as rows:
            found = {row["customer_id"]: _state(row) for row in csv.DictReader(rows)}
        pairs = [(each, expected.get(each), found.get(each)) for each in sorted(expected.keys() | found.keys())]
        return [f"{each}: {stored} instead of {his}" for each, his, stored in pairs if stored != his]

    def _segmenter(self, *words: str, fails: bool = False) -> str:
        """Run a command on every core and return what it prints. fails: exit code 1 is an answer."""
        cores = f"0-{(os.cpu_count() or 1) - 1}"
        done = subprocess.run(
            ["taskset", "-c", cores, sys.executable, "-m", "consumer.cli", *words],
            cwd=self._directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode > fails:
            raise ContestError(f"segmenter {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def scorings(causes: Iterable[Cause], lines: Sequence[Line]) -> int:
    """Return how often a customer was scored for events: once for each batch that touched him.

    A batch's end is taken for the last event of it that moved anybody; the few behind that count to the next batch.
    """
    last: dict[int, dict[int, int]] = defaultdict(dict)
    for partition, sequence, offset in causes:
        last[partition][sequence] = max(offset, last[partition].get(sequence, -1))
    customers: list[list[str]] = [[] for _ in range(PARTITIONS)]
    for line in lines:
        customers[partition_of(line.customer.encode(), PARTITIONS)].append(line.customer)
    count = 0
    for partition, his in enumerate(customers):
        ends = [*sorted(offset + 1 for offset in last[partition].values()), len(his)]
        count += sum(len(set(his[start:end])) for start, end in zip([0, *ends], ends, strict=False))
    return count


def _state(row: Mapping[str, Any]) -> State:
    recency = row["recency"]
    return State(
        round(float(row["frequency"])),
        round(100 * float(row["monetary"])),
        round(float(recency)) if recency else None,
    )
