r"""The sample: a year and a bit of a gift shop that never was, in the schema of UCI Online Retail.

    python Dataset/generate.py          writes Dataset/sample.csv.gz, the same bytes each time

    customers --kind--> order days --basket--> lines --some come back--> returns
         \                                        \--some are dirty, repeated, free, fees
          guests, who have no id

What it is for: a first run without a download, and tests. It has what makes real data hard, in about
the shares of the real file: guests, returns before and after their order, exact repeats, postage
and discounts, prices of 0, dates and numbers that nobody can read. And it moves: customers come, buy
more, fall silent, so a clock that turns the days has something to find. No figure in it is anybody's.

Only uniform numbers of one seeded generator are used, and plain arithmetic: the rows are the same on
every machine.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

SEED = 20101201
TARGET = Path(__file__).parent / "sample.csv.gz"
HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")

FIRST, LAST = date(2010, 12, 1), date(2011, 12, 9)
DAYS = (LAST - FIRST).days + 1

# Orders by month, January to December, and by weekday, Monday to Sunday: closed on Saturdays, busy before Christmas.
MONTHS = (0.75, 0.72, 0.90, 0.85, 0.98, 0.95, 0.92, 0.95, 1.25, 1.45, 1.90, 1.60)
WEEKDAYS = (1.0, 1.1, 1.15, 1.25, 0.95, 0.0, 0.65)
HOURS = (0.01, 0.06, 0.11, 0.14, 0.20, 0.16, 0.13, 0.10, 0.05, 0.03, 0.01)
"""Share of orders in the hours from 8 to 18."""

STYLES = "RED WHITE PINK BLUE IVORY GREEN VINTAGE RETRO RUSTIC POLKADOT STRIPED LARGE SMALL MINI WOODEN GLASS".split()
SUBJECTS = "HEART OWL ROSE BIRD STAR CAKE CHRISTMAS STRAWBERRY PAISLEY SKULL CIRCUS GARDEN SPACEBOY UNION".split()
THINGS = (
    "T-LIGHT HOLDER,LUNCH BAG,MUG,HOT WATER BOTTLE,DOORMAT,BUNTING,CAKE TIN,TEA TOWEL,NAPKINS,PHOTO FRAME,JAM JAR,"
    "GIFT WRAP,COAT HANGER,ALARM CLOCK,STORAGE BOX,CANDLE,APRON,WALL ART,TRINKET POT,SHOPPING BAG"
).split(",")
PRICES = (39, 42, 55, 65, 85, 125, 145, 165, 195, 210, 255, 295, 375, 425, 495, 595, 795, 995, 1275, 1695)
"""Pence."""

CHEAP_UNITS, DEAR_UNITS = (1, 1, 2, 2, 3, 4, 6, 6, 8, 10, 12, 24), (1, 1, 1, 2, 2, 3, 4, 6)
"""What is usually bought at once, of things up to 3 pounds and above."""

COUNTRIES = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Belgium", "Switzerland")
COUNTRY_SHARES = (0.895, 0.030, 0.028, 0.015, 0.010, 0.008, 0.008, 0.006)


class Kind(NamedTuple):
    """How a kind of customer behaves: share of all, orders a year (from, to), lines an order, bulk: units a line."""

    name: str
    share: float
    orders: tuple[float, float]
    lines: float
    bulk: float


KINDS = (
    Kind("frequent", 0.13, (11, 34), 6.5, 1.9),
    Kind("occasional", 0.33, (2.6, 7.5), 5.5, 1.0),
    Kind("once", 0.20, (0.6, 1.7), 5.0, 0.7),
    Kind("new", 0.14, (4, 13), 5.0, 0.8),
    Kind("dormant", 0.20, (3, 11), 5.0, 0.9),
)
CUSTOMERS = 2_000
GUEST_INVOICES = 420

Item = TypeVar("Item")


class Product(NamedTuple):
    """What is sold; price in pence."""

    code: str
    description: str
    price: int


class Line(NamedTuple):
    """One line before it has an invoice number."""

    code: str
    description: str
    quantity: int
    price: str


class Invoice(NamedTuple):
    """One invoice; prefix is "", "C" or "A"."""

    at: datetime
    prefix: str
    customer: str
    country: str
    lines: list[Line]


class Dice:
    """Uniform numbers of one stream, and what can be made of them exactly."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.Generator(np.random.PCG64(seed))

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return float(self._random.random())

    def chance(self, share: float) -> bool:
        """Return True in this share of cases."""
        return self.unit() < share

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def of(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[int(self.unit() * len(items))]

    def index(self, cumulative: np.ndarray) -> int:
        """Return an index whose share is its step in `cumulative`, whose last entry is the whole."""
        return int(np.searchsorted(cumulative, self.unit() * cumulative[-1], side="right"))

    def around(self, mean: float) -> int:
        """Return a count of at least 1 with this mean: geometric, so some are long."""
        count = 1
        while self.chance(1 - 1 / mean):
            count += 1
        return count


def day_weights() -> np.ndarray:
    """Return how many orders a day draws, float64 of shape (DAYS,); 0 where the shop is closed."""
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    weights = [MONTHS[day.month - 1] * WEEKDAYS[day.weekday()] for day in days]
    closed = [date(2010, 12, 24) <= day <= date(2011, 1, 3) for day in days]
    return np.where(closed, 0.0, np.asarray(weights))


def catalogue(dice: Dice) -> list[Product]:
    """Return what the shop sells, the best sellers first."""
    names = [f"{style} {subject} {thing}" for thing in THINGS for subject in SUBJECTS for style in STYLES]
    chosen = sorted({dice.whole(0, len(names) - 1) for _ in range(700)}, key=lambda n: (n * 7919) % len(names))
    letters = ("", "", "", "A", "B", "C")
    products = [
        Product(f"{20_000 + 7 * n}{dice.of(letters)}", names[index], dice.of(PRICES)) for n, index in enumerate(chosen)
    ]
    products[3] = products[3]._replace(description="SET OF 3 CAKE TINS, PANTRY DESIGN")
    products[9] = products[9]._replace(description='RETRO CAFÉ SIGN 12" METAL')
    return products


class Shop:
    """A year of invoices, from one pair of dice."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.products = catalogue(self.dice)
        self.weights = day_weights()
        self.hours = np.cumsum(HOURS)
        self.countries = np.cumsum(COUNTRY_SHARES)

    def invoices(self) -> Iterator[Invoice]:
        """Yield every invoice, in no order."""
        number = 12_346
        for kind in KINDS:
            for _ in range(round(kind.share * CUSTOMERS)):
                number += self.dice.whole(1, 4)
                yield from self.customer(str(number), kind)
        for _ in range(9):  # they bought before the file began, and only bring back
            number += 1
            yield Invoice(self.moment(0, 60), "C", str(number), COUNTRIES[0], back(self.basket(2, 1, ()), self.dice))
        for _ in range(GUEST_INVOICES):
            lines = [line._replace(price=money(pence(line) * 6 // 5)) for line in self.basket(20, 0.5, ())]
            yield Invoice(self.moment(0, DAYS), "", "", COUNTRIES[0], lines)
        yield from self.oddities()

    def customer(self, name: str, kind: Kind) -> Iterator[Invoice]:
        """Yield the orders and returns of one customer."""
        dice = self.dice
        first, stop = self.active(kind)
        count = max(1, int(dice.between(*kind.orders) * (stop - first) / 365 + dice.unit()))
        country = COUNTRIES[dice.index(self.countries)]
        bulk = kind.bulk * (6 if dice.chance(0.06) else dice.between(0.7, 1.5))
        favourites = [self.product() for _ in range(12)]
        regretted = count == 1 and dice.chance(0.03)
        for _ in range(count):
            at = self.moment(first, stop)
            lines = self.basket(kind.lines * dice.between(0.5, 1.5), bulk, favourites)
            extra = self.extra(country)
            yield Invoice(at, "", name, country, lines + extra)
            if regretted or dice.chance(0.065):
                returned = back(lines, dice, everything=regretted)
                later = at + timedelta(days=dice.whole(1, 25), minutes=dice.whole(0, 180))
                if later.date() <= LAST:
                    yield Invoice(later, "C", name, country, returned)
        if dice.chance(0.012):
            discount = Line("D", "Discount", -1, money(dice.whole(300, 4_000)))
            yield Invoice(self.moment(first, stop), "C", name, country, [discount])

    def active(self, kind: Kind) -> tuple[int, int]:
        """Return the days from and before which a customer of a kind buys."""
        dice = self.dice
        if kind.name == "new":
            return dice.whole(DAYS - 150, DAYS - 4) if dice.chance(0.6) else dice.whole(60, DAYS - 60), DAYS
        if kind.name == "dormant":
            return 0, dice.whole(25, 265)
        if kind.name == "frequent" and dice.chance(0.2):
            return 0, dice.whole(150, 330)
        return 0, DAYS

    def moment(self, first: int, stop: int) -> datetime:
        """Return a minute in opening hours of the days first .. stop - 1, the busy ones more often."""
        chances = np.cumsum(self.weights[first:stop])
        day = first + (self.dice.index(chances) if chances[-1] > 0 else 0)
        hour = 8 + self.dice.index(self.hours)
        opening = datetime(FIRST.year, FIRST.month, FIRST.day)  # the shop's wall clock, so no zone
        return opening + timedelta(days=day, hours=hour, minutes=self.dice.whole(0, 59))

    def product(self) -> Product:
        """Return a product, the best sellers more often."""
        near_the_top = self.dice.unit() * self.dice.unit()
        return self.products[int(len(self.products) * near_the_top)]

    def basket(self, lines: float, bulk: float, favourites: Sequence[Product]) -> list[Line]:
        """Return the lines of an order; some are entered twice."""
        dice, found = self.dice, []
        for _ in range(dice.around(max(lines, 1.01))):
            product = dice.of(favourites) if favourites and dice.chance(0.5) else self.product()
            usual = dice.of(CHEAP_UNITS if product.price < 300 else DEAR_UNITS)
            line = Line(product.code, product.description, max(1, int(usual * bulk)), money(product.price))
            found += [line, line] if dice.chance(0.004) else [line]
        return found

    def extra(self, country: str) -> list[Line]:
        """Return the fees on an order: postage abroad, now and then a line written by hand or a gift."""
        dice = self.dice
        lines = []
        if country != COUNTRIES[0] and dice.chance(0.6):
            code, text = ("C2", "CARRIAGE") if country == "EIRE" else ("POST", "POSTAGE")
            lines.append(Line(code, text, dice.whole(1, 3), dice.of(("18.00", "28.00", "40.00"))))
        if dice.chance(0.006):
            lines.append(Line("M", "Manual", 1, money(dice.whole(50, 9_000))))
        if dice.chance(0.004):
            lines.append(self.basket(1, 1, ())[0]._replace(price="0.00"))
        return lines

    def oddities(self) -> Iterator[Invoice]:
        """Yield what no shop means to sell: stock corrections, bank charges, bad debts."""
        dice, home = self.dice, COUNTRIES[0]
        for _ in range(110):
            found = Line(self.product().code, dice.of(("", "", "damaged", "check", "lost")), -dice.whole(1, 90), "0.00")
            yield Invoice(self.moment(0, DAYS), "", "", home, [found])
        for month in range(13):
            at = self.moment(28 * month, 28 * month + 28)
            yield Invoice(at, "", "", home, [Line("BANK CHARGES", "Bank Charges", 1, "15.00")])
            yield Invoice(at, "", "", home, [Line("AMAZONFEE", "AMAZON FEE", -1, money(dice.whole(200_000, 700_000)))])
        for price in ("11062.06", "-11062.06"):
            yield Invoice(self.moment(240, 270), "A", "", home, [Line("B", "Adjust bad debt", 1, price)])


def back(lines: Sequence[Line], dice: Dice, *, everything: bool = False) -> list[Line]:
    """Return the lines that a customer brings back, with negative quantities."""
    if everything:
        return [line._replace(quantity=-line.quantity) for line in lines]
    chosen = [dice.of(lines) for _ in range(dice.whole(1, 2))]
    return [line._replace(quantity=-dice.whole(1, line.quantity)) for line in chosen]


def money(amount: int) -> str:
    """Return pence as pounds: 255 is 2.55."""
    return f"{amount // 100}.{amount % 100:02d}"


def pence(line: Line) -> int:
    """Return a line's price in pence."""
    return int(line.price.replace(".", ""))


def rows(seed: int = SEED) -> list[list[str]]:
    """Return the file's rows under its header, in the order of time."""
    shop = Shop(seed)
    invoices = sorted(shop.invoices(), key=lambda invoice: invoice.at)
    found = []
    for number, invoice in enumerate(invoices, start=536_365):
        at = invoice.at
        stamp = f"{at.month}/{at.day}/{at.year} {at.hour}:{at.minute:02d}"
        for line in invoice.lines:
            number_text = f"{invoice.prefix}{number}"
            text = (line.code, line.description, str(line.quantity), stamp, line.price)
            found.append([number_text, *text, invoice.customer, invoice.country])
    soil(found, shop.dice)
    return found


def soil(found: list[list[str]], dice: Dice) -> None:
    """Make some cells unreadable, as people and exports do."""
    quantity, at, price = (HEADER.index(name) for name in ("Quantity", "InvoiceDate", "UnitPrice"))
    dirt = {
        at: ("not recorded", "2/30/2011 10:15", "", "0/0/0000 0:00", "12/9/2011 25:61"),
        quantity: ("six", "1.5", "", "0", "99999999999"),
        price: ("free", "2.123456", "", "1e99", "-"),
    }
    for column, cells in dirt.items():
        for cell in cells:
            for _ in range(2):
                found[dice.whole(1_000, len(found) - 1_000)][column] = cell


def content(seed: int = SEED) -> str:
    """Return the whole file as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows(seed))
    return out.getvalue()


def main() -> None:
    """Write the sample."""
    # No name and no time inside: the same text gives the same bytes.
    with TARGET.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(content().encode())
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
