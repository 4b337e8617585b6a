"""Does input lie there that does not come? A consumer that fell silent is set right, and told (FAULTS 31).

    every 5 s   lanes that wait for input --positions--> those that did not move --ends of their logs-->
    20 s        below an end without moving: sought, which drops what the client holds of the partition
    20 s more   still there: the worker leaves the group and joins again with a new consumer

Nobody is asked while every lane moves. Not a stall: a lane whose buffer is full or that is paused, which reads nothing
on purpose; one at its end, where the position has passed trailing transaction markers and the end stops before an open
transaction; and whatever was not looked at in time, for the broker was away or the process stood still.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

EVERY_S = 5.0
STALLED_S = 20.0
"""Too low and a slow broker costs a rebalance; too high and input waits."""
UNSEEN_S = 3 * EVERY_S
"""After so long without a look nothing is known of the time between."""


class Remedy(Enum):
    """What is tried with a partition that stands still."""

    SEEK = "seek"
    REJOIN = "rejoin"


@dataclass(slots=True)
class _Stand:
    """Where a lane stands. position: the highest seen: after a seek markers are passed again, which is no progress."""

    epoch: int
    position: int
    since: float
    sought: bool = False


class Watchdog:
    """Remembers positions and judges them; asks nobody itself. Times are seconds of a clock that never steps."""

    def __init__(self) -> None:
        self._stands: dict[int, _Stand] = {}
        self._looked_at = -math.inf

    def due(self, now: float) -> bool:
        """Say whether it is time to look."""
        return now - self._looked_at >= EVERY_S

    def note(self, waiting: Mapping[int, int], positions: Mapping[int, int], now: float) -> frozenset[int]:
        """Take in where lanes that wait for input stand; return those that did not move, whose ends are to be asked.

        waiting: partition -> epoch; a lane that was taken over anew begins anew here too.
        """
        if now - self._looked_at > UNSEEN_S:
            self.forget()
        self._looked_at = now
        before, self._stands = self._stands, {}
        for partition in waiting.keys() & positions.keys():
            epoch, position = waiting[partition], positions[partition]
            stand = before.get(partition)
            if stand is None or stand.epoch != epoch or position > stand.position:
                stand = _Stand(epoch, position, now)
            self._stands[partition] = stand
        return frozenset(partition for partition, stand in self._stands.items() if stand.since < now)

    def judge(self, ends: Mapping[int, int], now: float) -> dict[int, Remedy]:
        """Return what to do about partitions that have stood still below the end of their log for too long."""
        found: dict[int, Remedy] = {}
        for partition, end in ends.items():
            stand = self._stands[partition]
            if stand.position >= end:
                self._stands[partition] = _Stand(stand.epoch, stand.position, now)
            elif now - stand.since >= STALLED_S:
                found[partition] = Remedy.REJOIN if stand.sought else Remedy.SEEK
                stand.since, stand.sought = now, True
        return found

    def forget(self) -> None:
        """Begin anew: the ends could not be asked, or nobody looked."""
        self._stands.clear()
