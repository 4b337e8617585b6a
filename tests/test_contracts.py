"""contracts/ against the code: the files are what it gives, what it writes fits them, what they refuse it refuses.

python -m tests.test_contracts     writes the files of contracts/ that are made from the code
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from consumer.cloudevents import CloudEvents
from consumer.deadletters import _receipt, letter_of
from consumer.settings import Settings
from consumer.traceparent import TRACEPARENT
from features.decoding import decode
from features.ledger import MONEY
from features.transaction import MAX_AMOUNT, Batch, Reason
from tests.harness.contracts import FOLDER, TOPICS_PAGE, documents, schemas, section
from tests.harness.world import FIRST_DAY, TOPICS, TRACE, World, line, shopping

Record = dict[str, Any]

OF_TYPE = {"line": "transaction.schema.json", "erase": "erase.schema.json", "tick": "tick.schema.json"}
GOOD: Record = {
    "invoice_no": "560119",
    "quantity": 2,
    "unit_price": 12.75,
    "invoice_date": "2011-07-15T10:21:00",
    "customer_id": "12815",
}


@cache
def validator(name: str) -> Draft7Validator:
    """A validator of one of the files, as they lie there."""
    return Draft7Validator(json.loads((FOLDER / name).read_text(encoding="utf-8")))


def fits(name: str, instance: Any) -> bool:
    return bool(validator(name).is_valid(instance))


def accepted(record: Record) -> bool:
    """Whether the schema of a record's type takes it; of a type that there is not, none does."""
    kind = record.get("type", "line")
    return isinstance(kind, str) and kind in OF_TYPE and fits(OF_TYPE[kind], record)


def decoded(record: Record) -> Batch:
    value = json.dumps(record).encode()
    return decode([0], [b"k"], [value], [0], zone=ZoneInfo("UTC"), currency="GBP", today=20_000)


def headers_of(record: Any) -> dict[str, str]:
    return {name: data.decode() for name, data in record.headers}


class TestFiles:
    @pytest.mark.parametrize("name", documents())
    def test_a_file_is_what_the_code_gives(self, name: str) -> None:
        assert (FOLDER / name).read_text(encoding="utf-8") == documents()[name], "run: python -m tests.test_contracts"

    def test_there_is_no_other_generated_file_and_the_pages_name_each(self) -> None:
        assert {file.name for file in FOLDER.iterdir() if file.is_file()} == {*documents(), "README.md"}
        named = set(re.findall(r"`([\w./-]+)`", (FOLDER / "README.md").read_text(encoding="utf-8")))
        assert set(documents()) <= named
        linked = set(re.findall(r"\]\(\.\./contracts/([\w.-]+)\)", TOPICS_PAGE.read_text(encoding="utf-8")))
        assert set(documents()) <= linked

    @pytest.mark.parametrize("name", schemas())
    def test_a_schema_is_one_of_draft_7_and_describes_each_field(self, name: str) -> None:
        Draft7Validator.check_schema(schemas()[name])
        described = {field for field, each in schemas()[name]["properties"].items() if "description" in each}
        if name not in {"erase.schema.json", "tick.schema.json", "dead-letter.headers.schema.json"}:
            assert described == set(schemas()[name]["properties"])

    def test_the_asyncapi_document_names_the_topics_and_every_schema(self) -> None:
        document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8"))
        topics = Settings(_env_file=None).topics
        addresses = {channel["address"] for channel in document["channels"].values()}
        assert addresses == {topics.input, topics.output, topics.dead_letters, topics.erasures}
        references = list(found_references(document))
        assert {name.removeprefix("./") for name in references if name.startswith("./")} == set(schemas())
        for reference in references:
            if reference.startswith("#/"):
                place = document
                for part in reference[2:].split("/"):
                    place = place[part]

    def test_the_service_receives_what_others_write_and_sends_the_rest(self) -> None:
        document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8"))
        received = [each["channel"]["$ref"] for each in document["operations"].values() if each["action"] == "receive"]
        sent = {each["channel"]["$ref"] for each in document["operations"].values() if each["action"] == "send"}
        assert received == ["#/channels/transactions"]
        assert sent == {f"#/channels/{name}" for name in document["channels"]} - {*received}


def found_references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (each for name, each in node.items() if name == "$ref")
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from found_references(each)


# --- the input ------------------------------------------------------------------------------------------------------

INT_FIELDS = ("invoice_no", "original_invoice_no", "event_id")
ID_FIELDS = ("customer_id", "invoice_no", "original_invoice_no")


