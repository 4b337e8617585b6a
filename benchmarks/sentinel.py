"""Does the sentinel cry wolf, and does it cry in time: a year day by day, then the same year with seeded faults.

    python -m benchmarks.sentinel [--json] [--every 3] [--seeds 200] [--alone] [PATH]

1 years     UCI Online Retail (or PATH), the committed sample, a made-up CD shop: alarms, information, day by day
2 faults    from every third day with a reference on, in turn: prices x3, pence for pounds (all, a third of the orders,
            a third of the lines), pounds for pence, units and price swapped, packs for pieces, a new B2B cohort; and a
            rush of three times the orders, which is no fault. The thresholds were chosen on the first half.
            caught    share of the starts whose first day alarms; late: alarms on days 2 to 7; missed: not in 7 days
3 chance    stationary shops of 3 to 3,000 orders a day, so many seeds: false alarms a day
4 others    river's detectors fed each order by itself: how often they report a change in the real year
              (--alone leaves out the shops beside PATH, and chance)
5 population  the index of each week against the one before: coordinates by decile, and the published segments
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from river import drift

from benchmarks.retail import FILE, day_of, read
from benchmarks.weekly_quality import MARGIN, course
from consumer.history.csv_source import read_history
from features.ledger import MONEY, Ints, Lines, from_lines
from features.vector import RFM, Flags, vectors
from models import selection
from models.daily_inputs import MEASURES, DailyInputs, daily_inputs
from models.departure import stability
from models.finding import Finding, Severity
from models.learner import learner_named
from models.sentinel import FEWEST_DAYS, WINDOW, inspect
from models.sentinel_model import decile_histograms, inspect_population
from reports.learners import Published, Replay, days_of

SAMPLE = Path(__file__).resolve().parents[1] / "Dataset" / "sample.csv.gz"
DAYS = 7
"""Days that a seeded fault lasts here."""


class Faulty(NamedTuple):
    """What a seeded fault became: days until the first alarm (None: not within `DAYS`), and what was told."""

    start: int
    orders: int
    days: int | None
    told: tuple[Finding, ...]


Fault = Callable[[Lines, np.random.Generator, int, Lines], Lines]
"""(lines of some days, randomness, the first of them, lines of the weeks before) -> what arrives instead."""


def times(factor: int, of: Callable[[Lines], Flags]) -> Fault:
    """Return the fault that multiplies the price of some lines."""

    def apply(lines: Lines, _rng: np.random.Generator, _day: int, _past: Lines) -> Lines:
        return replace(lines, amount=np.where(of(lines), lines.amount * factor, lines.amount))

    return apply


def everything(lines: Lines) -> Flags:
    return np.ones(len(lines), np.bool_)


def third_of_orders(lines: Lines) -> Flags:
    return np.asarray(lines.order % np.uint64(3) == 0, np.bool_)


def third_of_lines(lines: Lines) -> Flags:
    return np.asarray(np.arange(len(lines)) % 3 == 0, np.bool_)


def pounds_for_pence(lines: Lines, _rng: np.random.Generator, _day: int, _past: Lines) -> Lines:
    return replace(lines, amount=np.sign(lines.amount) * np.maximum(np.abs(lines.amount) // 100, 1))


def columns_swapped(lines: Lines, _rng: np.random.Generator, _day: int, _past: Lines) -> Lines:
    """Quantity and price change places; a quantity must be whole, so prices are rounded."""
    units = np.maximum(np.rint(lines.amount / lines.units / MONEY).astype(np.int64), 1) * np.sign(lines.units)
    return replace(lines, units=units, amount=np.abs(lines.units) * units * MONEY)


def packs_for_pieces(lines: Lines, _rng: np.random.Generator, _day: int, _past: Lines) -> Lines:
    """A dozen is one unit at twelve times the price."""
    return replace(lines, units=np.sign(lines.units) * np.maximum(np.abs(lines.units) // 12, 1))


def cohort(share: float, factor: int) -> Fault:
    """Return more orders, of new customers: a share of the day's, drawn from the weeks before, units times a factor."""

    def apply(lines: Lines, rng: np.random.Generator, _day: int, past: Lines) -> Lines:
        more = _drawn(lines, rng, past, share)
        new = replace(more, owner=_STRANGERS + more.order.astype(np.int64))
        return _joined([lines, replace(new, amount=new.amount * factor, units=new.units * factor)])

    return apply


def three_times(lines: Lines, rng: np.random.Generator, _day: int, past: Lines) -> Lines:
    """Three times the orders, of the usual kind and customers."""
    return _joined([lines, _drawn(lines, rng, past, 2.0)])


_STRANGERS = 1 << 40


