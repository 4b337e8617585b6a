"""Records as CloudEvents: what the specification demands of each attribute, and the same ones after a crash."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cloudevents import CloudEvents, carried
from consumer.messages import Emission, Outbox
from consumer.publication import output_records
from consumer.settings import Settings
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.shop import RULES, stream
from tests.harness.world import TOPICS, World

LONDON = CloudEvents("/segmenter/shop", ZoneInfo("Europe/London"))
EVENTS = replace(TOPICS, cloudevents=LONDON)
VALUE = b'{"customer_id":"12815","revision":3,"as_of":"2011-07-15","more":[1]}'


def published(key: bytes, value: bytes | None, *headers: tuple[str, bytes]) -> dict[str, bytes]:
    outbox = Outbox((Emission("segments", key, value, headers),))
    (record,) = output_records(EVENTS, 3, "5:17", outbox, {})
    assert len(dict(record.headers)) == len(record.headers)
    return dict(record.headers)


def test_a_record_is_an_event_named_by_customer_revision_and_day() -> None:
    assert published(b"12815", VALUE, ("offset", b"912")) == {
        "epoch": b"5",
        "sequence": b"17",
        "offset": b"912",
        "ce_specversion": b"1.0",
        "ce_type": b"segmenter.customer.segmented",
        "ce_source": b"/segmenter/shop",
        "ce_id": b"12815:3:2011-07-15",
        "ce_subject": b"12815",
        "ce_time": b"2011-07-15T00:00:00+01:00",  # London's summer
        "content-type": b"application/json",
    }


def test_the_tombstone_of_who_was_forgotten_is_dated_by_the_day_that_turned() -> None:
    found = published(b"12815", None, ("day", b"2011-12-09"), ("model", b"2"), ("sweep", b"9"))
    assert found["ce_type"] == b"segmenter.customer.gone"
    assert (found["ce_id"], found["ce_time"]) == (b"12815:gone:5:17", b"2011-12-09T00:00:00+00:00")
    assert "content-type" not in found, "there is no content"


def test_the_tombstone_of_an_erasure_has_no_time_for_the_record_tells_none() -> None:
    assert "ce_time" not in published(b"12815", None, ("offset", b"912"))


def test_marks_of_erasures_dead_letters_and_tombstones_in_former_partitions_are_no_events() -> None:
    outbox = Outbox(
        (Emission("erasures", b"ab" * 32, b'{"at":1,"revision":3}', ()), Emission("segments", b"a", None, ()))
    )
    former = replace(EVENTS, former=(1,))
    kinds = {
        (record.topic, record.partition): any(name.startswith("ce_") for name, _ in record.headers)
        for record in output_records(former, 3, "5:17", outbox, {})
    }
    assert kinds == {(TOPICS.erasures, 3): False, (TOPICS.output, 3): True, (TOPICS.output, 0): False}


def test_they_are_off_unless_they_are_asked_for() -> None:
    assert Settings(_env_file=None).topics.cloudevents is None
    asked = Settings(_env_file=None, cloudevents="headers", namespace="shop", timezone="Europe/London").topics
    assert asked.cloudevents == LONDON


@given(st.text(min_size=1))
def test_no_customer_id_puts_into_an_attribute_what_the_specification_forbids(customer: str) -> None:
    found = published(customer.encode(), VALUE)
    text = found["ce_subject"].decode()
    forbidden = [
        c for c in text if unicodedata.category(c) == "Cc" or ord(c) & 0xFFFE == 0xFFFE or "\ufdd0" <= c <= "\ufdef"
    ]
    assert forbidden == []
    assert found["ce_id"].decode() == f"{text}:3:2011-07-15"


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_customers_are_never_one_subject(one: str, other: str) -> None:
    subjects = {published(customer.encode(), None)["ce_subject"] for customer in (one, other)}
    assert len(subjects) == len({one, other})


def test_what_stands_for_a_forbidden_sign_is_its_percent_encoding() -> None:
    assert published("5%\n\ufffe".encode(), VALUE)["ce_subject"] == b"5%25%0A%EF%BF%BE"


def test_a_copy_carries_the_same_event_and_nothing_else_of_the_original() -> None:
    headers = output_records(EVENTS, 3, "5:17", Outbox((Emission("segments", b"a", VALUE, ()),)), {})[0].headers
    assert carried(headers) == tuple(each for each in headers if each[0] not in {"epoch", "sequence"})
    assert carried((("epoch", b"5"), ("offset", b"1"))) == ()


def run(point: str, nth: int) -> tuple[World, dict[Any, list[dict[str, Any]]]]:
    """Return a world run to its end, and the events of each id, with the values that they came with."""
    world = World(rules=RULES, topics=EVENTS)
    world.publish(*stream(1), {"type": "erase", "customer_id": "c1"})
    world.crash.point, world.crash.nth = point, nth
    world.settle()
    assert world.crash.fired == bool(point)
    found: dict[Any, list[dict[str, Any]]] = {}
    for record in world.output():
        found.setdefault(record["headers"]["ce_id"], []).append(record)
    return world, found


@pytest.mark.parametrize(
    ("point", "nth"), [("", 0), ("after_commit", 17), ("mid_transaction", 21), ("during_recovery", 0)]
)
def test_whatever_crashes_each_event_comes_once_and_verify_finds_nothing(point: str, nth: int) -> None:
    world, found = run(point, nth)
    assert {len(records) for records in found.values()} == {1}
    assert {"tombstone"} < {kind for (record,) in found.values() for kind in record}
    assert verify(*evidence(world)).differences == ()
    for (record,) in found.values():
        headers = {name: data.decode() for name, data in record["headers"].items()}
        if "tombstone" in record:
            assert headers["ce_subject"] == record["tombstone"]
        else:
            assert headers["ce_id"] == f"{record['customer_id']}:{record['revision']}:{record['as_of']}"
            when = datetime.fromisoformat(headers["ce_time"])
            assert (f"{when:%Y-%m-%d}", when.hour) == (record["as_of"], 0)
        assert re.fullmatch(r"segmenter\.customer\.(segmented|gone)", headers["ce_type"])
