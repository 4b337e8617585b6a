"""Files to tables of text: plain and gzipped CSV here, Parquet in csv_parquet.py; memory and unpacking are bounded.

Cells stay bytes until the distinct ones are decoded, so a wrong encoding is found with its row. pyarrow
reads the file itself: a Python stream under its read-ahead threads can end the process at exit (a
thread that wants the interpreter after it is gone; seen in 1 of 20 runs that stopped at an error).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from consumer.history.csv_columns import CsvError, CsvOptions, resolve, separator_of
from consumer.history.csv_parquet import read_parquet
from consumer.history.csv_texts import BYTES, Block, Table, Texts, decode, encoded, stack, wrong_encoding, zero_byte

Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) of the files as they are stored."""

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
BLOCK = 4 << 20
"""Bytes parsed at once, and so the longest row: a longer one is an unclosed quote or an attack."""

HEADER = 64 << 10
"""Bytes in which the first line has to end: some thousand columns."""

BOMB_RATIO, BOMB_FLOOR = 50, 64 << 20
"""Sales data packs 5- to 20-fold; a file that unpacks further than this, past the floor, is refused."""

MOST_MISSHAPEN = 100_000
"""More rows of another shape than the header are not a dirty file but another file."""


def read_table(paths: Sequence[Path], options: CsvOptions, progress: Progress) -> Table:
    """Read files and put them under one another; raise CsvError with the file and the row."""
    total, done, tables = sum(path.stat().st_size for path in paths), 0, []
    for path in paths:
        tables.append(_read_file(path, options, _from(done, total, progress)))
        done += path.stat().st_size
        progress(done, total)
    return tables[0] if len(tables) == 1 else stack(tables)


def _from(done: int, total: int, progress: Progress) -> Callable[[int], None]:
    return lambda read: progress(done + read, total)


