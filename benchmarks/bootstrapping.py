"""How fast a large history becomes states, in how much memory, beside plain pandas on the same file in the same run.

    python -m benchmarks.bootstrapping [--rows 50000000] [--customers 2000000] [--json PATH] [--check]

A generated shop: `customers` customers, 3 lines an order, two years, 4 % of the orders given back, half of the orders
from a tenth of the customers. One CSV of about 65 bytes a row, in the directory for temporary files, removed at the
end; the spill files of the engine need about as much beside it. Each part runs in a process of its own, whose peak of
resident memory is that of it and its children together, sampled every 0.1 s.

    engine       read, cleaned, folded in parts, every state encoded as of the last day (what Redis would be given)
    pandas       read_csv in chunks; groupby(customer, invoice).sum() a chunk, of the sums, and groupby(customer)

Printed as JSON: rows a second, wall and CPU seconds, peak MiB of both, the ratio, and whether customers and their net
agree. --check: the states are those of the path that reads all at once, byte for byte (for files that fit).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from consumer.history.bootstrap import Folded, described_on, fold_files
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.history.csv_splitting import fold_in_parts
from consumer.history.parts import Terms, joined
from consumer.partition import Rules
from features.codec import encode_states
from features.transaction import DAY_SECONDS
from features.vector import RFM
from models.learner import DEFAULT
from models.selection import Terms as ModelTerms
from tests.harness.footprint import footprint

SEED = 8
CHUNK = 1_000_000
ENCODED = 100_000
BEGIN, DAYS = 1_262_304_000, 730
"""2010-01-01, seconds; and how long the history is."""

RULES, OPTIONS = Rules(), CsvOptions(currency="GBP")


def generate(path: Path, rows: int, customers: int) -> None:
    """Write the shop's history, in the order of time."""
    rng = np.random.default_rng(SEED)
    ids = pa.array(np.arange(100_000, 100_000 + customers).astype(str))
    codes = pa.array([f"S{number:05}" for number in range(4_000)])
    done, order = 0, 0
    with path.open("wb") as file:
        while done < rows:
            n = min(CHUNK, rows - done)
            of = order + np.cumsum(rng.random(n) < 1 / 3)
            distinct, first = np.unique(of, return_inverse=True)
            often = rng.random(len(distinct)) < 0.5
            who = np.where(
                often, rng.integers(0, customers // 10, len(distinct)), rng.integers(0, customers, len(distinct))
            )
            back = rng.random(len(distinct)) < 0.04
            time_of = BEGIN + (distinct - 1) * DAYS * DAY_SECONDS * 3 // rows
            time_of = np.minimum(time_of, BEGIN + DAYS * DAY_SECONDS - 1)
            names = np.char.add(np.where(back, "C", ""), (500_000 + distinct).astype(str))
            quantity = rng.integers(1, 12, n) * np.where(back[first], -1, 1)
            table = pa.table(
                {
                    "InvoiceNo": pa.array(names).take(pa.array(first)),
                    "StockCode": codes.take(pa.array(rng.integers(0, len(codes), n))),
                    "Quantity": quantity,
                    "InvoiceDate": pa.array(np.datetime_as_string(time_of.astype("datetime64[s]"))).take(
                        pa.array(first)
                    ),
                    "UnitPrice": np.round(rng.integers(50, 3_000, n) / 100, 2),
                    "CustomerID": ids.take(pa.array(who[first])),
                    "Country": pa.array(["United Kingdom"]).take(pa.array(np.zeros(n, np.int64))),
                }
            )
            options = pacsv.WriteOptions(include_header=done == 0, quoting_style="none")
            pacsv.write_csv(table, file, options)
            done, order = done + n, int(of[-1])


def digest_of(folded: Folded) -> dict[str, Any]:
    """Encode every state as of the last day, a chunk at a time; return what identifies them all."""
    day = folded.newest // DAY_SECONDS
    states, _ = described_on(folded, ModelTerms(day, RFM, DEFAULT, RULES.horizon_days, 0.95, 1))
    digest, size, m = blake2b(digest_size=16), 0, len(folded.customers)
    for low in range(0, m, ENCODED):
        for blob in encode_states(states, np.arange(low, min(low + ENCODED, m))):
            digest.update(blob)
            size += len(blob)
    return {"customers": m, "net": int(folded.ledger.net.sum()), "state_bytes": size, "states": digest.hexdigest()}


def engine(path: Path) -> dict[str, Any]:
    began = time.monotonic()
    seconds: dict[str, float] = {}

    def note(stage: str) -> Callable[[int, int], None]:
        def tell(done: int, of: int) -> None:
            seconds[stage] = round(time.monotonic() - began, 2)
            print(f"{stage} {done / max(of, 1):.0%} after {seconds[stage]:.0f} s", file=sys.stderr)

        return tell

    parts = fold_in_parts([path], OPTIONS, Terms(RULES.dedupe_days), lambda *_: None, folding=note("folded"))
    folded = joined(parts, RULES.dedupe_days)
    del parts
    note("joined")(1, 1)
    found = digest_of(folded)
    note("encoded")(1, 1)
    return found | {"until": seconds}


def at_once(path: Path) -> dict[str, Any]:
    return digest_of(fold_files(read_history([path], OPTIONS), RULES))


def plain_pandas(path: Path) -> dict[str, Any]:
    """Frequency, monetary and last day of each customer, as an analyst would write it where memory has an end."""
    columns = ["InvoiceNo", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
    sums = []
    for chunk in pd.read_csv(path, usecols=columns, dtype={"InvoiceNo": str, "CustomerID": str}, chunksize=5 * CHUNK):
        chunk["InvoiceDate"] = pd.to_datetime(chunk["InvoiceDate"])
        chunk["Net"] = chunk["Quantity"] * chunk["UnitPrice"]
        by_order = chunk.groupby(["CustomerID", "InvoiceNo"], sort=False)
        sums.append(by_order.agg(Net=("Net", "sum"), Last=("InvoiceDate", "max")))
    orders = pd.concat(sums).groupby(level=[0, 1], sort=False).agg({"Net": "sum", "Last": "max"}).reset_index()
    orders["Positive"] = orders["Net"] > 0
    customers = orders.groupby("CustomerID").agg({"Net": "sum", "Positive": "sum", "Last": "max"})
    return {"customers": len(customers), "net": round(float(customers["Net"].sum()) * 10_000)}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"engine": engine, "pandas": plain_pandas, "at once": at_once}


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    try:
        tasks = Path(f"/proc/{pid}/task")
        children = [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in tree(child))]


