"""The sample consumers on a real broker, and all that a short real run publishes against the contracts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from consumer.ports import InputRecord
from tests.harness import java
from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, between, line, shopping
from tests.test_contracts import accepted, fits, headers_of

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / "contracts" / "examples" / "python" / "segments.py"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("segments_example", PYTHON)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value(revision: int) -> bytes:
    return json.dumps({"customer_id": "a", "revision": revision}).encode()


class TestFold:
    """A customer who was in partition 0 and goes on in partition 1, after partitions were added."""

    def revision(self, *records: tuple[int, bytes | None]) -> int | None:
        segments = example().Segments()
        for partition, each in records:
            segments.apply(partition, b"a", each)
        found = segments.present("a")
        assert segments.customers() == ([] if found is None else ["a"])
        return None if found is None else found["revision"]

    def test_the_highest_revision_is_the_present_one_in_whatever_order_partitions_are_read(self) -> None:
        for order in permutations([(0, value(2)), (1, value(2)), (1, value(3))]):
            assert self.revision(*order) == 3

    def test_a_tombstone_drops_the_records_of_its_own_partition(self) -> None:
        old, new = [(0, value(4)), (0, None)], [(1, value(4)), (1, None)]
        assert self.revision(*old, *new) is None
        assert self.revision(*new, *old) is None

    def test_a_life_that_began_anew_at_1_outlives_the_old_partitions_late_tombstone(self) -> None:
        assert self.revision((1, None), (1, value(1)), (0, value(4)), (0, None)) == 1

    def test_only_what_is_newer_than_the_present_is_news(self) -> None:
        segments = example().Segments()
        told = [segments.apply(p, b"a", each) is not None for p, each in ((1, value(2)), (0, value(1)), (1, value(2)))]
        assert told == [True, False, False]


@pytest.fixture(scope="module")
def live(kafka: Any, redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A short run whose worker dies between Redis and Kafka once, with an erasure and refused records."""
    directory = tmp_path_factory.mktemp("contracts")
    where = (kafka.bootstrap, redis_server.url, f"contracts-{os.getpid()}")
    made = Live(*where, directory, partitions=2, cloudevents="headers", horizon_days=20)
    try:
        lines = list(shopping(5, customers=25, days=10))
        made.bootstrap(between(lines, 0, 5))
        last = FIRST_DAY + timedelta(days=9)
        made.publish([*between(lines, 5, 10), line("c2", last, quantity=0), line("größer €", last, quantity=7)])
        made.publish([{"type": "erase", "customer_id": "c3"}])
        made.tick(FIRST_DAY + timedelta(days=12))
        worker = made.start("after_commit", 3)
        worker.wait(60)
        assert made.crash_file.exists(), "a fault that never landed proves nothing"
        made.start()
        made.settle()
        made.end()
        yield made
    finally:
        made.close()


def published(live: Live, topic: str) -> list[InputRecord]:
    return [record for partition in range(live.partitions) for record in live.records(topic, partition)]


class TestRun:
    def test_every_record_of_the_run_fits_its_contract(self, live: Live) -> None:
        topics = live.settings.topics
        segments, dead = published(live, topics.output), published(live, topics.dead_letters)
        values = [json.loads(record.value) for record in segments if record.value is not None]
        assert len(segments) > len(values) > 25
        assert [each for each in values if not fits("segment.schema.json", each)] == []
        assert [each for each in map(headers_of, segments) if not fits("segment.headers.schema.json", each)] == []
        assert [headers_of(each)["reason"] for each in dead] == ["quantity"]
        assert [each for each in map(headers_of, dead) if not fits("dead-letter.headers.schema.json", each)] == []
        (mark,) = published(live, topics.erasures)
        assert mark.value is not None
        assert fits("erasure.schema.json", json.loads(mark.value))
        given = [json.loads(record.value or b"") for record in published(live, topics.input)]
        assert [each["customer_id"] for each in given if not accepted(each)] == ["c2"]

    def test_each_is_one_cloudevent_whatever_died_and_verify_finds_nothing(self, live: Live) -> None:
        events = [headers_of(record) for record in published(live, live.settings.segments_topic)]
        assert len({each["ce_id"] for each in events}) == len(events)
        assert {each["ce_source"] for each in events} == {f"/segmenter/{live.settings.namespace}"}
        live.verify()

    def expected(self, live: Live) -> dict[str, Any]:
        """The last record of each key: the oracle of a topic whose partitions were never added to."""
        last = {record.key: record.value for record in published(live, live.settings.segments_topic)}
        found = {(key or b"").decode(): json.loads(each) for key, each in last.items() if each is not None}
        assert "c3" not in found
        assert "größer €" in found
        return found

    def test_the_consumer_in_python_knows_who_is_where(self, live: Live) -> None:
        command = [sys.executable, str(PYTHON), live.settings.kafka_bootstrap, live.settings.segments_topic, "--once"]
        utf8 = os.environ | {"PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(command, capture_output=True, env=utf8, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert by_customer(done.stdout.decode()) == self.expected(live)

    def test_the_consumer_in_java_built_by_maven_knows_the_same(self, live: Live) -> None:
        try:
            said = java.run(live.settings.kafka_bootstrap, live.settings.segments_topic)
        except java.JavaUnavailableError as error:
            pytest.fail(str(error), pytrace=False)
        assert by_customer(said) == self.expected(live)


def by_customer(said: str) -> dict[str, Any]:
    found = [json.loads(each) for each in said.splitlines()]
    assert len({each["customer_id"] for each in found}) == len(found)
    return {each["customer_id"]: each for each in found}
