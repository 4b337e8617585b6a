"""A dead letter goes to the input once: whatever crashes, and whoever else redrives at the same time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from consumer.deadletters import RECEIPT, Fate, Letter, Source, fates, letter_of, send, survey
from consumer.messages import Outbox
from consumer.partition import Rewind
from consumer.ports import InputRecord, TransportError
from consumer.publication import REDRIVEN, output_records
from features.transaction import Reason, Refusal
from reports.verify import verify
from tests.harness.evidence import evidence
from tests.harness.memory_kafka import Crash, MemorySink, Point
from tests.harness.world import FIRST_DAY, TOPICS, World, line

DAY = FIRST_DAY + timedelta(days=1)
NOW = "2026-11-25T12:00:00+00:00"


def letter(offset: int, *, epoch: int = 1, **more: object) -> Letter:
    options: dict[str, object] = {"bare": False, "redriven": None, "topic": "in", "timestamp": 5} | more
    source = Source(str(options["topic"]), 0, offset, None if options["bare"] else options["timestamp"])  # type: ignore[arg-type]
    return Letter((0, 100 + offset), source, "price", "", epoch, 7, bool(options["bare"]), options["redriven"])  # type: ignore[arg-type]


def fate_of(*letters: Letter, receipts: set[Source] | None = None, rewinds: tuple[Rewind, ...] = ()) -> list[Fate]:
    return [fate for _, fate in fates(letters, receipts or set(), "in", {0: rewinds})]


class TestFates:
    def test_a_letter_waits_until_its_receipt_is_there(self) -> None:
        assert fate_of(letter(1)) == [Fate.WAITS]
        assert fate_of(letter(1), letter(2), receipts={letter(1).source}) == [Fate.REDRIVEN, Fate.WAITS]

    def test_the_same_offset_of_a_topic_made_anew_is_another_letter(self) -> None:
        assert fate_of(letter(1, timestamp=6), receipts={letter(1).source}) == [Fate.WAITS]

    def test_what_cannot_or_should_not_go_is_told_apart(self) -> None:
        assert fate_of(letter(1, bare=True)) == [Fate.HEADERS_ONLY]
        assert fate_of(letter(1, topic="another")) == [Fate.OTHER_TOPIC]
        assert fate_of(letter(1, redriven="0:0")) == [Fate.FAILED_AGAIN]

    def test_a_refusal_repeated_after_redis_lost_writes_counts_once(self) -> None:
        back = (Rewind(2, 0, 1, None),)
        older, newer = letter(1), letter(1, epoch=2)
        found = fates([older, newer], set(), "in", {0: back})
        assert found == ((newer, Fate.WAITS),)

    def test_a_record_that_was_read_again_and_not_refused_is_left(self) -> None:
        assert fate_of(letter(5), rewinds=(Rewind(2, 5, 1, None),)) == [Fate.READ_AGAIN]
        assert fate_of(letter(4), rewinds=(Rewind(2, 5, 1, None),)) == [Fate.WAITS]
        assert fate_of(letter(5, epoch=2), rewinds=(Rewind(2, 5, 1, None),)) == [Fate.WAITS]


def test_what_is_no_letter_is_passed_over() -> None:
    receipt = ((RECEIPT, b"x"), ("topic", b"in"), ("partition", b"0"), ("offset", b"1"))
    assert letter_of(0, InputRecord(1, 0, None, b"", receipt)) is None
    assert letter_of(0, InputRecord(1, 0, b"k", b"v")) is None


def test_only_a_place_is_carried_on_from_a_record_to_its_letter() -> None:
    """Whoever writes to the input could put personal data into the header (FAULTS S4)."""
    outbox = Outbox((), (Refusal(3, Reason.EMPTY), Refusal(4, Reason.EMPTY)))
    told = {3: b"1:17", 4: b"12815"}
    originals = {offset: InputRecord(offset, 9, b"k", b"", ((REDRIVEN, value),)) for offset, value in told.items()}
    letters = output_records(TOPICS, 0, "1:2", outbox, originals)
    assert [dict(each.headers).get(REDRIVEN) for each in letters] == [b"1:17", None]


class Post:
    """A world with some refused records, and the redrive over it."""

    def __init__(self) -> None:
        self.world = World(partitions=2)
        home = self.world.home
        # Two lines in foreign partitions, one that will always be refused, one that is null.
        for who in ("ann", "bob"):
            value = str(line(who, DAY, event_id=f"e-{who}")).replace("'", '"').encode()
            self.world.write(1 - home(who), who.encode(), value)
        self.world.write(0, b"cat", b"{")
        self.world.write(1, None, None)
        self.world.tick(DAY + timedelta(days=1))
        self.worker = self.world.settle()

    def home(self, key: bytes) -> int:
        return self.world.home(key.decode())

    def sink(self) -> MemorySink:
        return self.world.kafka.sink("redrive", "none", TOPICS.input)

    def redrive(self, sink: MemorySink | None = None, *, again: bool = False) -> Counter[str]:
        reader = self.world.kafka.reader()
        sink = sink or self.sink()
        sink.open()
        found = survey(reader, TOPICS, self.world.partitions)
        sent: Counter[str] = Counter()
        for part in send(reader, sink, TOPICS, self.home, found, found.chosen(again=again), NOW):
            sent += part
        return sent

    def settle(self) -> None:
        self.world.tick(DAY + timedelta(days=2))
        self.world.settle(self.worker)

    def inputs(self) -> list[tuple[int, bytes | None, bytes | None]]:
        """Return (partition, key, value) of each record that was redriven."""
        found = []
        for partition in range(self.world.partitions):
            log = self.world.kafka.log(TOPICS.input, partition)
            records = log.read(0, len(log.entries))
            found += [(partition, r.key, r.value) for r in records if REDRIVEN in dict(r.headers)]
        return sorted(found, key=str)


FIRST = Counter({"foreign_partition": 2, "malformed": 1, "empty": 1})


def test_letters_go_by_their_key_once_and_those_refused_again_only_when_asked_for() -> None:
    post = Post()
    assert post.redrive() == FIRST
    assert {p for p, key, _ in post.inputs() if key == b"ann"} == {post.world.home("ann")}
    assert post.redrive() == Counter(), "what went has its receipt"
    post.settle()
    assert post.world.counters()["applied"] == 2, "the lines in foreign partitions are at home now"
    assert post.redrive() == Counter(), "what was refused again is left"
    assert post.redrive(again=True) == Counter({"malformed": 1, "empty": 1})
    assert post.redrive(again=True) == Counter()
    post.settle()
    assert verify(*evidence(post.world)).differences == ()


@pytest.mark.parametrize("point", ["mid_transaction", "after_commit"])
def test_a_redrive_that_crashed_is_finished_by_the_next_and_nothing_goes_twice(point: Point) -> None:
    post = Post()
    post.world.kafka.plan(point, Crash())
    with pytest.raises(Crash):
        post.redrive()
    sent = post.redrive()
    assert sent == (FIRST if point == "mid_transaction" else Counter())
    assert len(post.inputs()) == 4


def test_of_two_at_a_time_the_earlier_is_fenced_and_nothing_goes_twice() -> None:
    post = Post()
    reader, slow = post.world.kafka.reader(), post.sink()
    slow.open()
    found = survey(reader, TOPICS, 2)
    assert post.redrive() == FIRST
    with pytest.raises(TransportError) as refused:
        list(send(reader, slow, TOPICS, post.home, found, found.chosen(), NOW))
    assert refused.value.fenced
    assert len(post.inputs()) == 4