def rss(pid: int) -> int:
    try:
        return footprint(pid).rss
    except (OSError, IndexError):  # ended between the two looks
        return 0


def measured(name: str, path: Path, rows: int) -> dict[str, Any]:
    """Run a part in a process of its own."""
    began, cpu = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bootstrapping", "--part", name, "--file", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.1):
            peak = max(peak, sum(map(rss, tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    wall = time.monotonic() - began
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu
    figures = {
        "rows_a_second": round(rows / wall),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_mib": peak >> 20,
    }
    answer: dict[str, Any] = json.loads(out)
    return figures | answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--customers", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part](given.file)))
        return
    with tempfile.TemporaryDirectory(prefix="bootstrapping-") as directory:
        path = Path(directory) / "history.csv"
        began = time.monotonic()
        generate(path, given.rows, given.customers)
        found: dict[str, Any] = {
            "rows": given.rows,
            "file_mib": path.stat().st_size >> 20,
            "generated_s": round(time.monotonic() - began, 1),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        }
        for name in ("engine", "pandas", *(["at once"] if given.check else [])):
            found[name] = measured(name, path, given.rows)
            print(name, json.dumps(found[name]), file=sys.stderr)
    one, other = found["engine"], found["pandas"]
    found["ratio"] = round(one["rows_a_second"] / other["rows_a_second"], 3)
    found["agrees"] = one["customers"] == other["customers"] and one["net"] == other["net"]
    if given.check:
        found["same_states"] = one["states"] == found["at once"]["states"]
    text = json.dumps(found, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
