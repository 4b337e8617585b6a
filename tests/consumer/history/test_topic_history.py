"""The topic read as a history, beside the judge's own reading of the same records; and its rules, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consumer.history.bootstrap import Folded
from consumer.history.topic_history import TopicHistory
from consumer.partition import Rules
from consumer.step import Mark
from consumer.transport.kafka_partitioner import partition_of
from features.decoding import decode
from features.transaction import DAY_SECONDS
from reports.verify_input import Facts, History, InputRecord, Partition, Standing
from reports.verify_topic import topic_rows
from tests.harness.pure_run import FAR, FIRST, line
from tests.harness.shop import RULES, stream

PARTITIONS = 3
LAST = FIRST + 30


def homes(count: int = PARTITIONS) -> Any:
    return lambda customer: partition_of(customer.encode(), count)


def records(messages: Iterable[Mapping[str, Any]], count: int = PARTITIONS) -> dict[int, list[InputRecord]]:
    """Return messages as the records of partitions, each in the one of its customer."""
    logs: dict[int, list[InputRecord]] = {p: [] for p in range(PARTITIONS)}
    for n, message in enumerate(messages):
        key = str(message.get("customer_id") or "").encode()
        log = logs[partition_of(key, count) if key else 0]
        log.append(InputRecord(len(log), 1_000 * n, key or None, json.dumps(message).encode()))
    return logs


def folded(
    logs: Mapping[int, list[InputRecord]],
    rules: Rules = RULES,
    marks: Mapping[str, Mark] | None = None,
    dead: Mapping[int, set[int]] | None = None,
    counts: tuple[int, ...] = (PARTITIONS,),
) -> tuple[Folded, int, TopicHistory]:
    topic = TopicHistory([homes(count) for count in counts])
    for partition, log in logs.items():
        if log:
            columns = [[getattr(r, name) for r in log] for name in ("offset", "key", "value", "timestamp")]
            batch = decode(*columns, zone=ZoneInfo("UTC"), currency="GBP", today=FAR)
            topic.add(partition, batch, {r.offset: r.timestamp for r in log}, (dead or {}).get(partition, set()))
    found, day = topic.fold(None, (marks or {}).get, rules, LAST)
    return found, day, topic


def ledgers(found: Folded) -> dict[str, dict[tuple[int, int], tuple[int, int]]]:
    """Return each customer's (order, day) -> (net, units)."""
    made: dict[str, dict[tuple[int, int], tuple[int, int]]] = {customer: {} for customer in found.customers}
    led = found.ledger
    for owner, order, day, net, units in zip(led.owner, led.order, led.day, led.net, led.units, strict=True):
        made[found.customers[owner]][int(order), int(day)] = (int(net), int(units))
    return made


