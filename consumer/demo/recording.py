"""What went through the embedded broker, kept in files: the broker itself keeps about 5 MB a partition.

    <directory>/<topic>-<partition>.records   | length 4 | record as msgpack | length 4 | ...

`RecordedReader` reads them as a `TopicReader`: who verifies a run reads a recording like the topics themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from consumer.ports import InputRecord, TopicFacts

_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(InputRecord)


class Recording:
    """Appends records of any topics, in offset order a partition; not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[tuple[str, int], BinaryIO] = {}

    def append(self, topic: str, partition: int, records: Sequence[InputRecord]) -> None:
        """Keep records."""
        if not records:
            return
        file = self._files.get((topic, partition))
        if file is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = self._files[topic, partition] = _path(self._directory, topic, partition).open("ab")
        packed = [_encoder.encode(record) for record in records]
        file.write(b"".join(part for each in packed for part in (_LENGTH.pack(len(each)), each)))

    def close(self) -> None:
        """Write out what is buffered."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class RecordedReader:
    """Reads what was recorded; implements `consumer.ports.TopicReader`."""

    def __init__(self, directory: Path, partitions: int) -> None:
        self._directory, self._partitions = directory, partitions

    def facts(self, topic: str) -> TopicFacts:
        """Return the partitions; the id is the directory's, for the broker's is gone."""
        return TopicFacts(f"recorded/{topic}", self._partitions)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first recorded offset and the one after the last; (0, 0) where nothing was recorded."""
        first, stop = 0, 0
        for i, record in enumerate(self._all(topic, partition)):
            first = record.offset if i == 0 else first
            stop = record.offset + 1
        return first, stop

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the end: only what was committed is recorded."""
        return self.bounds(topic, partition)[1]

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the first offset published at or after a time, None where there is none."""
        later = (r.offset for r in self._all(topic, partition) if r.timestamp >= timestamp_ms)
        return next(later, None)

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[InputRecord]:
        """Yield the records with start <= offset < stop, in order."""
        return (record for record in self._all(topic, partition) if start <= record.offset < stop)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""

    def _all(self, topic: str, partition: int) -> Iterator[InputRecord]:
        path = _path(self._directory, topic, partition)
        if not path.exists():
            return
        data = memoryview(path.read_bytes())
        at = 0
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size + length
            yield _decoder.decode(data[at - length : at])


def _path(directory: Path, topic: str, partition: int) -> Path:
    return directory / f"{topic}-{partition}.records"
