"""What was recorded is read like the topic it came from."""

from __future__ import annotations

from pathlib import Path

from consumer.demo.recording import RecordedReader, Recording
from consumer.ports import InputRecord

RECORDS = [
    InputRecord(3, 1_000, b"a", b"{}", (("epoch", b"1"), ("offset", b"7"))),
    InputRecord(5, 2_000, None, None),
    InputRecord(6, 3_000, b"", b"\x00\xff", ()),
]


def recorded(folder: Path, *parts: list[InputRecord]) -> RecordedReader:
    recording = Recording(folder)
    for part in parts:
        recording.append("out", 1, part)
    recording.close()
    return RecordedReader(folder, 4)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    reader = recorded(tmp_path, RECORDS[:1], [], RECORDS[1:])
    assert list(reader.read("out", 1, 0, 100)) == RECORDS
    assert reader.bounds("out", 1) == (3, 7)


def test_a_second_recording_goes_on_behind_the_first(tmp_path: Path) -> None:
    recorded(tmp_path, RECORDS[:2])
    assert list(recorded(tmp_path, RECORDS[2:]).read("out", 1, 0, 100)) == RECORDS


def test_a_read_takes_its_first_offset_and_not_its_last(tmp_path: Path) -> None:
    reader = recorded(tmp_path, RECORDS)
    assert [record.offset for record in reader.read("out", 1, 4, 6)] == [5]


def test_a_time_finds_the_first_record_published_then_or_later(tmp_path: Path) -> None:
    reader = recorded(tmp_path, RECORDS)
    assert [reader.offset_at("out", 1, ms) for ms in (0, 1_000, 1_001, 3_001)] == [3, 3, 5, None]


def test_where_nothing_was_recorded_there_is_nothing(tmp_path: Path) -> None:
    reader = RecordedReader(tmp_path / "nowhere", 4)
    assert (reader.bounds("out", 0), list(reader.read("out", 0, 0, 9)), reader.facts("out").partitions) == (
        (0, 0),
        [],
        4,
    )
