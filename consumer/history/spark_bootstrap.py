r"""`bootstrap --engine spark`: the same parts as csv_splitting.py makes, read, folded and loaded by a cluster's tasks.

    1  split   a task a file     rows --murmur2 of the customer--> partitions of the topic   (kept on the tasks' disks)
    2  prove   a task a slice    what slashed dates prove together
    3  fold    a task a partition: the very code of one machine, `fold_part`                 (kept on the tasks' disks)
    4  load    a task a partition: states into a generation beside the live one; figures of its customers come back
    5  here    K-Means on these (a uniform sample of more than MOST_FIGURES), then the flip

Guarantee: the states are those of `--engine here`, byte for byte. A task that fails is run again and writes the same
bytes; one that runs twice or wakes after the flip writes nothing, since its token is admitted no more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import expr
from pyspark.sql.functions import sum as total

from consumer import service
from consumer.exits import ExitCode, Stop
from consumer.history.bootstrap import begin, described_on, first_model
from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_columns import FIELDS, CsvError, CsvOptions
from consumer.history.csv_source import history_of
from consumer.history.csv_splitting import Dates, blocks_of, fields_of, split_block, table_of
from consumer.history.csv_texts import stack
from consumer.history.loading import Bootstrap, Loaded, said_of, terms_of
from consumer.history.parts import Part, Terms, alone, fold_part, newest_of
from consumer.history.profile import profiles
from consumer.partition import EVERYONE
from features.codec import encode_states
from features.identity import position
from features.ledger import Ledger
from features.redis_generation import GenerationLoader
from features.redis_store import RedisAddress, connect
from features.vector import RFM, Vectors
from models.redis_registry import RedisRegistry
from models.scoring import scored
from models.selection import Terms as ModelTerms

Batches = Iterator[pa.RecordBatch]

MOST_FIGURES = 4_000_000
"""Customers whose figures come back to be clustered, about 100 bytes each; of more, those that come first by hash."""

_SPLIT = "part int, file int, row long, spans int, " + ", ".join(f"{field} binary" for field in FIELDS)
"""A row of a file. spans: None, or for a row of another shape (in part 0) whether it spans lines."""

_COLUMNS = tuple(f"ledger_{field.name}" for field in dataclass_fields(Ledger))
_FOLDED = (
    "part int, newest long, newest_read long, lines long, has_ids boolean, funnel binary, customers array<string>, "
    + ", ".join(f"{name} binary" for name in (*_COLUMNS, "young_owner", "young_event", "young_day"))
)
"""A `Part`; its arrays as their little-endian bytes."""


def load_by_spark(run: Bootstrap, files: Sequence[Path], options: CsvOptions, stop: int | None) -> Loaded:
    """Read, fold, load and flip by Spark's tasks; files lie where all of them see them.

    Raises `Stop`, `StoreError`, `TransportError`, and CsvError of a file that a task could not read.
    """
    settings, partitions = run.settings, run.start.facts.partitions
    marks = service.erasure_marks(settings, run.kafka, partitions)
    terms = terms_of(settings, service.erased_at(marks), stop)
    spark = session()
    run.progress("reading", 0, 1)
    try:
        rows = split(spark, files, options, partitions).persist(StorageLevel.DISK_ONLY)
        proved = dates_of(rows).settle(options)
        run.progress("reading", 1, 1)
        run.progress("folding", 0, 1)
        folded = fold(rows, files, proved, terms).persist(StorageLevel.DISK_ONLY)
        parts = heads_of(folded, files)
    except Exception as error:
        raise _of_a_file(error) or error from error
    run.progress("folding", 1, 1)
    newest = newest_of(parts)
    new = service.new_generation(settings, run.kafka, run.start, marks, newest, has_ids=parts[0].has_ids, now=run.now)
    binding = service.first_binding(settings, run.client, new)
    loader = GenerationLoader(run.client, settings.namespace, binding.generation)
    token = uuid4().hex
    for partition in range(partitions):
        loader.drop(partition)
        loader.admit(partition, token)
    model_terms = service.first_terms(settings, new.day)
    loading = Loading(
        settings.redis(), settings.namespace, binding.generation, token, model_terms, newest, settings.dedupe_days
    )
    sizes = folded.groupBy("part").agg(total(expr("size(customers)"))).collect()
    for partition, size in sizes:
        loader.divide(partition, int(size), binding.schema)
        loader.expect(partition, int(size))
    customers = sum(int(size) for _, size in sizes)
    run.progress("loading", 0, 1)
    figures = load_states(folded, loading, customers)
    for partition in range(partitions):
        loader.end_admission(partition)
    in_order = np.array(sorted(range(len(figures)), key=figures.column("customer").to_pylist().__getitem__), np.int64)
    figures = figures.take(pa.array(in_order))
    known = _vectors(figures, settings.features)
    coordinates = known.coordinates(settings.features, settings.recency_offset_days)[known.clustered]
    try:
        bundle, choice = first_model(coordinates, customers, model_terms, k=run.k, progress=run.progress)
    except ValueError as error:
        raise Stop(ExitCode.USAGE, str(error)) from error
    registry = RedisRegistry(run.client, settings.namespace, binding.generation)
    begin(bundle, newest, loader, registry, binding, applied=new.applied, marks=marks)
    run.progress("loading", 1, 1)
    labels = scored(known, bundle).labels(np.zeros(len(figures), np.int64), bundle)
    dropped = figures.schema.metadata[b"dropped"]
    said = said_of(parts)
    return Loaded(*said, customers, new.day, bundle, choice, int(dropped), profiles(labels, known.values, bundle))


def session() -> SparkSession:
    """Return the session of the environment: spark-submit's, PYSPARK_SUBMIT_ARGS', or one on all cores here."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    found: SparkSession = (
        SparkSession.builder.appName("segmenter bootstrap")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 100_000)
        .getOrCreate()
    )
    return found