def _drawn(lines: Lines, rng: np.random.Generator, past: Lines, share: float) -> Lines:
    """Return for each day so large a share of its orders again, drawn whole from the past, under new numbers."""
    sold = past.take(past.amount > 0)
    starts_of = np.unique(sold.order)
    parts, number = [], 0
    for day in np.unique(lines.day).tolist():
        today = (lines.day == day) & (lines.amount > 0)
        for order in rng.choice(starts_of, max(1, round(share * len(np.unique(lines.order[today]))))):
            copy, number = sold.take(sold.order == order), number + 1
            parts.append(
                replace(copy, order=np.full(len(copy), number, np.uint64), day=np.full(len(copy), day, np.int64))
            )
    return _joined(parts)


def _joined(parts: list[Lines]) -> Lines:
    columns = zip(*((p.owner, p.order, p.day, p.amount, p.units, p.event_id) for p in parts), strict=True)
    return Lines(*(np.concatenate(column) for column in columns))


FAULTS: dict[str, Fault] = {
    "prices x3": times(3, everything),
    "pence for pounds": times(100, everything),
    "pence, a third of the orders": times(100, third_of_orders),
    "pence, a third of the lines": times(100, third_of_lines),
    "pounds for pence": pounds_for_pence,
    "units and price swapped": columns_swapped,
    "packs for pieces": packs_for_pieces,
    "B2B cohort, +10 % orders, units x20": cohort(0.1, 20),
    "B2B cohort, +20 % orders, units x20": cohort(0.2, 20),
    "B2B cohort, +30 % orders, units x20": cohort(0.3, 20),
}