def _read_file(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    if not path.name.endswith(SUFFIXES):
        raise CsvError(f"{path}: cannot read this kind of file; give one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise CsvError(f"{path}: no plain file, and it is read more than once: save it as one first")
    try:
        return (read_parquet if path.suffix == ".parquet" else _read_csv)(path, options, progress)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CsvError(f"{path}: the compressed file is damaged or cut off ({error})") from error
    except OSError as error:
        raise CsvError(f"{path}: {error}") from error


def csv_columns(path: Path, options: CsvOptions) -> dict[str, str]:
    """Return field -> header of a file. Raises CsvError where a field is missing that is needed."""
    return resolve(_header(path, options)[0], options.columns, str(path))


def csv_blocks(
    path: Path, options: CsvOptions, progress: Callable[[int], None], misshapen: list[tuple[int, bool]]
) -> Iterator[Block]:
    """Yield a file block by block, in bounded memory; `misshapen` gets (row, whether it spans lines) of bad rows."""
    headers, separator, alone = _header(path, options)
    columns = resolve(headers, options.columns, str(path))
    if alone:
        return

    def skip(row: Any) -> str:
        misshapen.append((row.number, len(row.text.splitlines()) > 1))
        return "skip" if len(misshapen) <= MOST_MISSHAPEN else "error"

    done = 0
    with pa.OSFile(str(path)) as stored:
        try:
            stream = pa.CompressedInputStream(stored, "gzip") if path.suffix == ".gz" else stored
            reader = _open_csv(stream, headers, separator, columns, skip)
            for batch in _bounded(reader, path, stored, options.max_bytes, progress):
                yield Block(batch, _row_numbers(done, len(batch), [row for row, _ in misshapen]), columns)
                done += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise CsvError(_explain(path, error, 1 + done + len(misshapen))) from error


def _read_csv(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    misshapen: list[tuple[int, bool]] = []
    blocks = list(csv_blocks(path, options, progress, misshapen))
    if not blocks:
        none = np.empty(0, np.int64)
        columns = csv_columns(path, options)
        bad = tuple((0, row, spans) for row, spans in misshapen)
        return Table((str(path),), {name: Texts((), none.astype(np.int32)) for name in columns}, none, none, bad)
    whole = pa.Table.from_batches([block.batch for block in blocks])
    return texts_of(path, whole, blocks[0].columns, np.concatenate([block.row for block in blocks]), options, misshapen)


def texts_of(
    path: object,
    whole: Any,
    columns: Mapping[str, str],
    rows: npt.NDArray[np.int64],
    options: CsvOptions,
    misshapen: Sequence[tuple[int, bool]],
) -> Table:
    """Return the rows of one file, decoded and without blank lines. whole: an Arrow table of dictionaries of bytes."""
    cells = encoded(whole, columns)
    texts = {field: decode(path, column, rows, options.encoding) for field, column in cells.items()}
    written = ~_empty_rows(texts.values())
    texts, rows = {field: column.take(written) for field, column in texts.items()}, rows[written]
    of_this_file = tuple((0, row, spans) for row, spans in misshapen)
    return Table((str(path),), texts, np.zeros(len(rows), np.int64), rows, of_this_file)


def _open_csv(
    stream: Any, headers: Sequence[str], separator: str, columns: Mapping[str, str], skip: Callable[[Any], str]
) -> Any:
    """Return a reader of batches whose columns are dictionaries of bytes; the header line is not among them."""
    names = _unique(headers)
    return pacsv.open_csv(
        stream,
        # One thread: only then does pyarrow know the number of a misshapen row.
        read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=names, skip_rows=1),
        parse_options=pacsv.ParseOptions(
            delimiter=separator, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, BYTES), include_columns=list(columns.values()), strings_can_be_null=False
        ),
    )


def _bounded(reader: Any, path: Path, stored: Any, limit: int, progress: Callable[[int], None]) -> Iterator[Any]:
    """Yield the reader's batches, a block each; raise CsvError when the file unpacks further than sales do."""
    for count, batch in enumerate(reader, start=1):
        unpacked, packed = count * BLOCK, stored.tell()
        if unpacked - BLOCK > limit or (path.suffix == ".gz" and unpacked > max(BOMB_FLOOR, BOMB_RATIO * packed)):
            raise CsvError(
                f"{path}: {unpacked >> 20} MiB unpacked from {packed >> 10} KiB is more than a file of sales holds "
                f"(at most {limit >> 20} MiB, and {BOMB_RATIO}-fold); if it is right, unpack and split it"
            )
        progress(packed)
        yield batch


def _empty_rows(columns: Iterable[Texts]) -> npt.NDArray[np.bool_]:
    """Return the rows without a character: blank lines, which are no rows of a table."""
    first, *others = (column.where(lambda text: not text) for column in columns)
    for empty in others:
        first &= empty
    return first


def _header(path: Path, options: CsvOptions) -> tuple[list[str], str, bool]:
    """Return the header's cells, the separator, and whether the header is all there is."""
    with _opened(path) as stream:
        start = stream.read(HEADER)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CsvError(f"{path}: row 1: this is UTF-16; save it as UTF-8")
    if b"\0" in start:
        row = len((start[: start.index(b"\0")] + b"?").splitlines())
        raise CsvError(zero_byte(path, row))
    line, *rest = start.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True) if start.strip() else [b""]
    alone = not rest and line == line.rstrip(b"\r\n")
    if alone and len(start) == HEADER:
        raise CsvError(f"{path}: row 1: no line ends in the first {HEADER >> 10} KiB: is this a table, one row a line?")
    if not line.strip():
        raise CsvError(f"{path}: row 1: the file is empty or has no header")
    try:
        text = line.decode(options.encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CsvError(wrong_encoding(path, 1, options.encoding)) from error
    separator = separator_of(text, options.separator)
    return next(csv.reader([text], delimiter=separator)), separator, alone


def _unique(headers: Sequence[str]) -> list[str]:
    """Return the headers with a repeated one made distinct; `resolve` refuses those that are needed."""
    first: dict[str, int] = {}
    return [name if first.setdefault(name, i) == i else f"{name}\x1f{i}" for i, name in enumerate(headers)]


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _explain(path: Path, error: Exception, rows: int) -> str:
    """Return what to say about an error of the parser after `rows` rows."""
    text = str(error)
    if "straddl" in text:
        return f"{path}: row {rows + 1}: longer than {BLOCK >> 20} MiB, or a quote that is never closed"
    if "Truncated" in text or "zlib" in text:
        return f"{path}: after row {rows}: the compressed file is damaged or cut off ({text})"
    if rows > MOST_MISSHAPEN:
        return f"{path}: over {MOST_MISSHAPEN:,} rows have another number of cells than the header; check the separator"
    return f"{path}: after row {rows}: {text}"


def _row_numbers(done: int, count: int, misshapen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the row numbers of `count` good records after `done`, counted from 2 and around the misshapen ones."""
    rows = np.arange(2 + done, 2 + done + count)
    if not misshapen:
        return rows
    bad = np.asarray(misshapen, np.int64)
    return rows + np.searchsorted(bad - np.arange(len(bad)), rows, side="right")