def split(spark: SparkSession, files: Sequence[Path], options: CsvOptions, partitions: int) -> DataFrame:
    """Return the rows of files, each with its partition. A file is one task's: many files are read side by side."""
    given = spark.createDataFrame([(i, str(file)) for i, file in enumerate(files)], "file int, path string")

    def read(batches: Batches) -> Batches:
        for batch in batches:
            for number, path in zip(batch.column("file").to_pylist(), batch.column("path").to_pylist(), strict=True):
                yield from _rows_of(number, Path(path), options, partitions)

    return given.repartitionByRange(len(files), "file").mapInArrow(read, _SPLIT)


def _rows_of(number: int, path: Path, options: CsvOptions, partitions: int) -> Batches:
    misshapen: list[tuple[int, bool]] = []
    for block in blocks_of(path, options, lambda _read: None, misshapen):
        for rows in split_block(block, partitions, options.encoding, Dates({})):
            yield _batch(rows.part, number, rows.row, None, rows.cells)
    if misshapen:
        bad = np.array([row for row, _ in misshapen])
        yield _batch(0, number, bad, [int(spans) for _, spans in misshapen], None)


def _batch(part: int, file: int, row: Any, spans: list[int] | None, cells: Any) -> pa.RecordBatch:
    n = len(row)
    held = () if cells is None else cells.schema.names
    columns = {
        "part": pa.array(np.full(n, part, np.int32)),
        "file": pa.array(np.full(n, file, np.int32)),
        "row": pa.array(row),
        "spans": pa.nulls(n, pa.int32()) if spans is None else pa.array(spans, pa.int32()),
    }
    columns |= {field: cells.column(field) if field in held else pa.nulls(n, pa.binary()) for field in FIELDS}
    return pa.record_batch(columns)


def dates_of(rows: DataFrame) -> Dates:
    """Return what the slashed dates of all rows prove together."""

    def look(batches: Batches) -> Batches:
        found = Dates({})
        for batch in batches:
            found.see(batch.column("invoice_date").drop_null().unique())
        columns = {
            "first": pa.array([a for a, _ in found.pairs], pa.int32()),
            "second": pa.array([b for _, b in found.pairs], pa.int32()),
            "text": pa.array(list(found.pairs.values()), pa.string()),
        }
        yield pa.record_batch(columns)

    pairs = rows.select("invoice_date").mapInArrow(look, "first int, second int, text string").distinct().collect()
    return Dates({(pair["first"], pair["second"]): pair["text"] for pair in pairs})


def fold(rows: DataFrame, files: Sequence[Path], options: CsvOptions, terms: Terms) -> DataFrame:
    """Return one row a partition that has any: its `Part`."""
    held = {str(file): fields_of(file, options) for file in files}

    def fold_one(table: pa.Table) -> pa.Table:
        part = table.column("part")[0].as_py()
        table = table.sort_by([("file", "ascending"), ("row", "ascending")])
        return _packed(part, fold_part(history_of(_table(table, held, options), options), terms))

    return rows.groupBy("part").applyInArrow(fold_one, _FOLDED)


def _table(table: pa.Table, files: Mapping[str, Sequence[str]], options: CsvOptions) -> Any:
    """Return a partition's rows as texts. files: the fields that each has."""
    tables = []
    shaped = pc.is_null(table.column("spans"))
    for number, (name, held) in enumerate(files.items()):
        here = pc.equal(table.column("file"), number)
        good, bad = (
            table.filter(pc.and_(here, shaped)),
            table.filter(pc.and_(here, pc.invert(shaped))),
        )
        misshapen = [
            (r, bool(s)) for r, s in zip(bad.column("row").to_pylist(), bad.column("spans").to_pylist(), strict=True)
        ]
        tables.append(table_of(name, good.select(held), good.column("row").to_numpy(), options, misshapen))
    return tables[0] if len(tables) == 1 else stack(tables)


