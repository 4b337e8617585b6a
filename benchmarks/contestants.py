"""Who takes part, what is installed for each, and how each is started.

    peers/NAME/requirements.lock --pip--> .cache/peers/NAME/venv       python -m benchmarks.peers.NAME.peer
    peers/NAME/pom.xml           --mvn--> .cache/peers/NAME/build      java -cp ... contest.Peer
    both                         --> a Python peer, which finds its jars in build/target/dependency beside its venv

An environment is keyed by a hash of what it is made from: it is made anew where that changed, and otherwise used again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from tests.harness.broker import REPOSITORY

PEERS = REPOSITORY / "benchmarks" / "peers"
CACHE = REPOSITORY / ".cache" / "peers"


@dataclass(frozen=True, slots=True)
class Contestant:
    """guarantee: what it promises as it runs here; part: who is slow gets one event in so many."""

    name: str
    kind: Literal["raw", "ours", "python", "java"]
    guarantee: str
    part: int = 1


CONTESTANTS = {
    each.name: each
    for each in (
        Contestant("raw-poll-kafka-python", "raw", "none: reads alone"),
        Contestant("raw-poll-librdkafka", "raw", "none: reads alone"),
        Contestant("raw-produce-kafka-python", "raw", "none: reads and writes, no transaction", part=10),
        Contestant("raw-produce-librdkafka", "raw", "none: reads and writes, no transaction"),
        Contestant("naive", "python", "none: a crash loses or repeats events", part=50),
        Contestant("quix", "python", "exactly once in Kafka, state by a changelog"),
        Contestant("bytewax", "python", "none: no recovery, no transaction"),
        Contestant("spark", "python", "state exactly once by a checkpoint, the Kafka sink at least once", part=10),
        Contestant("kafka_streams", "java", "exactly once (exactly_once_v2), state by a changelog"),
        Contestant("flink", "java", "exactly once by checkpoints and a transactional sink"),
        Contestant("ours-kafka-python", "ours", "exactly once from Kafka through Redis to Kafka"),
        Contestant("ours-librdkafka", "ours", "exactly once from Kafka through Redis to Kafka"),
    )
}

DEFAULT = ("raw", "naive", "quix", "kafka_streams", "ours")


def chosen(words: list[str]) -> list[Contestant]:
    """Return the contestants that the words name; `raw`, `raw-poll`, `ours` stand for theirs. Raises ValueError."""
    named = {word: [name for name in CONTESTANTS if f"{name}-".startswith(f"{word}-")] for word in words}
    missing = [word for word, names in named.items() if not names]
    if missing:
        raise ValueError(f"no contestant is called {', '.join(missing)}; there are {', '.join(CONTESTANTS)}")
    return [CONTESTANTS[name] for name in dict.fromkeys(name for names in named.values() for name in names)]


def command(contestant: Contestant) -> list[str]:
    """Return what starts it, its environment built. Raises `subprocess.CalledProcessError`."""
    match contestant.kind:
        case "raw":
            _, job, client = contestant.name.split("-", 2)
            return [sys.executable, "-m", "benchmarks.raw_loops", client, job]
        case "ours":
            return [sys.executable, "-m", "consumer.cli", "run"]
        case "python":
            if (PEERS / contestant.name / "pom.xml").exists():
                _jars(contestant.name)
            return [str(_venv(contestant.name)), "-m", f"benchmarks.peers.{contestant.name}.peer"]
        case "java":
            build = _jars(contestant.name)
            return ["java", "-cp", f"{build}/target/*:{build}/target/dependency/*", "contest.Peer"]


def _venv(name: str) -> Path:
    """Return the interpreter of a Python peer's environment."""
    lock = PEERS / name / "requirements.lock"
    there = CACHE / name / "venv"
    with _built(there, sha256(lock.read_bytes() + sys.version.encode()).hexdigest()) as missing:
        if missing:
            python = there / "bin" / "python"
            subprocess.run([sys.executable, "-m", "venv", there], check=True)
            words = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "-r",
                str(lock),
            ]
            subprocess.run([python, *words], check=True)
    return there / "bin" / "python"


def _jars(name: str) -> Path:
    """Return the folder in which a Java peer was built."""
    sources = sorted(each for each in (PEERS / name).rglob("*") if each.is_file() and "target" not in each.parts)
    there = CACHE / name / "build"
    key = sha256(b"".join(each.name.encode() + each.read_bytes() for each in sources)).hexdigest()
    with _built(there, key) as missing:
        if missing:
            shutil.copytree(PEERS / name, there, ignore=shutil.ignore_patterns("target"))
            words = ["package", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DskipTests"]
            subprocess.run(["mvn", "-q", "-B", "-f", there / "pom.xml", *words], check=True)
    return there


@contextmanager
def _built(there: Path, key: str) -> Iterator[bool]:
    """Say whether a folder is to be filled; it counts as filled once the block ends without an error."""
    stamp = there.with_suffix(".key")
    if stamp.exists() and stamp.read_text() == key:
        yield False
        return
    print(f"Building {there.relative_to(REPOSITORY)}: a minute or two, once.", flush=True)
    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(there, ignore_errors=True)
    there.parent.mkdir(parents=True, exist_ok=True)
    yield True
    stamp.write_text(key)
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)
