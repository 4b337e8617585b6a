"""What remembering costs, and whether it is right: the real file replayed through the pure service, day by day.

    python -m benchmarks.memory [--json] [--until 2011-12-10] [--pairs 15] [PATH]

Bootstrap on the part before 2011-06-01, then every event of the rest, with a sweep and a model each day, once with
states of schema 2 and once of schema 1. Printed:

    bytes a customer      mean, of the states at the end in schemas 1, 2 and 3; moves kept, and how many reach the cap
    daily table           rows, their bytes a day and partition
    recount               segments of a row that differ from a plain loop over all states at the sweep's end
    flows                 segments of a day whose customers are not those of the day before + in - out
    moves                 customers whose moves are not the last of their published records
    codec                 decode and encode of all states, schema 2 : 1 and 3 : 2, medians of interleaved pairs
    replay                events a second in both runs, sweeps included, and their ratio

Times are those of the processor, for the ratios must not hang on who else is at work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.retail import FILE, day_of
from consumer.history.bootstrap import fold_files, prepare
from consumer.history.csv_source import History, read_history
from consumer.history.replay import Window, events
from consumer.partition import History as HistoryRules
from consumer.partition import Rules
from consumer.tally import Row
from features.codec import SCHEMA_OF_MOVES, decode_states, encode_states
from features.moves import MAX_MOVES
from features.transaction import DAY_SECONDS
from features.vector import RFM
from models.learner import learner_named
from models.selection import Terms
from reports.verify_states import State, read_state
from tests.harness.pure_run import Part, PureRun

FROM, K = day_of("2011-06-01"), 4
BATCH, CHUNK = 5_000, 2_000


@dataclass(frozen=True, slots=True)
class Findings:
    """See the module's text. seconds_*: of the two replays."""

    customers: int
    events: int
    days: int
    bytes_before: float
    bytes_after: float
    bytes_narrow: float
    moves_a_customer: float
    at_the_cap: int
    rows: int
    bytes_a_row: float
    recount_differences: int
    flow_differences: int
    move_differences: int
    codec_ratio: float
    narrow_ratio: float
    rate_before: float
    rate_after: float


class Recounted(PureRun):
    """Counts everybody anew, by a plain loop, when a sweep has ended."""

    differences = 0

    def turn(self, part: Part, day: int) -> None:
        super().turn(part, day)
        if part.state.tally is not None:
            counted = {total.segment: (total.customers, total.net) for total in part.daily[-1].totals}
            found = recount(part, day - self.rules.horizon_days)
            keys = counted.keys() | found.keys()
            self.differences += sum(counted.get(key) != found.get(key) for key in keys)


def recount(part: Part, first_day: int) -> dict[int, tuple[int, int]]:
    """Return segment -> (customers, their net from a day on in 1/10,000)."""
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for blob in part.states.values():
        state = read_state(blob)
        assert isinstance(state, State)
        found[state.segment][0] += 1
        found[state.segment][1] += sum(record.net for record in state.records if record.day >= first_day)
    return {segment: (n, net) for segment, (n, net) in found.items()}


def unexplained(rows: list[Row]) -> int:
    """Count the segments of a day whose customers are not those of the day before, plus flows in, minus flows out."""
    running: Counter[int] = Counter()
    wrong = 0
    for row in rows:
        for flow in row.flows or ():
            running[flow.source] -= flow.customers
            running[flow.target] += flow.customers
        sizes = {total.segment: total.customers for total in row.totals}
        wrong += sum(sizes.get(key, 0) != running[key] for key in sizes.keys() | running.keys() if key)
        running = Counter(sizes)
    return wrong


def misremembered(run: PureRun) -> int:
    """Count the customers whose stored moves are not the last records published of them."""
    published: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for value in run.values():
        if "tombstone" in value:
            published[value["tombstone"]].clear()
        else:
            published[value["customer_id"]].append((value["revision"], value["segment"]["id"], value["cause"]))
    wrong = 0
    for part in run.parts:
        for customer, blob in part.states.items():
            state = read_state(blob)
            assert isinstance(state, State)
            kept = [(move.revision, move.target, move.cause) for move in state.moves]
            wrong += kept != published[customer][-MAX_MOVES:]
    return wrong


