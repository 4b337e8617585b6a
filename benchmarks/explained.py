"""Explanations of random customers of the real file, each held against plain code.

    python -m benchmarks.explained [--json] [--customers 1000] [--seed 0] [PATH]

contributions   their sum against the difference of the squared distances, and each against a plain formula: worst error
order           the least order is played into the customer's orders by code that shares nothing with it
                (reports/verify_scoring.py): it moves him where it says, on its first and last day; 1 % less does not
silence         looked at day by day: he moves on the day foretold and not before
none            looked for: on each of 90 days orders of 80 amounts up to the largest, and silence: nothing moves him
more            of the least orders, the share that moves him still when twice, ten times, a hundred times as large
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.foretold import Record, label_of, orders_of, records_of, silent_days
from benchmarks.present import Present, present
from benchmarks.retail import FILE, read
from features.vector import RFM
from models.bundle import encode
from reports.counterfactual import DAYS, LARGEST_ORDER, LeastOrders, least_orders
from reports.explain import contributions, two_nearest
from reports.first_move import NEVER, FirstMoves
from reports.foretell import foretell
from reports.own_days import of_customers, score_on
from reports.verify_scoring import Model, read_model

SETTINGS: tuple[tuple[tuple[str, ...], float], ...] = (
    (RFM, 0.95),
    (("recency", "tenure", "frequency_90", "monetary", "basket_value"), 0.95),
)

AMOUNTS: tuple[int, ...] = tuple(sorted({int(each) for each in np.geomspace(1, LARGEST_ORDER, 80)}))

NEW = 12_345
"""An order number that the file has no order of: its hashes are small numbers in this benchmark."""


class Row(NamedTuple):
    """One setting's outcome, in customers where nothing else is said."""

    features: str
    customers: int
    clustered: int
    worst_error: float
    orders: int
    orders_moved: int
    less_stayed: int
    silences: int
    silences_moved: int
    day_before_stayed: int
    none: int
    none_confirmed: int
    more_moved: float
    seconds: float
    oracle_seconds: float


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer as plain numbers; silent: the day on which silence moves him, `NEVER` where it does not."""

    records: list[Record]
    first_day: int
    label: int


def sample(at: Present, customers: int, seed: int) -> Present:
    """Return random customers of everybody, with a label."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(at.labels))[:customers])
    return Present(of_customers(at.ledger, rows), at.first_day[rows], at.labels[rows], at.day, at.bundle)


def label_with(model: Model, horizon: int, who: Customer, day: int, amount: int) -> int:
    """Return the label at the end of a day with one more order of `amount` (0: without), all before it silent."""
    order: list[Record] = [(NEW + 10**9, day, amount, 1, 0)] if amount else []
    return label_of(model, orders_of([*who.records, *order], day - horizon), who.label, day, min(who.first_day, day))


def worst_error(at: Present) -> tuple[int, float]:
    """Return how many are in the clusters, and the worst error of their contributions, by a plain formula."""
    scores = score_on(at.ledger, at.first_day, np.full(len(at.labels), at.day), at.bundle)
    inside = scores.vectors.clustered
    near = two_nearest(scores.table[inside])
    parts = contributions(scores.coordinates[inside], near, at.bundle)
    model, known, worst = read_model(encode(at.bundle)), records_of(at.ledger, len(at.labels)), 0.0
    for place, row in enumerate(np.flatnonzero(inside).tolist()):
        orders = orders_of(known[row], at.day - at.bundle.horizon_days)
        x = orders.coordinates(model.features, at.day, int(at.first_day[row]), model.recency_offset)
        (best, one), (second, other) = sorted(zip(model.distances(x), model.centroids, strict=True))[:2]
        ours = parts[place].tolist()
        plain = [((a - c) ** 2 - (a - b) ** 2) / s**2 for a, b, c, s in zip(x, one, other, model.scale, strict=True)]
        errors = [abs(sum(ours) - (second**2 - best**2)), *(abs(a - b) for a, b in zip(ours, plain, strict=True))]
        worst = max(worst, *errors)
    return int(inside.sum()), worst


def explained(at: Present) -> tuple[LeastOrders, FirstMoves]:
    """Return the least orders and the next moves, from the file's last day on."""
    today = np.full(len(at.labels), at.day)
    silent = foretell(at.ledger, at.first_day, at.labels, today, at.day + DAYS, at.bundle)
    return least_orders(at.ledger, at.first_day, at.labels, today, today + DAYS, silent, at.bundle), silent


def judge(at: Present) -> Row:
    """Explain everybody, and hold each answer against plain code."""
    began = time.perf_counter()
    orders, silent = explained(at)
    between = time.perf_counter()
    model, horizon = read_model(encode(at.bundle)), at.bundle.horizon_days
    everybody = [
        Customer(records, int(first), int(label))
        for records, first, label in zip(
            records_of(at.ledger, len(at.labels)), at.first_day.tolist(), at.labels.tolist(), strict=True
        )
    ]
    by_order, by_silence = np.flatnonzero(orders.day != NEVER), np.flatnonzero(silent.step != NEVER)
    by_none = np.flatnonzero((orders.day == NEVER) & (silent.step == NEVER))
    moved = less = more = 0
    for row in by_order.tolist():
        who, amount, segment = everybody[row], int(orders.amount[row]), int(orders.segment[row])
        days = int(orders.day[row]), int(orders.last_day[row])
        moved += all(label_with(model, horizon, who, day, amount) == segment for day in days)
        less += label_with(model, horizon, who, days[0], amount * 99 // 100) == who.label
        more += sum(label_with(model, horizon, who, days[0], amount * n) != who.label for n in (2, 10, 100))
    silence_moved = day_before = 0
    for row in by_silence.tolist():
        who, day = everybody[row], int(silent.step[row])
        found = list(silent_days(model, horizon, who.records, who.first_day, who.label, range(at.day + 1, day + 1)))
        silence_moved += found[-1:] == [(day, int(silent.segment[row]))]
        day_before += len(found) == 1
    confirmed = sum(stays(model, horizon, everybody[row], at.day) for row in by_none.tolist())
    clustered, error = worst_error(at)
    return Row(
        "+".join(at.bundle.features),
        len(at.labels),
        clustered,
        error,
        len(by_order),
        moved,
        less,
        len(by_silence),
        silence_moved,
        day_before,
        len(by_none),
        confirmed,
        round(more / max(3 * len(by_order), 1), 4),
        round(between - began, 2),
        round(time.perf_counter() - between, 2),
    )


def stays(model: Model, horizon: int, who: Customer, today: int) -> bool:
    """Search whether anything at all moves a customer in `DAYS` days: silence, or one order of many amounts a day."""
    days = range(today, today + DAYS + 1)
    if next(silent_days(model, horizon, who.records, who.first_day, who.label, days[1:]), None):
        return False
    return all(label_with(model, horizon, who, day, amount) == who.label for day in days for amount in AMOUNTS)


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    retail = read(args.path)
    rows = []
    for features, margin in SETTINGS:
        print(f"{'+'.join(features)}, margin {margin} ...", file=sys.stderr)
        rows.append(judge(sample(present(retail, features, margin=margin), args.customers, args.seed)))
    if args.json:
        json.dump([row._asdict() for row in rows], sys.stdout, indent=2)
        return
    for row in rows:
        for name, value in row._asdict().items():
            print(f"{name:<18} {value}")
        print()


if __name__ == "__main__":
    main()
