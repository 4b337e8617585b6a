"""The sentinel: what is odd about the days' inputs. A series of days in, findings out.

    each day against the 8 weeks before:  level   the typical order moved         alarm
                                          tail    many orders are far outside     alarm
                                          drift   small shifts that last          information
                                          volume  many more or fewer orders       information

A finding is a function of the days that are given and of nothing else: whoever holds the same days finds the
same, after a restart or as another leader. Thresholds widen where a day has few orders, so that 30 do not alarm
by chance and 3,000 show small shifts (models/departure.py has the formulas). A day without orders is not
looked at: closed is not odd. How the limits were chosen, and what to do: docs/monitoring.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from features.ledger import Ints
from features.transaction import date_of
from models.daily_inputs import MEASURES, DailyInputs, nothing
from models.departure import Level, Reference, Tail, Volume, level, reference, tails, volume
from models.finding import EPISODE, Finding, direction, episodes
from models.river_drift import shifts

WINDOW = 56
"""Days before a day that it is compared with: eight of each weekday."""

FEWEST_DAYS = 14
"""Days with orders that a comparison needs; nothing is said before."""

LEVEL_SCORE, LEVEL_FACTOR = 4.5, 1.25
"""An alarm takes both: so many standard errors (7 in a million by chance), and a typical order moved by a quarter."""

TAIL_CHANCE, TAIL_EXCESS = 1e-5, 0.03
"""An alarm takes both: the chance, and so large a share of the day's orders beyond the limit above the usual one."""

VOLUME_SCORE, VOLUME_FACTOR = 3.0, 1.5
"""Information takes both."""


def inspect(inputs: DailyInputs) -> list[Finding]:
    """Return what is odd about the days of a series, each judged by the days before it, in the order of days.

    A day whose orders alarmed is no reference for that measure, so the alarm lasts while the fault does. When
    fewer than `FEWEST_DAYS` others are left in the window, some six weeks on, the new level counts as usual.
    """
    return Sentinel().judge(inputs)


class Sentinel:
    """`inspect` for a series that grows by a day at a time: days judged before are not judged again."""

    def __init__(self) -> None:
        self._known, self._orders, self._measures = _unjudged()

    def judge(self, inputs: DailyInputs) -> list[Finding]:
        """Return the findings of all days; anything but new days at the end of the last series begins anew."""
        if not inputs.begins_with(self._known):
            self._known, self._orders, self._measures = _unjudged()
        known = len(self._known)
        for day, counts in zip(inputs.days[known:].tolist(), inputs.counts[known:], strict=True):
            self._orders.add(day, int(counts[0].sum()))
            for measure, own in zip(self._measures, counts, strict=True):
                if own.any():
                    measure.add(day, own)
        self._known = inputs
        return episodes([*self._orders.found, *(finding for each in self._measures for finding in each.findings())])


