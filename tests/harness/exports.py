"""A small shop's export in UCI's schema, the same each time: 80 customers, ten weeks of 2011, some of what is dirty."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
FIRST = datetime(2011, 4, 1, 9)  # noqa: DTZ001 -- the export's own wall clock
DAYS = 71
"""Up to 2011-06-10."""
KNOWN = "12748"
"""A customer who buys often, to the end."""


def small_rows(customers: int = 80, seed: int = 7, first: datetime = FIRST) -> Iterator[tuple[str, ...]]:
    """Yield the rows in the order of their time, from `first` on."""
    dice = random.Random(seed)
    habits = {str(12700 + i): dice.choice((0.02, 0.05, 0.1, 0.3)) for i in range(customers)} | {KNOWN: 0.5}
    fading = {customer for customer in habits if dice.random() < 0.3 and customer != KNOWN}
    invoice = 540_000
    for day in range(DAYS):
        for customer, habit in habits.items():
            if dice.random() >= habit * (0.1 if customer in fading and day > 20 else 1.0):
                continue
            invoice += 1
            moment = (first + timedelta(days=day, minutes=dice.randrange(480))).strftime("%Y-%m-%d %H:%M:%S")
            returned = dice.random() < 0.06
            number = f"C{invoice}" if returned else str(invoice)
            for _ in range(dice.randint(1, 3)):
                quantity = dice.randint(1, 12) * (-1 if returned else 1)
                price = dice.choice(("0.85", "2.55", "3.39", "12.75"))
                code = dice.choice(("85123A", "71053", "22423", "POST"))
                yield (number, code, "THING", str(quantity), moment, price, customer, "United Kingdom")
            if dice.random() < 0.1:
                yield (str(invoice + 100_000), "22423", "THING", "1", moment, "0.85", "", "United Kingdom")
    end = (first + timedelta(days=DAYS - 1, hours=8)).strftime("%Y-%m-%d %H:%M:%S")
    yield ("599999", "22423", "DAMAGED", "-4", end, "0", "", "United Kingdom")


def small_export(folder: Path, name: str = "shop.csv.gz", customers: int = 80, first: datetime = FIRST) -> Path:
    """Write the rows to a file in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    packed = name.endswith(".gz")
    with gzip.open(path, "wt", newline="") if packed else path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        rows.writerows(small_rows(customers, first=first))
    return path


def lines_export(folder: Path, first: datetime, name: str = "orders.csv") -> Path:
    """Write the export of another shop: Kunde;Beleg;Datum;Menge;Preis, with decimal commas and dotted dates.

    Four weeks; KNOWN is customer 1001 there, and buys again in today.csv beside it, on the day after the last one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = first + timedelta(days=DAYS)
    rows = [row for row in small_rows(customers=30, first=first) if row[4] >= f"{last - timedelta(days=28)}"]
    rows += [("600001", "22423", "THING", "2", last.strftime("%Y-%m-%d %H:%M:%S"), "12.75", KNOWN, "")]
    for file, chosen in ((name, rows[:-1]), ("today.csv", rows[-1:])):
        with (folder / file).open("w", newline="") as opened:
            written = csv.writer(opened, delimiter=";")
            written.writerow(("Kunde", "Beleg", "Datum", "Menge", "Preis"))
            for invoice, _, _, quantity, moment, price, customer, _ in chosen:
                shown = datetime.fromisoformat(moment).strftime("%d.%m.%Y %H:%M")
                theirs = str(int(customer) - int(KNOWN) + 1001) if customer else ""
                written.writerow((theirs, invoice, shown, quantity, price.replace(".", ",")))
    return folder / name


def orders_export(folder: Path, first: datetime, name: str = "orders.csv.gz") -> Path:
    """Write a shop's own export, one row an order with an amount: Client;Day;Total, with a decimal comma."""
    totals: dict[tuple[str, str, str], float] = {}
    for invoice, _, _, quantity, moment, price, customer, _ in small_rows(first=first):
        key = (invoice, customer, moment[:10])
        totals[key] = totals.get(key, 0.0) + int(quantity) * float(price)
    path = folder / name
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(("Client", "Day", "Total"))
        rows.writerows((client, day, f"{total:.2f}".replace(".", ",")) for (_, client, day), total in totals.items())
    return path
