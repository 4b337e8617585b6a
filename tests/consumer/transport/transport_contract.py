"""What every implementation of the ports keeps: one suite, run over the fake, the embedded and the real broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import pytest

from consumer.deadletters import Writer
from consumer.messages import Emission, Outbox, decode_outbox, encode_outbox, event_headers
from consumer.ports import (
    Committed,
    InputRecord,
    LogCutShort,
    Membership,
    OutputRecord,
    RetentionGap,
    Sink,
    Source,
    TopicReader,
    TransportError,
)
from consumer.publication import Topics, output_records
from consumer.traceparent import TRACEPARENT, traced
from tests.harness.world import TRACE

GROUP = "group"
ALL = frozenset(range(4))
PATIENCE_S = 20.0


class Transport(Protocol):
    """A broker under test, with topics of four partitions. It closes what it handed out."""

    def topic(self) -> str:
        """Make a topic."""

    def recreate(self, topic: str) -> None:
        """Delete a topic and make it again."""

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention take what is older."""

    def write(self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Append (key, value) outside any transaction."""

    def source(self, topic: str, group: str, *, instance: str | None = None, max_poll_records: int = 5_000) -> Source:
        """Join a group."""

    def sink(self, transactional_id: str, group: str, topic: str, *, before_commit: Callable[[], None]) -> Sink:
        """Make a sink, not yet opened."""

    def reader(self) -> TopicReader:
        """Make a reader."""

    def poll_until(self, sources: Sequence[Source], settled: Callable[[], bool]) -> None:
        """Poll all sources at the same time, for a real rebalance waits for every member, until `settled`."""


class Interrupted(Exception):
    """Raised inside a transaction, where a process would die."""


@contextmanager
def interrupted() -> Iterator[Callable[[], None]]:
    """Give a hook that interrupts each transaction before its commit."""

    def hook() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        yield hook


def out(topic: str, value: bytes | None, *, partition: int = 0, key: bytes | None = b"k") -> OutputRecord:
    return OutputRecord(topic, partition, key, value, (("epoch", b"1"), ("sequence", b"2")))


def values(records: Iterable[InputRecord]) -> list[bytes | None]:
    return [record.value for record in records]


def everything(reader: TopicReader, topic: str, partition: int = 0) -> list[bytes | None]:
    """What a read_committed reader gets of a partition."""
    first, end = reader.bounds(topic, partition)
    return values(reader.read(topic, partition, first, end))


def join(transport: Transport, *sources: Source) -> list[frozenset[int]]:
    """Poll until the sources share all partitions equally, and return who has what."""

    def owned() -> list[frozenset[int]]:
        return [source.membership().partitions for source in sources]

    def settled() -> bool:
        return {len(each) for each in owned()} == {len(ALL) // len(sources)} and frozenset().union(*owned()) == ALL

    transport.poll_until(sources, settled)
    assert settled(), f"the group did not settle: {owned()}"
    return owned()


def flow(source: Source, *, offset: int = 0) -> None:
    """Start every assigned partition at `offset`."""
    for partition in source.rebalanced().assigned:
        source.seek(partition, offset)


def collect(source: Source, count: int) -> dict[int, list[InputRecord]]:
    """Poll until `count` records are there, or patience is at an end."""
    found: dict[int, list[InputRecord]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(len, found.values())) < count and time.monotonic() < deadline:
        for partition, records in source.poll(0.2).items():
            found.setdefault(partition, []).extend(records)
    return found


def joined(transport: Transport, topic: str, *, max_poll_records: int = 5_000) -> Source:
    source = transport.source(topic, GROUP + topic, max_poll_records=max_poll_records)
    join(transport, source)
    return source


def opened(
    transport: Transport, topic: str, transactional_id: str = "tx", hook: Callable[[], None] = lambda: None
) -> Sink:
    sink = transport.sink(transactional_id + topic, GROUP + topic, topic, before_commit=hook)
    sink.open()
    return sink


class SourceContract:
    def test_assigned_partition_gives_nothing_until_it_is_sought(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")])
        source = joined(transport, topic)
        assert source.rebalanced().assigned == ALL
        assert all(not source.poll(0.05) for _ in range(3))

    def test_resume_does_not_start_a_partition_that_waits_for_its_seek(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")])
        source = joined(transport, topic)
        source.rebalanced()
        source.resume(ALL)
        assert all(not source.poll(0.05) for _ in range(3))

    def test_seek_before_the_assignment_was_told_has_no_effect(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")])
        source = joined(transport, topic)
        source.seek(0, 0)
        assert all(not source.poll(0.05) for _ in range(3))
        assert source.rebalanced().assigned == ALL

    def test_records_come_in_order_from_the_sought_offset(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k%d" % i, b"v%d" % i) for i in range(5)])
        transport.write(topic, 3, [(None, b"w"), (b"k", None)])
        source = joined(transport, topic)
        flow(source)
        source.seek(0, 2)
        found = collect(source, 5)
        assert [(r.offset, r.key, r.value) for r in found[0]] == [(i, b"k%d" % i, b"v%d" % i) for i in (2, 3, 4)]
        assert [(r.offset, r.key, r.value) for r in found[3]] == [(0, None, b"w"), (1, b"k", None)]
        assert all(r.timestamp > 0 and r.headers == () for r in found[0])

    def test_pause_keeps_back_what_was_fetched_and_resume_loses_none_of_it(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10)])
        source = joined(transport, topic, max_poll_records=3)
        flow(source)
        first = collect(source, 3)[0]
        source.pause(frozenset({0}))
        assert all(not source.poll(0.05) for _ in range(3))
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10, 14)])
        source.resume(frozenset({0}))
        assert values(first) + values(collect(source, 11)[0]) == [b"%d" % i for i in range(14)]

    def test_pause_of_one_partition_does_not_hold_up_another(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"held")])
        transport.write(topic, 1, [(b"k", b"free")])
        source = joined(transport, topic)
        flow(source)
        source.pause(frozenset({0}))
        assert {p: values(r) for p, r in collect(source, 1).items()} == {1: [b"free"]}

    @pytest.mark.parametrize("paused", [False, True])
    @pytest.mark.parametrize("offset", [0, 3, 7])
    def test_seek_discards_what_was_fetched_before(self, transport: Transport, offset: int, paused: bool) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10)])
        source = joined(transport, topic, max_poll_records=3)
        flow(source)
        collect(source, 3)
        if paused:
            source.pause(frozenset({0}))
            source.poll(0.05)
        source.seek(0, offset)
        assert values(collect(source, 10 - offset)[0]) == [b"%d" % i for i in range(offset, 10)]

    def test_two_members_share_and_only_what_moves_is_revoked(self, transport: Transport) -> None:
        topic = transport.topic()
        first = joined(transport, topic)
        first.rebalanced()
        second = transport.source(topic, GROUP + topic)
        kept, moved = join(transport, first, second)
        assert first.rebalanced() == (frozenset(), moved)
        assert second.rebalanced() == (moved, frozenset())
        assert kept | moved == ALL

    def test_what_a_leaving_member_had_is_assigned_to_the_others(self, transport: Transport) -> None:
        topic = transport.topic()
        first, second = transport.source(topic, GROUP + topic), transport.source(topic, GROUP + topic)
        kept, left = join(transport, first, second)
        first.rebalanced()
        second.close()
        join(transport, first)
        assert first.rebalanced().assigned == left
        assert first.membership().partitions == kept | left

    def test_what_stays_flows_on_through_a_rebalance(self, transport: Transport) -> None:
        topic = transport.topic()
        first = joined(transport, topic)
        flow(first)
        second = transport.source(topic, GROUP + topic)
        kept, moved = join(transport, first, second)
        for partition in ALL:
            transport.write(topic, partition, [(b"k", b"%d" % partition)])
        assert collect(first, 2).keys() == kept
        flow(second)
        assert collect(second, 2).keys() == moved

    def test_position_is_where_reading_goes_on(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic)
        flow(source)
        transport.write(topic, 0, [(b"k", b"0"), (b"k", b"1")])
        collect(source, 2)
        assert source.positions(ALL) == {0: 2, 1: 0, 2: 0, 3: 0}
        assert source.ends(ALL) == source.positions(ALL)
        source.seek(0, 1)
        assert source.positions(frozenset({0, 9})) == {0: 1}

    def test_lag_is_what_lies_before_the_end_that_the_last_fetch_told(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic, max_poll_records=3)
        flow(source)
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10)])
        found = collect(source, 3)
        while len(found[0]) < 10:
            assert source.lags(frozenset({0, 9})) == {0: 10 - len(found[0])}
            found[0] += collect(source, 1)[0]
        assert source.lags(frozenset({0})) == {0: 0}

    def test_the_headers_that_a_record_was_written_with_are_read_as_they_are(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic)
        flow(source)
        headers = ((TRACEPARENT, TRACE), ("twice", b"1"), ("twice", b"2"), ("empty", b""))
        sink = opened(transport, topic)
        sink.publish([OutputRecord(topic, 0, b"k", b"v", headers)], {0: Committed(0, "1:1")}, source.membership())
        assert collect(source, 1)[0][0].headers == headers
        reader = transport.reader()
        assert [record.headers for record in reader.read(topic, 0, 0, 1)] == [headers]

    def test_a_trace_goes_through_to_what_the_record_caused(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source, sink = joined(transport, topic), opened(transport, topic)
        flow(source)
        cause = OutputRecord(topic, 0, b"k", b"v", ((TRACEPARENT, TRACE), ("other", b"x")))
        sink.publish([cause], {0: Committed(0, "1:1")}, source.membership())
        (record,) = collect(source, 1)[0]
        emission = Emission("segments", b"k", b"{}", event_headers(record.offset))
        outbox = decode_outbox(encode_outbox(traced(Outbox((emission,)), {record.offset: record})))
        topics = Topics(topic, output, "letters", "erasures")
        records = output_records(topics, 0, "1:2", outbox, {})
        sink.publish(records, {0: Committed(record.offset + 1, "1:2")}, source.membership())
        (read,) = transport.reader().read(output, 0, 0, 1)
        assert read.headers == (
            ("epoch", b"1"), ("sequence", b"2"), ("offset", b"%d" % record.offset), (TRACEPARENT, TRACE),
        )  # fmt: skip

    def test_who_joins_anew_has_lost_everything_and_gets_it_again(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic)
        flow(source)
        before = source.membership()
        source.rejoin()
        assert source.rebalanced() == (frozenset(), ALL)
        assert source.positions(ALL) == {}
        join(transport, source)
        assert source.rebalanced() == (ALL, frozenset())
        assert source.membership().member_id != before.member_id
        transport.write(topic, 1, [(b"k", b"v")])
        for partition in ALL:
            source.seek(partition, 0)
        assert values(collect(source, 1)[1]) == [b"v"]

    def test_calls_about_a_partition_that_is_gone_are_harmless(self, transport: Transport) -> None:
        topic = transport.topic()
        first = joined(transport, topic)
        second = transport.source(topic, GROUP + topic)
        _, moved = join(transport, first, second)
        first.pause(moved)
        first.resume(moved)
        for partition in moved:
            first.seek(partition, 0)
        assert not first.poll(0.05)

    def test_membership_names_the_generation_the_member_and_its_partitions(self, transport: Transport) -> None:
        topic = transport.topic()
        source = transport.source(topic, GROUP + topic)
        assert source.membership() == Membership(-1, "", None, frozenset())
        join(transport, source)
        membership = source.membership()
        assert (membership.generation > 0, bool(membership.member_id), membership.instance) == (True, True, None)
        assert membership.partitions == ALL

    def test_a_named_instance_is_a_static_member(self, transport: Transport) -> None:
        topic = transport.topic()
        source = transport.source(topic, GROUP + topic, instance="worker-1")
        join(transport, source)
        assert source.membership().instance == "worker-1"

    def test_a_question_does_not_wait_long_behind_a_fetch_that_finds_nothing(self, transport: Transport) -> None:
        source = joined(transport, transport.topic())
        flow(source)
        took = []
        for _ in range(3):
            source.poll(0.02)  # leaves a fetch with the broker, which would hold it back for half a second by default
            asked = time.monotonic()
            source.ends(ALL)
            took.append(time.monotonic() - asked)
        assert min(took) < 0.3, took

    def test_bounds_are_those_of_any_partition(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 2, [(b"k", b"v")] * 3)
        source = transport.source(topic, GROUP + topic)
        assert source.bounds(frozenset({1, 2})) == {1: (0, 0), 2: (0, 3)}

    def test_nothing_is_committed_at_first(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic)
        assert source.committed(ALL, 10.0) == dict.fromkeys(ALL)

    def test_negative_offset_is_refused(self, transport: Transport) -> None:
        source = joined(transport, transport.topic())
        source.rebalanced()
        with pytest.raises(ValueError, match="negative"):
            source.seek(0, -1)


class RetentionContract:
    def test_offset_that_retention_took_is_a_gap_with_its_size(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 1, [(b"k", b"v")] * 8)
        transport.delete_before(topic, 1, 5)
        source = joined(transport, topic)
        flow(source, offset=0)
        source.seek(1, 2)
        with pytest.raises(RetentionGap) as caught:
            collect(source, 1)
        assert (caught.value.partition, caught.value.wanted, caught.value.earliest) == (1, 2, 5)
        assert not caught.value.retriable

    def test_reader_names_the_gap_too(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")] * 8)
        transport.delete_before(topic, 0, 5)
        reader = transport.reader()
        with pytest.raises(RetentionGap) as caught:
            list(reader.read(topic, 0, 2, 8))
        assert (caught.value.wanted, caught.value.earliest) == (2, 5)
        assert [r.offset for r in reader.read(topic, 0, 5, 8)] == [5, 6, 7]

    def test_offset_beyond_the_end_is_no_gap(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")])
        source = joined(transport, topic)
        flow(source)
        source.seek(0, 100)
        with pytest.raises(LogCutShort, match=f"{topic}-0: offset 100 is wanted but the log ends at 1"):
            collect(source, 1)

    def test_recreated_topic_has_another_id(self, transport: Transport) -> None:
        topic = transport.topic()
        before = transport.reader().facts(topic)
        transport.recreate(topic)
        after = transport.reader().facts(topic)
        assert before.partitions == after.partitions == 4
        assert before.topic_id != after.topic_id


class ReaderContract:
    def test_facts_of_an_unknown_topic_need_a_human(self, transport: Transport) -> None:
        with pytest.raises(TransportError, match="does not exist") as caught:
            transport.reader().facts("no-such-topic")
        assert not caught.value.retriable

    def test_facts_stay_the_same(self, transport: Transport) -> None:
        topic = transport.topic()
        first, second = transport.reader().facts(topic), transport.reader().facts(topic)
        assert first == second
        assert (bool(first.topic_id), first.partitions) == (True, 4)

    def test_read_gives_what_lies_between(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10)])
        reader = transport.reader()
        assert values(reader.read(topic, 0, 3, 6)) == [b"3", b"4", b"5"]
        assert values(reader.read(topic, 0, 3, 3)) == []
        assert values(reader.read(topic, 1, 0, 0)) == []

    def test_read_can_be_left_and_begun_again(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"%d" % i) for i in range(10)])
        reader = transport.reader()
        assert values(itertools.islice(reader.read(topic, 0, 0, 10), 2)) == [b"0", b"1"]
        assert values(reader.read(topic, 0, 0, 3)) == [b"0", b"1", b"2"]

    def test_read_past_the_end_fails_after_what_is_there(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")])
        reading = transport.reader().read(topic, 0, 0, 5)
        assert next(reading).value == b"v"
        with pytest.raises(TransportError) as caught:
            next(reading)
        assert caught.value.retriable

    def test_high_watermark_is_the_end_where_nothing_is_in_doubt(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")] * 3)
        reader = transport.reader()
        assert [reader.high_watermark(topic, partition) for partition in (0, 1)] == [3, 0]
        assert reader.bounds(topic, 0) == (0, 3)

    def test_high_watermark_is_beyond_the_end_while_a_transaction_is_in_doubt(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        transport.write(output, 0, [(b"k", b"before")])
        with interrupted() as hook:
            dying = opened(transport, topic, hook=hook)
            dying.publish([out(output, b"v"), out(output, b"w")], {0: Committed(1, "1:1")}, source.membership())
        reader = transport.reader()
        assert (reader.bounds(output, 0)[1], reader.high_watermark(output, 0)) == (1, 3)
        opened(transport, topic)  # aborts what was left open
        deadline = time.monotonic() + PATIENCE_S
        while reader.bounds(output, 0)[1] < reader.high_watermark(output, 0) and time.monotonic() < deadline:
            pass
        assert reader.bounds(output, 0)[1] == reader.high_watermark(output, 0) > 3, "the marker takes an offset too"
        assert everything(reader, output) == [b"before"]


class TimeContract:
    def test_offset_at_is_the_first_one_not_older(self, transport: Transport) -> None:
        topic = transport.topic()
        transport.write(topic, 0, [(b"k", b"v")] * 3)
        reader = transport.reader()
        newest = next(reader.read(topic, 0, 2, 3)).timestamp
        assert reader.offset_at(topic, 0, 0) == 0
        assert reader.offset_at(topic, 0, newest) in (0, 1, 2)
        assert reader.offset_at(topic, 0, newest + 1) is None
        assert reader.offset_at(topic, 1, 0) is None


class SinkContract:
    def test_records_are_written_as_given(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        given = [out(output, b"a"), out(output, b"b", partition=3), out(output, None), out(output, b"c", key=None)]
        opened(transport, topic).publish(given, {0: Committed(1, "1:1")}, source.membership())
        reader = transport.reader()
        found = [r for p in (0, 3) for r in reader.read(output, p, *reader.bounds(output, p))]
        assert [(r.key, r.value) for r in found] == [(b"k", b"a"), (b"k", None), (None, b"c"), (b"k", b"b")]
        assert {r.headers for r in found} == {(("epoch", b"1"), ("sequence", b"2"))}

    def test_record_null_in_key_and_value_is_written_and_marked(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        record = out(output, None, key=None)
        opened(transport, topic).publish([record], {0: Committed(1, "1:1")}, source.membership())
        (found,) = transport.reader().read(output, 0, 0, 1)
        assert (found.key, found.value) == (None, b"")
        assert found.headers == (*record.headers, ("value", b"null"))

    def test_many_records_keep_their_order(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        given = [out(output, b"%d" % i + b"x" * 500) for i in range(3_000)]
        opened(transport, topic).publish(given, {0: Committed(1, "1:1")}, source.membership())
        assert everything(transport.reader(), output) == [record.value for record in given]

    def test_unopened_producer_refuses(self, transport: Transport) -> None:
        topic = transport.topic()
        source = joined(transport, topic)
        sink = transport.sink("tx" + topic, GROUP + topic, topic, before_commit=lambda: None)
        assert not sink.opened
        with pytest.raises(TransportError, match="opened"):
            sink.publish([], {0: Committed(1, "1:1")}, source.membership())

    @pytest.mark.parametrize(
        "membership",
        [
            Membership(-1, "", None, ALL),
            Membership(-1, "member", None, ALL),
            Membership(3, "", None, ALL),
            Membership(3, "member", None, frozenset({1, 2, 3})),
        ],
    )
    def test_publish_in_nobodys_name_is_refused_as_fenced(self, transport: Transport, membership: Membership) -> None:
        topic, output = transport.topic(), transport.topic()
        sink = opened(transport, topic)
        with pytest.raises(TransportError) as caught:
            sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, membership)
        assert (caught.value.fenced, caught.value.retriable) == (True, True)
        assert transport.reader().bounds(output, 0) == (0, 0)

    def test_transaction_without_offsets_is_a_mistake(self, transport: Transport) -> None:
        topic = transport.topic()
        with pytest.raises(ValueError, match="offsets"):
            opened(transport, topic).publish([], {}, Membership(1, "member", None, ALL))

    def test_broken_producer_refuses_until_it_is_opened(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        sink = opened(transport, topic)
        with pytest.raises(TransportError) as caught:
            sink.publish([out("none-" + topic, b"v")], {0: Committed(1, "1:1")}, source.membership())
        assert not caught.value.retriable
        with pytest.raises(TransportError, match="opened"):
            sink.publish([], {0: Committed(1, "1:1")}, source.membership())
        sink.open()
        sink.publish([out(output, b"v")], {0: Committed(2, "1:2")}, source.membership())
        assert everything(transport.reader(), output) == [b"v"]

    def test_sink_says_whether_it_may_publish(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        sink = transport.sink("tx" + topic, GROUP + topic, topic, before_commit=lambda: None)
        seen = [sink.opened]
        sink.open()
        seen.append(sink.opened)
        sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, source.membership())
        seen.append(sink.opened)
        with pytest.raises(TransportError):
            sink.publish([out("none-" + topic, b"v")], {0: Committed(2, "1:2")}, source.membership())
        seen.append(sink.opened)
        assert seen == [False, True, True, False]

    def test_second_producer_of_an_id_fences_the_first(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        first, second = opened(transport, topic), opened(transport, topic)
        with pytest.raises(TransportError) as caught:
            first.publish([out(output, b"old")], {0: Committed(1, "1:1")}, source.membership())
        assert caught.value.fenced
        second.open()  # a fenced zombie may disturb its successor (kafka-python), but never write
        second.publish([out(output, b"new")], {0: Committed(2, "1:2")}, source.membership())
        assert everything(transport.reader(), output) == [b"new"]

    def test_what_is_written_without_offsets_is_fenced_by_the_id_alone(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        first = cast("Writer", opened(transport, topic))
        first.write([out(output, b"1"), out(output, b"2")])
        second = cast("Writer", opened(transport, topic))
        with pytest.raises(TransportError) as caught:
            first.write([out(output, b"3")])
        assert caught.value.fenced
        second.open()
        second.write([out(output, b"4")])
        assert everything(transport.reader(), output) == [b"1", b"2", b"4"]


class CommitContract:
    def test_offsets_are_read_back_with_their_metadata(self, transport: Transport) -> None:
        topic = transport.topic()
        source, sink = joined(transport, topic), opened(transport, topic)
        sink.publish([], {0: Committed(10, "3:7"), 2: Committed(0, "3:9")}, source.membership())
        assert source.committed(ALL, 10.0) == {0: (10, "3:7"), 1: None, 2: (0, "3:9"), 3: None}

    def test_offset_may_stand_still_or_step_back(self, transport: Transport) -> None:
        topic = transport.topic()
        source, sink = joined(transport, topic), opened(transport, topic)
        for at in (Committed(10, "3:7"), Committed(10, "3:8"), Committed(4, "4:9")):
            sink.publish([], {0: at}, source.membership())
            assert source.committed(frozenset({0}), 10.0) == {0: at}

    def test_records_and_offsets_of_an_interrupted_transaction_do_not_exist(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        sink = opened(transport, topic)
        sink.publish([out(output, b"before")], {0: Committed(1, "1:1")}, source.membership())
        with interrupted() as hook:
            opened(transport, topic, hook=hook).publish(
                [out(output, b"lost")], {0: Committed(2, "1:2"), 1: Committed(2, "1:2")}, source.membership()
            )
        sink.open()
        assert source.committed(frozenset({0, 1}), 10.0) == {0: (1, "1:1"), 1: None}
        # An offset of a partition that we no longer name must not slip in with the next transaction (T2).
        sink.publish([out(output, b"after")], {0: Committed(3, "1:3")}, source.membership())
        assert source.committed(frozenset({0, 1}), 10.0) == {0: (3, "1:3"), 1: None}
        assert everything(transport.reader(), output) == [b"before", b"after"]

    def test_offsets_in_doubt_are_not_reported(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        with interrupted() as hook:
            opened(transport, topic, hook=hook).publish(
                [out(output, b"v")], {0: Committed(2, "1:2")}, source.membership()
            )
        with pytest.raises(TransportError) as caught:
            source.committed(frozenset({0}), 1.0)
        assert caught.value.retriable
        assert source.committed(frozenset({1}), 10.0) == {1: None}

    def test_open_transaction_hides_what_follows_it(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source = joined(transport, topic)
        other = opened(transport, topic, "other")
        other.publish([out(output, b"1")], {0: Committed(1, "1:1")}, source.membership())
        with interrupted() as hook:
            opened(transport, topic, hook=hook).publish(
                [out(output, b"lost")], {1: Committed(2, "1:2")}, source.membership()
            )
        other.publish([out(output, b"2")], {0: Committed(2, "1:2")}, source.membership())
        reader = transport.reader()
        assert everything(reader, output) == [b"1"]
        opened(transport, topic)
        assert everything(reader, output) == [b"1", b"2"]

    def test_reading_ends_where_only_markers_are_left(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        source, sink = joined(transport, topic), opened(transport, topic)
        for i in range(3):
            sink.publish([out(output, b"%d" % i)], {0: Committed(i, f"1:{i}")}, source.membership())
        reader = transport.reader()
        assert reader.bounds(output, 0) == (0, 6)
        assert [(r.offset, r.value) for r in reader.read(output, 0, 0, 6)] == [(0, b"0"), (2, b"1"), (4, b"2")]
        assert values(reader.read(output, 0, 5, 6)) == []

    def test_source_passes_over_markers_and_aborted_records(self, transport: Transport) -> None:
        topic, fed = transport.topic(), transport.topic()
        source = joined(transport, topic)
        for i in range(3):
            opened(transport, topic).publish([out(fed, b"%d" % i)], {0: Committed(i, f"1:{i}")}, source.membership())
            with interrupted() as hook:
                opened(transport, topic, hook=hook).publish(
                    [out(fed, b"lost")], {0: Committed(i, f"1:{i}")}, source.membership()
                )
        opened(transport, topic)
        reading = joined(transport, fed)
        flow(reading)
        assert values(collect(reading, 3)[0]) == [b"0", b"1", b"2"]
        # Nor do trailing markers, or a transaction that is still open, look like input that does not come.
        end = reading.ends(frozenset({0}))
        transport.poll_until([reading], lambda: reading.positions(frozenset({0})) == end)
        with interrupted() as hook:
            opened(transport, topic, "open", hook).publish(
                [out(fed, b"lost")], {0: Committed(9, "1:9")}, source.membership()
            )
        reading.poll(0.2)
        assert reading.positions(frozenset({0})) == reading.ends(frozenset({0})) == end

    def test_member_that_left_cannot_commit(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        zombie = joined(transport, topic)
        sink, membership = opened(transport, topic), zombie.membership()
        zombie.close()
        heir = joined(transport, topic)
        with pytest.raises(TransportError) as caught:
            sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, membership)
        assert (caught.value.fenced, caught.value.retriable) == (True, True)
        sink.open()
        assert heir.committed(frozenset({0}), 10.0) == {0: None}
        assert everything(transport.reader(), output) == []

    def test_generation_of_yesterday_cannot_commit(self, transport: Transport) -> None:
        topic, output = transport.topic(), transport.topic()
        first = joined(transport, topic)
        stale = first.membership()
        join(transport, first, transport.source(topic, GROUP + topic))
        sink = opened(transport, topic)
        with pytest.raises(TransportError) as caught:
            sink.publish([out(output, b"v")], {0: Committed(1, "1:1")}, stale)
        assert (caught.value.fenced, caught.value.retriable) == (True, True)


class TransportContract(SourceContract, RetentionContract, ReaderContract, TimeContract, SinkContract, CommitContract):
    """All of it."""
