"""Whether the dashboard's memory stays flat while it shows a stream at ten times the demo's rate, page open.

    python -m benchmarks.dashboard_memory [--minutes 10] [--rate R]

A history of 2,000 customers is bootstrapped on an embedded pair, a worker and a dashboard run on it, and a real browser
shows Movement, then Overview. Events are published at a steady rate of `--rate` a second, each a line of an order of
one of 4,000 customers. The default is ten times the rate of `make demo` on two shared cores (43,221 events in 96 s are
450 a second). The embedded broker keeps little, so the stream waits where the worker is behind; what was really taken
is printed.

Printed: the resident memory of the dashboard's process and of the browser's page at each tenth of the time, after a
minute of warming up at most; and how long a move took from its event to the screen before the stream. (In it twenty
moves, all that the feed shows, come in less than a second.)
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

from playwright.sync_api import Page, expect

from consumer.commands.cli_topics import create_embedded
from consumer.commands.place import Place, hosted, placed, read_live
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.service import begin_bootstrap, bootstrap, connect_redis
from consumer.serving.queries import Queries
from consumer.transport.child import free_port
from consumer.transport.kafka_writer import EventWriter
from tests.harness.browser import running
from tests.harness.commands import Shell
from tests.harness.live import wait_until
from tests.harness.pages import answers

DEMO_RATE = 450
LAG = 4_000
"""Events that may wait in all: the embedded broker keeps about 5 MB a partition, and a reader's must not be lost."""
STEPS = 10
PATIENCE_MS = 120_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=10 * DEMO_RATE)
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
        stream = Stream(place, given.rate)
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
    print(f"{'s':>5}  {'dashboard MB':>12}  {'page MB':>8}  {'events/s shown':>14}  {'moves in all':>12}")
    began, first = time.monotonic(), resident_mb(pid)
    last = first
    for step in range(STEPS + 1):
        if step == STEPS // 2:
            page.get_by_role("link", name="Overview", exact=True).click()
            expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible(timeout=PATIENCE_MS)
        while time.monotonic() - began < seconds * step / STEPS:
            page.wait_for_timeout(200)
        page.request_gc()
        heap = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
        last = resident_mb(pid)
        standing = stream.queries.standing()
        moves = sum(standing.status.moves.values())
        rate = standing.records_per_second or 0.0
        print(f"{time.monotonic() - began:5.0f}  {last:12.1f}  {heap:8.1f}  {rate:14,.0f}  {moves:12,}", flush=True)
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
    """Events at a steady rate, from a thread; a day of the events' own clock goes by every ten seconds."""

    def __init__(self, place: Place, rate: int) -> None:
        self.queries, self._rate = Queries(place), rate
        self._writer = EventWriter(place.broker(), place.settings.transactions_topic)
        self._day, self._number = FIRST + timedelta(days=DAYS), 0
        self._dice, self._stopping = random.Random(5), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def swept(self) -> bool:
        found = self.queries.standing().status
        return all(row.swept == 1.0 for row in found.partitions) and bool(found.moves)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

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

    def _run(self) -> None:
        began = turned = time.monotonic()
        sent = 0
        while not self._stopping.is_set():
            now = time.monotonic()
            for _ in range(min(int((now - began) * self._rate) - sent, self._rate)):
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
