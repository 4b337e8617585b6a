"""A history folded in parts is the history folded at once: every customer, record, id and count."""

from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from consumer.erasure import keyed_hash
from consumer.history.bootstrap import Folded, fold_files
from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_parsing import MAX_QUANTITY
from consumer.history.csv_source import read_history
from consumer.history.csv_splitting import fold_in_parts, spill
from consumer.history.parts import Part, Terms, funnel_of, joined
from consumer.partition import Rules
from tests.consumer.history.csv_files import HEADER, line, text, write

SAMPLE = Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"
RULES = Rules()


def in_parts(paths: list[Path], options: CsvOptions, parts: int, terms: Terms | None = None) -> list[Part]:
    """What `fold_in_parts` does, without its processes."""
    with TemporaryDirectory() as directory:
        spilled = spill(paths, options, parts, Path(directory), lambda *_: None)
        return [spilled.fold(part, terms or Terms(RULES.dedupe_days)) for part in range(parts)]


def assert_equal(one: Folded, other: Folded) -> None:
    assert one.customers == other.customers
    assert (one.cutoff, one.newest, one.seen_dropped) == (other.cutoff, other.newest, other.seen_dropped)
    for table in ("ledger", "seen"):
        for column in fields(getattr(one, table)):
            ours, theirs = (getattr(getattr(each, table), column.name) for each in (one, other))
            assert np.array_equal(ours, theirs), f"{table}.{column.name}"
            assert ours.dtype == theirs.dtype


def test_the_sample_in_parts_by_processes_is_the_sample(real_dataset: Path | None) -> None:
    path, options = real_dataset or SAMPLE, CsvOptions()
    whole = read_history([path], options)
    found = fold_in_parts([path], options, Terms(RULES.dedupe_days), lambda *_: None, parts=3)
    assert_equal(joined(found, RULES.dedupe_days), fold_files(whole, RULES))
    assert funnel_of(found) == whole.funnel


def test_files_that_overlap_and_rows_that_cannot_be_read_are_the_same_in_parts(tmp_path: Path) -> None:
    rows = [
        line(CustomerID=f"{1000 + i % 7}.0", InvoiceNo=f"{i // 3}", InvoiceDate=f"12/{1 + i % 20}/2010 8:26")
        for i in range(60)
    ]
    bad = [
        line(Quantity="many"),
        line(CustomerID=""),
        line(Quantity=f"{MAX_QUANTITY * 2}"),
        line(InvoiceDate="?", CustomerID="1003"),
        line(InvoiceDate="?", CustomerID="alone"),
    ]
    one = write(tmp_path / "a.csv", text([*rows[:40], *bad, rows[0], rows[0]]) + "too,short\n\n")
    two = write(tmp_path / "b.csv.gz", text([*rows[20:], ("",) * len(HEADER)]))
    whole = read_history([one, two])
    for parts in (1, 4):
        found = in_parts([one, two], CsvOptions(), parts)
        assert_equal(joined(found, RULES.dedupe_days), fold_files(whole, RULES))
        assert funnel_of(found) == whole.funnel


def test_event_ids_of_a_column_and_of_the_last_days_alone_are_kept_in_parts(tmp_path: Path) -> None:
    rows = [
        (*line(CustomerID=f"{i % 5}", InvoiceNo=f"{i}", InvoiceDate=f"2010-12-{1 + i % 30:02}"), f"id-{i % 40}")
        for i in range(90)
    ]
    path = write(tmp_path / "a.csv", text(rows, header=(*HEADER, "event_id")))
    found = in_parts([path], CsvOptions(), 3)
    assert_equal(joined(found, RULES.dedupe_days), fold_files(read_history([path]), RULES))
    assert found[0].has_ids


def test_slashed_dates_are_proved_by_all_parts_together(tmp_path: Path) -> None:
    rows = [line(CustomerID="one", InvoiceDate="2/3/2011"), line(CustomerID="two", InvoiceDate="2/13/2011")]
    path = write(tmp_path / "a.csv", text(rows))
    assert_equal(joined(in_parts([path], CsvOptions(), 4), 7), fold_files(read_history([path]), RULES))
    with pytest.raises(CsvError, match="may begin with the month"):
        in_parts([write(tmp_path / "b.csv", text(rows[:1]))], CsvOptions(), 4)


def test_lines_after_the_end_and_before_an_erasure_are_in_no_part(tmp_path: Path) -> None:
    rows = [line(CustomerID=f"{i % 4}", InvoiceNo=f"{i}", InvoiceDate=f"2010-12-{1 + i:02}") for i in range(20)]
    path, options = write(tmp_path / "a.csv", text(rows)), CsvOptions()
    history = read_history([path])
    stop = int(history.time[15])
    gone = history.owner != history.customers.index("2")
    erased = {keyed_hash(b"key", "2"): stop}
    found = in_parts([path], options, 3, Terms(RULES.dedupe_days, stop, erased, b"key"))
    assert_equal(joined(found, RULES.dedupe_days), fold_files(history.take(gone & (history.time <= stop)), RULES))
    assert sum(part.lines for part in found) == 16


def test_a_wrong_byte_is_told_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text([line(), line(Description="CAF?")]).replace("?", "\xc9").encode("latin-1"))
    with pytest.raises(CsvError, match="row 3: not utf-8"):
        in_parts([path], CsvOptions(), 2)
    assert in_parts([path], replace(CsvOptions(), encoding="latin-1"), 2)[0].files == (str(path),)
