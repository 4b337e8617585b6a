"""Customers as rows of a CSV or Parquet file; in CSV no text can become a formula (reports.spreadsheet).

Parquet has types and no formulas: its texts are untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.vector import NAMES, Floats
from reports.spreadsheet import RISKY, escaped

SUFFIXES = (".csv", ".parquet")
SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("segment_id", pa.int32()),
        ("segment", pa.string()),
        ("previous_id", pa.int32()),
        ("previous", pa.string()),
        ("entered_on", pa.date32()),
        ("revision", pa.int64()),
        ("as_of", pa.date32()),
        *((name, pa.float64()) for name in NAMES),
        ("model_version", pa.int64()),
    ]
)
"""The columns, in their order."""


class Rows(msgspec.Struct, frozen=True):
    """n customers of one partition. segments, previous: (id, name) or None; features: float64 (n,), NaN for none."""

    customers: Sequence[str]
    segments: Sequence[tuple[int, str] | None]
    previous: Sequence[tuple[int, str] | None]
    entered_on: Sequence[date | None]
    revisions: Sequence[int]
    as_of: date
    features: dict[str, Floats]
    model_version: int


class TableWriter:
    """Writes rows to an open file, in the form that the suffix names; `escaped` counts cells that got an apostrophe."""

    def __init__(self, file: IO[bytes], suffix: str) -> None:
        self._plain = suffix == ".csv"
        self._writer: Any = pacsv.CSVWriter(file, SCHEMA) if self._plain else pq.ParquetWriter(file, SCHEMA)
        self.escaped = 0

    def write(self, rows: Rows) -> None:
        """Append rows."""
        n = len(rows.customers)
        columns: list[Any] = [self._texts(rows.customers)]
        for pairs in (rows.segments, rows.previous):
            columns.append(pa.array([pair and pair[0] for pair in pairs], pa.int32()))
            columns.append(self._texts([pair and pair[1] for pair in pairs]))
        columns += [pa.array(rows.entered_on, pa.date32()), pa.array(rows.revisions, pa.int64())]
        columns.append(pa.array([rows.as_of] * n, pa.date32()))
        columns += [pa.array(rows.features[name].round(6), pa.float64(), from_pandas=True) for name in NAMES]
        columns.append(pa.array([rows.model_version] * n, pa.int64()))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))

    def close(self) -> None:
        """Write what ends the file; the file itself stays open."""
        self._writer.close()

    def _texts(self, texts: Sequence[str | None]) -> Any:
        if self._plain:
            self.escaped += sum(text is not None and text.startswith(RISKY) for text in texts)
            texts = [text and escaped(text) for text in texts]
        return pa.array(texts, pa.string())
