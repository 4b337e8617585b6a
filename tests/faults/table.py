"""The table of docs/reliability.md, from what the fault tests recorded of themselves.

python -m tests.faults.table     writes the tables into docs/reliability.md
"""

from __future__ import annotations

import fcntl
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.harness.fault import FaultRecord

CHAOS = Path(__file__).with_name("results") / "chaos.json"
HANDOFF = Path(__file__).with_name("results") / "handoff.json"
RESULTS = Path(__file__).with_name("results") / "faults.json"
LOCK = Path(tempfile.gettempdir()) / "segmenter-fault-results.lock"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

FAULTS: dict[str, str] = {
    "1": "kill -9 before the Redis commit",
    "2": "kill -9 after it, before the transaction",
    "3": "kill -9 inside the transaction",
    "4": "kill -9 after the Kafka commit",
    "5": "kill -9 during recovery, twice",
    "6": "a worker frozen past its session wakes up (a zombie)",
    "7": "workers join and leave every few seconds",
    "8": "Redis killed and restarted; its last writes lost",
    "9": "Redis emptied",
    "10": "Redis fails over to a lagging replica",
    "11": "the reply to the commit is lost",
    "12": "Redis cannot write: OOM, MISCONF, NOREPLICAS, BUSY, LOADING, READONLY",
    "13": "a key of the wrong type, a corrupted state",
    "14": "broker restarted, clean and -9, five times",
    "15": "broker away for three minutes",
    "16": "an output batch expires inside a transaction",
    "17": "output or dead-letter topic missing, not authorised, record too large",
    "18": "poison records",
    "19": "numbers out of bounds",
    "20": "hostile customer ids",
    "21": "the same event again, on the stream and in the history",
    "22": "a customer's events in any order",
    "23": "dates far in the past and the future",
    "24": "old, new and unknown schema versions",
    "25": "input topic deleted and created again",
    "26": "retention removed unread input",
    "27": "partitions added",
    "28": "a producer with another partitioner",
    "29": "SIGTERM in a batch; twice",
    "30": "host clock steps back",
    "31": "a stalled consumer",
    "32": "sustained load",
    "33": "Redis Cluster: a worker or a master killed, a lagging replica takes over, a slot moves",
    "S1": "a tampered model or state",
    "S2": "Redis without ACL or TLS",
    "S3": "Kafka ACLs, SASL SCRAM, TLS",
    "S4": "personal data in logs, metrics, headers",
    "S5": "erasure",
    "S6": "formulas in exported text",
    "S7": "hostile CSV files and paths",
    "S8": "HTTP surface",
    "S9": "two ids that would share a Redis key",
    "S10": "supply chain",
}
"""The fault matrix; a row without a passed test shows as such."""

HEAD = (
    "| # | fault | injected | fired | lost | doubled | seconds to recover | tests |\n|---|---|---|---|---|---|---|---|"
)


class ChaosRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of tests/faults/chaos.py. crashes: workers killed with -9, by the point at which they were."""

    seed: int
    minutes: float
    workers: int
    named: bool
    crashes: dict[str, int]
    faults: dict[str, int]
    events: int
    customers: int
    records: int
    replayed: int
    lost: int
    doubled: int
    wrong: int


class HandoffRow(msgspec.Struct, frozen=True):
    """One cut of tests/faults/test_handoff.py. missing, excess: how `verify` named the plant, or None."""

    overlap: float
    inside_order: bool
    inside_second: bool
    equal: bool
    missing: str | None
    excess: str | None


def read_handoff() -> list[HandoffRow]:
    """Return what the hand-off proof left."""
    return msgspec.json.decode(HANDOFF.read_bytes(), type=list[HandoffRow]) if HANDOFF.exists() else []


def read_chaos() -> list[ChaosRecord]:
    """Return what the chaos runs left."""
    return msgspec.json.decode(CHAOS.read_bytes(), type=list[ChaosRecord]) if CHAOS.exists() else []


def read_results() -> list[FaultRecord]:
    """Return what was recorded last."""
    return msgspec.json.decode(RESULTS.read_bytes(), type=list[FaultRecord]) if RESULTS.exists() else []


def write_results(found: Iterable[FaultRecord]) -> None:
    """Keep what was found beside the other tests' records, one a line so that a change shows as one.

    `make faults` runs two halves beside each other, and each writes here: one waits for the other.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = {record.test: record for record in (*read_results(), *found)}
        lines = [msgspec.json.encode(records[test]).decode() for test in sorted(records)]
        RESULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def compare(kept: Sequence[FaultRecord], found: Sequence[FaultRecord]) -> list[str]:
    """Say what a run recorded otherwise than the kept results; only durations may differ."""
    known = {record.test: record.counted for record in kept}
    return [
        f"{record.test}: kept {known.get(record.test)}, found {record.counted}; `make faults` writes the results anew"
        for record in found
        if known.get(record.test) != record.counted
    ]


