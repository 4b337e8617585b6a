"""Reads what the demo's worker publishes, all the time, and keeps it: the embedded broker keeps only the newest.

segments, dead letters, erasures --a round every tenth of a second--> Recording, and the view
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from consumer.demo.recording import Recording
from consumer.ports import InputRecord
from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_settings import KafkaSettings

ROUND_S = 0.1

Seen = Callable[[str, int, Sequence[InputRecord]], None]
"""Told of new records: topic, partition, records."""


class Recorder:
    """A thread from `start` to `stop`; what it met is raised by `check` and `stop`."""

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[str], partitions: int, recording: Recording, seen: Seen
    ) -> None:
        self._kafka, self._recording, self._seen = kafka, recording, seen
        self._next = {(topic, partition): 0 for topic in topics for partition in range(partitions)}
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to read, at the beginning of every partition."""
        self._thread.start()

    def check(self) -> None:
        """Raise what the thread met."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Read what is there now to its end, and end."""
        self._stopping.set()
        self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            reader = KafkaReader(self._kafka)
            try:
                while self._round(reader) or not self._stopping.is_set():
                    self._stopping.wait(ROUND_S)
            finally:
                reader.close()
        except Exception as error:  # noqa: BLE001 -- handed to the thread that waits for it
            self._failure = error

    def _round(self, reader: KafkaReader) -> bool:
        """Read every partition to its present end; return whether anything was new."""
        moved = False
        for (topic, partition), position in self._next.items():
            _, end = reader.bounds(topic, partition)
            if end <= position:
                continue
            records = list(reader.read(topic, partition, position, end))
            self._recording.append(topic, partition, records)
            self._seen(topic, partition, records)
            self._next[topic, partition] = end
            moved = True
        return moved
