"""The cleaning rules, each with a name, a count and a line in the funnel: nothing is dropped silently.

    lines read -> unreadable -> no customer -> foreign currency -> zero quantity -> price not above zero
               -> repeated event (-> exact repeat, non-product code: only if asked) -> the ledger's lines

A line is taken out by the first rule that meets it, so the lines out and the lines kept add up to the
lines read. Rules that only look (returns; repeats and codes by default) count among the kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_rows import OPEN_QUOTE, REASONS, SHAPE, Flags, Rows
from features.ledger import MONEY, Ints

NON_PRODUCTS = frozenset(
    {"ADJUST", "ADJUST2", "AMAZONFEE", "B", "BANKCHARGES", "C2", "C3", "CRUK", "D", "DOT", "GIFT", "M", "PADS"}
    | {"POST", "S", "SAMPLES"}
)
"""Stock codes that are fees, discounts, postage and corrections; upper case, without spaces."""

NON_PRODUCT_BEGINNINGS = ("GIFT_", "TEST", "SP1002", "DCGS")

WHY_TWO_VIEWS = (
    "The textbook view throws cancelled lines away, so goods that came back still count as sold. The ledger keeps "
    "them as returns: a net is what the customer paid, and customers who only gave back are still there."
)


class Rule(NamedTuple):
    """A line of the funnel: `lines` rows with this net `value` (1/10,000) went out, or were kept and counted."""

    name: str
    effect: Literal["out", "kept"]
    lines: int
    value: int


class View(NamedTuple):
    """What a view holds: value is the net in 1/10,000."""

    name: str
    lines: int
    customers: int
    value: int

    def plus(self, other: View) -> View:
        """Return the view of both; they share no customer."""
        return View(self.name, self.lines + other.lines, self.customers + other.customers, self.value + other.value)


class Unreadable(NamedTuple):
    """A row that could not be read: its file, its number as a spreadsheet counts, and the reason."""

    file: str
    row: int
    reason: str


class FunnelRow(NamedTuple):
    """A row to print; kind is read, out, view or kept; value in currency units; None where there is no figure."""

    kind: str
    name: str
    lines: int
    customers: int | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Funnel:
    """What became of every line: `lines` = the sum of the rules' lines out + `ledger.lines`.

    textbook: the steps that introductions take (customers, no cancellations, positive, no repeats).
    """

    lines: int
    rules: tuple[Rule, ...]
    ledger: View
    textbook: tuple[View, ...]
    unreadable: tuple[Unreadable, ...]

    def count(self, name: str) -> int:
        """Return the lines that a rule took out, or kept and counted; KeyError for an unknown name."""
        return {rule.name: rule.lines for rule in self.rules}[name]

    def rows(self) -> tuple[FunnelRow, ...]:
        """Return the table to print, from the lines read to the two views that people compare."""

        def rules(effect: str) -> list[FunnelRow]:
            found = [rule for rule in self.rules if rule.effect == effect]
            return [FunnelRow(effect, rule.name, rule.lines, None, rule.value / MONEY) for rule in found]

        views = [
            FunnelRow("view", v.name, v.lines, v.customers, v.value / MONEY) for v in (self.ledger, *self.textbook)
        ]
        read = FunnelRow("read", "lines read", self.lines, None, None)
        return (read, *rules("out"), views[0], *rules("kept"), *views[1:])

    def plus(self, other: Funnel) -> Funnel:
        """Return the funnel of both, of the same files and of other customers."""
        return Funnel(
            self.lines + other.lines,
            tuple(
                a._replace(lines=a.lines + b.lines, value=a.value + b.value)
                for a, b in zip(self.rules, other.rules, strict=True)
            ),
            self.ledger.plus(other.ledger),
            tuple(a.plus(b) for a, b in zip(self.textbook, other.textbook, strict=True)),
            self.unreadable + other.unreadable,
        )

    def in_order(self, files: Sequence[str]) -> Funnel:
        """Return it with the unreadable rows in the files' order."""
        place = {file: i for i, file in enumerate(files)}
        return replace(self, unreadable=tuple(sorted(self.unreadable, key=lambda u: (place[u.file], u.row, u.reason))))

    def unreadable_text(self, most: int = 10) -> str:
        """Return the unreadable rows in a line: ``OnlineRetail.csv row 17: the date cannot be read; …``."""
        named = [f"{u.file} row {u.row}: {u.reason}" for u in self.unreadable[:most]]
        more = len(self.unreadable) - most
        return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Which rows stay (bool), each row's occurrence among the equal rows of its file (int64), and the funnel.

    publishable: the rows that stay and those that the stream refuses by rules of its own (bool).
    """

    keep: Flags
    publishable: Flags
    occurrence: Ints
    funnel: Funnel


def clean(rows: Rows, options: CsvOptions) -> Cleaned:
    """Apply the rules in their order; a row goes out by the first that meets it."""
    occurrence = occurrences(rows)
    repeat = _exact_repeats(rows)
    non_product = rows.stock.where(is_non_product)
    keep = np.ones(len(rows), np.bool_)
    misshapen = len(rows.table.misshapen)
    rules: list[Rule] = []

    def out(name: str, met: Flags, more: int = 0) -> None:
        met = met & keep
        keep[met] = False
        rules.append(Rule(name, "out", int(met.sum()) + more, int(rows.amount[met].sum())))

    def count(name: str, met: Flags) -> None:
        met = met & keep
        rules.append(Rule(name, "kept", int(met.sum()), int(rows.amount[met].sum())))

    out("unreadable", rows.reason > 0, misshapen)
    out("guest (no customer)", rows.guest)
    out("foreign currency", rows.foreign)
    readable_customers = keep.copy()
    out("zero quantity", rows.quantity == 0)
    out("price not above zero", rows.price <= 0)
    refused_there = (rows.reason == 0) & ~rows.foreign & (rows.guest | (rows.quantity == 0) | (rows.price <= 0))
    out("repeated event", _repeated_events(rows, occurrence, keep))
    (out if options.repeats == "drop" else count)("exact repeat", repeat)
    (out if options.non_products == "drop" else count)("non-product code", non_product)
    count("return", rows.amount < 0)
    if "original_invoice_no" in rows.table.columns:
        count("return that names its order", rows.original.where(bool))
    funnel = Funnel(
        lines=len(rows) + misshapen,
        rules=tuple(rules),
        ledger=_view("ledger: returns netted", rows, keep),
        textbook=_textbook(rows, readable_customers, repeat),
        unreadable=_unreadable(rows),
    )
    return Cleaned(keep, keep | refused_there, occurrence, funnel)


def occurrences(rows: Rows) -> Ints:
    """Number the rows of one file that are equal in customer, order, code, quantity, price and time, from 0."""
    columns = (rows.table.file, rows.customer.codes, rows.invoice.codes, rows.stock.codes)
    frame = pd.DataFrame(dict(enumerate((*columns, rows.quantity, rows.price, rows.time))))
    return frame.groupby(list(frame.columns), sort=False).cumcount().to_numpy().astype(np.int64)


def _repeated_events(rows: Rows, occurrence: Ints, keep: Flags) -> Flags:
    """Return the rows whose event an earlier row holds already: the same id, or an overlap of two files."""
    if rows.event is not None:
        frame = pd.DataFrame({"customer": rows.customer.codes, "event": rows.event.codes})
        named = np.asarray([bool(text) for text in rows.event.values], np.bool_)[rows.event.codes]
    elif len(rows.table.files) > 1:
        content = (rows.customer.codes, rows.invoice.codes, rows.stock.codes, rows.quantity, rows.price, rows.time)
        frame = pd.DataFrame(dict(enumerate((*content, occurrence))))
        named = np.ones(len(rows), np.bool_)
    else:
        return np.zeros(len(rows), np.bool_)
    candidates = np.flatnonzero(keep & named)
    repeated = np.zeros(len(rows), np.bool_)
    repeated[candidates] = frame.iloc[candidates].duplicated().to_numpy()
    return repeated


def _exact_repeats(rows: Rows) -> Flags:
    """Return the rows that are equal to an earlier one in every column, whatever the file."""
    texts = (rows.customer, rows.invoice, rows.original, rows.stock, rows.description, rows.country)
    columns = [text.codes for text in texts] + [rows.quantity, rows.price, rows.time]
    return pd.DataFrame(dict(enumerate(columns))).duplicated().to_numpy()


def is_non_product(stock_code: str) -> bool:
    """Say whether a stock code is a fee, a discount, postage or a correction."""
    code = stock_code.upper().replace(" ", "")
    return code in NON_PRODUCTS or code.startswith(NON_PRODUCT_BEGINNINGS)


def _view(name: str, rows: Rows, keep: Flags) -> View:
    customers = int(np.count_nonzero(np.bincount(rows.customer.codes[keep])))
    return View(name, int(keep.sum()), customers, int(rows.amount[keep].sum()))


def _textbook(rows: Rows, with_customer: Flags, repeat: Flags) -> tuple[View, ...]:
    sold = with_customer & ~rows.cancelled
    positive = sold & (rows.quantity > 0) & (rows.price > 0)
    # A line is a repeat among the positive ones only if its first copy is one of them: equal rows are.
    return (
        _view("textbook: with a customer", rows, with_customer),
        _view("textbook: not cancelled", rows, sold),
        _view("textbook: quantity and price positive", rows, positive),
        _view("textbook: without exact repeats", rows, positive & ~repeat),
    )


def _unreadable(rows: Rows) -> tuple[Unreadable, ...]:
    files = rows.table.files
    bad = np.flatnonzero(rows.reason)
    found = [(int(rows.table.file[i]), int(rows.table.row[i]), int(rows.reason[i])) for i in bad]
    found += [(file, row, OPEN_QUOTE if spans else SHAPE) for file, row, spans in rows.table.misshapen]
    return tuple(Unreadable(files[file], row, REASONS[why]) for file, row, why in sorted(found))
