"""Silence foretold against a daily re-score of everybody: the real file, 400 silent days, the model held.

    python -m benchmarks.foretold [--json] [--days 400] [--million] [PATH]

For each set of features and each margin every customer's moves are foretold one after the other, and found by a plain
loop over the days that shares no code with it (reports/verify_scoring.py: Python's floats, an order at a time).
Printed: the loop's moves, those into Lapsed or No net purchases among them, missing (the loop's alone), extra (foretold
alone), and the seconds of both; with --million also the seconds for the next moves of a million customers, the file's
own repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.present import Present, present
from benchmarks.retail import FILE, read
from features.ledger import FOLDED, Ledger
from features.vector import RFM
from models.bundle import encode
from reports.first_move import NEVER
from reports.foretell import DAYS, foretell
from reports.own_days import of_customers
from reports.verify_scoring import LAPSED, NO_NET, Model, Orders, read_model

SETTINGS: tuple[tuple[tuple[str, ...], float, int], ...] = (
    (RFM, 0.95, 1),
    (RFM, 1.0, 1),
    (RFM, 0.8, 1),
    (RFM, 0.95, 30),
    ((*RFM, "tenure", "basket_value"), 0.95, 1),
    (("recency", "frequency_90", "monetary_365", "frequency_30"), 0.95, 1),
    (("recency", "tenure", "frequency", "monetary_90", "mean_gap", "return_rate"), 0.9, 7),
)
"""Features, margin and recency offset: the default, no margin, a wide one, an offset, tenure, windows, nearly all."""

CHUNK = 20_000

Record = tuple[int, int, int, int, int]
"""order, day, net, units, positive orders of a folded day."""

Move = tuple[int, int, int]
"""customer, day, segment"""


class Row(NamedTuple):
    """One setting's outcome; moves: those of the daily re-score."""

    features: str
    margin: float
    recency_offset: int
    customers: int
    days: int
    moves: int
    to_fixed: int
    missing: int
    extra: int
    seconds: float
    daily_seconds: float


def records_of(ledger: Ledger, customers: int) -> list[list[Record]]:
    """Return each customer's records as plain numbers."""
    found: list[list[Record]] = [[] for _ in range(customers)]
    columns = (ledger.owner, ledger.order, ledger.day, ledger.net, ledger.units, ledger.orders)
    for owner, *record in zip(*(column.tolist() for column in columns), strict=True):
        found[owner].append(tuple(record))
    return found


def orders_of(records: Iterable[Record], since: int) -> Orders:
    """Return what of the records counts, from a day on."""
    alive = [record for record in records if record[1] >= since]
    whole = [(order, day, net, units) for order, day, net, units, _ in alive if order != FOLDED]
    return Orders(whole, [(net, day, units, n) for order, day, net, units, n in alive if order == FOLDED])


def label_of(model: Model, orders: Orders, anchor: int, day: int, first_day: int) -> int:
    """Return a customer's published label at the end of a day that began with `anchor`."""
    if orders.lapsed:
        return LAPSED
    if not orders.clustered:
        return NO_NET
    return model.label(anchor, orders.coordinates(model.features, day, first_day, model.recency_offset))


def silent_days(
    model: Model, horizon: int, records: list[Record], first_day: int, label: int, days: range
) -> Iterator[tuple[int, int]]:
    """Yield (day, segment) of each move of a silent customer, by looking at every day."""
    left, orders = -1, Orders(())
    for day in days:
        alive = sum(record[1] >= day - horizon for record in records)
        if alive != left:
            left, orders = alive, orders_of(records, day - horizon)
        new = label_of(model, orders, label, day, first_day)
        if new != label:
            yield day, new
        label = new


def daily(at: Present, until: int) -> set[Move]:
    """Return all moves up to a day, by the plain loop."""
    model, records = read_model(encode(at.bundle)), records_of(at.ledger, len(at.labels))
    return {
        (customer, day, segment)
        for customer, known in enumerate(records)
        for day, segment in silent_days(
            model,
            at.bundle.horizon_days,
            known,
            int(at.first_day[customer]),
            int(at.labels[customer]),
            range(at.day + 1, until + 1),
        )
    }


def foretold(at: Present, until: int) -> set[Move]:
    """Return all moves up to a day, each foretold from the one before."""
    found: set[Move] = set()
    rows, labels, as_of = np.arange(len(at.labels)), at.labels, np.full(len(at.labels), at.day)
    while len(rows):
        own = of_customers(at.ledger, rows)
        moves = foretell(own, at.first_day[rows], labels, as_of, until, at.bundle)
        left = moves.step != NEVER
        rows, as_of, labels = rows[left], moves.step[left], moves.segment[left]
        found.update(zip(rows.tolist(), as_of.tolist(), labels.tolist(), strict=True))
    return found


def compare(at: Present, days: int) -> Row:
    """Foretell, look at every day, and count what differs."""
    began = time.perf_counter()
    ours = foretold(at, at.day + days)
    between = time.perf_counter()
    plain = daily(at, at.day + days)
    ended = time.perf_counter()
    return Row(
        "+".join(at.bundle.features),
        at.bundle.margin,
        at.bundle.recency_offset,
        len(at.labels),
        days,
        len(plain),
        sum(segment in (LAPSED, NO_NET) for _, _, segment in plain),
        len(plain - ours),
        len(ours - plain),
        round(between - began, 2),
        round(ended - between, 2),
    )


def seconds_for(at: Present, customers: int) -> float:
    """Return how long the next moves of so many customers take, by chunks as a command reads them."""
    everybody = np.arange(customers) % len(at.labels)
    began = time.perf_counter()
    for start in range(0, customers, CHUNK):
        rows = everybody[start : start + CHUNK]
        own = of_customers(at.ledger, rows)
        foretell(own, at.first_day[rows], at.labels[rows], np.full(len(rows), at.day), at.day + DAYS, at.bundle)
    return time.perf_counter() - began


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--million", action="store_true")
    args = parser.parse_args()
    retail = read(args.path)
    rows: list[Row] = []
    for features, margin, offset in SETTINGS:
        print(f"{'+'.join(features)}, margin {margin}, offset {offset} ...", file=sys.stderr)
        rows.append(compare(present(retail, features, margin=margin, recency_offset=offset), args.days))
    million = seconds_for(present(retail, RFM), 1_000_000) if args.million else None
    if args.json:
        json.dump({"settings": [row._asdict() for row in rows], "million_seconds": million}, sys.stdout, indent=2)
        return
    print("customers  days   moves  fixed  missing  extra  foretold s  daily s  margin  offset  features")
    for row in rows:
        print(
            f"{row.customers:>9} {row.days:>5} {row.moves:>7} {row.to_fixed:>6} {row.missing:>8} {row.extra:>6}"
            f" {row.seconds:>11.2f} {row.daily_seconds:>8.1f} {row.margin:>7} {row.recency_offset:>7}  {row.features}"
        )
    if million is not None:
        print(f"the next move of 1,000,000 customers: {million:.1f} s on one core")


if __name__ == "__main__":
    main()