def _is_refused_by_the_calendar(record: Record) -> bool:
    """Python's calendar, by its own parser, lacks one of the record's moments."""
    for name in ("invoice_date", "at"):
        text = record.get(name)
        if isinstance(text, str):
            try:
                date.fromisoformat(text[:10])
                moment = datetime.fromisoformat(re.sub(r"\.\d+", "", text.replace("z", "Z").replace("t", "T")))
                moment.astimezone(UTC) if moment.tzinfo else moment
            except (ValueError, OverflowError):
                return True
    return False


UNSAYABLE: dict[Reason, Callable[[Record], bool]] = {
    Reason.SCHEMA: lambda r: any(isinstance(r.get(n), float) for n in INT_FIELDS) or _is_refused_by_the_calendar(r),
    Reason.CUSTOMER_ID: lambda r: len(str(r["customer_id"]).encode()) > 512,
    Reason.INVOICE_NO: lambda r: any(len(str(r.get(n)).encode()) > 256 for n in ID_FIELDS[1:]),
    Reason.PRICE: lambda r: isinstance(r["unit_price"], float) and Decimal(repr(r["unit_price"])) * MONEY % 1 != 0,
    Reason.AMOUNT: lambda r: abs(Decimal(r["quantity"]) * Decimal(str(r["unit_price"]).strip())) > MAX_AMOUNT / MONEY,
    Reason.CURRENCY: lambda r: r["currency"] != "GBP",
    Reason.FUTURE: lambda r: max(r.get(n) or "" for n in ("invoice_date", "at")) > "2024",  # day 20,000 is in 2024
}
"""What the worker refuses though the schema accepts it: by reason, when that may be (contracts/README.md)."""


def _vanish(text: Any) -> bool:
    """Say whether decimals of a text number are lost in a double, or its digits are of another script."""
    if not isinstance(text, str):
        return False
    with suppress(ArithmeticError, ValueError):
        return not text.isascii() or Decimal(text.strip()) != Decimal(repr(float(text)))
    return False


def stricter(record: Record, batch: Batch) -> bool:
    """Say whether one of contracts/README.md's exceptions lets the worker take what the schema refuses."""
    padded = any(isinstance(record.get(n), str) and record[n] != record[n].strip() for n in ID_FIELDS)
    unread = len(str(record.get("original_invoice_no"))) > 256 and batch.lines.units.tolist() >= [0]
    return bool(batch.guests) or padded or unread or _vanish(record["quantity"]) or _vanish(record["unit_price"])


TEXTS = ("", " ", "1", "17850.0", " 12 ", "C9", "é" * 200, "x" * 256, "x" * 257, "x" * 512, "x" * 513, " " * 600 + "1")
WRONG: tuple[Any, ...] = (True, [], {}, ["1"])
MOMENTS = (
    "2011-07-15T10:21:00", "2011-07-15 10:21:00", "2011-07-15t10:21:00z", "2011-07-15T10:21:00.123456789Z",
    "2011-07-15T10:21:00+0100", "2011-07-15T10:21:00+01", "2011-07-15T10:21:60", "2011-07-15T24:00:00", "2011-07-15",
    "2011-07-15T10:21", "2011-13-15T10:21:00", "2011-02-30T10:21:00", "2011-04-31T10:21:00", "2012-02-29T10:21:00",
    "0000-01-01T10:21:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2011-07-15T10:21:00-24:00",
    "2011-07-15T10:21:00.", " 2011-07-15T10:21:00", "2011-07-15T10:21:00\n", "2031-07-15T10:21:00", "", 5, None, *WRONG,
)  # fmt: skip
NUMBERS = (
    1, -1, 0, 2.0, 2.5, -0.0, 1_000_000_000, 1_000_000_001, -1_000_000_000, 10**18, 10**30, 1e300, 0.0001, 0.00005,
    12.75, 12.7512, 12.75123, 10_000_000, 10_000_000.01, "1", "-1", "+2", " 3 ", "2.0", "2.50000", "0", "0.0", "-0",
    "007", "1000000000", "1000000001", "1e3", "1.", ".5", "--1", "0x1", "1,5", "1_000", "0.0001", "0.00001", "12.75001",
    "10000000", "10000000.0", "10000000.01", "1" * 18, "1" * 19, "0" * 19 + "1", "1." + "0" * 18, "1." + "0" * 19,
    "٣", "2.00000000000000001", "", " ", "x", None, *WRONG,
)  # fmt: skip
POOLS: dict[str, tuple[Any, ...]] = {
    "type": ("line", "erase", "tick", "Line", "", None, 1, *WRONG),
    "schema_version": (1, 1.0, 1.4, 2, 0.9, "1", "1.4", "1.", "10", "01", "2", " 1", "1\n", "", None, *WRONG),
    "event_id": (*TEXTS, 5, 5.0, 5.5, 10**30, None, *WRONG),
    "invoice_no": (*TEXTS, 5, 5.0, 5.5, 10**30, None, *WRONG),
    "original_invoice_no": (*TEXTS, 5, 5.0, 5.5, 10**30, None, *WRONG),
    "customer_id": (*TEXTS, 17850, 17850.0, 1e300, 10**30, 10**600, None, *WRONG),
    "currency": ("GBP", "gbp", "", 5, None, *WRONG),
    "invoice_date": MOMENTS,
    "at": MOMENTS,
    "quantity": NUMBERS,
    "unit_price": NUMBERS,
    "stock_code": (5, None, [], "x"),
    "unknown": (5, None, [], "x"),
}
"""Values at and beyond the edges of each field."""


