"""A table of texts to rows of numbers; what cannot be read keeps its row number and a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_parsing import MAX_AMOUNT, MAX_PRICE, UNREADABLE, money, possible, quantities, times
from consumer.history.csv_texts import Table, Texts
from features.identity import MAX_ID_BYTES, canonical_id
from features.ledger import Ints

Flags = npt.NDArray[np.bool_]

MAX_INVOICE_BYTES = 256
MAX_EVENT_ID = 512
"""In characters; the stream refuses longer ones too."""

GUESTS = frozenset({"", "nan", "NaN", "<NA>", "NULL", "None"})
"""What exports write where a line has no customer, or a return names no order."""

REASONS = (
    "",
    "another number of cells than the header",
    "another number of cells than the header, over several lines: is a quote left open?",
    "the date cannot be read",
    "the date is before 1970 or in the future",
    "the quantity cannot be read",
    "the price cannot be read",
    "the price has more than 4 decimals",
    "the price is above 10,000,000",
    "the amount is above 1,000,000,000",
    f"the invoice number is missing or longer than {MAX_INVOICE_BYTES} bytes",
    f"the number of the order that a return names is longer than {MAX_INVOICE_BYTES} bytes",
    f"the event id is longer than {MAX_EVENT_ID} characters",
    f"the customer id is longer than {MAX_ID_BYTES} bytes",
)
"""Why a row is unreadable; a row with several reasons has the one furthest down."""

SHAPE, OPEN_QUOTE, DATE, ELSEWHEN, QUANTITY, PRICE, TOO_FINE, TOO_DEAR, TOO_MUCH = range(1, 10)
INVOICE, ORIGINAL, EVENT, CUSTOMER = range(10, 14)


@dataclass(frozen=True, slots=True)
class Rows:
    """The n rows of a table. Texts are trimmed; numbers that cannot be read are 0 and `reason` says why.

    quantity, units: int64; price: int64 in 1/10,000 (where the file has amounts: the absolute amount,
    and the quantity is 1 or -1); time: int64, local seconds; amount: int64, signed, in 1/10,000;
    reason: int8, an index into REASONS; event: None where the file has no id column. original: the number
    of the order that a return names, "" where it names none and on every line that is no return.
    """

    table: Table
    customer: Texts
    invoice: Texts
    original: Texts
    stock: Texts
    description: Texts
    country: Texts
    event: Texts | None
    quantity: Ints
    price: Ints
    time: Ints
    amount: Ints
    units: Ints
    cancelled: Flags
    guest: Flags
    foreign: Flags
    reason: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.reason)


def parse(table: Table, options: CsvOptions) -> Rows:
    """Read a table's texts as numbers, once a distinct text; raise CsvError where an option is needed."""
    columns = table.columns
    customer = columns["customer_id"].mapped(canonical_id)
    price, too_fine, quantity = _money_columns(columns, options)
    time = times(columns["invoice_date"].values, options)[columns["invoice_date"].codes]
    invoice = columns["invoice_no"].mapped(canonical_id) if "invoice_no" in columns else None
    event = columns["event_id"].mapped(str.strip) if "event_id" in columns else None
    nowhere = np.zeros(len(time), np.bool_)
    cancelled = invoice.where(is_cancellation) if invoice is not None else nowhere
    absent = Texts(("",), np.zeros(len(time), np.int32))
    original = _only(cancelled | (quantity < 0), columns.get("original_invoice_no", absent)).mapped(_order_named)
    readable = (price != UNREADABLE) & (quantity != UNREADABLE)
    size = np.abs(price.astype(np.float64) * quantity)  # in floating point first: 10^11 x 10^9 is beyond int64
    # Later reasons overwrite earlier ones.
    wrong = (
        (DATE, time == UNREADABLE),
        (ELSEWHEN, (time != UNREADABLE) & ~possible(time, options.latest)),
        (QUANTITY, quantity == UNREADABLE),
        (PRICE, (price == UNREADABLE) & ~too_fine),
        (TOO_FINE, too_fine),
        (TOO_DEAR, price > MAX_PRICE),
        (TOO_MUCH, readable & (size > MAX_AMOUNT)),
        (
            INVOICE,
            invoice.where(lambda text: not 0 < len(text.encode()) <= MAX_INVOICE_BYTES)
            if invoice is not None
            else nowhere,
        ),
        (ORIGINAL, original.where(lambda text: len(text.encode()) > MAX_INVOICE_BYTES)),
        (EVENT, event.where(lambda text: len(text) > MAX_EVENT_ID) if event is not None else nowhere),
        (CUSTOMER, customer.where(lambda text: len(text.encode()) > MAX_ID_BYTES)),
    )
    reason = np.zeros(len(time), np.int8)
    numbers_fit = np.ones(len(time), np.bool_)
    for why, rows in wrong:
        reason[rows] = why
        if QUANTITY <= why <= TOO_MUCH:
            numbers_fit &= ~rows
    price, quantity = np.where(numbers_fit, price, 0), np.where(numbers_fit, quantity, 0)
    time = np.where(possible(time, options.latest), time, 0)
    if invoice is None:
        invoice = _order_of_its_own(customer, time)
    return Rows(
        table=table,
        customer=customer,
        invoice=invoice,
        original=original,
        stock=columns.get("stock_code", absent).mapped(str.strip),
        description=columns.get("description", absent).mapped(str.strip),
        country=columns.get("country", absent).mapped(str.strip),
        event=event,
        quantity=quantity,
        price=price,
        time=time,
        amount=np.where(cancelled, -np.abs(price * quantity), price * quantity),
        units=np.where(cancelled, -np.abs(quantity), quantity),
        cancelled=cancelled,
        guest=customer.where(GUESTS.__contains__),
        foreign=_foreign(columns.get("currency", absent), options.currency),
        reason=reason,
    )


