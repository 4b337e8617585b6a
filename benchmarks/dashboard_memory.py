"""Whether the dashboard's memory stays flat while it shows a stream at ten times the demo's rate, page open.

    python -m benchmarks.dashboard_memory [--minutes 10] [--times 10]

A history of 2,000 customers is bootstrapped on an embedded pair, a worker and a dashboard run on it, and a real browser
shows Movement, in the second half Overview. `make demo` decides 450 events a second on two shared cores and publishes
61 records a second (43,221 events, 5,861 records, 96 s): that is all that one worker does there, so

    events     come at the demo's rate, each a line of an order of one of 4,000 customers, through the worker;
               where it has less of a core the stream waits, for the embedded broker keeps little
    records    come at ten times the demo's rate, most of them written straight to the output topic in the worker's form

What grows with the rate is what the dashboard reads of that topic; Redis it asks once a second, whatever happens.

Printed at each tenth of the time, after a minute of warming up at most: the resident memory of the dashboard's process,
the page's heap, events decided and records published a second since the line before. And, before the stream, how long
a move took from its event to the screen. (In it twenty moves, all that the feed shows, come in less than a second.)
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import msgspec
from playwright.sync_api import Page, expect

from consumer.commands.cli_topics import create_embedded
from consumer.commands.place import Place, hosted, placed, read_live
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.messages import SegmentRecord
from consumer.service import begin_bootstrap, bootstrap, connect_redis
from consumer.serving.queries import Queries
from consumer.transport.child import free_port
from consumer.transport.kafka_writer import EventWriter
from models.bundle import Segment
from tests.harness.browser import running
from tests.harness.commands import Shell
from tests.harness.live import wait_until
from tests.harness.pages import answers

DEMO_EVENTS, DEMO_RECORDS = 450, 61
"""A second."""
LAG = 4_000
"""Events that may wait in all: the embedded broker keeps about 5 MB a partition, and a reader's must not be lost."""
STEPS = 10
PATIENCE_MS = 120_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=int, default=10, help="of the demo's rate")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder) / "pair"
        kept(directory)
        shell, port = Shell(Path(folder), {}), free_port()
        pages = stack.enter_context(shell.running(f"dashboard --embedded --directory {directory} --port {port}"))
        wait_until(lambda: answers(port), "a dashboard that answers")
        stack.enter_context(shell.running(f"run --embedded --directory {directory}"))
        wait_until(lambda: getattr(read_live(directory), "kafka", None) is not None, "a worker's broker")
        place = stack.enter_context(placed(True, directory))
        stream = Stream(place, DEMO_EVENTS, given.times * DEMO_RECORDS)
        wait_until(stream.swept, "the first sweep, which moves everybody")
        browser = stack.enter_context(running())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/movement")
        expect(page.get_by_text("Moves as they are published")).to_be_visible(timeout=PATIENCE_MS)
        took = seen_after(page, stream, "somebody-new")
        print(f"a move was on the screen {took:.1f} s after its event, before the stream", flush=True)
        stream.start()
        stack.callback(stream.stop)
        time.sleep(min(60.0, given.minutes * 6))
        measure(page, pages.pid, stream, given.minutes * 60)


def measure(page: Page, pid: int, stream: Stream, seconds: float) -> None:
    """Print a line at each step."""
    print(f"{'s':>5}  {'dashboard MB':>12}  {'page MB':>8}  {'events/s':>9}  {'records/s':>9}")
    began, first = time.monotonic(), resident_mb(pid)
    last, before = first, (began, *stream.counted())
    for step in range(STEPS + 1):
        if step == STEPS // 2:
            page.get_by_role("link", name="Overview", exact=True).click()
            expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible(timeout=PATIENCE_MS)
        while time.monotonic() - began < seconds * step / STEPS:
            page.wait_for_timeout(200)
        page.request_gc()
        heap = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
        last = resident_mb(pid)
        now = (time.monotonic(), *stream.counted())
        gone = max(now[0] - before[0], 0.1)
        events, records = ((new - old) / gone for new, old in zip(now[1:], before[1:], strict=True))
        print(f"{now[0] - began:5.0f}  {last:12.1f}  {heap:8.1f}  {events:9,.0f}  {records:9,.0f}", flush=True)
        before = now
    print(
        f"dashboard: {first:.1f} MB at the start, {last:.1f} MB at the end, {last - first:+.1f} MB in {seconds:.0f} s"
    )


def seen_after(page: Page, stream: Stream, name: str) -> float:
    """Publish an order of somebody new and await him in the feed; return the seconds."""
    began = time.monotonic()
    stream.send(name, 0)
    expect(page.get_by_role("cell", name=name, exact=True)).to_be_attached(timeout=PATIENCE_MS)
    return time.monotonic() - began