def _packed(number: int, part: Part) -> pa.Table:
    def raw(values: Any) -> list[bytes]:
        return [values.tobytes()]

    columns: dict[str, Any] = {
        "part": pa.array([number], pa.int32()),
        "newest": [part.newest],
        "newest_read": [part.newest_read],
        "lines": [part.lines],
        "has_ids": [part.has_ids],
        "funnel": [msgspec.json.encode(part.funnel)],
        "customers": pa.array([list(part.customers)], pa.list_(pa.string())),
    }
    columns |= {name: raw(getattr(part.ledger, name.removeprefix("ledger_"))) for name in _COLUMNS}
    columns |= {"young_owner": raw(part.owner), "young_event": raw(part.event), "young_day": raw(part.day)}
    return pa.table(columns)


def _unpacked(row: dict[str, Any], files: Sequence[str]) -> Part:
    def ints(name: str) -> Any:
        return np.frombuffer(row.get(name) or b"", np.int64)

    def hashes(name: str) -> Any:
        return np.frombuffer(row.get(name) or b"", np.uint64)

    ledger = Ledger(ints(_COLUMNS[0]), hashes(_COLUMNS[1]), *(ints(name) for name in _COLUMNS[2:]))
    return Part(
        tuple(row.get("customers") or ()),
        ledger,
        ints("young_owner"),
        hashes("young_event"),
        ints("young_day"),
        row["newest"],
        row["newest_read"],
        row["lines"],
        row["has_ids"],
        tuple(files),
        msgspec.json.decode(row["funnel"], type=Funnel),
    )


def heads_of(folded: DataFrame, files: Sequence[Path]) -> list[Part]:
    """Return what the parts say of themselves, without their customers."""
    rows = folded.select("part", "newest", "newest_read", "lines", "has_ids", "funnel").orderBy("part").collect()
    return [_unpacked(row.asDict() | {"funnel": bytes(row["funnel"])}, [str(file) for file in files]) for row in rows]


class Loading(msgspec.Struct, frozen=True):
    """What a task needs to load states: where to, under which token, as of when."""

    address: RedisAddress
    namespace: str
    generation: str
    token: str
    terms: ModelTerms
    newest: int
    dedupe_days: int


def load_states(folded: DataFrame, loading: Loading, customers: int) -> pa.Table:
    """Load all parts; return the figures of all customers, or of a sample by hash.

    Columns: customer, lapsed, clustered, a float64 a feature. The schema's metadata tell `dropped` ids.
    """
    below = EVERYONE if customers <= MOST_FIGURES else EVERYONE * MOST_FIGURES // customers
    names = tuple(dict.fromkeys((*RFM, *loading.terms.features)))
    schema = "customer string, lapsed boolean, clustered boolean, dropped int, " + ", ".join(
        f"{n} double" for n in names
    )
    task = _loading_task(loading, names, below)
    figures = folded.mapInArrow(task, schema).toArrow()
    dropped = pc.sum(figures.column("dropped")).as_py() or 0
    kept = figures.filter(pc.is_valid(figures.column("customer"))).drop_columns(["dropped"])
    return kept.replace_schema_metadata({"dropped": str(dropped)})


def _loading_task(loading: Loading, names: tuple[str, ...], below: int) -> Callable[[Batches], Batches]:
    def load(batches: Batches) -> Batches:
        loader = GenerationLoader(connect(loading.address), loading.namespace, loading.generation)
        for batch in batches:
            for row in batch.to_pylist():
                yield _load_part(row, loader, loading, names, below)

    return load


def _load_part(
    row: dict[str, Any], loader: GenerationLoader, loading: Loading, names: tuple[str, ...], below: int
) -> pa.RecordBatch:
    part = alone(_unpacked(row, ()), loading.dedupe_days, loading.newest)
    states, known = described_on(part, loading.terms._replace(features=names))
    positions = [position(customer) for customer in part.customers]
    blobs = encode_states(states, np.arange(len(part.customers)))
    loader.load_admitted(row["part"], part.customers, positions, blobs, loading.token)
    chosen = np.flatnonzero(np.array(positions, np.int64) < below)
    columns: dict[str, Any] = {
        "customer": [*(part.customers[i] for i in chosen.tolist()), None],
        "lapsed": pa.array([*known.lapsed[chosen].tolist(), None], pa.bool_()),
        "clustered": pa.array([*known.clustered[chosen].tolist(), None], pa.bool_()),
        "dropped": pa.array([0] * len(chosen) + [part.seen_dropped], pa.int32()),
    }
    columns |= {name: pa.array(np.append(known.values[name][chosen], np.nan)) for name in names}
    return pa.record_batch(columns)


def _vectors(figures: pa.Table, features: tuple[str, ...]) -> Vectors:
    names = dict.fromkeys((*RFM, *features))
    values = {name: figures.column(name).to_numpy() for name in names}
    lapsed, clustered = (figures.column(n).to_numpy().astype(np.bool_) for n in ("lapsed", "clustered"))
    return Vectors(values, lapsed, clustered)


def _of_a_file(error: Exception) -> CsvError | None:
    """Return the CsvError that a task ended with, if it did: Spark gives it as text."""
    for text in str(error).splitlines():
        _, found, sentence = text.partition("csv_columns.CsvError: ")
        if found:
            return CsvError(sentence)
    return None
