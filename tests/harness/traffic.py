"""A seeded shop that sells by instalments: a history first, then as many days at a time as a test asks for.

traffic = Traffic(live); traffic.sell(days=5); ...; traffic.sell(days=5)
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, shopping

HISTORY_DAYS = 10


class Traffic:
    """Bootstraps a world, then publishes to it."""

    def __init__(self, live: Live, *, days: int = 60, customers: int = 60, per_day: int = 30) -> None:
        """Load the history; `days` may be sold afterwards."""
        self._live = live
        self._lines = list(shopping(7, customers=customers, days=HISTORY_DAYS + days, per_day=per_day))
        self._sold = HISTORY_DAYS
        live.bootstrap(self._of(0, HISTORY_DAYS))

    def sell(self, days: int) -> None:
        """Publish the next days, and a tick of the day after, with which each partition's day turns."""
        self._live.publish(self._of(self._sold, self._sold + days))
        self._sold += days
        self._live.tick(_day(self._sold))

    def _of(self, low: int, high: int) -> list[dict[str, Any]]:
        return [each for each in self._lines if str(_day(low)) <= each["invoice_date"] < str(_day(high))]


def _day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)
