"""Parquet files as tables of text: what a typed column holds has one text, so one path reads everything afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from consumer.history.csv_columns import CsvError, CsvOptions, resolve
from consumer.history.csv_texts import BYTES, Block, Table, decode, encoded


def read_parquet(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Table:
    """Read the mapped columns; raise CsvError where the file is damaged or would unpack beyond the limit."""
    try:
        with pq.ParquetFile(path) as file:
            columns = resolve(file.schema_arrow.names, options.columns, str(path))
            unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            if unpacked > options.max_bytes:
                raise CsvError(f"{path}: would unpack to {unpacked} bytes, more than {options.max_bytes}; split it")
            table = pa.Table.from_batches(_text_batches(file, columns), schema=_text_schema(columns))
    except pa.ArrowException as error:
        raise CsvError(_damaged(path, error)) from error
    size = path.stat().st_size
    progress(size)
    rows = np.arange(2, table.num_rows + 2)
    data = encoded(table, dict(zip(columns, columns, strict=True)))
    decoded = {name: decode(path, column, rows, "utf-8") for name, column in data.items()}
    return Table((str(path),), decoded, np.zeros(len(rows), np.int64), rows, ())


def parquet_columns(path: Path, options: CsvOptions) -> dict[str, str]:
    """Return field -> column of a file. Raises CsvError where a field is missing that is needed."""
    try:
        return resolve(pq.read_schema(path).names, options.columns, str(path))
    except pa.ArrowException as error:
        raise CsvError(_damaged(path, error)) from error


def parquet_blocks(path: Path, options: CsvOptions, progress: Callable[[int], None]) -> Iterator[Block]:
    """Yield the mapped columns batch by batch, in bounded memory: the limit is of what is read at once, not of this."""
    done = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = resolve(file.schema_arrow.names, options.columns, str(path))
            for batch in _text_batches(file, columns):
                row = np.arange(done + 2, done + 2 + len(batch))
                yield Block(batch, row, {field: field for field in columns})
                done += len(batch)
                progress(path.stat().st_size * done // file.metadata.num_rows)
    except pa.ArrowException as error:
        raise CsvError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: not a readable Parquet file: {error}"


def _text_schema(columns: Mapping[str, str]) -> Any:
    return pa.schema([(ours, BYTES) for ours in columns])


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