def is_cancellation(invoice: str) -> bool:
    """Say whether an invoice takes back: its number begins with C."""
    return invoice[:1] in ("C", "c")


def _only(rows: Flags, texts: Texts) -> Texts:
    """Return the texts of some rows, "" in the others."""
    return Texts(("", *texts.values), np.where(rows, texts.codes + 1, 0).astype(np.int32))


def _order_named(text: str) -> str:
    found = canonical_id(text)
    return "" if found in GUESTS else found


def _money_columns(columns: dict[str, Texts], options: CsvOptions) -> tuple[Ints, Flags, Ints]:
    """Return price, too fine, quantity; an amount is the price of one unit, its sign the quantity's."""
    texts = columns["amount" if "amount" in columns else "unit_price"]
    read = money(texts.values, options.decimal)
    price, too_fine = read.value[texts.codes], read.too_fine[texts.codes]
    if "amount" not in columns:
        quantity = columns["quantity"]
        return price, too_fine, quantities(quantity.values, options.decimal)[quantity.codes]
    given_back = (price < 0) & (price != UNREADABLE)
    return np.where(given_back, -price, price), too_fine, np.where(given_back, -1, 1)


def _order_of_its_own(customer: Texts, time: Ints) -> Texts:
    """Name each row's order by its time, numbered where a customer has several at once."""
    frame = pd.DataFrame({"customer": customer.codes, "time": time})
    number = frame.groupby(["customer", "time"], sort=False).cumcount().to_numpy()
    stamp = np.datetime_as_string(time.astype("datetime64[s]"))
    names = [text if n == 0 else f"{text}/{n}" for text, n in zip(stamp.tolist(), number.tolist(), strict=True)]
    codes, distinct = pd.factorize(np.asarray(names, object))
    return Texts(tuple(distinct), codes.astype(np.int32))


def _foreign(currency: Texts, home: str | None) -> Flags:
    """Return the rows in another currency than the one we count in; no currency written means ours."""
    currency = currency.mapped(lambda text: text.strip().upper())
    named = sorted(set(currency.values) - {""})
    if home is None and len(named) > 1:
        raise CsvError(
            f"the file holds several currencies ({', '.join(named)}) and amounts of one only can be added up; "
            f"pass --currency {named[0]} to take its rows and refuse the others"
        )
    ours = {"", (home or "".join(named)).strip().upper()}
    return currency.where(lambda text: text not in ours)
