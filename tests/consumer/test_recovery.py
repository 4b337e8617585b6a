"""What Redis and Kafka say together, case by case, worked by hand (PROTOCOL B)."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest

from consumer.messages import SegmentRecord
from consumer.partition import PartitionState, Rules, Sweep
from consumer.ports import Committed, InputRecord
from consumer.recovery import Published, Verdict, judge, new_epoch, parse_commit_id, published, raised, tail_of
from consumer.tally import Flow, Tally, Total
from features.codec import Seen, States, blank_heads, decode_states, encode_states
from features.identity import position
from features.ledger import empty
from features.store import Fence
from models.bundle import Segment


def fence(last: str, parent: str = "1:4", epoch: int = 2) -> Fence:
    return Fence(epoch, last, parent, b"")


@pytest.mark.parametrize(
    ("last", "parent", "committed", "tail", "verdict"),
    [
        ("1:5", "1:4", "1:5", None, Verdict.IN_STEP),
        ("1:5", "1:4", "1:4", None, Verdict.REPUBLISH),
        ("9:13", "3:12", "3:12", None, Verdict.REPUBLISH),
        ("1:5", "1:4", "1:6", None, Verdict.DIVERGED),
        ("1:5", "1:4", "2:5", None, Verdict.DIVERGED),
        ("0:0", "0:0", "5:812", None, Verdict.DIVERGED),
        ("1:5", "1:4", "1:3", None, Verdict.LOST),
        ("0:0", "0:0", None, None, Verdict.FIRST),
        ("1:1", "0:0", None, None, Verdict.REPUBLISH),
        ("0:0", "0:0", "somebody's", None, Verdict.FIRST),
        ("1:5", "1:4", "somebody's", (1, 5), Verdict.IN_STEP),
        ("1:5", "1:4", None, (1, 6), Verdict.DIVERGED),
        ("1:5", "1:4", None, (2, 5), Verdict.DIVERGED),
        ("1:5", "1:4", None, (1, 4), Verdict.REPUBLISH),
        ("1:5", "1:4", None, (9, 2), Verdict.REPUBLISH),
    ],
)
def test_a_verdict(
    last: str, parent: str, committed: str | None, tail: tuple[int, int] | None, verdict: Verdict
) -> None:
    known = None if committed is None else Committed(7, committed)
    assert judge(fence(last, parent), known, tail) is verdict


@pytest.mark.parametrize("text", ["", "1", ":1", "1:", "a:1", "1:b", "-1:2", "1:2:3"])
def test_a_foreign_commit_id_is_none_of_ours(text: str) -> None:
    assert parse_commit_id(text) is None


def test_a_new_epoch_is_above_all_that_was_seen() -> None:
    assert parse_commit_id("3:12") == (3, 12)
    assert new_epoch(fence("1:5", epoch=2), None, None) == 3
    assert new_epoch(fence("1:5", epoch=2), Committed(0, "7:9"), None) == 8
    assert new_epoch(fence("1:5", epoch=2), None, (5, 1)) == 6
    assert new_epoch(fence("0:0", epoch=0), None, None) == 1


def record(offset: int, key: bytes | None, value: bytes | None, **headers: bytes) -> InputRecord:
    return InputRecord(offset, 0, key, value, tuple(headers.items()))


def test_the_tail_is_the_highest_sequence_and_of_equal_ones_the_highest_epoch() -> None:
    records = [
        record(0, b"a", b"", epoch=b"3", sequence=b"4"),
        record(1, b"a", b"", epoch=b"2", sequence=b"6"),
        record(2, b"a", b"", epoch=b"1", sequence=b"6"),
        record(3, b"a", b"", epoch=b"9"),
        record(4, b"a", b"", sequence=b"99"),
    ]
    assert tail_of(records) == (2, 6)
    assert tail_of(records[3:]) is None


def segment_record(revision: int, segment: int, previous: int | None) -> SegmentRecord:
    return SegmentRecord(
        customer_id="a",
        segment=Segment(segment, "x"),
        previous=None if previous is None else Segment(previous, "y"),
        cause="purchase",
        revision=revision,
        as_of="2024-03-02",
        entered_on="2024-03-02",
        margin=None,
        second=None,
        held=False,
        features={},
        model_version=1,
    )


def test_the_last_record_of_each_customer_counts_and_a_tombstone_ends_him() -> None:
    values = [msgspec.json.encode(segment_record(n, 11, None)) for n in (1, 2)]
    found = published(
        [
            record(0, b"a", values[0]),
            record(1, b"b", values[0]),
            record(2, b"a", values[1]),
            record(3, b"b", None),
            record(4, None, values[0]),
        ]
    )
    assert {name: each.last.revision for name, each in found.items()} == {"a": 2}


def stored(revision: int, segment: int, sweep: int, schema: int = 2) -> bytes:
    heads = blank_heads(1)
    heads["revision"], heads["segment"], heads["sweep"] = revision, segment, sweep
    heads["anchor"] = 19
    none = np.empty(0, np.int64)
    return encode_states(States(heads, empty(), Seen(none, np.empty(0, np.uint64), none)), np.array([0]), schema)[0]


def lift(blob: bytes | None, *, cursor: int | None = None, same: bool = True, revision: int = 5) -> tuple[object, ...]:
    state = PartitionState(0, Sweep(4, 19_784, 1, "h", cursor), 0)
    last = {"a": Published(segment_record(revision, 12, 11), b"")}
    states, lost, _ = raised(["a"], [blob], last, state, Rules(), same_generation=same)
    if not states:
        return (None, lost)
    head = decode_states([states["a"]]).heads[0]
    names = ("revision", "segment", "previous", "entered_day", "anchor", "sweep")
    return (tuple(int(head[name]) for name in names), lost)


def test_what_was_published_raises_what_redis_lost_and_keeps_the_days_anchor() -> None:
    assert lift(stored(3, 11, 2)) == ((5, 12, 11, 19_784, 11, 4), {})
    assert lift(stored(3, 11, 4)) == ((5, 12, 11, 19_784, 19, 4), {}), "his anchor of this very day stays"
    assert lift(stored(4, 11, 4)) == ((5, 12, 11, 19_784, 19, 4), {})
    assert lift(stored(5, 11, 2)) == (None, {}), "nothing was lost of him"


def test_a_customer_whom_the_sweep_has_not_reached_turns_his_day_himself() -> None:
    place = position("a")
    assert lift(stored(3, 11, 2), cursor=place - 1) == ((5, 12, 11, 19_784, 19, 2), {})
    assert lift(stored(3, 11, 2), cursor=place) == ((5, 12, 11, 19_784, 11, 4), {})


def test_another_generation_keeps_only_the_revision_and_a_lost_customer_leaves_his() -> None:
    assert lift(stored(3, 0, 0), same=False) == ((5, 0, 0, 0, 19, 0), {})
    assert lift(None) == (None, {"a": 5})


def told(revision: int, segment: int, previous: int | None, day: str, cause: str = "silence") -> InputRecord:
    """Return an output record of customer `a`, which says that his segment began on a day."""
    value = msgspec.structs.replace(segment_record(revision, segment, previous), entered_on=day, as_of=day)
    return record(revision, b"a", msgspec.json.encode(msgspec.structs.replace(value, cause=cause)))


def moves_in(data: bytes) -> list[tuple[int, ...]]:
    """Return (revision, day, model, from, to, cause) of each move."""
    return list(struct.iter_unpack("<IiIHHB", data))


D = 19_784
"""2024-03-02."""


def test_the_moves_of_an_output_partition_are_where_the_segment_changed() -> None:
    first, second = told(1, 11, None, "2024-03-02", "purchase"), told(2, 12, 11, "2024-03-03")
    again, third = told(3, 12, 11, "2024-03-03"), told(4, 11, 12, "2024-03-05", "model")
    found = published([first, second, again, third])["a"]
    assert moves_in(found.moves) == [(1, D, 1, 0, 11, 1), (2, D + 1, 1, 11, 12, 4), (4, D + 3, 1, 12, 11, 5)]
    compacted = published([again, third])["a"]
    assert moves_in(compacted.moves) == [(3, D + 1, 1, 11, 12, 4), (4, D + 3, 1, 12, 11, 5)], "the first counts as one"
    assert published([first, record(9, b"a", None), third])["a"].moves == compacted.moves[-17:], "a life ended"
    many = [told(n, 11 + n % 2, 12 - n % 2, "2024-03-02") for n in range(1, 40)]
    assert [move[0] for move in moves_in(published(many)["a"].moves)] == list(range(24, 40))


def test_a_recovery_adds_the_moves_that_redis_lost_and_counts_them_as_one_flow() -> None:
    known = published([told(3, 11, 12, "2024-03-01"), told(4, 12, 11, "2024-03-02"), told(5, 13, 12, "2024-03-02")])
    tally = Tally((Total(11, 1, 0), Total(12, 4, 70)), ())
    state = PartitionState(0, Sweep(4, D, 1, "h", None), 0, tally=tally)
    made = raised(["a"], [stored(3, 11, 2)], known, state, Rules(), same_generation=True)
    found = decode_states([made.states["a"]]).moves
    assert found.records["revision"].tolist() == [4, 5]
    assert made.tally == Tally((Total(12, 4, 70), Total(13, 1, 0)), (Flow(11, 13, "silence", 1),))
    old = raised(["a"], [stored(3, 11, 2, schema=1)], known, state, Rules(schema=1), same_generation=True)
    assert old.states["a"][:2] == bytes([1, 0]), "a schema that keeps none stays as it is"


def test_whom_the_sweep_has_not_counted_yet_a_recovery_does_not_count_either() -> None:
    known = published([told(4, 12, 11, "2024-03-02")])
    state = PartitionState(0, Sweep(4, D, 1, "h", position("a") - 1), 0, tally=Tally((Total(11, 1, 5),), ()))
    made = raised(["a"], [stored(3, 11, 2)], known, state, Rules(), same_generation=True)
    assert made.tally == Tally((Total(11, 1, 5),), (Flow(11, 12, "silence", 1),))
