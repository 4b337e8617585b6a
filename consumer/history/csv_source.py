r"""History from files: read, cleaned and as columns, ready to be folded into ledgers or replayed as events.

    files --csv_reading--> texts --csv_rows--> numbers --csv_cleaning--> kept lines --> History --> Lines, Ledger
                                                               \--> Funnel

The whole is read before anything is returned: an error leaves nothing half done. Numbers are exact
(csv_rows.py), ids are the stream's (features/identity.py): bootstrap and replay give equal events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from consumer.history.csv_cleaning import Cleaned, Funnel, clean
from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_reading import SUFFIXES, Progress, read_table
from consumer.history.csv_rows import Rows, parse
from consumer.history.csv_texts import Table, Texts
from features.identity import content_event_id, hash64
from features.ledger import Hashes, Ints, Ledger, Lines, from_lines

SAMPLE = "sample.csv.gz"
DAY = 86_400
Index = npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice


@dataclass(frozen=True, slots=True)
class Source:
    """The files that a path stands for, and in a sentence which ones were taken and why."""

    paths: tuple[Path, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class History:
    """The kept lines of some files in the files' order, n of them.

    customers: canonical ids in text order; owner: int64, index into them; invoice_no, stock_code,
    description, country: texts; original_invoice_no: text, "" but on a return that names its order;
    quantity: int64, as the file has it; price: int64 in 1/10,000; time: int64, seconds of the shop's wall
    clock since 1970-01-01T00:00; amount: int64, signed, in 1/10,000; units: int64, signed; order: uint64,
    hash64 of the order that the line changes: the original one where it is named, else the invoice;
    file, row: int64, which file (index into `files`) and the row in it as a spreadsheet counts;
    occurrence: int64, the number among equal rows of the file; event: the mapped id column, or None;
    kept: bool, False for lines that are only to be published. `split` and `take` keep customers and funnel.
    """

    customers: tuple[str, ...]
    files: tuple[str, ...]
    funnel: Funnel
    owner: Ints
    invoice_no: Texts
    original_invoice_no: Texts
    stock_code: Texts
    description: Texts
    country: Texts
    quantity: Ints
    price: Ints
    time: Ints
    amount: Ints
    units: Ints
    order: Hashes
    file: Ints
    row: Ints
    occurrence: Ints
    event: Texts | None
    kept: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def day(self) -> Ints:
        """Days since 1970-01-01 in the shop's zone, int64, shape (n,)."""
        return self.time // DAY

    @property
    def has_ids(self) -> bool:
        """Whether the files brought event ids of their own (PROTOCOL H3)."""
        return self.event is not None

    def take(self, index: Index) -> History:
        """Return the lines that a NumPy index selects."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)[3:]}
        return replace(self, **{name: _pick(column, index) for name, column in columns.items()})

    def split(self, cutoff: int) -> tuple[History, History]:
        """Return (the lines dated at or before a time in local seconds, the later ones)."""
        past = self.time <= cutoff
        return self.take(past), self.take(~past)

    def customer_ids(self) -> list[str]:
        """Return one canonical customer id a line."""
        return list(map(self.customers.__getitem__, self.owner.tolist()))

    def iso_times(self) -> list[str]:
        """Return the local times as ``2011-12-09T12:50:00``."""
        distinct, codes = np.unique(self.time, return_inverse=True)
        texts = np.datetime_as_string(distinct.astype("datetime64[s]")).tolist()
        return list(map(texts.__getitem__, codes.tolist()))

    def event_ids(self) -> list[str]:
        """Return one event id a line: the mapped column's text ("" where empty), or the content's (PROTOCOL H3)."""
        if self.event is not None:
            return self.event.tolist()
        columns = zip(
            self.customer_ids(),
            self.invoice_no.tolist(),
            self.stock_code.tolist(),
            self.quantity.tolist(),
            self.price.tolist(),
            self.iso_times(),
            self.occurrence.tolist(),
            strict=True,
        )
        return [
            content_event_id(f"{who}\x1f{order}\x1f{code}\x1f{quantity}\x1f{price}\x1f{time}", n)
            for who, order, code, quantity, price, time, n in columns
        ]

    def lines(self, with_ids: bool = True) -> Lines:
        """Return the lines to fold; without ids (three times as fast) where none of them can come again."""
        ids = np.zeros(len(self), np.uint64)
        if with_ids:
            ids = np.asarray([hash64(text) if text else 0 for text in self.event_ids()], np.uint64)
        return Lines(self.owner, self.order, self.day, self.amount, self.units, ids)


def find(path: Path) -> Source:
    """Return the files of a path: itself, or a directory's real files if there are any, else its sample."""
    if not path.exists():
        raise CsvError(f"{path}: no such file or directory")
    if not path.is_dir():
        return Source((path,), f"{path}")
    held = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(SUFFIXES))
    real = tuple(file for file in held if file.name != SAMPLE)
    if real:
        names = ", ".join(file.name for file in real)
        return Source(real, f"{path}: {names} (a real file is there, so the sample stays aside)")
    if held:
        return Source(tuple(held), f"{path}: {SAMPLE} (the generated sample: no real file is there)")
    raise CsvError(f"{path}: no file to read in it; it should hold one of {', '.join(SUFFIXES)}")