def replayed(history: History, schema: int, days: range, *, counting: bool) -> tuple[PureRun, int, float]:
    """Bootstrap and replay; return the run, how many events it applied, and the seconds that took."""
    rules = Rules(clock="event", schema=schema)
    past, _ = history.split(days.start * DAY_SECONDS - 1)
    terms = Terms(days.start - 1, RFM, "population", rules.horizon_days, 0.95, 1)
    ready = prepare(fold_files(past, rules), terms, k=K, progress=lambda *_: None)
    kind = Recounted if counting else PureRun
    run = kind(
        rules=rules,
        bundle=ready.bundle,
        first=days.start - 1,
        learner=learner_named("population"),
        chunk=CHUNK,
        partitions=2,
    )
    run.history = HistoryRules(ready.cutoff, has_ids=False)
    run.load(ready.customers, ready.states)
    if schema < SCHEMA_OF_MOVES:
        for part in run.parts:
            part.state = msgspec.structs.replace(part.state, tally=None)
    count = 0
    for event in events(Window(days.start * DAY_SECONDS, days.stop * DAY_SECONDS).of(history)):
        run.write(run.home((event.key or b"").decode()), event.key, event.value)
        count += 1
    began = time.process_time()
    run.settle(iter(lambda: BATCH, None))
    return run, count, time.process_time() - began


def in_schema(blobs: list[bytes], schema: int) -> list[bytes]:
    """Return the states as that schema writes them."""
    states = decode_states(blobs)
    states.heads["schema"] = schema
    return encode_states(states, np.arange(len(blobs)), schema)


def codec_ratio(blobs: list[bytes], before: int, after: int, pairs: int) -> float:
    """Return how much longer states take to be read and written in one schema than in another."""
    written = {schema: in_schema(blobs, schema) for schema in (before, after)}
    everybody, ratios = np.arange(len(blobs)), []
    for n in range(pairs):
        seconds = {}
        for schema in (before, after) if n % 2 else (after, before):
            began = time.process_time()
            encode_states(decode_states(written[schema]), everybody, schema)
            seconds[schema] = time.process_time() - began
        ratios.append(seconds[after] / seconds[before])
    return median(ratios)


def measure(history: History, days: range, pairs: int = 15) -> Findings:
    """Replay some days in both schemas, and check all that is remembered."""
    replayed(history, 1, days[:1], counting=False)  # what is imported late belongs to neither
    old, count, seconds_before = replayed(history, 1, days, counting=False)
    timed, _, seconds_after = replayed(history, 2, days, counting=False)
    run, _, _ = replayed(history, 2, days, counting=True)
    assert isinstance(run, Recounted)
    assert run.labels() == timed.labels() == old.labels(), "what is remembered decides nothing"
    states = [blob for part in run.parts for blob in part.states.values()]
    moves = np.bincount(decode_states(states).moves.owner, minlength=len(states))
    rows = [len(msgspec.json.encode(row)) for part in run.parts for row in part.daily]
    return Findings(
        customers=len(states),
        events=count,
        days=len(run.parts[0].daily),
        bytes_before=round(fmean(len(blob) for part in old.parts for blob in part.states.values()), 1),
        bytes_after=round(fmean(map(len, states)), 1),
        bytes_narrow=round(fmean(map(len, in_schema(states, 3))), 1),
        moves_a_customer=round(float(moves.mean()), 2),
        at_the_cap=int((moves == MAX_MOVES).sum()),
        rows=len(rows),
        bytes_a_row=round(fmean(rows), 1),
        recount_differences=run.differences,
        flow_differences=sum(unexplained(part.daily) for part in run.parts),
        move_differences=misremembered(run),
        codec_ratio=round(codec_ratio(states, 1, 2, pairs), 3),
        narrow_ratio=round(codec_ratio(states, 2, 3, pairs), 3),
        rate_before=round(count / seconds_before),
        rate_after=round(count / seconds_after),
    )


def main() -> None:
    """Print what was found; exit with 1 where something remembered is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--until", default="2011-12-10")
    parser.add_argument("--pairs", type=int, default=15)
    given = parser.parse_args()
    with threadpool_limits(limits=1):
        found = measure(read_history([given.path]), range(FROM, day_of(given.until)), given.pairs)
    table = asdict(found) | {"replay_ratio": round(found.rate_after / found.rate_before, 3)}
    if given.json:
        json.dump(table, sys.stdout, indent=2)
    else:
        for name, value in table.items():
            print(f"{name.replace('_', ' '):<22}{value:>14,}")
    sys.exit(bool(found.recount_differences or found.flow_differences or found.move_differences))


if __name__ == "__main__":
    main()
