r"""Files of any size, folded in bounded memory: their rows go to spill files by customer, then part by part.

    file --4 MB blocks--> customer, murmur2 --> <directory>/<part>/<file>.arrow --one process a part--> Part

Needed on disk: about the unpacked size of the mapped columns, half of it by lz4. In memory: a block, then a part a
process, then all ledgers (56 bytes an order). The parts are those of `partitions_of`, whoever asks for how many.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_parquet import parquet_blocks, parquet_columns
from consumer.history.csv_parsing import day_comes_first, slashed
from consumer.history.csv_reading import Progress, csv_blocks, csv_columns, texts_of
from consumer.history.csv_source import files_of, history_of
from consumer.history.csv_texts import Block, Table, stack
from consumer.history.parts import Part, Terms, fold_part
from consumer.transport.kafka_partitioner import partitions_of
from features.identity import canonical_id
from features.ledger import Ints

PART_BYTES = 192 << 20
"""Unpacked bytes a part: some 2 million rows, which take about 2 GB while they are cleaned."""

PACKED = 8
"""How many times larger a compressed file is taken to be than it is stored."""

LARGE = 1 << 30
"""Unpacked bytes from which on a history is read in parts: below, all at once is as small and faster."""


def unpacked_bytes(paths: Sequence[Path]) -> int:
    """Return about how large files are when unpacked."""
    return sum(file.stat().st_size * (1 if file.suffix in (".csv", ".txt", ".tsv") else PACKED) for file in paths)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one file that go to one part. cells: field -> Arrow array of bytes; row: int64, in the file."""

    part: int
    cells: Any
    row: Ints


@dataclass(slots=True)
class Dates:
    """What the slashed dates of all files prove together."""

    pairs: dict[tuple[int, int], str]

    def see(self, texts: Any) -> None:
        """Look at an array of bytes, distinct ones."""
        if pc.any(pc.match_substring(texts.cast(pa.binary()), "/")).as_py():
            self.pairs |= slashed(text.decode("latin-1") for text in texts.to_pylist())

    def settle(self, options: CsvOptions) -> CsvOptions:
        """Return the options for a part. Raises CsvError where the dates prove nothing, or both orders."""
        proved = day_comes_first(self.pairs) if options.date_format is None else None
        return replace(options, day_first=proved, part=True)


def blocks_of(
    path: Path, options: CsvOptions, progress: Callable[[int], None], misshapen: list[tuple[int, bool]]
) -> Iterator[Block]:
    """Yield a file of either kind block by block."""
    if path.suffix == ".parquet":
        return parquet_blocks(path, options, progress)
    return csv_blocks(path, options, progress, misshapen)


def fields_of(path: Path, options: CsvOptions) -> tuple[str, ...]:
    """Return the fields that a file has columns for. Raises CsvError where one is missing that is needed."""
    return tuple((parquet_columns if path.suffix == ".parquet" else csv_columns)(path, options))


def split_block(block: Block, parts: int, encoding: str, dates: Dates) -> Iterator[Rows]:
    """Yield the rows of a block by part."""
    columns = {field: block.batch.column(theirs) for field, theirs in block.columns.items()}
    dates.see(columns["invoice_date"].dictionary)
    home = _homes(columns["customer_id"], parts, encoding)
    order = np.argsort(home, kind="stable")
    ends = np.searchsorted(home[order], np.arange(parts + 1))
    plain = pa.record_batch({field: cells.cast(pa.binary()) for field, cells in columns.items()})
    sorted_cells, row = plain.take(pa.array(order)), block.row[order]
    for part, (low, high) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        if low < high:
            yield Rows(part, sorted_cells.slice(low, high - low), row[low:high])


def _homes(customer: Any, parts: int, encoding: str) -> Ints:
    # A wrong byte is found, with its row, when the part is read.
    ids = [canonical_id(cell.decode(encoding, "replace")).encode() for cell in customer.dictionary.to_pylist()]
    homes: Ints = partitions_of(ids, parts)[customer.indices.to_numpy(zero_copy_only=False)]
    return homes


