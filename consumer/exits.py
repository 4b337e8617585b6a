"""Exit codes, one table for the command line, the worker and docs/operations.md; and the exceptions that carry them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process says to the one who started it."""

    DONE = 0
    DIFFERENCES = 1
    """A check ran and found differences."""
    USAGE = 2
    INPUT_LOST = 3
    """Input is gone that was never read, or Kafka lost commits."""
    TOPOLOGY = 4
    """The topic was created again, or has another number of partitions."""
    FENCED = 5
    INCOMPATIBLE = 6
    """The state in Redis was made for other settings or by another version, or was replaced."""
    INTERNAL = 70


class Stop(Exception):
    """The process cannot go on; the message says what, which, and what to do."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