class Stream:
    """Events and records at steady rates, from threads; a day of the events' own clock goes by every ten seconds."""

    def __init__(self, place: Place, events: int, records: int) -> None:
        self.queries, self._rates = Queries(place), (events, records)
        self._writer = EventWriter(place.broker(), place.settings.transactions_topic)
        self._output = EventWriter(place.broker(), place.settings.segments_topic)
        self._segments = [Segment(each.id, each.name) for each in self.queries.model().segments]
        self._records = 0
        self._day, self._number = FIRST + timedelta(days=DAYS), 0
        self._dice, self._stopping = random.Random(5), threading.Event()
        runs = (self._send_events, self._send_records)
        self._threads = [threading.Thread(target=run, daemon=True) for run in runs]
        self._lock = threading.Lock()

    def swept(self) -> bool:
        found = self.queries.standing().status
        return all(row.swept == 1.0 for row in found.partitions) and bool(found.moves)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def counted(self) -> tuple[int, int]:
        """Return the events that the worker has decided and the records in the output, so far."""
        status = self.queries.standing().status
        return status.counters.get("lines", 0), self._records + sum(status.moves.values())

    def send(self, customer: str, quantity: int) -> None:
        with self._lock:
            self._number += 1
            moment = f"{self._day.isoformat()}T{self._number // 3600 % 24:02}:{self._number // 60 % 60:02}:00"
            line = {
                "invoice_no": f"8{self._number:08}",
                "stock_code": "A",
                "quantity": quantity or 5,
                "unit_price": 2.5,
            }
            event = line | {"invoice_date": moment, "customer_id": customer, "event_id": f"m-{self._number}"}
            self._writer.send(customer.encode(), json.dumps(event).encode())
            if not quantity:
                self._writer.flush()

    def _waiting(self) -> int:
        """Return how many events are not decided yet."""
        return self._number - self.queries.standing().status.counters.get("lines", 0)

    def _send_records(self) -> None:
        began, dice = time.monotonic(), random.Random(6)
        while not self._stopping.wait(0.1):
            while self._records < (time.monotonic() - began) * self._rates[1]:
                self._records += 1
                source, target = dice.sample(self._segments, 2)
                customer, day = str(dice.randrange(4_000)), self._day.isoformat()
                record = SegmentRecord(
                    customer_id=customer,
                    segment=target,
                    previous=source,
                    cause="purchase",
                    revision=1_000 + self._records,
                    as_of=day,
                    entered_on=day,
                    margin=0.5,
                    second=None,
                    features={"recency": 0.0, "frequency": 4.0, "monetary": 271.5},
                    model_version=1,
                )
                self._output.send(customer.encode(), msgspec.json.encode(record))
            self._output.flush()

    def _send_events(self) -> None:
        began = turned = time.monotonic()
        sent = 0
        while not self._stopping.is_set():
            now = time.monotonic()
            for _ in range(min(int((now - began) * self._rates[0]) - sent, self._rates[0])):
                self.send(str(self._dice.randrange(4_000)), self._dice.randint(1, 12))
                sent += 1
            self._writer.flush()
            if now - turned > 10:
                turned, self._day = now, self._day + timedelta(days=1)
            while self._waiting() > LAG and not self._stopping.is_set():
                began += 0.2  # the worker is behind: the rate is what it takes
                time.sleep(0.2)
            self._stopping.wait(0.1)


FIRST, DAYS = date(2011, 1, 1), 120


def kept(directory: Path) -> None:
    """Leave a bootstrapped shop of 2,000 customers."""
    directory.parent.mkdir(exist_ok=True)
    file = directory.parent / "history.csv"
    file.write_text("\n".join(lines()), encoding="utf-8")
    with hosted(directory, fixed=True, namespace="memory", clock="event") as place:
        create_embedded(place.settings, place.broker())
        client = connect_redis(place.settings)
        start = begin_bootstrap(place.settings, place.broker(), client, replace=False)
        history = read_history([file], CsvOptions())
        bootstrap(
            place.settings, place.broker(), client, history, start, k=4, progress=lambda *_: None, now=time.time()
        )


def lines() -> Iterator[str]:
    dice = random.Random(3)
    yield "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    for number in range(20_000):
        customer = int(2_000 * dice.random() ** 2)  # few buy often
        moment = FIRST + timedelta(days=dice.randrange(DAYS))
        yield f"{number + 1},A,THING,{dice.randint(1, 40)},{moment} 10:00:00,2.5,{customer},UK"


def resident_mb(pid: int) -> float:
    """Return a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
