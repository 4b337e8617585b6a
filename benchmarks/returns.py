"""What comes back, early, late, in part or without its order: every way to the features against keeping every line.

    python -m benchmarks.returns [--cases 60] [--seed 1] [--json] [--synthetic] [PATH]

Seeded customers of every kind of return, half of them naming their order (tests/harness/returned.py). Compared with
the plain oracle there, every feature of everybody on every tenth day: a file of all lines, read and folded (batch);
the same events in their order of arrival, decoded and merged in batches of any size (stream); the states of a run of
the service under the event clock, as far as events have arrived (service); and `verify`'s own reading, line by line
(judge). Then `verify` judges the whole run.

Without --synthetic the real file follows: bootstrapped up to June and replayed, once in time order and once with one
line in five up to ten days late, each in batches of other sizes, beside the file read as one. Ledgers, features and
nearest centroids on the last day must be the same. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from math import isclose, isnan
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.retail import FILE, day_of
from consumer.history.csv_source import History, fold_history, read_history
from consumer.history.replay import Window, events
from consumer.partition import Rules
from features.codec import decode_states
from features.decoding import decode
from features.ledger import Ints, Ledger, empty, expire, from_lines, merge
from features.transaction import DAY_SECONDS
from features.vector import NAMES, vectors
from models.scoring import score
from reports.verify import verify
from reports.verify_events import Line, Reader
from reports.verify_life import Life
from tests.harness.pure_run import FAR, FIRST, PureRun, Row, model
from tests.harness.returned import DAYS, HORIZON, KINDS, SLOWEST, Case, Event, Features, arrivals, made, oracle, plain

LAST = FIRST + DAYS + SLOWEST + HORIZON
"""When the last line has come and gone."""
CUTOFF = "2011-06-01"
LATE_SHARE, LATEST_DAYS = 0.2, 10

Everybody = dict[str, Features]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The cases of one kind; compared: features in all; differences: those that were not the oracle's, by way."""

    kind: str
    names_its_order: bool
    cases: int
    compared: int
    differences: dict[str, int]


@dataclass(frozen=True, slots=True)
class Synthetic:
    """outcomes: by kind; records: published by the run; verified: what `verify` found to differ in it."""

    outcomes: tuple[Outcome, ...]
    lines: int
    records: int
    verified: int

    @property
    def differences(self) -> int:
        """Return everything that differs."""
        return self.verified + sum(sum(outcome.differences.values()) for outcome in self.outcomes)


def synthetic(cases: int, seed: int) -> Synthetic:
    """Compare every way over twice `cases` customers of each kind: returns that name their order, and that do not."""
    rng = random.Random(seed)
    kinds = [(kind, tied) for kind in KINDS for tied in (True, False)]
    numbers = range(seed * cases, (seed + 1) * cases)
    every = [made(number, kind, tied=tied, first=FIRST) for kind, tied in kinds for number in numbers]
    compared, wrong = Counter[tuple[str, bool]](), Counter[tuple[str, bool, str]]()
    stream = arrivals(every, seed)
    batch, merged = _of_a_file(every), _of_a_stream(stream, rng)
    run, published = PureRun(rules=Rules(horizon_days=HORIZON, clock="event"), chunk=500, bundle=_MODEL), 0
    for day in range(FIRST + 10, LAST, 10):
        until = sum(sent.arrives <= day for case in every for sent in case.lines)
        run.publish(*stream[published:until])
        run.tick(day)
        run.settle(iter(lambda: rng.choice([1, 7, 400]), 0))
        published = until
        found = {
            "batch": _as_of(*batch, day),
            "stream": _as_of(*merged, day),
            "service": _of_states(run, day),
            "judge": {case.customer: _judged(case, day) for case in every},
        }
        for case in every:
            dated = [event for event in case.events if plain(event).day <= day]
            arrived = [sent.event for sent in case.lines if sent.arrives <= day]
            for way, features in found.items():
                known = arrived if way == "service" else dated
                if known:
                    expected, here = oracle(known, day), features[case.customer]
                    compared[case.kind, case.tied] += len(NAMES)
                    wrong[case.kind, case.tied, way] += sum(not _same(expected[n], here[n]) for n in NAMES)
    verdict = verify(*run.evidence())
    outcomes = (Outcome(k, t, cases, compared[k, t], {way: wrong[k, t, way] for way in found}) for k, t in kinds)
    verified = verdict.state_differences + verdict.output_differences + verdict.revision_errors
    return Synthetic(tuple(outcomes), len(stream), verdict.records, verified)


