"""What is gathered from a store, a recording and files is what happened; what moves meanwhile is noticed."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis
from pydantic import SecretStr

from consumer.commands.verify_source import Where, gather, reading_of, verified
from consumer.demo.recording import RecordedReader, Recording
from consumer.exits import Stop
from consumer.partition import encode_state
from consumer.ports import InputRecord
from consumer.settings import Settings
from features.identity import position
from features.redis_generation import GenerationLoader, read_binding
from features.redis_store import RedisStore
from models.learner import learner_named
from models.population import encode as encode_statistics
from models.redis_registry import RedisRegistry
from reports.verify import verify
from tests.harness.bindings import a_binding
from tests.harness.pure_run import FIRST, KEY, PureRun, Row
from tests.harness.shop import RULES, busy_run, past

GENERATION = "3"
NOW = 2e9
"""POSIX seconds long after the shop closed: nothing in it lies in the future."""


def settings_for(namespace: str, url: str) -> Settings:
    return Settings(
        _env_file=None,
        redis_url=SecretStr(url),
        namespace=namespace,
        clock="event",
        horizon_days=RULES.horizon_days,
        dedupe_days=RULES.dedupe_days,
        forget_after_days=RULES.forget_after_days,
        erasure_key=SecretStr(KEY.decode()),
    )


def load(run: PureRun, client: redis.Redis, settings: Settings) -> None:
    """Put what a run stored where the service would have put it."""
    loader = GenerationLoader(client, settings.namespace, GENERATION)
    keys = RedisStore(client, settings.namespace, GENERATION).keys
    for part in run.parts:
        names = list(part.states)
        loader.load(part.number, names, [position(name) for name in names], list(part.states.values()))
        loader.put_marks(part.number, part.marks)
        loader.put_state(part.number, encode_state(part.state))
        client.set(keys.of(part.number, "statistics"), encode_statistics(part.statistics))
        client.rpush(keys.of(part.number, "days"), *(msgspec.json.encode(entry) for entry in part.days))
    registry = RedisRegistry(client, settings.namespace, GENERATION)
    for version in sorted(run.models):
        assert registry.publish(run.models[version], version - 1 or None)
    loader.finish(
        a_binding(
            partitions=run.partitions,
            generation=GENERATION,
            horizon_days=RULES.horizon_days,
            cutoff=run.history.cutoff,
            has_ids=run.history.has_ids,
            day=run.first,
        )
    )


def record(run: PureRun, settings: Settings, directory: Path) -> RecordedReader:
    """Write a run's topics down as the demo does."""
    recording, topics = Recording(directory), settings.topics
    for part in run.parts:
        recording.append(topics.input, part.number, [InputRecord(*each) for each in part.log])
        output = [InputRecord(r.offset, 0, r.key, r.value, tuple(r.headers.items())) for r in part.output]
        recording.append(topics.output, part.number, output)
        dead = [
            InputRecord(i, 0, None, None, (("offset", b"%d" % offset), ("reason", reason.encode())))
            for i, (offset, reason) in enumerate(part.dead.items())
        ]
        recording.append(topics.dead_letters, part.number, dead)
    recording.close()
    return RecordedReader(directory, run.partitions)


def history_file(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "EventId"])
        for row in rows:
            moment = datetime.fromtimestamp(row.time, UTC).replace(tzinfo=None).isoformat(" ")
            price = row.amount / row.units / 10_000
            table.writerow([row.invoice, "S", row.units, moment, price, row.customer, row.event_id])
    return path


@pytest.fixture
def where(redis_url: str, namespace: str, tmp_path: Path) -> Where:
    run = busy_run(5, learner=learner_named("population"), has_ids=True)
    run.settle()
    settings = settings_for(namespace, redis_url)
    client = redis.Redis.from_url(redis_url)
    load(run, client, settings)
    history_file(tmp_path / "history.csv", past(5))
    return Where(settings, client, record(run, settings, tmp_path / "recorded"), committed=None)


def test_a_run_in_store_recording_and_file_is_verified(where: Where, tmp_path: Path) -> None:
    verdict = verified(where, [tmp_path / "history.csv"], reading_of(where.settings), now=NOW)
    assert verdict.differences == ()
    assert verdict.customers > 20
    assert all(entry.states and entry.unseen == 0 for entry in verdict.verified_from)


