"""What a commit publishes, as records of the four topics (PROTOCOL A5, A6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from consumer.cloudevents import CloudEvents
from consumer.messages import Emission, Outbox
from consumer.ports import InputRecord, OutputRecord
from consumer.traceparent import carried
from consumer.transport.kafka_partitioner import partition_of

REDRIVEN = "redriven"
"""Header of an input record that was a dead letter (consumer.deadletters); a letter of it carries it on."""


_PLACE = re.compile(rb"\d{1,10}:\d{1,19}")
"""A producer could write anything into that header, and nothing of a record's shall stand in a letter's (FAULTS S4)."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of the four topics, and what their records are given besides."""

    input: str
    output: str
    dead_letters: str
    erasures: str
    former: tuple[int, ...] = ()
    """Numbers of partitions that they had before: there a customer who is gone may still have a record."""
    cloudevents: CloudEvents | None = None
    """How the output's records become events by headers; None: they have none."""

    def headers(self, emission: Emission, stamp: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
        """Return all headers of a record; stamp: those of its commit."""
        own = (*stamp, *emission.headers)
        if self.cloudevents is None or emission.to != "segments":
            return own
        return (*own, *self.cloudevents.headers(emission.key, emission.value, own))


def output_records(
    topics: Topics, partition: int, commit_id: str, outbox: Outbox, dead_bytes: Mapping[int, InputRecord]
) -> list[OutputRecord]:
    """Return what an outbox publishes: records with the commit's headers, and dead letters (A5, A6).

    dead_bytes: the input records of the dead offsets; one that retention has taken goes as headers only.
    """
    epoch, _, sequence = commit_id.partition(":")
    stamp = (("epoch", epoch.encode()), ("sequence", sequence.encode()))
    names = {"segments": topics.output, "erasures": topics.erasures}
    found = [
        OutputRecord(names[each.to], partition, each.key, each.value, topics.headers(each, stamp))
        for each in outbox.emissions
    ]
    for each in outbox.emissions:
        if each.to == "segments" and each.value is None:
            elsewhere = {partition_of(each.key, count) for count in topics.former} - {partition}
            moved = (("moved_to", b"%d" % partition),)
            found += [OutputRecord(topics.output, old, each.key, None, moved) for old in sorted(elsewhere)]
    for refusal in outbox.dead:
        original = dead_bytes.get(refusal.offset)
        headers = [
            *stamp,
            ("reason", refusal.reason.value.encode()),
            ("detail", refusal.detail.encode()),
            ("topic", topics.input.encode()),
            ("partition", b"%d" % partition),
            ("offset", b"%d" % refusal.offset),
        ]
        if original is not None:
            headers.append(("timestamp", b"%d" % original.timestamp))
            headers += [(n, v) for n, v in original.headers if n == REDRIVEN and _PLACE.fullmatch(v)]
            headers += carried(original.headers)
        key, value = (None, None) if original is None else (original.key, original.value)
        found.append(OutputRecord(topics.dead_letters, partition, key, value, tuple(headers)))
    return found
