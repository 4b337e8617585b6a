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

from collections.abc import Iterator, Sequence

import numpy as np

from features.ledger import Ints
from features.vector import Flags
from models.daily_inputs import MEASURES, DailyInputs
from models.departure import Level, Tail, level, reference, tails, volume
from models.finding import EPISODE, Finding, date_of, direction, episodes

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
    found = list(_volume(inputs.days, inputs.orders))
    for measure, name in enumerate(MEASURES):
        given = inputs.counts[:, measure].any(axis=1)
        found += _measure(name, inputs.days[given], inputs.counts[given, measure])
    return episodes(found)


def _measure(name: str, days: Ints, counts: Ints) -> list[Finding]:
    from models.river_drift import shifts  # late: river takes seconds to import

    usual = np.ones(len(days), np.bool_)
    found: list[Finding] = []
    scored: list[tuple[int, Level]] = []
    for row, day in enumerate(days.tolist()):
        rows = reference_rows(days, row, usual)
        if rows is None:
            continue
        before = reference(counts[rows])
        moved = level(before, counts[row])
        below, above = tails(before, counts[row])
        told = [_tail(name, day, below, "below"), _tail(name, day, above, "above")]
        if moved is not None:
            told.append(_level(name, day, int(counts[row].sum()), moved))
        sure = [finding for finding in told if finding is not None]
        usual[row] = all(finding.severity != "alarm" for finding in sure)
        found += sure
        if moved is not None and usual[row]:
            scored.append((day, moved))
    return found + [_drift(name, scored[: index + 1]) for index in shifts([moved.score for _, moved in scored])]


def reference_rows(days: Ints, row: int, usual: Flags) -> Ints | None:
    """Return the rows that a row is compared with, those with an alarm left out; None where they are too few."""
    window = np.arange(np.searchsorted(days, days[row] - WINDOW), row)
    kept = window[usual[window]]
    rows = kept if len(kept) >= FEWEST_DAYS else window
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


def _volume(days: Ints, orders: Ints) -> Iterator[Finding]:
    every = np.ones(len(days), np.bool_)
    for row, day in enumerate(days.tolist()):
        rows = reference_rows(days, row, every)
        if rows is None:
            continue
        seen, today = volume(days[rows], orders[rows], day, int(orders[row])), int(orders[row])
        factor = today / seen.expected
        if abs(seen.score) < VOLUME_SCORE or max(factor, 1 / factor) < VOLUME_FACTOR:
            continue
        yield Finding(
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
