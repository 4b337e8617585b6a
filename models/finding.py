"""A finding: what the sentinel tells people, and when one counts as new."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Literal

import msgspec

Severity = Literal["alarm", "information"]
Direction = Literal["up", "down"]
Kind = Literal["level", "tail", "drift", "volume", "population", "cluster", "name", "inertia", "silhouette"]

EPISODE = 7
"""Days without the same finding after which the next one is a new one."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a person should know of one day.

    measure: what was looked at. expected, found: in the measure's own unit: a typical order, a share of the
    orders, orders, customers, an index, a ratio. score: in standard errors; of a tail -log10 of its chance; 0 where
    nothing is random. since: the first day of an episode of the same finding. advice: what to do.
    """

    severity: Severity
    kind: Kind
    measure: str
    direction: Direction
    day: date
    since: date
    expected: float
    found: float
    score: float = 0.0
    message: str
    advice: str

    @property
    def is_new(self) -> bool:
        return self.day == self.since

    @property
    def sentence(self) -> str:
        """Severity, day, what and how much, in one line."""
        return f"{self.severity}: {self.day} {self.measure} ({self.kind}): {self.message}"


def episodes(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of days, alarms first, each with the first day of its episode in `since`."""
    last: dict[tuple[str, ...], Finding] = {}
    told = []
    for finding in sorted(findings, key=lambda f: (f.day, f.severity, f.measure, f.kind, f.direction)):
        same = (finding.severity, finding.kind, finding.measure, finding.direction)
        before = last.get(same)
        goes_on = before is not None and (finding.day - before.day).days <= EPISODE
        last[same] = msgspec.structs.replace(finding, since=before.since if before and goes_on else finding.day)
        told.append(last[same])
    return told


def direction(factor: float) -> Direction:
    """Say which way a ratio of found to expected points."""
    return "up" if factor > 1 else "down"
