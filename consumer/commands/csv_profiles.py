"""`export --segments`: a row a segment, from everybody's published segment and features, as CSV or Parquet."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.commands.cli_output import Output
from consumer.commands.export import read_ids
from consumer.commands.live_study import live_study
from consumer.commands.place import Place
from consumer.commands.whole_file import whole_file
from reports.spreadsheet import csv_of
from reports.workbench.segments.sizes import medians, sizes
from reports.workbench.study import Study


class ExportedSegments(msgspec.Struct, frozen=True):
    """What `export --segments` did. customers: those counted; opted_out: those who were there and are not."""

    file: str
    bytes: int
    segments: int
    customers: int
    opted_out: int
    unknown: int
    model_version: int
    seconds: float


def run_export_segments(place: Place, out: Path, opt_out: Path | None, output: Output) -> None:
    """Write the file and say what is in it. Raises `Stop`, `StoreError`."""
    began = time.monotonic()
    left_out = frozenset[str]() if opt_out is None else read_ids(opt_out)
    with output.progress() as progress:
        study = live_study(place, progress)
    met = study.customers.index.isin(list(left_out))
    table = profile_table(study, study.customers[~met])
    with whole_file(out, "--out") as file:
        if out.suffix == ".csv":
            file.write(csv_of(table))
        else:
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), file)
    done = ExportedSegments(
        file=str(out),
        bytes=out.stat().st_size,
        segments=len(table),
        customers=int((~met).sum()),
        opted_out=int(met.sum()),
        unknown=len(left_out) - int(met.sum()),
        model_version=study.bundle.version,
        seconds=round(time.monotonic() - began, 2),
    )
    output.result(
        done,
        f"{done.segments} segments of {done.customers:,} customers in {done.file} ({done.bytes:,} bytes, "
        f"{done.seconds:.1f} s)",
        f"left out: {done.opted_out:,} who opted out; {done.unknown:,} of the ids given are unknown here",
    )


def profile_table(study: Study, customers: pd.DataFrame) -> pd.DataFrame:
    """Return a row a segment that has anybody, the clusters first: counts, shares, net, and each feature's median.

    Net is of the horizon, in the currency; shares are in 0 .. 1, of the customers given and of the clusters' net.
    """
    found = sizes(customers).rename(columns={"revenue": "net", "customers_share": "customer_share"})
    ids = customers.groupby("segment", observed=True)["segment_id"].first()
    found.insert(1, "segment_id", found["segment"].map({str(name): number for name, number in ids.items()}))
    typical = medians(customers).drop(columns=["segment", "customers"]).add_prefix("median_").round(6)
    table = found[["segment", "segment_id", "customers", "net", "customer_share", "revenue_share"]].join(typical)
    return table.assign(as_of=study.date.isoformat(), model_version=study.bundle.version)
