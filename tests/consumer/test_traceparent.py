"""A trace goes on from an input record to what it caused, whatever happens in between; nothing else goes with it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from consumer.deadletters import send, survey
from consumer.messages import Emission, Outbox, event_headers
from consumer.ports import InputRecord
from consumer.traceparent import TRACEPARENT, carried, traced
from tests.harness.memory_kafka import Crash
from tests.harness.world import FIRST_DAY, TOPICS, TRACE, World, line

OTHER = b"00-11111111111111111111111111111111-2222222222222222-00"


def written(world: World, record: dict[str, Any] | bytes, trace: bytes | None, customer: str = "a") -> int:
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    headers = () if trace is None else ((TRACEPARENT, trace),)
    return world.write(world.home(customer), customer.encode(), value, headers)


def traces(world: World, topic: str) -> list[bytes | None]:
    """The traces of a topic's committed records, in order."""
    logs = [world.kafka.log(topic, partition) for partition in range(world.partitions)]
    return [dict(r.headers).get(TRACEPARENT) for log in logs for r in log.read(0, len(log.entries))]


class TestWellFormed:
    def test_the_header_of_the_specification_is_carried_as_it_came(self) -> None:
        assert carried([("other", b"x"), (TRACEPARENT, TRACE)]) == ((TRACEPARENT, TRACE),)

    @pytest.mark.parametrize(
        "bad",
        [
            b"",
            TRACE[:-1],
            TRACE + b"0",
            TRACE + b"\n",
            TRACE + b"-extra",
            TRACE.upper(),
            b"01" + TRACE[2:],
            b"ff" + TRACE[2:],
            TRACE.replace(b"-", b"_"),
            b"00-" + b"0" * 32 + TRACE[35:],
            TRACE[:36] + b"0" * 16 + TRACE[52:],
            b"00-<script>alert(1)</script>aaaaaaa-00f067aa0ba902b7-01",
            "00-４bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".encode(),
        ],
    )
    def test_anything_else_is_left_out(self, bad: bytes) -> None:
        assert carried([(TRACEPARENT, bad)]) == ()

    def test_of_two_nobody_can_say_which_is_meant(self) -> None:
        assert carried([(TRACEPARENT, TRACE), (TRACEPARENT, OTHER)]) == ()

    def test_its_name_is_written_small(self) -> None:
        assert carried([("Traceparent", TRACE)]) == ()


class TestCausedBy:
    def test_only_what_an_input_record_caused_in_the_segments_has_its_trace(self) -> None:
        record = InputRecord(7, 0, b"a", b"{}", ((TRACEPARENT, TRACE), ("secret", b"x")))
        of_event = Emission("segments", b"a", b"{}", event_headers(7))
        of_day = Emission("segments", b"b", b"{}", (("day", b"2024-03-01"), ("model", b"1"), ("sweep", b"7")))
        mark = Emission("erasures", b"hash", b"{}", event_headers(7))
        found = traced(Outbox((of_event, of_day, mark)), {7: record})
        assert found.emissions[0].headers == (("offset", b"7"), (TRACEPARENT, TRACE))
        assert found.emissions[1:] == (of_day, mark)

    def test_of_several_events_of_a_customer_the_last_that_counted_leads_on(self) -> None:
        world = World(partitions=1)
        written(world, line("a", FIRST_DAY, invoice_no="1"), OTHER)
        written(world, line("a", FIRST_DAY, invoice_no="2"), TRACE)
        written(world, line("a", FIRST_DAY, unit_price=-1.0), OTHER)  # refused: it does not count
        world.settle()
        assert traces(world, TOPICS.output) == [TRACE]
        assert traces(world, TOPICS.dead_letters) == [OTHER]

    def test_a_turn_of_the_day_is_in_nobodys_trace(self) -> None:
        world = World(partitions=1)
        written(world, line("a", FIRST_DAY), TRACE)
        world.tick(FIRST_DAY + timedelta(days=70))
        world.settle()
        first, *later = traces(world, TOPICS.output)
        assert first == TRACE
        assert later
        assert set(later) == {None}

    def test_an_erasure_leads_to_the_tombstone_and_not_to_the_mark(self) -> None:
        world = World(partitions=1)
        written(world, line("a", FIRST_DAY), None)
        written(world, {"type": "erase", "customer_id": "a"}, TRACE)
        world.settle()
        assert traces(world, TOPICS.output) == [None, TRACE]
        assert traces(world, TOPICS.erasures) == [None]

    def test_a_malformed_header_goes_nowhere(self) -> None:
        world = World(partitions=1)
        written(world, line("a", FIRST_DAY), b"<script>")
        written(world, b"{broken", b"<script>")
        world.settle()
        assert traces(world, TOPICS.output) == traces(world, TOPICS.dead_letters) == [None]


class TestRecovery:
    @pytest.mark.parametrize("point", ["after_load", "after_commit", "mid_transaction", "after_publish"])
    def test_a_record_that_is_published_after_a_crash_has_the_headers_that_it_would_have_had(self, point: str) -> None:
        whole, broken = World(partitions=1), World(partitions=1)
        for world in (whole, broken):
            worker = world.settle()
            if world is broken:
                world.crash.point = point
            written(world, line("a", FIRST_DAY), TRACE)
            written(world, b"{broken", OTHER)
            world.settle(worker)
        assert broken.crash.fired
        assert traces(broken, TOPICS.output) == traces(whole, TOPICS.output) == [TRACE]
        assert traces(broken, TOPICS.dead_letters) == traces(whole, TOPICS.dead_letters) == [OTHER]

    def test_a_letter_whose_bytes_retention_took_has_no_trace_either(self) -> None:
        world = World(partitions=1)
        worker = world.settle()
        world.crash.point = "after_commit"
        written(world, b"{broken", TRACE)
        with pytest.raises(Crash):
            worker.run()
        world.lose(worker)
        world.kafka.delete_before(TOPICS.input, 0, 1)
        world.settle()
        assert traces(world, TOPICS.dead_letters) == [None]

    def test_a_letter_that_is_sent_once_more_takes_its_trace_along(self) -> None:
        world = World(partitions=2)
        astray = json.dumps(line("a", FIRST_DAY)).encode()
        world.write(1 - world.home("a"), b"a", astray, ((TRACEPARENT, TRACE),))
        worker = world.settle()
        assert traces(world, TOPICS.dead_letters) == [TRACE]
        reader, sink = world.kafka.reader(), world.kafka.sink("redrive", "none", TOPICS.input)
        sink.open()
        found = survey(reader, TOPICS, world.partitions)
        sent = list(send(reader, sink, TOPICS, lambda key: world.home(key.decode()), found, found.chosen(), "now"))
        assert len(sent) == 1
        for _ in range(50):
            worker.turn()
        assert traces(world, TOPICS.output) == [TRACE]
