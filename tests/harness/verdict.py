"""The end-to-end verdict on a live world: was anything lost, doubled, or otherwise not as the oracle has it?

    1 the group has no members    2 the committed offsets C[p]    3 input and outputs, committed records only
    4 the input cut at C[p]       5 everybody recomputed (reports.verify), revisions 1, 2, 3 ...
    6 a marker a partition, which a read_committed reader gets: no hanging transaction hides the end

`segmenter verify` does 2 to 5 for users; the counts of input records and dead letters, and 6, are done here only:
a marker is no segment record, so after it the topic is good for nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from kafka import KafkaProducer

from consumer.commands.verify_source import Where, gather, reading_of
from consumer.partition import PartitionState, Rewind
from consumer.ports import InputRecord
from consumer.transport.kafka_admin import admin
from reports.verify import verify

if TYPE_CHECKING:
    from tests.harness.live import Live

MARKER = b"marker"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the verdict found.

    lost: input records that no partition counted, output revisions that are missing, refusals without a dead
    letter. doubled: records counted twice, revisions that come twice, dead letters that come twice without a
    recovery that went back. wrong: whatever else `verify` reports. customers, events, records: how much was looked at.
    traces: of an outcome that is not ok, what the workers told of takeovers and troubles, and the records in question.
    """

    lost: int
    doubled: int
    wrong: int
    customers: int
    events: int
    records: int
    replayed: int
    differences: tuple[Any, ...]
    traces: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def judge(live: Live) -> Outcome:
    """Pronounce the verdict on a world whose workers have ended."""
    settings, topics = live.settings, live.settings.topics
    live.await_empty_group()  # 1
    with admin(live.kafka) as asked:
        committed = asked.group_offsets(settings.group_id, topics.input)  # 2
    where = Where(settings, live.client, live.reader, {p: at.offset for p, at in committed.items()}, "whole")
    history = [live.history_file] if live.history_file.exists() else []
    evidence = gather(where, history, reading_of(settings), time.time())  # 3, 4
    verdict = verify(*evidence)  # 5
    states = live.states()
    lost = doubled = 0
    for part in evidence[3]:
        state = states[part.number]
        given = sum(part.start <= record.offset < part.committed for record in part.input)
        counted = state.counters.get("lines", 0)
        gaps, repeats = revisions(live.records(topics.output, part.number))
        silent, twice = dead_letters(live.records(topics.dead_letters, part.number), state)
        lost += max(given - counted, 0) + gaps + silent
        doubled += max(counted - given, 0) + repeats + twice
    unseen = see_markers(live)  # 6
    found = Outcome(
        lost=lost + unseen,
        doubled=doubled,
        wrong=verdict.state_differences + verdict.output_differences + verdict.revision_errors,
        customers=verdict.customers,
        events=verdict.events,
        records=verdict.records,
        replayed=verdict.replayed,
        differences=verdict.differences,
    )
    return found if found.ok else replace(found, traces=(*told(live), *published(live, found)))


def told(live: Live) -> Iterator[str]:
    """Yield what the workers' logs say of takeovers and troubles, a file at a time."""
    for log in sorted(live.directory.glob("*.log")):
        for line in log.read_text("utf-8", "replace").splitlines():
            if '"partition taken over"' in line or '"trouble"' in line:
                yield f"{log.name}: {line}"


def published(live: Live, outcome: Outcome) -> Iterator[str]:
    """Yield the committed records of the customers that a difference names, with the commits that they come from."""
    for partition, customer in sorted({(each.partition, each.customer) for each in outcome.differences}):
        for record in live.records(live.settings.segments_topic, partition):
            if record.key == customer.encode():
                headers = {name: value.decode() for name, value in record.headers}
                yield f"{partition}@{record.offset} {headers} {(record.value or b'a tombstone').decode()}"


def revisions(output: Sequence[InputRecord]) -> tuple[int, int]:
    """Return (missing, repeated) revisions of all customers in a partition's output. A tombstone begins anew."""
    gaps = repeats = 0
    last: dict[bytes | None, int] = {}
    for record in output:
        if record.value is None:
            last.pop(record.key, None)
            continue
        revision = msgspec.json.decode(record.value)["revision"]
        before = last.get(record.key)
        if before is not None:
            gaps += max(revision - before - 1, 0)
            repeats += revision <= before
        last[record.key] = revision
    return gaps, repeats


def dead_letters(letters: Sequence[InputRecord], state: PartitionState) -> tuple[int, int]:
    """Return (refusals without a letter, letters that come twice though nobody went back behind them)."""
    found: dict[int, list[int]] = {}
    for letter in letters:
        headers = dict(letter.headers)
        if "reason" not in headers:  # the receipt of one that was redriven
            continue
        found.setdefault(int(headers["offset"]), []).append(int(headers["epoch"]))
    refused = sum(n for name, n in state.counters.items() if name.startswith("refused."))
    twice = sum(
        not _went_back(state.rewinds, offset, older, newer)
        for offset, epochs in found.items()
        for older, newer in pairwise(epochs)
    )
    return max(refused - len(found), 0), twice


def _went_back(rewinds: Sequence[Rewind], offset: int, older: int, newer: int) -> bool:
    """Say whether a recovery between two epochs went back to before an input offset (PROTOCOL B4)."""
    return any(older < rewind.epoch <= newer and rewind.applied <= offset for rewind in rewinds)


def see_markers(live: Live) -> int:
    """Write one marker to each output partition; return how many a read_committed reader does not get."""
    topic = live.settings.segments_topic
    producer = KafkaProducer(bootstrap_servers=live.settings.kafka_bootstrap, acks="all")
    try:
        sent = [producer.send(topic, value=b"{}", key=MARKER, partition=p) for p in range(live.partitions)]
        ends = [future.get(timeout=30).offset for future in sent]
    finally:
        producer.close(timeout=5)
    bounds = {p: live.reader.bounds(topic, p)[1] for p in range(live.partitions)}
    seen = {
        p
        for p, end in enumerate(ends)
        if bounds[p] > end and any(record.key == MARKER for record in live.reader.read(topic, p, end, end + 1))
    }
    return live.partitions - len(seen)
