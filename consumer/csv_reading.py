"""Files to columns of text: plain, gzipped and Parquet, in bounded memory.

Each column is read as its distinct texts and one code a row, so every later step (decode, parse,
hash) works once a distinct text and not once a row: the real file has 542,000 rows and 1,630 prices.
Cells stay bytes until the distinct ones are decoded; so a wrong encoding is found with its row.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from consumer.csv_columns import CsvError, CsvOptions, resolve, separator_of

Codes = npt.NDArray[np.int32]
Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) of the files as they are stored."""

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
BLOCK = 4 << 20
"""Bytes parsed at once, and so the longest row: a longer one is an unclosed quote or an attack."""

BOMB_RATIO, BOMB_FLOOR = 200, 64 << 20
"""Sales data packs 5- to 20-fold; a file that unpacks further than this, past the floor, is refused."""


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

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Table:
    """The mapped columns of some files, row after row.

    columns: by field, each of length n. file, row: int64, which file, and the row in it as a spreadsheet
    counts (the header is row 1; a line break inside quotes does not count). misshapen: (file, row) of
    rows with another number of cells than the header, which are in no column.
    """

    files: tuple[str, ...]
    columns: dict[str, Texts]
    file: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    misshapen: tuple[tuple[int, int], ...]


def read_table(paths: Sequence[Path], options: CsvOptions, progress: Progress) -> Table:
    """Read files and put them under one another; raise CsvError with the file and the row."""
    total, done, tables = sum(path.stat().st_size for path in paths), 0, []
    for path in paths:
        before = done
        tables.append(_read_file(path, options, lambda n, before=before: progress(before + n, total)))  # type: ignore[misc]
        done += path.stat().st_size
        progress(done, total)
    return tables[0] if len(tables) == 1 else _stack(tables)


