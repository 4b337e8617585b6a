"""Whatever a producer writes: each record counts by a rule or is a dead letter of its own bytes, and the day stays.

One world takes every kind at once, between honest orders (FAULTS 18, 19, 20, 21, 23, 24, 28). What must become of each
is written here by hand, from docs/topics.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.crc import key_slot

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.history.replay import events
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_settings import KafkaSettings
from tests.harness.broker import Broker
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, day_number, line, shopping

PARTITIONS = 4
TODAY = FIRST_DAY + timedelta(days=12)
TEN_MB = 10 << 20
NFC, NFD = "caf\u00e9", "cafe\u0301"
IDS = (
    NFC,
    NFD,
    "\u05e9\u05dc\u05d5\u05dd",
    "\u202eabc",
    "👩‍👧",
    "a\u0001b",
    "tab\tbed",
    "{}",
    "{a}b",
    "}{",
    "x:y",
    "b" * 512,
)
"""Each is a customer of its own, byte for byte."""


class Case(NamedTuple):
    """A record and what must become of it: a reason, or an outcome's counter."""

    row: str
    name: str
    value: bytes | None
    becomes: str
    key: bytes | None = b"poison"
    partition: int | None = None


def order(customer: str = "poison", **more: Any) -> bytes:
    """Return an order line of today."""
    return json.dumps(line(customer, TODAY, invoice_no="i-1") | more, ensure_ascii=False).encode()


def raw(field: str, text: str) -> bytes:
    """Return an order line with a field written as this text."""
    return order(**{field: "@@"}).replace(b'"@@"', text.encode())


def elsewhere(customer: str) -> int:
    return (partition_of(customer.encode(), PARTITIONS) + 1) % PARTITIONS


def cases() -> Iterator[Case]:
    deep = "[" * 5_000 + "]" * 5_000
    for name, value, becomes in (
        ("cut off", order()[:-5], "malformed"),
        ("no JSON", b"hello", "malformed"),
        ("no value", None, "empty"),
        ("no bytes", b"", "empty"),
        ("BOM", b"\xef\xbb\xbf" + order(), "malformed"),
        ("invalid UTF-8 in a name", order().replace(b"poison", b"poi\xffson"), "malformed"),
        ("invalid UTF-8 where nobody looks", order(description="@@").replace(b"@@", b"\xc3\x28"), "malformed"),
        ("a lone surrogate", raw("customer_id", r'"\ud800"'), "malformed"),
        ("objects nested 5,000 deep", b'{"type":' * 5_000 + b"1" + b"}" * 5_000, "schema"),
        ("lists nested 5,000 deep", deep.encode(), "schema"),
        ("nested 5,000 deep where nobody looks", raw("description", deep), "malformed"),
        ("a list", b"[]", "schema"),
        ("10 MB", order(description="x" * TEN_MB), "too_large"),
    ):
        yield Case("18", name, value, becomes)
    for name, value, becomes in (
        ("NaN", raw("unit_price", "NaN"), "malformed"),
        ("Infinity", raw("unit_price", "Infinity"), "malformed"),
        ("price 1e308", raw("unit_price", "1e308"), "price"),
        ("price 0", raw("unit_price", "0"), "price"),
        ("price below 0", raw("unit_price", "-2.5"), "price"),
        ("price with 12 decimals", raw("unit_price", "1.123456789012"), "price"),
        ("quantity 0", raw("quantity", "0"), "quantity"),
        ("quantity 2^63", raw("quantity", str(1 << 63)), "quantity"),
        ("quantity 1e308", raw("quantity", "1e308"), "quantity"),
        ("half a piece", raw("quantity", "0.5"), "quantity"),
        ("an amount beyond bounds", order(quantity=1_000_000_000, unit_price=10_000_000), "amount"),
        ("the finest price", order(unit_price=0.0001), "applied"),
        ("the largest amount", order(quantity=1_000_000_000, unit_price=1), "applied"),
    ):
        yield Case("19", name, value, becomes)
    for customer in IDS:
        yield Case("20", f"id {customer[:8]!r}", order(customer, event_id=None), "applied", customer.encode())
    yield Case("20", "10 kB", order("k" * 10_240), "customer_id", b"k" * 10_240)
    yield Case("20", "513 bytes", order("k" * 513), "customer_id", b"k" * 513)
    yield Case("20", "empty", order(""), "guests", None, 0)
    yield Case("20", "a spreadsheet's", order(f" {NFC}\u00a0"), "applied", NFC.encode())
    once = order(event_id="once")
    yield Case("21", "first", once, "applied")
    yield Case("21", "again", once, "repeated")
    yield Case("21", "again with other contents", order(event_id="once", quantity=9), "repeated")
    yield Case("21", "another customer's event of that id", order("other", event_id="once"), "applied", b"other")
    for name, when, becomes in (
        ("1970", "1970-01-01T00:00:00", "too_late"),
        ("2100", "2100-01-01T00:00:00", "future"),
        ("the year 55000, in digits", "55000-01-01T00:00:00", "schema"),
        ("two months ahead", f"{TODAY + timedelta(days=60)}T00:00:00", "ahead"),
        ("without an offset", f"{TODAY}T08:00:00", "applied"),
        ("of another zone", f"{TODAY}T01:00:00+14:00", "applied"),
    ):
        yield Case("23", name, order(invoice_date=when), becomes)
    yield Case("23", "milliseconds for seconds", raw("invoice_date", "1709294400000"), "schema")
    yield Case("23", "milliseconds as text", order(invoice_date="1709294400000"), "schema")
    for version, becomes in ((1, "applied"), ("1.0", "applied"), ("1.9", "applied"), (2, "schema_version")):
        yield Case("24", f"schema {version}", order(schema_version=version), becomes)
    yield Case("24", "schema 2.0 with fields unknown", order(schema_version="2.0", lines=[1]), "schema_version")
    yield Case("24", "a field unknown", order(colour="red"), "applied")
    yield Case("24", "a type unknown", order(type="greeting"), "unknown_type")
    for customer in ("astray-1", "astray-2", "poison"):
        away = elsewhere(customer)
        yield Case("28", f"{customer} astray", order(customer), "foreign_partition", customer.encode(), away)
    yield Case("28", "without a key", order("astray-1"), "key_missing", None, elsewhere("astray-1"))
    yield Case("28", "another's key", order("astray-1"), "key_mismatch", b"?", elsewhere("astray-1"))


