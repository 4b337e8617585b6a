"""README.md: its consumer runs as printed, on a real broker; its commands and paths exist."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from kafka import KafkaProducer

from consumer.messages import SegmentRecord
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_settings import KafkaSettings
from features.decoding import decode
from models.bundle import Segment

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The only code block of a language."""
    (found,) = re.findall(rf"(?s)```{language}\n(.*?)```", TEXT)
    return str(found)


def record(customer: str, revision: int, name: str) -> bytes:
    return msgspec.json.encode(
        SegmentRecord(
            customer_id=customer,
            segment=Segment(11, name),
            previous=None,
            cause="purchase",
            revision=revision,
            as_of="2011-07-15",
            entered_on="2011-07-15",
            margin=0.2,
            second=None,
            held=False,
            features={"recency": 0.0},
            model_version=1,
        )
    )


def publish(bootstrap: str, topic: str, *transactions: tuple[list[tuple[str, bytes | None]], bool]) -> None:
    """Write transactions of (key, value), each committed or aborted."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    producer.init_transactions()
    for records, is_committed in transactions:
        producer.begin_transaction()
        for key, value in records:
            producer.send(topic, key=key.encode(), value=value)
        producer.flush()
        (producer.commit_transaction if is_committed else producer.abort_transaction)()
    producer.close()


def test_the_consumer_keeps_the_last_revision_skips_the_aborted_and_honours_tombstones(
    kafka_bootstrap: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with admin(KafkaSettings(kafka_bootstrap)) as asked:
        asked.create([TopicSpec(namespace, 2, {"cleanup.policy": "compact"})])
    publish(
        kafka_bootstrap,
        namespace,
        ([("a", record("a", 1, "New")), ("b", record("b", 1, "Loyal")), ("c", record("c", 1, "Loyal"))], True),
        ([("a", record("a", 2, "Never committed"))], False),
        ([("a", record("a", 2, "Champions")), ("b", None), ("c", None)], True),
        ([("a", record("a", 1, "New")), ("c", record("c", 1, "Back again"))], True),
    )
    code = block("python")
    for printed, real in (
        ('"customer-segments"', f'"{namespace}"'),
        ('bootstrap_servers="localhost:9092"', f'bootstrap_servers="{kafka_bootstrap}", consumer_timeout_ms=5_000'),
    ):
        assert code.count(printed) == 1
        code = code.replace(printed, real)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    names["consumer"].close()  # type: ignore[attr-defined]  # the block's own consumer

    segments = names["segments"]
    assert isinstance(segments, dict)
    shown = {customer: (found["segment"]["name"], found["revision"]) for customer, found in segments.items()}
    assert shown == {"a": ("Champions", 2), "c": ("Back again", 1)}
    assert "a Champions because of: purchase" in capsys.readouterr().out


def test_the_consumer_has_twenty_lines_at_most() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 20


def test_the_event_is_accepted() -> None:
    batch = decode([0], [b"12815"], [block("json").encode()], [0], zone=ZoneInfo("UTC"), currency="EUR", today=20_000)
    assert (batch.customers, batch.lines.amount.tolist(), batch.refused) == (["12815"], [255_000], ())


def test_every_file_and_folder_that_it_names_is_there() -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT)) | set(re.findall(r'(?:src|srcset)="([^"]+)"', TEXT))
    toured = set(re.findall(r"`((?:features|models|consumer|reports|tests|Dataset)/[\w./*]*)`", TEXT))
    assert len(toured) > 15
    assert [name for name in sorted(linked | toured) if not list(REPOSITORY.glob(name.rstrip("/")))] == []