def compare(record: Record) -> None:
    """Hold the schema and the worker against each other."""
    batch = decoded(record)
    if batch.refused:
        (refusal,) = batch.refused
        if accepted(record):
            assert refusal.reason in UNSAYABLE, (refusal, record)
            assert UNSAYABLE[refusal.reason](record), (refusal, record)
    elif not accepted(record):
        assert stricter(record, batch), record


EDGES = [(field, value) for field, pool in POOLS.items() for value in pool]


class TestInput:
    @pytest.mark.parametrize("kind", [{}, {"type": "erase"}, {"type": "tick", "at": "2011-12-10T00:00:00"}], ids=str)
    def test_at_each_edge_the_schema_and_the_worker_agree(self, kind: Record) -> None:
        for field, value in EDGES:
            compare(GOOD | kind | {field: value})
        for field in GOOD:
            compare({name: value for name, value in (GOOD | kind).items() if name != field})

    @given(st.fixed_dictionaries({}, optional={field: st.sampled_from(pool) for field, pool in POOLS.items()}))
    def test_of_edges_together_too(self, more: Record) -> None:
        compare(GOOD | more)

    @given(
        st.floats(allow_nan=False, allow_infinity=False) | st.decimals(-(10**10), 10**10, places=5).map(str),
        st.floats(allow_nan=False, allow_infinity=False) | st.decimals(0, 10**8, places=5).map(str),
        st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat()),
    )
    def test_of_any_number_and_moment_too(self, quantity: Any, price: Any, moment: str) -> None:
        compare(GOOD | {"quantity": quantity})
        compare(GOOD | {"unit_price": price, "quantity": 1})
        compare(GOOD | {"invoice_date": moment})

    def test_the_page_lists_every_reason_that_a_schema_cannot_give(self) -> None:
        text = (FOLDER / "README.md").read_text(encoding="utf-8")
        first_cells = re.findall(r"(?m)^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", text)
        listed = {name for cell in first_cells for name in re.findall(r"`([a-z_]+)`", cell)}
        always = {Reason.SCHEMA_VERSION, Reason.UNKNOWN_TYPE, Reason.EVENT_ID, Reason.QUANTITY}
        assert listed == {reason.value for reason in set(Reason) - always}

    @pytest.mark.parametrize("n", range(3))
    def test_the_examples_of_the_document_fit(self, n: int) -> None:
        example = json.loads(re.findall(r"(?s)```json\n(.*?)```", section("`transactions`"))[n])
        assert accepted(example)


# --- the output -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    """A run with a bit of everything, its records as CloudEvents."""
    topics = replace(TOPICS, cloudevents=CloudEvents("/segmenter/shop", ZoneInfo("Europe/London")), former=(1,))
    made = World(partitions=2, topics=topics)
    made.publish(*shopping(7, days=6))
    made.publish(
        *list(shopping(7, days=4))[:3], {"type": "erase", "customer_id": "c1"}, line("c2", FIRST_DAY, quantity=0)
    )
    made.write(0, None, b"{broken", ((TRACEPARENT, TRACE),))
    made.write(0, None, None)
    made.write(made.home("t"), b"t", json.dumps(line("t", FIRST_DAY)).encode(), ((TRACEPARENT, TRACE),))
    made.tick(FIRST_DAY + timedelta(days=70))  # everybody is silent for longer than the horizon
    made.settle()
    return made


def written(world: World, topic: str) -> list[Any]:
    logs = [world.kafka.log(topic, partition) for partition in range(world.partitions)]
    return [record for log in logs for record in log.read(0, len(log.entries))]