def table(records: Sequence[FaultRecord]) -> str:
    """Return the matrix in Markdown: a row a fault, over all of its tests."""
    rows = []
    for row, title in FAULTS.items():
        mine = [record for record in records if row in record.faults]
        streamed = [record for record in mine if record.lost is not None]
        seconds = [record.seconds for record in mine if record.seconds is not None]
        cells = [row, title, str(sum(r.injected for r in mine)), str(sum(r.fired for r in mine))]
        cells += [str(sum(r.lost or 0 for r in streamed)) if streamed else "–"]
        cells += [str(sum(r.doubled or 0 for r in streamed)) if streamed else "–"]
        cells += [f"{min(seconds):.1f} – {max(seconds):.1f}" if seconds else "–"]
        cells += [", ".join(sorted({f"`{record.test.partition('::')[0]}`" for record in mine})) or "**none**"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([HEAD, *rows])


def chaos_table(records: Sequence[ChaosRecord]) -> str:
    """Return the chaos runs in Markdown, and their sum."""
    head = "| seed | minutes | workers | killed with -9 | other faults | events | replayed | lost | doubled | wrong |"
    rows = [
        f"| {r.seed} | {r.minutes} | {r.workers}{' named' if r.named else ''} | {sum(r.crashes.values())} "
        f"| {', '.join(f'{n} {name}' for name, n in r.faults.items()) or '–'} | {r.events:,} | {r.replayed} | {r.lost} "
        f"| {r.doubled} | {r.wrong} |"
        for r in records
    ]
    crashes, events = sum(sum(r.crashes.values()) for r in records), sum(r.events for r in records)
    lost, doubled, wrong = (sum(getattr(r, name) for r in records) for name in ("lost", "doubled", "wrong"))
    total = f"| **all** | | | **{crashes}** | | **{events:,}** | | **{lost}** | **{doubled}** | **{wrong}** |"
    return "\n".join([head, "|---" * 10 + "|", *rows, total])


def handoff_table(rows: Sequence[HandoffRow]) -> str:
    """Return the hand-off proof in Markdown: how many of the cuts."""
    counted = {
        "cuts": len(rows),
        "inside an order": sum(row.inside_order for row in rows),
        "inside a second": sum(row.inside_second for row in rows),
        "ledgers equal": sum(row.equal for row in rows),
        "missing event named": sum(row.missing is not None for row in rows),
        "extra event named": sum(row.excess is not None for row in rows),
    }
    head, line, figures = (
        "| " + " | ".join(each) + " |" for each in (counted, ["---"] * 6, map(str, counted.values()))
    )
    return "\n".join([head, line.replace(" ", ""), figures])


def rendered(page: str) -> str:
    """Return the page with its tables made anew of the results."""
    tables = {
        "fault": table(read_results()),
        "chaos": chaos_table(read_chaos()),
        "hand-off": handoff_table(read_handoff()),
    }
    for name, made in tables.items():
        begin, end = f"<!-- {name} table: begin -->", f"<!-- {name} table: end -->"
        page = re.sub(f"(?s){begin}.*{end}", f"{begin}\n{made}\n{end}".replace("\\", "\\\\"), page)
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