_MODEL = model(horizon_days=HORIZON)
_READER = Reader("UTC", "GBP", FAR * DAY_SECONDS)


def _same(expected: float | None, found: float | None) -> bool:
    if expected is None or found is None:
        return expected is found
    return isclose(expected, found, rel_tol=1e-12, abs_tol=1e-12)


def _as_of(customers: Sequence[str], ledger: Ledger, day: int) -> Everybody:
    """Return the features from what a ledger held on a day; the ledger itself has everything."""
    known = ledger.take(ledger.day <= day)
    first_day = np.full(len(customers), day)
    np.minimum.at(first_day, known.owner, known.day)
    return _described(customers, expire(known, day - HORIZON)[0], first_day, day)


def _of_states(run: PureRun, day: int) -> Everybody:
    blobs = {customer: blob for part in run.parts for customer, blob in part.states.items()}
    states = decode_states(list(blobs.values()))
    ledger, _ = expire(states.ledger, day - HORIZON)
    return _described(list(blobs), ledger, states.heads["first_day"].astype(np.int64), day)


def _described(customers: Sequence[str], ledger: Ledger, first_day: Ints, day: int) -> Everybody:
    columns = vectors(ledger, len(customers), day, first_day).values
    rows = zip(*(columns[name].tolist() for name in NAMES), strict=True)
    plain_rows = ([None if isnan(value) else value for value in row] for row in rows)
    return {who: dict(zip(NAMES, row, strict=True)) for who, row in zip(customers, plain_rows, strict=True)}


def _of_a_file(cases: Iterable[Case]) -> tuple[Sequence[str], Ledger]:
    columns = ("customer_id", "invoice_no", "original_invoice_no", "invoice_date", "quantity", "unit_price", "event_id")
    with tempfile.TemporaryDirectory(prefix="segmenter-returns-") as directory:
        path = Path(directory) / "lines.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(event for case in cases for event in case.events)
        return fold_history(read_history([path]))


def _of_a_stream(stream: Sequence[Event], rng: random.Random) -> tuple[Sequence[str], Ledger]:
    customers: dict[str, int] = {}
    ledger, at = empty(), 0
    while at < len(stream):
        values = [json.dumps(event).encode() for event in stream[at : at + rng.choice([1, 100, 5_000])]]
        places = range(at, at + len(values))
        batch = decode(
            places, [None] * len(values), values, [0] * len(values), zone=ZoneInfo("UTC"), currency="GBP", today=FAR
        )
        assert not batch.refused
        owners = np.array([customers.setdefault(customer, len(customers)) for customer in batch.customers])
        ledger = merge(ledger, from_lines(replace(batch.lines, owner=owners[batch.lines.owner])))
        at += len(values)
    return list(customers), ledger