class BoundedReader(io.RawIOBase):
    """A readable stream that tells its progress and refuses to unpack without end."""

    def __init__(self, path: Path, limit: int, progress: Callable[[int], None]) -> None:
        self._path, self._limit, self._progress = path, limit, progress
        self._stored = path.open("rb")
        packed = path.suffix == ".gz"
        self._plain: IO[bytes] = gzip.GzipFile(fileobj=self._stored) if packed else self._stored  # type: ignore[assignment]
        self._count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return at most a block; raise CsvError where the file unpacks further than a file of sales does."""
        chunk = self._plain.read(min(size, BLOCK) if size >= 0 else BLOCK)
        self._count += len(chunk)
        stored = self._stored.tell()
        if self._count > self._limit or self._count > max(BOMB_FLOOR, BOMB_RATIO * stored):
            raise CsvError(
                f"{self._path}: {self._count} bytes unpacked from {stored} is more than a file of sales holds "
                f"(at most {self._limit}, {BOMB_RATIO}-fold); unpack it and split it if it is right"
            )
        self._progress(stored)
        return chunk

    def close(self) -> None:
        """Close the stored file."""
        self._stored.close()
        super().close()


def _read_file(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    if not path.name.endswith(SUFFIXES):
        raise CsvError(f"{path}: cannot read this kind of file; give one of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path, options, progress)
        return _read_csv(path, options, progress)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CsvError(f"{path}: the compressed file is damaged or cut off ({error})") from error


def _read_csv(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    headers, separator = _header(path, options)
    columns = resolve(headers, options.columns, str(path))
    misshapen: list[int] = []

    def skip(row: Any) -> str:
        misshapen.append(row.number)
        return "skip"

    text = pa.dictionary(pa.int32(), pa.binary())
    batches: list[Any] = []
    with BoundedReader(path, options.max_bytes, progress) as stream:
        try:
            reader = pacsv.open_csv(
                stream,
                # One thread: only then does pyarrow know the number of a misshapen row.
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=BLOCK, column_names=_unique(headers), skip_rows=0
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=separator, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(_unique(headers), text),
                    include_columns=list(columns.values()),
                    strings_can_be_null=False,
                ),
            )
            batches.extend(reader)
        except pa.ArrowInvalid as error:
            raise CsvError(_explain(path, error, sum(map(len, batches)) + len(misshapen))) from error
    count = sum(map(len, batches))
    rows = _row_numbers(count, misshapen)
    # The first record is the header itself: names were given so that a repeated one does no harm.
    data = _encoded(batches, columns)
    texts = {name: _decode(path, column, rows, options.encoding) for name, column in data.items()}
    texts = {name: column.take(slice(1, None)) for name, column in texts.items()}
    rows = rows[1:]
    return Table((str(path),), texts, np.zeros(len(rows), np.int64), rows, tuple((0, row) for row in misshapen))


def _silent(_stored: int) -> None:
    """Tell nobody."""


def _header(path: Path, options: CsvOptions) -> tuple[list[str], str]:
    """Return the header's cells and the separator."""
    with BoundedReader(path, options.max_bytes, _silent) as stream:
        start = stream.read(1 << 16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CsvError(f"{path}: row 1: this is UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise CsvError(f"{path}: row 1: this is not text (a zero byte in the first 64 kB)")
    line = start.removeprefix(b"\xef\xbb\xbf").splitlines()[0] if start.strip() else b""
    if not line.strip():
        raise CsvError(f"{path}: row 1: the file is empty or has no header")
    try:
        text = line.decode(options.encoding)
    except UnicodeDecodeError as error:
        raise CsvError(_wrong_encoding(path, 1, options.encoding)) from error
    separator = separator_of(text, options.separator)
    return next(csv.reader([text], delimiter=separator)), separator


def _unique(headers: Sequence[str]) -> list[str]:
    """Return the headers with a repeated one made distinct; `resolve` refuses those that are needed."""
    return [name if name not in headers[:i] else f"{name}\x1f{i}" for i, name in enumerate(headers)]


def _explain(path: Path, error: Exception, rows: int) -> str:
    if "straddl" in str(error):
        return f"{path}: row {rows + 1}: longer than {BLOCK >> 20} MiB, or a quote that is never closed"
    return f"{path}: after row {rows}: {error}"


def _wrong_encoding(path: Path, row: int, encoding: str) -> str:
    hint = "latin-1" if encoding.lower() in ("cp1252", "windows-1252") else "cp1252"
    return f"{path}: row {row}: not {encoding} text; pass --encoding {hint} if it came from Windows or is Latin-1"


def _row_numbers(count: int, misshapen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the row numbers of `count` good records, counted from 1 and around the misshapen ones."""
    rows = np.arange(1, count + len(misshapen) + 1)
    return np.delete(rows, np.asarray(misshapen, np.int64) - 1) if misshapen else rows


def _encoded(batches: Sequence[Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return by field one dictionary array, its dictionary shared by all batches."""
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return {ours: table[theirs].chunk(0) for ours, theirs in columns.items()}


def _decode(path: Path, column: Any, rows: npt.NDArray[np.int64], encoding: str) -> Texts:
    """Decode the distinct cells; a wrong byte is reported with the first row that has it."""
    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    values = []
    for index, cell in enumerate(column.dictionary.to_pylist()):
        try:
            values.append(cell.decode(encoding))
        except UnicodeDecodeError as error:
            raise CsvError(_wrong_encoding(path, int(rows[np.argmax(codes == index)]), encoding)) from error
    return Texts(tuple(values), codes)


def _read_parquet(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    """Read the mapped columns as text: what a typed column holds has one text, so there is one path afterwards."""
    try:
        with pq.ParquetFile(path) as file:
            columns = resolve(file.schema_arrow.names, options.columns, str(path))
            unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            if unpacked > options.max_bytes:
                raise CsvError(f"{path}: would unpack to {unpacked} bytes, more than {options.max_bytes}; split it")
            texts = _text_batches(file, columns)
            table = pa.Table.from_batches(texts, schema=_text_schema(columns)).unify_dictionaries().combine_chunks()
    except pa.ArrowException as error:
        raise CsvError(f"{path}: not a readable Parquet file: {error}") from error
    size = path.stat().st_size
    progress(size)
    rows = np.arange(2, table.num_rows + 2)
    chunks = {name: table[name].combine_chunks() for name in columns}
    decoded = {name: _decode(path, column, rows, "utf-8") for name, column in chunks.items()}
    return Table((str(path),), decoded, np.zeros(len(rows), np.int64), rows, ())


def _text_schema(columns: Mapping[str, str]) -> Any:
    return pa.schema([(ours, pa.dictionary(pa.int32(), pa.binary())) for ours in columns])


def _text_batches(file: Any, columns: Mapping[str, str]) -> Iterator[Any]:
    for batch in file.iter_batches(columns=list(columns.values())):
        arrays = [_as_text(batch.column(theirs)) for theirs in columns.values()]
        yield pa.RecordBatch.from_arrays(arrays, schema=_text_schema(columns))


def _as_text(array: Any) -> Any:
    """Cast one array to dictionary<binary>; nothing there is the empty text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    text = pc.fill_null(array.cast(pa.string()), "")
    return text.cast(pa.binary()).dictionary_encode()


def _stack(tables: Sequence[Table]) -> Table:
    """Put tables under one another; a field that one of them lacks is empty there."""
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {name: _concatenate([_column(table, name) for table in tables]) for name in names}
    return Table(
        tuple(file for table in tables for file in table.files),
        columns,
        np.repeat(np.arange(len(tables)), [len(table.row) for table in tables]),
        np.concatenate([table.row for table in tables]),
        tuple((i, row) for i, table in enumerate(tables) for _, row in table.misshapen),
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