class TestOutput:
    def test_every_segment_and_its_headers_fit(self, world: World) -> None:
        records = written(world, TOPICS.output)
        values = [json.loads(record.value) for record in records if record.value is not None]
        assert [value for value in values if not fits("segment.schema.json", value)] == []
        assert {"purchase", "silence"} <= {value["cause"] for value in values}
        assert {None} < {value["second"] and value["second"]["id"] for value in values}
        assert len(records) > len(values)
        headers = [headers_of(record) for record in records]
        assert [each for each in headers if not fits("segment.headers.schema.json", each)] == []

    def test_every_header_that_was_written_is_a_property(self, world: World) -> None:
        names = {name for record in written(world, TOPICS.output) for name in headers_of(record)}
        of_a_repartition = {"moved_from", "partitions"}
        assert names | of_a_repartition == set(schemas()["segment.headers.schema.json"]["properties"])
        letters = {name for record in written(world, TOPICS.dead_letters) for name in headers_of(record)}
        of_a_redrive = {"redriven", "redriven_at", "value"}
        assert letters | of_a_redrive == set(schemas()["dead-letter.headers.schema.json"]["properties"])

    def test_every_dead_letter_and_receipt_fits(self, world: World) -> None:
        letters = written(world, TOPICS.dead_letters)
        assert {headers_of(letter)["reason"] for letter in letters} == {"quantity", "malformed", "empty"}
        letter = letter_of(0, letters[0])
        assert letter is not None
        receipt = _receipt(letter, TOPICS.dead_letters, "2024-03-01T12:00:00+00:00")
        for record in (*letters, receipt):
            assert fits("dead-letter.headers.schema.json", headers_of(record)), record.headers

    def test_every_mark_of_an_erasure_fits(self, world: World) -> None:
        (mark,) = written(world, TOPICS.erasures)
        assert fits("erasure.schema.json", json.loads(mark.value))

    def test_what_the_run_was_given_fits(self, world: World) -> None:
        given = [record.value for record in written(world, TOPICS.input)]
        readable = [json.loads(value) for value in given if value and not value.startswith(b"{broken")]
        assert [each for each in readable if not accepted(each)] == [line("c2", FIRST_DAY, quantity=0)]

    def test_a_record_without_one_of_its_fields_or_with_a_wrong_one_does_not_fit(self, world: World) -> None:
        record = next(json.loads(each.value) for each in written(world, TOPICS.output) if each.value is not None)
        for field in set(record) - {"held"}:  # records of before there was the field have none
            assert not fits("segment.schema.json", {name: each for name, each in record.items() if name != field}), (
                field
            )
        for field, wrong in {
            "revision": 0,
            "cause": "magic",
            "margin": 1.5,
            "as_of": "15.7.2011",
            "held": None,
        }.items():
            assert not fits("segment.schema.json", record | {field: wrong}), field
        for name in record["features"]:
            assert not fits("segment.schema.json", record | {"features": record["features"] | {name: "1"}}), name

    def test_headers_that_tell_no_place_do_not_fit(self) -> None:
        assert not fits("segment.headers.schema.json", {"epoch": "1", "sequence": "2"})
        assert not fits("segment.headers.schema.json", {"epoch": "one", "sequence": "2", "offset": "3"})
        assert not fits("dead-letter.headers.schema.json", {"reason": "schema"})

    @pytest.mark.parametrize("bad", [TRACE.upper(), TRACE + b"\n", b"01" + TRACE[2:], TRACE[:-1]])
    def test_a_trace_that_is_not_carried_does_not_fit(self, bad: bytes) -> None:
        place = {"epoch": "1", "sequence": "2", "offset": "3"}
        assert fits("segment.headers.schema.json", place | {TRACEPARENT: TRACE.decode()})
        assert not fits("segment.headers.schema.json", place | {TRACEPARENT: bad.decode()})
        assert not fits("erasure.schema.json", {"at": 1.5, "revision": 3})

    @pytest.mark.parametrize(
        ("title", "name"),
        [("`customer-segments`", "segment.schema.json"), ("`customer-erasures`", "erasure.schema.json")],
    )
    def test_the_examples_of_the_document_fit(self, title: str, name: str) -> None:
        (example,) = re.findall(r"(?s)```json\n(.*?)```", section(title))
        assert fits(name, json.loads(example))


if __name__ == "__main__":
    for each, text in documents().items():
        (FOLDER / each).write_text(text, encoding="utf-8")
