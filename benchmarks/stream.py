"""The stream of the contest: a shop's orders, line by line, the same bytes for every peer.

    history          100,000 customers, one to three orders each over the year before
    warm-up          100,000 lines of the first day's morning
    start marks      one line of a new customer a partition
    measured lines   the rest of the first day, and the second: one turn of the day in the middle
    end marks        one line of another new customer a partition

Half of the orders come from customers by Zipf's law, half from all of them alike. A customer's orders of one hour are
one order: so the busiest has dozens a day and not thousands. An order is one to five lines, three on average; 4 % of
them are returns, under an invoice of their own that begins with C. Times never fall. All follows from the seed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from consumer.transport.kafka_partitioner import partition_of

FIRST_DAY = date(2024, 3, 1)
MORNING_S = 6 * 3600
DAY_S = 86_400
HISTORY_DAYS = 365
PARTITIONS = 8
ZIPF = 1.1
RETURNS = 0.04
PRICES = np.array([42, 85, 125, 165, 255, 375, 495, 1275])
"""In pence."""


class Line(NamedTuple):
    """One line of an order. at: seconds since 1970; price: pence; quantity: below 0 in a return."""

    number: str
    invoice: str
    customer: str
    at: int
    quantity: int
    price: int

    def event(self) -> bytes:
        """Return the record's value: the event of the product's contract, about 200 bytes."""
        when = datetime.fromtimestamp(self.at, UTC)
        return (
            f'{{"event_id":"{self.number}","invoice_no":"{self.invoice}","stock_code":"{20_000 + 7 * self.price}",'
            f'"quantity":{self.quantity},"unit_price":{self.price / 100},"invoice_date":"{when:%Y-%m-%dT%H:%M:%SZ}",'
            f'"customer_id":"{self.customer}","country":"United Kingdom"}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class Stream:
    """events: measured lines without the marks; warm_up: lines before the start marks."""

    events: int
    warm_up: int = 100_000
    customers: int = 100_000
    seed: int = 1

    def history(self) -> list[Line]:
        """Return the year before, in time order: an order is one line."""
        rng = np.random.default_rng([self.seed, 0])
        owner = np.repeat(np.arange(self.customers), rng.integers(1, 4, self.customers))
        days = -rng.integers(1, HISTORY_DAYS + 1, len(owner))
        times = np.sort(_midnight() + days * DAY_S + rng.integers(0, DAY_S, len(owner)))
        quantities, prices = rng.integers(1, 40, len(owner)), rng.choice(PRICES, len(owner))
        rng.shuffle(owner)
        rows = zip(owner.tolist(), times.tolist(), quantities.tolist(), prices.tolist(), strict=True)
        return [Line(f"h{n}", f"h{n}", _customer(c), at, q, p) for n, (c, at, q, p) in enumerate(rows)]

    def lines(self) -> Iterator[Line]:
        """Yield what follows the history, marks included."""
        count = self.warm_up + self.events
        rng = np.random.default_rng([self.seed, 1])
        order = np.repeat(np.arange(count), rng.integers(1, 6, count))[:count]  # of each line
        weights = 1 / np.arange(1, self.customers + 1) ** ZIPF
        ranked = rng.permutation(self.customers)[rng.choice(self.customers, count, p=weights / weights.sum())]
        buyer = np.where(rng.random(count) < 0.5, ranked, rng.integers(0, self.customers, count))[order]
        returned = (rng.random(count) < RETURNS)[order]
        quantity = np.where(returned, -1, 1) * rng.integers(1, 13, count)
        first = np.searchsorted(order, order)  # the line that its order began with gives the time of all
        at = _midnight() + self._seconds(first)
        columns = (at, buyer, returned, quantity, rng.choice(PRICES, count))
        for n, (when, who, back, q, p) in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
            if n == self.warm_up:
                yield from self._marks("start", MORNING_S)
            invoice = f"{'C' if back else 'i'}{when // 3600}-{who}"
            yield Line(f"e{n}", invoice, _customer(who), when, q, p)
        yield from self._marks("end", 2 * DAY_S - 1)

    def write_history(self, path: Path) -> None:
        """Write the history as the file that `segmenter bootstrap` reads."""
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"])
            for line in self.history():
                when = datetime.fromtimestamp(line.at, UTC)
                table.writerow(
                    [line.invoice, "20000", line.quantity, f"{when:%F %T}", f"{line.price / 100:.2f}", line.customer]
                )

    def _seconds(self, n: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return when the n-th line comes, in seconds since the first midnight."""
        half = max(self.events // 2, 1)
        return np.where(
            n < self.warm_up,
            n * MORNING_S // max(self.warm_up, 1),
            np.where(
                n < self.warm_up + half,
                MORNING_S + (n - self.warm_up) * (DAY_S - MORNING_S) // half,
                DAY_S + (n - self.warm_up - half) * DAY_S // max(self.events - half, 1),
            ),
        )

    def _marks(self, which: str, seconds: int) -> Iterator[Line]:
        for name in marks(which):
            yield Line(f"m-{name}", f"m-{name}", name, _midnight() + seconds, 6, 255)


def marks(which: str) -> list[str]:
    """Return the customers that mark the `start` or the `end`: one in each partition, in their order."""
    found: dict[int, str] = {}
    n = 0
    while len(found) < PARTITIONS:
        name = f"{which}-{n}"
        found.setdefault(partition_of(name.encode(), PARTITIONS), name)
        n += 1
    return [found[partition] for partition in range(PARTITIONS)]


def last_day() -> date:
    """Return the day on which the stream ends."""
    return FIRST_DAY + timedelta(days=1)


def _midnight() -> int:
    return int(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp())


def _customer(index: int) -> str:
    return str(100_000 + index)
