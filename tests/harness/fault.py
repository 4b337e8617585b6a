"""What a fault test tells of itself: how often the fault was injected, how often it landed, and what it cost.

    inject -> fired -> recovered -> judge      a fault that never landed is a failed test (Flink's rule)

docs/reliability.md is made of these records (tests/faults/table.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from tests.harness.verdict import Outcome


class FaultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One passed test. faults: rows of the matrix; lost, doubled: None where no stream was involved, `why` says so.

    seconds: from the first injection until the system was whole again, None where nothing had to recover.
    """

    test: str
    faults: tuple[str, ...]
    long: bool
    injected: int
    fired: int
    lost: int | None
    doubled: int | None
    seconds: float | None
    why: str | None = None

    @property
    def counted(self) -> tuple[object, ...]:
        """What must be the same on every run."""
        return self.faults, self.injected, self.fired, self.lost, self.doubled


class Fault:
    """The fixture of a fault test."""

    def __init__(self, test: str, faults: Sequence[str], *, long: bool) -> None:
        self._test, self._faults, self._long = test, tuple(faults), long
        self._injected = self._fired = 0
        self._began: float | None = None
        self._seconds: float | None = None
        self._lost: int | None = None
        self._doubled: int | None = None
        self._why: str | None = None

    def inject(self, times: int = 1) -> None:
        """Note that the fault is being injected; the first starts the clock."""
        self._injected += times
        if self._began is None:
            self._began = time.monotonic()

    def fired(self, times: int = 1) -> None:
        """Note evidence that it landed."""
        self._fired += times

    def ended(self) -> None:
        """Note that the fault is over (the server answers again): recovery is counted from here."""
        self._began = time.monotonic()

    def recovered(self) -> None:
        """Note that the system is whole again; of several recoveries the longest counts."""
        assert self._began is not None, "nothing was injected"
        self._seconds = max(self._seconds or 0.0, time.monotonic() - self._began)

    def judge(self, outcome: Outcome) -> None:
        """Take a verdict in: nothing lost, nothing doubled, nothing otherwise wrong."""
        self._lost = (self._lost or 0) + outcome.lost
        self._doubled = (self._doubled or 0) + outcome.doubled
        assert outcome.ok, "\n".join([str(replace(outcome, traces=())), *outcome.traces])
        assert outcome.customers > 0, "a verdict on nobody proves nothing"

    def unstreamed(self, why: str) -> None:
        """Say why nothing can be lost or doubled here."""
        self._why = why

    def record(self) -> FaultRecord:
        """Return what is to be kept. Raises AssertionError where the test proves nothing."""
        assert self._faults, "mark the test with the rows it proves: @pytest.mark.fault(8)"
        assert self._injected > 0, "no fault was injected"
        assert self._fired == self._injected, f"of {self._injected} injected faults {self._fired} landed"
        assert (self._lost is None) == (self._why is not None), "judge a verdict, or say why there is none"
        return FaultRecord(
            test=self._test,
            faults=self._faults,
            long=self._long,
            injected=self._injected,
            fired=self._fired,
            lost=self._lost,
            doubled=self._doubled,
            seconds=None if self._seconds is None else round(self._seconds, 1),
            why=self._why,
        )
