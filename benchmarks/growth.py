"""What grows with the customers, and what must not: memory, events a second, the sweep.

    python -m benchmarks.growth [--sizes 10000 100000 1000000] [--events 200000] [--history PATH] [--json FILE]

For each size one worker on a namespace of its own, its day turned: that day's events, sent while it is down, and then a
sweep of everybody, for which the model is put in charge under a new number. The events are those of 10,000 customers,
drawn from all, one order a day of each, in turn; a poll takes 5,000 events. So a batch touches and moves as many
customers whatever their number, and what is left to see is the number of the others. Printed: bytes of the store a
customer, customers a second and a core of the worker (CPU seconds) in the sweep, events a second, and the worker's
memory at its end. From a line through the sizes follows what 10 million would take. `segmenter verify` ends each size.

PATH (UCI Online Retail): bytes of the store a real customer, and seconds of `segmenter bootstrap`. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.crowd import Crowd, write_history
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_writer import EventWriter
from tests.harness.broker import find_broker, make_broker
from tests.harness.footprint import cpu_s, footprint
from tests.harness.store import find_store, make_store

DAY = date(2024, 3, 1)
POLL = 5_000
ACTIVE = 10_000
"""So many customers buy, whatever the number of all."""
FROM_PAPER = 10_000_000
FIRST = 2_000
"""So many events turn the day of every partition, before the others are sent."""
STEP_S = 0.02
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Size:
    """One namespace. swept_cpu: customers a CPU second of the worker; store_us: the store's CPU a customer meanwhile;
    event_us: the worker's CPU an event; rss: bytes of the worker at the end.
    """

    customers: int
    bytes_a_customer: float
    swept_s: float
    swept_cpu: float
    store_us: float
    events_s: float
    event_us: float
    rss: int


def events(customers: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of one day's events: `ACTIVE` customers in turn, in an order without sense."""
    order = np.random.default_rng(2).permutation(customers)[:ACTIVE]
    for n in range(count):
        who, second = str(order[n % len(order)]), n * 86_399 // count
        event = {
            "event_id": f"e{n}",
            "invoice_no": f"i-{who}",
            "stock_code": "85123A",
            "quantity": 1 + n % 9,
            "unit_price": 2.55,
            "invoice_date": f"{DAY}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z",
            "customer_id": who,
            "country": "United Kingdom",
        }
        yield who.encode(), json.dumps(event).encode()


def send(kafka: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write keys and values to a topic."""
    with EventWriter(KafkaSettings(kafka), topic) as writer:
        for key, value in records:
            writer.send(key, value)


def grown(kafka: str, store: str, directory: Path, customers: int, count: int) -> Size:
    """Measure one size."""
    write_history(directory / "history.csv", customers, DAY)
    settings = {"SEGMENTER_CLOCK": "event", "SEGMENTER_KAFKA_CLIENT": "librdkafka"}
    crowd = Crowd(kafka, store, directory, settings | {"SEGMENTER_MAX_POLL_RECORDS": str(POLL)})
    used = crowd.bootstrap("history.csv").store_bytes
    server, stream = crowd.server_pid(), events(customers, count)
    with crowd.worker() as worker:
        crowd.await_rest(worker)
        send(kafka, crowd.input, islice(stream, FIRST))
        crowd.await_rest(worker, sweep=2)
    send(kafka, crowd.input, stream)
    with crowd.worker() as worker:
        looks: list[tuple[float, float, int]] = []  # moment, the worker's CPU seconds, events applied
        deadline = time.monotonic() + PATIENCE_S
        while not looks or looks[-1][2] < count:
            if worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker ended ({worker.poll()}) or is stuck: see {directory}/worker.log")
            looks.append((time.monotonic(), cpu_s(worker.pid), sum(state.applied for state in crowd.states())))
            time.sleep(STEP_S)
        number = max(state.sweep.number for state in crowd.states())
        crowd.await_rest(worker, number)
        crowd.promote()
        while all(state.sweep.number == number for state in crowd.states()):
            time.sleep(STEP_S)
        before = time.monotonic(), cpu_s(worker.pid), cpu_s(server)
        crowd.await_rest(worker, number + 1)
        swept_s, swept_cpu, store_cpu = (
            now - then for now, then in zip((time.monotonic(), cpu_s(worker.pid), cpu_s(server)), before, strict=True)
        )
        rss = footprint(worker.pid).rss
    crowd.check("history.csv")
    fed = next(look for look in looks if look[2] >= count // 10)
    last, done = looks[-1], count - fed[2]
    return Size(
        customers,
        round(used / customers, 1),
        round(swept_s, 2),
        round(customers / max(swept_cpu, 0.01)),
        round(store_cpu / customers * 1e6, 2),
        round(done / (last[0] - fed[0])),
        round((last[1] - fed[1]) / done * 1e6, 1),
        rss,
    )


def on_paper(sizes: Sequence[Size]) -> dict[str, float]:
    """Return what `FROM_PAPER` customers take, from a line through the sizes: GB of the store, seconds of a sweep."""
    customers = np.array([size.customers for size in sizes], float)
    memory = np.array([size.customers * size.bytes_a_customer for size in sizes])
    sweeps = np.array([size.swept_s for size in sizes])
    gb, seconds = (float(np.polyval(np.polyfit(customers, column, 1), FROM_PAPER)) for column in (memory / 1e9, sweeps))
    return {"customers": FROM_PAPER, "store_gb": round(gb, 2), "swept_s": round(seconds, 1)}


def real(kafka: str, store: str, directory: Path, history: Path) -> dict[str, float]:
    """Return the bytes of the store a customer of a real history, and the seconds that its bootstrap takes."""
    shutil.copy(history, directory / history.name)
    crowd = Crowd(kafka, store, directory, {"SEGMENTER_CLOCK": "event"})
    loaded = crowd.bootstrap(history.name)
    customers = sum(int(crowd.redis.zcard(key)) for key in crowd.redis.scan_iter(f"{{{crowd.name}:*:index*"))
    used, seconds = loaded.store_bytes / customers, loaded.seconds
    return {"real_bytes_a_customer": round(used, 1), "real_bootstrap_s": round(seconds, 1)}


def main() -> None:
    """Print each size as it ends, and JSON at last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    found: dict[str, object] = {}
    sizes: list[Size] = []
    with make_broker(find_broker(own)) as broker, make_store(find_store(own)) as store:
        if given.history:
            with tempfile.TemporaryDirectory(prefix="segmenter-growth-") as directory:
                found |= real(broker.bootstrap, store.url, Path(directory), given.history)
                print(found, flush=True)
        for customers in given.sizes:
            with tempfile.TemporaryDirectory(prefix="segmenter-growth-") as directory:
                sizes.append(grown(broker.bootstrap, store.url, Path(directory), customers, given.events))
                print(sizes[-1], flush=True)
    if len(sizes) > 1:
        rates, resident = [size.events_s for size in sizes], [size.rss for size in sizes]
        found["events_s_max_over_min"] = round(max(rates) / min(rates), 2)
        found["rss_max_over_min"] = round(max(resident) / min(resident), 2)
        found["on_paper"] = on_paper(sizes)
    text = json.dumps(found | {"load": round(os.getloadavg()[0], 1), "sizes": [asdict(size) for size in sizes]})
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