OUTCOMES = ("applied", "repeated", "guests")


@pytest.mark.fault(18)
@pytest.mark.fault(19)
@pytest.mark.fault(20)
@pytest.mark.fault(21)
@pytest.mark.fault(23)
@pytest.mark.fault(24)
@pytest.mark.fault(28)
def test_each_record_counts_by_a_rule_or_is_a_dead_letter(
    kafka: Broker, namespace: str, lives: Callable[..., Live], fault: Fault
) -> None:
    wide = TopicSpec(f"{namespace}-in", PARTITIONS, {"max.message.bytes": str(16 << 20)})
    with admin(KafkaSettings(bootstrap_servers=kafka.bootstrap)) as asked:
        asked.create([wide])
    live = lives(partitions=PARTITIONS)
    lines = list(shopping(5, customers=20, days=12, per_day=10))
    early = [each for each in lines if each["invoice_date"] < f"{FIRST_DAY + timedelta(days=9)}"]
    live.bootstrap(early)
    live.publish(each for each in lines if each["invoice_date"] >= f"{FIRST_DAY + timedelta(days=9)}")
    live.tick(TODAY)
    again = sent_again(live.history_file)
    for key, value in again:
        live.writer.send(key, value)
    every = list(cases())
    fault.inject(len(every) + len(again))
    for case in every:
        live.writer.send(case.key, case.value, case.partition)
    live.publish([line("after", TODAY, invoice_no="after")])
    live.tick(TODAY)
    live.start()
    live.settle()
    fault.recovered()
    live.end()
    letters = dead_letters(live)
    expected = Counter((case.becomes, case.key, case.value) for case in every if case.becomes not in OUTCOMES)
    assert letters == expected
    for name in OUTCOMES:
        mine = sum(case.becomes == name for case in every)
        honest = {"applied": len(lines) - len(early) + 1, "repeated": len(again)}.get(name, 0)
        assert live.counted(name) == mine + honest, name
    fault.fired(letters.total() + sum(case.becomes in OUTCOMES for case in every) + len(again))
    assert {state.day for state in live.states().values()} == {day_number(TODAY)}
    each_id_has_its_place(live)
    assert live.counted("refused.foreign_partition") == 3
    assert "partitioner murmur2" in (live.directory / "worker-0.log").read_text(encoding="utf-8")
    fault.judge(live.verdict())


def sent_again(history: Path) -> list[tuple[bytes | None, bytes]]:
    """Return the last rows of the history as `replay` sends them."""
    read = read_history([history], CsvOptions(currency="GBP"))
    return [(event.key, event.value) for event in list(events(read))[-5:]]


def dead_letters(live: Live) -> Counter[tuple[str, bytes | None, bytes | None]]:
    """Return (reason, key, value) of each letter: the very bytes, but for a record without any."""
    found: Counter[tuple[str, bytes | None, bytes | None]] = Counter()
    for partition in range(PARTITIONS):
        for letter in live.records(live.settings.dead_letters_topic, partition):
            found[dict(letter.headers)["reason"].decode(), letter.key, letter.value] += 1
    return found


def each_id_has_its_place(live: Live) -> None:
    """Every id is a customer, byte for byte, under a key of his partition's slot; nobody has two states."""
    store, found = live.store(), live.customers()
    assert set(IDS) < found.keys()
    assert not {"astray-1", "astray-2"} & found.keys()
    homes = Counter[str]()
    for partition in range(PARTITIONS):
        prefix = f"{{{live.settings.namespace}:{partition}}}"
        slot = key_slot(prefix.encode())
        names = list(live.client.scan_iter(match=f"{prefix}*", count=1000))
        assert {key_slot(key) for key in names} == {slot}
        states = {store.keys.customer(partition, customer): customer for customer in found}
        homes.update(states[key] for key in names if key in states)
    assert homes.total() == len(found)