def _judged(case: Case, day: int) -> Features:
    life = Life()
    for event in case.events:
        line = _READER.read(0, 0, json.dumps(event).encode())
        assert isinstance(line, Line)
        if line.time // DAY_SECONDS <= day:
            life.add(line.order, line.time // DAY_SECONDS, line.amount, line.units)
    life.expire(day - HORIZON)
    return life.features(day) if life.first_day <= day else {}


@dataclass(frozen=True, slots=True)
class Real:
    """The real file; differences: customers whose records, features or centroid differ from the file read as one."""

    customers: int
    replayed: int
    late: int
    differences: dict[str, int]


def real(path: Path = FILE) -> Real:
    """Bootstrap and replay the file, in time order and out of it, and compare everybody with the file read as one."""
    history = read_history([path])
    past, rest = history.split(day_of(CUTOFF) * DAY_SECONDS - 1)
    ordered = Window().of(rest)
    rng = np.random.default_rng(1)
    delay = np.where(rng.random(len(ordered)) < LATE_SHARE, rng.integers(0, LATEST_DAYS * DAY_SECONDS, len(ordered)), 0)
    late = ordered.take(np.argsort(ordered.time + delay, kind="stable"))
    day = int(history.day.max()) + 1
    customers, ledger = fold_history(history)
    first_day = np.full(len(customers), day)
    np.minimum.at(first_day, history.owner, history.day)
    expected = _whole(customers, expire(ledger, day - 365)[0], first_day, day)
    differences = {}
    for name, stream, size in (("in time order", ordered, 5_000), ("one in five late", late, 777)):
        found = _replayed(past, stream, day, size)
        everyone = expected.keys() | found.keys()
        differences[name] = sum(expected.get(customer) != found.get(customer) for customer in everyone)
    days = late.time // DAY_SECONDS
    return Real(len(customers), len(rest), int((days < np.maximum.accumulate(days)).sum()), differences)


def _whole(customers: Sequence[str], ledger: Ledger, first_day: Ints, day: int) -> dict[str, object]:
    """Return by customer everything that is known: records, features, the nearest centroid."""
    records: dict[str, list[tuple[int, ...]]] = {customer: [] for customer in customers}
    columns = (ledger.owner, ledger.order, ledger.day, ledger.net, ledger.units, ledger.lines, ledger.orders)
    for owner, *record in zip(*(column.tolist() for column in columns), strict=True):
        records[customers[owner]].append(tuple(record))
    features = _described(customers, ledger, first_day, day)
    nearest = score(ledger, first_day, day, _REAL_MODEL).cluster.tolist()
    return {who: (records[who], features[who], at) for who, at in zip(customers, nearest, strict=True)}


_REAL_MODEL = model(horizon_days=365)


def _replayed(past: History, stream: History, day: int, size: int) -> dict[str, object]:
    columns = (past.customer_ids(), past.invoice_no.tolist(), past.time.tolist(), past.amount.tolist())
    rows = [Row(*row) for row in zip(*columns, past.units.tolist(), past.event_ids(), strict=True)]
    run = PureRun(
        rules=Rules(clock="event"), bundle=_REAL_MODEL, history=rows, first=int(past.day.max()) + 1, chunk=5_000
    )
    for event in events(stream):
        run.write(run.home((event.key or b"").decode()), event.key, event.value)
    run.tick(day)
    run.settle(repeat(size))
    blobs = {customer: blob for part in run.parts for customer, blob in part.states.items()}
    states = decode_states(list(blobs.values()))
    ledger, _ = expire(states.ledger, day - 365)
    return _whole(list(blobs), ledger, states.heads["first_day"].astype(np.int64), day)


def _printed(found: Synthetic) -> Iterator[str]:
    ways = list(found.outcomes[0].differences)
    yield f"{'return':12}{'names its order':>16}{'cases':>8}{'compared':>12}" + "".join(f"{way:>10}" for way in ways)
    for each in found.outcomes:
        named = "yes" if each.names_its_order else "no"
        differences = "".join(f"{each.differences[way]:>10}" for way in ways)
        yield f"{each.kind:12}{named:>16}{each.cases:>8,}{each.compared:>12,}{differences}"
    total = sum(each.compared for each in found.outcomes)
    yield f"{total:,} features of {found.lines:,} lines compared; {found.differences} differences"
    yield f"verify: {found.records:,} records, {found.verified} differences"


def main() -> None:
    """Print what was compared; exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--synthetic", action="store_true")
    given = parser.parse_args()
    began = time.perf_counter()
    made_up = synthetic(given.cases, given.seed)
    if not given.json:
        print("\n".join(_printed(made_up)), flush=True)
    true = None if given.synthetic else real(given.path)
    seconds = round(time.perf_counter() - began, 1)
    if given.json:
        report = asdict(made_up) | {"real": None if true is None else asdict(true), "seconds": seconds}
        print(json.dumps(report))
    else:
        if true is not None:
            differ = ", ".join(f"{name}: {n} customers differ" for name, n in true.differences.items())
            print(
                f"real file: {true.customers:,} customers, {true.replayed:,} lines replayed, {true.late:,} of them late"
            )
            print(differ)
        print(f"{seconds} s")
    sys.exit(bool(made_up.differences or (true is not None and any(true.differences.values()))))


if __name__ == "__main__":
    main()