def test_another_history_is_no_explanation(where: Where, tmp_path: Path) -> None:
    short = history_file(tmp_path / "short.csv", past(5)[:-3])
    assert not verified(where, [short], reading_of(where.settings), now=NOW).ok


def test_committed_offsets_are_compared_where_the_broker_knows_them(where: Where, tmp_path: Path) -> None:
    behind = replace(where, committed={0: 1, 1: 1})
    verdict = verified(behind, [tmp_path / "history.csv"], reading_of(where.settings), now=NOW)
    assert {difference.kind for difference in verdict.differences} == {"committed offset"}


def test_a_topic_that_lost_first_revisions_counts_as_compacted(where: Where, tmp_path: Path) -> None:
    _, _, _, parts, _ = gather(where, [], reading_of(where.settings), now=NOW)
    assert [part.completeness for part in parts] == ["whole", "whole"]
    topic = where.settings.topics.output
    (tmp_path / "recorded" / f"{topic}-0.records").unlink()
    recording = Recording(tmp_path / "recorded")
    kept = [r for r in parts[0].output if r.offset > 20]
    recording.append(topic, 0, [InputRecord(r.offset, 0, r.key, r.value, tuple(r.headers.items())) for r in kept])
    recording.close()
    _, _, _, parts, _ = gather(where, [], reading_of(where.settings), now=NOW)
    assert [part.completeness for part in parts] == ["compacted", "whole"]


def test_a_state_that_moves_is_not_verified(where: Where) -> None:
    binding = read_binding(where.client, where.settings.namespace)
    assert binding is not None
    store = RedisStore(where.client, where.settings.namespace, GENERATION)

    class Meddling(RecordedReader):
        def bounds(self, topic: str, partition: int) -> tuple[int, int]:
            fence = store.fences([0])[0]
            store.raise_epoch(0, fence.epoch + 1)
            return super().bounds(topic, partition)

    reader = Meddling(Path("nowhere"), 2)
    with pytest.raises(Stop, match="stop it, then verify"):
        gather(replace(where, reader=reader), [], reading_of(where.settings), now=NOW)


def test_a_namespace_without_a_state_is_named(redis_url: str, namespace: str) -> None:
    settings = settings_for(namespace, redis_url)
    nothing = Where(settings, redis.Redis.from_url(redis_url), RecordedReader(Path("nowhere"), 1), None)
    with pytest.raises(Stop, match=namespace):
        gather(nothing, [], reading_of(settings), now=NOW)


def test_the_days_begin_where_the_run_began(where: Where) -> None:
    facts, _, models, parts, _ = gather(where, [], reading_of(where.settings), now=NOW)
    assert facts.first_day == FIRST - 1 == parts[0].days[0].day
    assert set(models) >= {entry.version for part in parts for entry in part.days}


def test_each_partition_is_judged_before_the_next_is_read_and_all_of_it_is_told(where: Where, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    files = [tmp_path / "history.csv"]
    verdict = verified(where, files, reading_of(where.settings), NOW, lambda *what: told.append(what))
    assert verdict == verify(*gather(where, files, reading_of(where.settings), NOW))
    stages = [stage for stage, _, _ in told]
    assert stages[:2] == ["reading the history"] * 2
    assert stages.index("verifying") < len(stages) - 1 - stages[::-1].index("reading")
    for stage in ("reading the history", "reading", "verifying"):
        done = [done for each, done, _ in told if each == stage]
        assert done == sorted(done)
        assert (stage, done[-1]) == next((each, of) for each, _, of in told if each == stage)


def test_a_state_that_moves_while_its_partitions_are_judged_is_noticed(where: Where, tmp_path: Path) -> None:
    store = RedisStore(where.client, where.settings.namespace, GENERATION)

    def meddle(stage: str, done: int, of: int) -> None:
        if stage == "verifying" and done < of:
            store.raise_epoch(1, store.fences([1])[1].epoch + 1)

    with pytest.raises(Stop, match="stop it, then verify"):
        verified(where, [tmp_path / "history.csv"], reading_of(where.settings), NOW, meddle)
