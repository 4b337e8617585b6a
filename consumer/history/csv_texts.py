"""Columns of text as distinct values and codes, and tables of them.

Everything that is done to a text (decode, parse, hash) is done once a distinct text and not once a
row: UCI's file has 542,000 rows and 1,630 prices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consumer.history.csv_columns import CsvError

Codes = npt.NDArray[np.int32]

BYTES = pa.dictionary(pa.int32(), pa.binary())
"""How cells are read: bytes, each distinct one once."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of n texts: its distinct values and, a row, the index of its value (int32, shape (n,))."""

    values: tuple[str, ...]
    codes: Codes

    def take(self, rows: npt.NDArray[Any] | slice) -> Texts:
        """Return the rows that a NumPy index selects; the values stay."""
        return Texts(self.values, self.codes[rows])

    def tolist(self) -> list[str]:
        """Return one text a row."""
        return list(map(self.values.__getitem__, self.codes.tolist()))

    def mapped(self, function: Callable[[str], str]) -> Texts:
        """Apply a function to the distinct values and put those together that became equal."""
        index: dict[str, int] = {}
        codes = np.asarray([index.setdefault(function(text), len(index)) for text in self.values], np.int32)
        return Texts(tuple(index), codes[self.codes] if len(codes) else self.codes)

    def where(self, test: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """Return, a row, whether its text passes."""
        passes = np.fromiter((test(text) for text in self.values), np.bool_, len(self.values))
        return passes[self.codes]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Table:
    """The mapped columns of some files, row after row.

    columns: by field, each of length n. file, row: int64, which file, and the row in it as a spreadsheet
    counts (the header is row 1; a line break inside quotes does not count). misshapen: (file, row,
    whether it spans lines) of rows with another number of cells than the header, which are in no column.
    """

    files: tuple[str, ...]
    columns: dict[str, Texts]
    file: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    misshapen: tuple[tuple[int, int, bool], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a file: batch: an Arrow record batch of bytes, its columns those of the file; row: int64,
    as a spreadsheet counts; columns: field -> the batch's column.
    """

    batch: Any
    row: npt.NDArray[np.int64]
    columns: Mapping[str, str]


def decode(path: object, column: Any, rows: npt.NDArray[np.int64], encoding: str) -> Texts:
    """Decode the distinct cells of a dictionary array; a wrong byte raises CsvError with the first row that has it."""

    def row_of(index: int) -> int:
        return int(rows[np.argmax(codes == index)])

    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    values = []
    for index, cell in enumerate(column.dictionary.to_pylist()):
        if b"\0" in cell:
            raise CsvError(zero_byte(path, row_of(index)))
        try:
            values.append(cell.decode(encoding))
        except UnicodeDecodeError as error:
            raise CsvError(wrong_encoding(path, row_of(index), encoding)) from error
    return Texts(tuple(values), codes)


def encoded(table: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return by field one dictionary array, its dictionary shared by all batches."""
    whole = table.unify_dictionaries().combine_chunks()
    if not len(whole):
        return {ours: pa.array([], pa.binary()).dictionary_encode() for ours in columns}
    return {ours: whole[theirs].chunk(0) for ours, theirs in columns.items()}


def wrong_encoding(path: object, row: int, encoding: str) -> str:
    """Return what to say about a row that is no text in the encoding."""
    hint = "latin-1" if encoding.lower() in ("cp1252", "windows-1252") else "cp1252"
    return f"{path}: row {row}: not {encoding} text; pass --encoding {hint} if it came from Windows or is Latin-1"


def zero_byte(path: object, row: int) -> str:
    """Return what to say about a row with a zero byte."""
    return f"{path}: row {row}: a zero byte, this is not text; export the file again, as UTF-8"


def stack(tables: Sequence[Table]) -> Table:
    """Put tables under one another; a field that one of them lacks is empty there."""
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {name: _concatenate([_column(table, name) for table in tables]) for name in names}
    return Table(
        tuple(file for table in tables for file in table.files),
        columns,
        np.repeat(np.arange(len(tables)), [len(table.row) for table in tables]),
        np.concatenate([table.row for table in tables]),
        tuple((i, row, spans) for i, table in enumerate(tables) for _, row, spans in table.misshapen),
    )


def _column(table: Table, name: str) -> Texts:
    return table.columns.get(name) or Texts(("",), np.zeros(len(table.row), np.int32))


def _concatenate(columns: Sequence[Texts]) -> Texts:
    index: dict[str, int] = {}
    codes = []
    for column in columns:
        here = np.asarray([index.setdefault(value, len(index)) for value in column.values], np.int32)
        codes.append(here[column.codes] if len(here) else column.codes)
    return Texts(tuple(index), np.concatenate(codes))