def shop(seed: int, days: int, per_day: float, first: int = 10_000) -> Lines:
    """Return a stationary shop's lines, in the manner of CDNOW: few units, prices of a short list, closed on Sundays.

    Orders a day are negative binomial (deviation 25 % beyond Poisson's), baskets geometric, and customers differ.
    """
    rng = np.random.default_rng(seed)
    calendar = np.array([day for day in range(first, first + days) if (day + 3) % 7 != 6])
    orders = rng.poisson(per_day * rng.gamma(16, 1 / 16, len(calendar)))
    day = np.repeat(calendar, orders)
    order = np.arange(1, len(day) + 1, dtype=np.uint64)
    owner = np.minimum(rng.integers(0, 4_000, len(day)), rng.integers(0, 4_000, len(day)))
    taste = rng.lognormal(0, 0.6, 4_000)[owner]
    lines = rng.geometric(0.5, len(day))
    line = np.repeat(np.arange(len(day)), lines)
    units = 1 + rng.poisson(taste[line])
    price = rng.choice([799, 999, 1199, 1299, 1499, 1799, 2499], len(line), p=[0.05, 0.1, 0.25, 0.25, 0.2, 0.1, 0.05])
    return Lines(
        owner[line], order[line], day[line], price * units * (MONEY // 100), units, np.zeros(len(line), np.uint64)
    )


@dataclass(frozen=True, slots=True)
class Year:
    """A shop's lines, their daily inputs, and each owner's first day."""

    lines: Lines
    first_day: Ints
    inputs: DailyInputs


def year_of(lines: Lines) -> Year:
    """Return a shop's year; owners are 0 .. n - 1."""
    first_day = np.full(int(lines.owner.max()) + 1, 1 << 20)
    np.minimum.at(first_day, lines.owner, lines.day)
    return Year(lines, first_day, daily_inputs(from_lines(lines), first_day, 0, 1 << 20))


def table(lines: Lines) -> DailyInputs:
    """Return the daily inputs of a shop whose life begins with these lines."""
    return year_of(lines).inputs


def with_strangers(lines: Lines, first_day: Ints) -> DailyInputs:
    """Return the daily inputs of lines whose owners beyond `first_day` are new customers."""
    new = lines.owner >= len(first_day)
    strangers, index = np.unique(lines.owner[new], return_inverse=True)
    owner, first = lines.owner.copy(), np.full(len(strangers), 1 << 20)
    owner[new] = len(first_day) + index
    np.minimum.at(first, index, lines.day[new])
    return daily_inputs(from_lines(replace(lines, owner=owner)), np.r_[first_day, first], 0, 1 << 20)


def new(findings: list[Finding], severity: Severity) -> list[Finding]:
    return [finding for finding in findings if finding.is_new and finding.severity == severity]


def quiet(year: Year) -> dict[str, Any]:
    """Return what a year without a seeded fault is told."""
    findings = inspect(year.inputs)
    alarms, told = new(findings, "alarm"), new(findings, "information")
    return {
        "days": len(year.inputs),
        "judged": max(0, len(year.inputs) - FEWEST_DAYS),
        "orders": int(year.inputs.orders.sum()),
        "alarms": [f.sentence for f in alarms],
        "information": dict(Counter(f"{f.kind} of {f.measure} {f.direction}" for f in told)),
        "told": [f.sentence for f in told],
    }


def seeded(year: Year, fault: Fault, start: int, seed: int, days: int = DAYS) -> Faulty:
    """Let a fault begin on a day and last some days; return how long the sentinel needed."""
    lines = year.lines
    weeks_before = lines.take((lines.day >= start - WINDOW) & (lines.day < start))
    window = lines.take((lines.day >= start) & (lines.day < start + days))
    wrong = with_strangers(fault(window, np.random.default_rng(seed), start, weeks_before), year.first_day)
    before = year.inputs.since(start - WINDOW)
    right = DailyInputs(before.days[before.days < start], before.counts[before.days < start])
    told = [f for f in inspect(right + wrong) if day_of(f.day.isoformat()) >= start]
    alarms = [day_of(f.day.isoformat()) - start for f in told if f.severity == "alarm"]
    return Faulty(start, int(wrong.orders[0]), min(alarms) + 1 if alarms else None, tuple(told))


def starts(year: Year, every: int) -> list[int]:
    """Return every so many of the days with orders that have a reference, and a week after them."""
    days = year.inputs.days
    return [int(day) for day in days[FEWEST_DAYS::every] if day + DAYS <= days[-1] + 1]


def caught(runs: list[Faulty]) -> dict[str, Any]:
    if not runs:
        return {}
    first = [run for run in runs if run.days == 1]
    return {
        "starts": len(runs),
        "caught": round(len(first) / len(runs), 4),
        "late": sum(run.days is not None and run.days > 1 for run in runs),
        "missed": sum(run.days is None for run in runs),
        "not_on_day_1": [f"{_iso(run.start)} ({run.orders} orders)" for run in runs if run.days != 1],
    }


def rush(runs: list[Faulty]) -> dict[str, Any]:
    """Count the rushes that alarmed, and those told as volume on the first day and within the week."""
    volume = [
        [day_of(f.day.isoformat()) - run.start for f in run.told if f.kind == "volume" and f.direction == "up"]
        for run in runs
    ]
    return {
        "starts": len(runs),
        "alarmed": sum(run.days is not None for run in runs),
        "told_on_day_1": round(sum(0 in days for days in volume) / len(runs), 4),
        "told_in_7_days": round(sum(bool(days) for days in volume) / len(runs), 4),
    }


def faults(year: Year, every: int) -> dict[str, Any]:
    """Return each fault's figures for both halves of a year."""
    begin = starts(year, every)
    middle = begin[len(begin) // 2]
    found: dict[str, Any] = {}
    for name, fault in (FAULTS | {"rush x3": three_times}).items():
        runs = [seeded(year, fault, start, seed) for seed, start in enumerate(begin)]
        count = rush if fault is three_times else caught
        found[name] = {
            "first half": count([run for run in runs if run.start < middle]),
            "second half": count([run for run in runs if run.start >= middle]),
        }
    return found


def chance(seeds: int) -> dict[str, Any]:
    """Return the false alarms of stationary shops; days are those that were judged."""
    found = {}
    for per_day in (3, 10, 30, 100, 1000):
        judged, alarms, informed = 0, 0, 0
        for seed in range(seeds if per_day < 1000 else max(1, seeds // 10)):
            inputs = table(shop(seed, 120, per_day))
            findings = inspect(inputs)
            judged += len(inputs) - FEWEST_DAYS
            alarms += len(new(findings, "alarm"))
            informed += len(new(findings, "information"))
        found[f"{per_day} orders a day"] = {"days": judged, "alarms": alarms, "information": informed}
    return found


def each_order(lines: Lines) -> dict[str, dict[str, int]]:
    """Return how often river's detectors, fed every order's log one by one, report a change in the year."""
    ledger = from_lines(lines)
    sold = ledger.take((ledger.net > 0) & (ledger.units > 0))
    sold = sold.take(np.argsort(sold.day, kind="stable"))
    value, units = np.log2(sold.net / MONEY), np.log2(sold.units)
    found: dict[str, dict[str, int]] = {}
    for name, make in (
        ("ADWIN", drift.ADWIN),
        ("PageHinkley", drift.PageHinkley),
        ("KSWIN", lambda: drift.KSWIN(seed=0)),
    ):
        found[name] = {}
        for measure, column in zip(MEASURES[:3], (value, units, value - units), strict=True):
            test, n = make(), 0
            for x in column.tolist():
                test.update(x)  # type: ignore[no-untyped-call]  # river types it nowhere
                n += test.drift_detected
            found[name][measure] = n
    return found


def weeks(lines: Lines, horizon: int = 365) -> dict[str, Any]:
    """Return the findings of each week's population against the one before, after the first eight weeks.

    Recency is shown beside, to tell why it is not looked at.
    """
    ledger, count = from_lines(lines), int(lines.owner.max()) + 1
    none = np.zeros(count, np.int64)
    before: dict[str, Ints] = {}
    findings: list[Finding] = []
    checked = 0
    for day in range(int(lines.day.min()) + WINDOW, int(lines.day.max()) + 2, 7):
        at = vectors(ledger.take((ledger.day < day) & (ledger.day >= day - horizon)), count, day, none, RFM)
        inside = at.coordinates(RFM, recency_offset=1)[at.clustered]
        after = {name: inside[:, i] for i, name in enumerate(RFM)}
        if before:
            findings += inspect_population(day, {name: decile_histograms(before[name], after[name]) for name in RFM})
            checked += 1
        before = after
    looked_at = [f for f in findings if f.measure != "recency"]
    return {
        "weeks": checked,
        "alarms": [f.sentence for f in looked_at if f.severity == "alarm"],
        "information": [f.sentence for f in looked_at if f.severity == "information"],
        "recency would tell": [f.sentence for f in findings if f.measure == "recency"],
    }


def segments(path: Path, k: int = 4) -> dict[str, Any]:
    """Return the findings of each week's published labels against the week before, under the daily model."""
    over = course(read(path))
    nobody = np.empty((0, len(RFM)), np.int64)
    replay: Replay | None = None
    before: Ints | None = None
    findings: list[Finding] = []
    indices: list[float] = []
    for day in days_of(over):
        if replay is None:
            first = selection.found(selection.fit(day.turn.coordinates[day.turn.clustered], k), over.terms)
            labels = Published(MARGIN, np.zeros(over.customers, np.int64))
            replay = Replay("population", learner_named("population"), first, (labels,), time.process_time)
        replay.turn(day)
        if (day.day - over.first) % 7 == 0:
            after = np.bincount(replay.published[0].labels, minlength=11 + k).astype(np.int64)
            if before is not None:
                findings += inspect_population(day.day, {"segments": (before, after)})
                indices.append(stability(before, after).index)
            before = after
        if day.day > over.first:
            replay.learn(day, nobody, over.refine_every)
        replay.events(day)
    return {"weeks": len(indices), "findings": [f.sentence for f in findings], "greatest index": round(max(indices), 4)}


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def run(path: Path, every: int, seeds: int, *, alone: bool) -> dict[str, Any]:
    """Measure everything, or what a file alone tells; what is done is told on stderr."""
    shops = {path.name: year_of(read_history([path]).lines(with_ids=False))}
    if not alone:
        shops[SAMPLE.name] = year_of(read_history([SAMPLE]).lines(with_ids=False))
        shops["made-up CD shop"] = year_of(shop(1, 365, 60))
    found: dict[str, Any] = {}
    for index, (name, year) in enumerate(shops.items()):
        found[name] = {"year": quiet(year), "population": weeks(year.lines)}
        found[name]["faults"] = faults(year, every if index == 0 else 4 * every)
        print(name, "done", file=sys.stderr, flush=True)
    if not alone:
        found["chance"] = chance(seeds)
        print("chance done", file=sys.stderr, flush=True)
    found["segments"] = segments(path)
    found["each order by itself"] = each_order(shops[path.name].lines)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()
    found = run(args.path, args.every, args.seeds, alone=args.alone)
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        return
    for name in [name for name in found if "year" in found[name]]:
        part = found[name]
        told = part["year"]
        print(
            f"\n{name}: {told['days']} days, {told['orders']:,} orders; {len(told['alarms'])} alarms", *told["alarms"]
        )
        print("  information:", ", ".join(f"{n} x {what}" for what, n in told["information"].items()) or "none")
        population = part["population"]
        print(f"  population: {population['weeks']} weeks, {len(population['alarms'])} alarms", *population["alarms"])
        print(f"  {'seeded':<40}{'caught on day 1':>20}{'late':>10}{'missed':>10}   (first half, second half)")
        for fault, halves in part["faults"].items():
            first, second = halves.values()
            columns = (
                ("caught", "late", "missed") if "caught" in first else ("told_on_day_1", "told_in_7_days", "alarmed")
            )
            print(f"  {fault:<40}" + "".join(f"{first[c]:>9} {second[c]:>9} " for c in columns))
    for name in (each for each in ("chance", "segments", "each order by itself") if each in found):
        print(f"\n{name}:", json.dumps(found[name], indent=2))


if __name__ == "__main__":
    main()