def read_history(
    paths: Sequence[Path],
    options: CsvOptions | None = None,
    progress: Progress | None = None,
    *,
    everything: bool = False,
) -> History:
    """Read, clean and hash files (directories: see `find`); raise CsvError naming the file, the row and the remedy.

    everything: keep also the lines that a stream would carry and refuse by itself (guests, whose customer is
    "", prices not above zero, quantities of zero), for a replay.
    """
    options = options or CsvOptions()
    return history_of(read_table(files_of(paths), options, progress or _silent), options, everything=everything)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths stand for, each once, else CsvError."""
    files = [file.resolve() for path in paths for file in find(path).paths]
    if repeated := {file for file in files if files.count(file) > 1}:
        raise CsvError(f"{min(repeated)}: given twice")
    return files


def history_of(table: Table, options: CsvOptions, *, everything: bool = False) -> History:
    """Return the history of a table: of whole files, or of some customers' rows of them (`CsvOptions.part`)."""
    rows = parse(table, options)
    return _history(rows, clean(rows, options), everything)


def fold_history(history: History) -> tuple[tuple[str, ...], Ledger]:
    """Return the customers that have a line, in text order, and their ledger (not expired, not folded to a cap)."""
    used = np.unique(history.owner)
    position = np.zeros(len(history.customers), np.int64)
    position[used] = np.arange(len(used))
    lines = replace(history.lines(with_ids=False), owner=position[history.owner])
    return tuple(history.customers[i] for i in used.tolist()), from_lines(lines)


def _silent(_done: int, _total: int) -> None:
    """Tell nobody."""


def _history(rows: Rows, cleaned: Cleaned, everything: bool) -> History:
    keep = np.flatnonzero(cleaned.publishable if everything else cleaned.keep)
    customers, owner = _sorted_customers(rows.customer.take(keep))
    invoices, originals = rows.invoice.take(keep), rows.original.take(keep)
    named = _hashes(originals)
    return History(
        customers=customers,
        files=rows.table.files,
        funnel=cleaned.funnel,
        owner=owner,
        invoice_no=invoices,
        original_invoice_no=originals,
        stock_code=rows.stock.take(keep),
        description=rows.description.take(keep),
        country=rows.country.take(keep),
        quantity=rows.quantity[keep],
        price=rows.price[keep],
        time=rows.time[keep],
        amount=rows.amount[keep],
        units=rows.units[keep],
        order=np.where(named != 0, named, _hashes(invoices)),
        file=rows.table.file[keep],
        row=rows.table.row[keep],
        occurrence=cleaned.occurrence[keep],
        event=None if rows.event is None else rows.event.take(keep),
        kept=cleaned.keep[keep],
    )


def _hashes(texts: Texts) -> Hashes:
    """Return a row's hash64, 0 for the empty text."""
    hashes = np.asarray([hash64(text) if text else 0 for text in texts.values] or [0], np.uint64)
    return hashes[texts.codes]


def _sorted_customers(column: Texts) -> tuple[tuple[str, ...], Ints]:
    """Return the ids that occur, in text order, and each row's index into them."""
    used = np.unique(column.codes).tolist()
    in_order = sorted(used, key=column.values.__getitem__)
    position = np.zeros(len(column.values), np.int64)
    position[in_order] = np.arange(len(in_order))
    return tuple(column.values[code] for code in in_order), position[column.codes]


def _pick(column: Any, index: Index) -> Any:
    if column is None:
        return None
    return column.take(index) if isinstance(column, Texts) else column[index]