def table_of(
    path: object, cells: Any, row: Ints, options: CsvOptions, misshapen: Sequence[tuple[int, bool]] = ()
) -> Table:
    """Return one file's rows of a part as texts. cells: an Arrow table, a column of bytes a field."""
    # In one piece first: each of many batches would get the whole dictionary, to be unified with all the others.
    whole = cells.combine_chunks()
    encoded = pa.table({field: whole.column(field).dictionary_encode() for field in cells.column_names})
    return texts_of(path, encoded, {field: field for field in cells.column_names}, row, options, misshapen)


@dataclass(frozen=True, slots=True)
class Spilled:
    """Files by part, in a directory. misshapen: a file, its rows of another shape (they are no customer's)."""

    directory: Path
    files: tuple[Path, ...]
    parts: int
    misshapen: tuple[tuple[tuple[int, bool], ...], ...]
    options: CsvOptions

    def fold(self, part: int, terms: Terms) -> Part:
        """Read, clean and fold one part. Raises CsvError naming the file and the row."""
        tables = []
        for number, file in enumerate(self.files):
            with pa.memory_map(str(_spill(self.directory, part, number))) as source:
                cells = pa.ipc.open_file(source).read_all()
            row = cells.column("row").to_numpy()
            bad = self.misshapen[number] if part == 0 else ()
            tables.append(table_of(file, cells.drop_columns(["row"]), row, self.options, bad))
        whole = tables[0] if len(tables) == 1 else stack(tables)
        return fold_part(history_of(whole, self.options), terms)


def spill(paths: Sequence[Path], options: CsvOptions, parts: int, directory: Path, progress: Progress) -> Spilled:
    """Write the rows of files into a directory, by customer. Raises CsvError naming the file and the row."""
    dates, bad = Dates({}), []
    total, done = sum(path.stat().st_size for path in paths), 0
    for number, path in enumerate(paths):
        misshapen: list[tuple[int, bool]] = []
        _spill_file(path, options, parts, directory, number, dates, misshapen, partial(_later, progress, done, total))
        bad.append(tuple(misshapen))
        done += path.stat().st_size
        progress(done, total)
    return Spilled(directory, tuple(paths), parts, tuple(bad), dates.settle(options))


def _later(progress: Progress, done: int, total: int, read: int) -> None:
    progress(done + read, total)


def _spill_file(
    path: Path,
    options: CsvOptions,
    parts: int,
    directory: Path,
    number: int,
    dates: Dates,
    misshapen: list[tuple[int, bool]],
    progress: Callable[[int], None],
) -> None:
    with ExitStack() as open_files:
        schema = pa.schema([*((field, pa.binary()) for field in fields_of(path, options)), ("row", pa.int64())])
        writers = [_writer(open_files, _spill(directory, part, number), schema) for part in range(parts)]
        for block in blocks_of(path, options, progress, misshapen):
            for rows in split_block(block, parts, options.encoding, dates):
                writers[rows.part].write_batch(rows.cells.append_column("row", pa.array(rows.row)))


def _writer(open_files: ExitStack, path: Path, schema: Any) -> Any:
    path.parent.mkdir(exist_ok=True)
    return open_files.enter_context(
        pa.ipc.new_file(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
    )


def _spill(directory: Path, part: int, number: int) -> Path:
    return directory / f"{part}" / f"{number}.arrow"


def fold_in_parts(
    paths: Sequence[Path],
    options: CsvOptions,
    terms: Terms,
    progress: Progress,
    *,
    parts: int | None = None,
    folding: Progress | None = None,
) -> list[Part]:
    """Fold files of any size, parts side by side on all cores. progress: of the reading, folding: of the rest.

    Spills into the directory for temporary files (TMPDIR). Raises CsvError, and OSError where the disk is full.
    """
    files = files_of(paths)
    number = parts or max(1, -(-unpacked_bytes(files) // PART_BYTES))
    with tempfile.TemporaryDirectory(prefix="segmenter-bootstrap-") as directory:
        spilled = spill(files, options, number, Path(directory), progress)
        # Spawned: a fork takes pyarrow's threads' locks along and not the threads.
        with ProcessPoolExecutor(min(number, cpu_count() or 1), mp_context=get_context("spawn")) as pool:
            folded = []
            for part in pool.map(partial(spilled.fold, terms=terms), range(number)):
                folded.append(part)
                if folding:
                    folding(len(folded), number)
    return folded