def judged(
    logs: Mapping[int, list[InputRecord]], first_day: int, rules: Rules = RULES, former: tuple[int, ...] = ()
) -> dict[str, dict[tuple[int, int], tuple[int, int]]]:
    """Return the same by the judge's reading."""
    facts = Facts(
        partitions=PARTITIONS,
        timezone="UTC",
        currency="GBP",
        clock=rules.clock,
        first_day=first_day,
        today=FAR,
        horizon_days=rules.horizon_days,
        dedupe_days=rules.dedupe_days,
        ahead_days=rules.ahead_days,
        ahead_events=rules.ahead_events,
        ahead_customers=rules.ahead_customers,
        from_topic=True,
        former=former,
    )
    nothing = Standing(0, 0, 0, 0, None, {})
    parts = [Partition(p, 0, 0, 0, [], [], [], {}, nothing, before=log) for p, log in logs.items()]
    made: dict[str, dict[tuple[int, int], tuple[int, int]]] = {}
    for customer, rows in topic_rows(facts, History(), parts, lambda _: float("-inf")).rows.items():
        for row in rows:
            at = made.setdefault(customer, {})
            net, units = at.get((row.order, row.time // DAY_SECONDS), (0, 0))
            at[row.order, row.time // DAY_SECONDS] = (net + row.amount, units + row.units)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_a_shops_topic_folds_to_what_the_judge_reads(seed: int) -> None:
    logs = records(stream(seed))
    found, day, topic = folded(logs)
    assert ledgers(found) == judged(logs, day)
    assert len(found.customers) > 15
    counted = topic.counts
    outcomes = counted["lines"] + counted["repeated"] + counted["guests"] + counted["erasures"] + counted["ticks"]
    assert outcomes + sum(n for name, n in counted.items() if name.startswith("refused")) == counted["records"]


def test_lines_of_before_the_partitions_were_added_count_where_they_stand() -> None:
    logs = records(stream(3), count=2)
    logs = {p: logs.get(p, []) for p in range(PARTITIONS)}
    found, day, _ = folded(logs, counts=(PARTITIONS, 2))
    assert ledgers(found) == judged(logs, day, former=(2,))
    alone, _, _ = folded(logs)
    assert len(found.ledger) > len(alone.ledger)


class TestRules:
    def test_an_id_counts_once_however_far_apart_it_comes(self) -> None:
        logs = records([line("a", FIRST, event_id="x"), line("b", FIRST + 25), line("a", FIRST, event_id="x")])
        found, _, topic = folded(logs)
        assert topic.counts["repeated"] == 1
        assert len(found.ledger) == 2

    def test_lines_before_an_erasure_are_gone_and_those_after_it_count(self) -> None:
        erase = {"type": "erase", "customer_id": "a"}
        logs = records([line("a", FIRST), line("b", FIRST), erase, line("a", FIRST + 2)])
        found, _, topic = folded(logs)
        assert {c: [day for _, day in found_days] for c, found_days in ledgers(found).items()} == {
            "a": [FIRST + 2],
            "b": [FIRST],
        }
        assert topic.counts["refused.erased"] == 1

    def test_a_mark_refuses_what_is_dated_before_it(self) -> None:
        logs = records([line("a", FIRST), line("a", FIRST + 3), line("b", FIRST)])
        found, _, _ = folded(logs, marks={"a": Mark((FIRST + 1) * DAY_SECONDS, 4)})
        assert [day for _, day in ledgers(found)["a"]] == [FIRST + 3]

    def test_what_has_a_dead_letter_stays_refused(self) -> None:
        logs = records([line("a", FIRST), line("a", FIRST + 1)])
        home = partition_of(b"a", PARTITIONS)
        found, _, topic = folded(logs, dead={home: {1}})
        assert [day for _, day in ledgers(found)["a"]] == [FIRST]
        assert topic.counts["refused before"] == 1

    def test_one_event_far_ahead_does_not_turn_the_day(self) -> None:
        logs = records([line("a", FIRST), line("b", FIRST + 200)])
        _, day, topic = folded(logs)
        assert day == FIRST
        assert topic.counts["refused.ahead"] == 1

    def test_a_stream_that_resumes_after_a_silence_does(self) -> None:
        back = [line(f"c{n % 3}", FIRST + 200, invoice_no=f"{n}") for n in range(10)]
        _, day, topic = folded(records([line("a", FIRST), *back]))
        assert day == FIRST + 200
        assert topic.counts["refused.ahead"] == 0

    def test_a_tick_turns_the_day_further_than_the_lines(self) -> None:
        logs = records([line("a", FIRST), {"type": "tick", "at": "2100-01-01T00:00:00"}])
        logs[0].append(InputRecord(len(logs[0]), 0, None, b'{"type":"tick","at":"2024-06-01T00:00:00"}'))
        _, day, _ = folded(logs)
        assert day == max(FIRST, 19_875)

    def test_with_the_wall_clock_the_day_is_today(self) -> None:
        rules = Rules(horizon_days=40, dedupe_days=5, clock="wall")
        _, day, topic = folded(records([line("a", FIRST), line("b", FIRST + 200)]), rules)
        assert day == FIRST + 200
        assert topic.counts["refused.ahead"] == 0

    def test_what_is_older_than_the_horizon_when_it_comes_is_too_late(self) -> None:
        home = partition_of(b"a", PARTITIONS)
        logs: dict[int, list[InputRecord]] = {home: records([line("a", FIRST + n) for n in (-10, 10, -31, -30)])[home]}
        found, _, topic = folded(logs)
        assert topic.counts["refused.too_late"] == 1
        assert sorted(day for _, day in ledgers(found)["a"]) == [FIRST - 30, FIRST - 10, FIRST + 10]

    def test_the_ids_of_the_last_days_are_remembered(self) -> None:
        logs = records([line("a", FIRST, event_id="old"), line("a", FIRST + 20, event_id="new")])
        old, new = (log for log in logs[partition_of(b"a", PARTITIONS)])
        logs[partition_of(b"a", PARTITIONS)] = [old, new._replace(timestamp=20 * DAY_SECONDS * 1000)]
        found, day, _ = folded(logs)
        assert day == FIRST + 20
        assert found.seen.day.tolist() == [day]

    def test_an_empty_topic_has_no_line_that_counts(self) -> None:
        with pytest.raises(ValueError, match="no line that counts"):
            folded({0: []})