class _Measure:
    """One measure's days so far: which were usual, how far each was from its reference, and what was found."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.days: list[int] = []
        self.counts: list[Ints] = []
        self.usual: list[bool] = []
        self.scored: list[tuple[int, Level]] = []
        self.found: list[Finding] = []

    def add(self, day: int, counts: Ints) -> None:
        """Judge the next day; counts: int64 (BINS,), one order at least."""
        rows = reference_rows(self.days, self.usual, day)
        told = [] if rows is None else self._told(day, counts, reference(np.stack([self.counts[row] for row in rows])))
        self.days.append(day)
        self.counts.append(counts)
        self.usual.append(all(finding.severity != "alarm" for finding in told))
        self.found += told
        if not self.usual[-1] and self.scored and self.scored[-1][0] == day:
            self.scored.pop()

    def _told(self, day: int, counts: Ints, before: Reference) -> list[Finding]:
        moved = level(before, counts)
        below, above = tails(before, counts)
        told = [_tail(self.name, day, below, "below"), _tail(self.name, day, above, "above")]
        if moved is not None:
            told.append(_level(self.name, day, int(counts.sum()), moved))
            self.scored.append((day, moved))
        return [finding for finding in told if finding is not None]

    def findings(self) -> list[Finding]:
        """Return what was found, drifts too: in the scores of the days that did not alarm."""
        drifts = [_drift(self.name, self.scored[: at + 1]) for at in shifts([moved.score for _, moved in self.scored])]
        return self.found + drifts


def _unjudged() -> tuple[DailyInputs, _Orders, list[_Measure]]:
    return nothing(), _Orders(), [_Measure(name) for name in MEASURES]


def reference_rows(days: Sequence[int], usual: Sequence[bool], day: int) -> list[int] | None:
    """Return the rows that a day is compared with, those with an alarm left out; None where they are too few."""
    window = range(bisect_left(days, day - WINDOW), len(days))
    kept = [row for row in window if usual[row]]
    rows = kept if len(kept) >= FEWEST_DAYS else list(window)
    return rows if len(rows) >= FEWEST_DAYS else None


def _level(name: str, day: int, orders: int, moved: Level) -> Finding | None:
    if abs(moved.score) < LEVEL_SCORE:
        return None
    factor, expected = 2.0**moved.shift, 2.0**moved.mean
    return Finding(
        severity="alarm" if max(factor, 1 / factor) >= LEVEL_FACTOR else "information",
        kind="level",
        measure=name,
        direction=direction(factor),
        day=date_of(day),
        since=date_of(day),
        expected=expected,
        found=expected * factor,
        score=moved.score,
        message=f"typically {expected * factor:,.2f} in {orders} orders, {factor:.2f} times the usual {expected:,.2f}",
        advice="compare the day's orders with their source: price list, currency, pence, pack sizes, swapped columns",
    )


def _tail(name: str, day: int, tail: Tail, side: str) -> Finding | None:
    if tail.chance > TAIL_CHANCE:
        return None
    share = tail.beyond / tail.orders
    return Finding(
        severity="alarm" if share - tail.usual >= TAIL_EXCESS else "information",
        kind="tail",
        measure=name,
        direction="up" if side == "above" else "down",
        day=date_of(day),
        since=date_of(day),
        expected=tail.usual,
        found=share,
        score=-float(np.log10(max(tail.chance, 1e-300))),
        message=f"{tail.beyond} of {tail.orders} {side} {tail.limit:,.2f}: {share:.1%}, usually {tail.usual:.1%}",
        advice="look at these orders and who sent them: bulk buyers, tests, one shop or partner with another unit",
    )


def _drift(name: str, scored: Sequence[tuple[int, Level]]) -> Finding:
    """Tell of a shift by its last days; the last one is the day on which the test was sure."""
    recent = [moved for _, moved in scored[-EPISODE:]]
    day, expected = scored[-1][0], 2.0 ** recent[-1].mean
    factor = 2.0 ** float(np.mean([moved.shift for moved in recent]))
    return Finding(
        severity="information",
        kind="drift",
        measure=name,
        direction=direction(factor),
        day=date_of(day),
        since=date_of(day),
        expected=expected,
        found=expected * factor,
        score=float(np.mean([moved.score for moved in recent])),
        message=f"{factor:.2f} times the usual {expected:,.2f} over {len(recent)} days: little a day, but it lasts",
        advice="nothing where it is the season or a new price list; else as for a level",
    )


class _Orders:
    """How many orders the days had."""

    def __init__(self) -> None:
        self.days: list[int] = []
        self.orders: list[int] = []
        self.found: list[Finding] = []

    def add(self, day: int, today: int) -> None:
        """Judge the next day; it has an order at least."""
        rows = reference_rows(self.days, [True] * len(self.days), day)
        if rows is not None:
            first = rows[0]  # nobody is left out, so they are all the days from it on
            seen = volume(np.array(self.days[first:]), np.array(self.orders[first:]), day, today)
            factor = today / seen.expected
            if abs(seen.score) >= VOLUME_SCORE and max(factor, 1 / factor) >= VOLUME_FACTOR:
                self.found.append(_volume(day, today, seen))
        self.days.append(day)
        self.orders.append(today)


def _volume(day: int, today: int, seen: Volume) -> Finding:
    factor = today / seen.expected
    return Finding(
        severity="information",
        kind="volume",
        measure="orders",
        direction=direction(factor),
        day=date_of(day),
        since=date_of(day),
        expected=seen.expected,
        found=float(today),
        score=seen.score,
        message=f"{today} orders, {factor:.1f} times the usual {seen.expected:.0f}",
        advice="a rush or a lull where nothing else is told of the day; else the orders' findings explain it",
    )
