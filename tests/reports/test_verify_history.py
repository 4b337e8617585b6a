"""The judge's reading of files and the service's agree, row for row, whatever the export looks like."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history as read_by_the_service
from reports.verify_events import DAY, hash64
from reports.verify_history import Reading, read_history
from reports.verify_input import History
from tests.consumer.history.csv_files import GOOD, HEADER, line, text, write

DIRTY = (
    line(CustomerID="17850.0"),
    line(CustomerID=" 17850"),
    line(CustomerID=""),
    line(CustomerID="nan"),
    line(CustomerID="0012"),
    line(InvoiceNo="C536365", Quantity="-6"),
    line(InvoiceNo="c536366", Quantity="6"),
    line(InvoiceNo=""),
    line(InvoiceNo="536365.0"),
    line(Quantity="0"),
    line(Quantity="6.0"),
    line(Quantity="6.5"),
    line(Quantity="six"),
    line(Quantity="2000000000"),
    line(UnitPrice="0"),
    line(UnitPrice="-1"),
    line(UnitPrice="1.23456"),
    line(UnitPrice="2.5500"),
    line(UnitPrice="1e2"),
    line(UnitPrice="20000000"),
    line(StockCode="POST"),
    line(StockCode="gift_0001"),
    line(InvoiceDate="2010-12-01"),
    line(InvoiceDate="2010-12-01T08:26:00Z"),
    line(InvoiceDate="2010-07-01T08:26:00+02:00"),
    line(InvoiceDate="2010-12-01 08:26:00.75"),
    line(InvoiceDate="1 December"),
    line(InvoiceDate="1969-12-31 08:00:00"),
    line(Description=" WHITE  HEART"),
    GOOD,
    GOOD,
)


def shuffled(seed: int) -> list[tuple[str, ...]]:
    rng = random.Random(seed)
    rows = [row for row in DIRTY for _ in range(rng.randrange(1, 4))]
    rng.shuffle(rows)
    return rows


def by_the_service(paths: list[Path], options: CsvOptions, cutoff: int | None, ids_from: int) -> History:
    found = read_by_the_service(paths, options)
    found = found if cutoff is None else found.split(cutoff)[0]
    ids = [text if day >= ids_from else "" for text, day in zip(found.event_ids(), found.day.tolist(), strict=True)]
    amount, units = found.amount.tolist(), found.units.tolist()
    places = zip(found.file.tolist(), found.row.tolist(), strict=True)
    rows = [f"{Path(found.files[file]).name} row {row}" for file, row in places]
    return History(found.customer_ids(), found.invoice_no.tolist(), found.time.tolist(), amount, units, ids, rows)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("zone", ["UTC", "Europe/London"])
@pytest.mark.parametrize("repeats", ["keep", "drop"])
@pytest.mark.parametrize("codes", ["keep", "drop"])
def test_a_dirty_file_is_read_alike(tmp_path: Path, seed: int, zone: str, repeats: str, codes: str) -> None:
    path = write(tmp_path / "export.csv.gz", text(shuffled(seed)))
    options = CsvOptions(zone=zone, currency="GBP", repeats=repeats, non_products=codes)  # type: ignore[arg-type]
    reading = Reading(zone=zone, drop_repeats=repeats == "drop", drop_non_products=codes == "drop")
    mine = read_history([path], reading, None, 0)
    assert mine == by_the_service([path], options, None, 0)
    assert len(mine.customer) > 7


def test_the_cutoff_and_the_span_of_ids_are_kept(tmp_path: Path) -> None:
    days = [line(InvoiceDate=f"2010-12-{day:02d} 10:00:00", Quantity=str(day)) for day in range(1, 29)]
    path = write(tmp_path / "export.csv", text(days))
    cutoff = (14_944 + 20) * DAY + 10 * 3600  # 2010-12-21 10:00
    mine = read_history([path], Reading(), cutoff, cutoff // DAY - 7)
    assert mine == by_the_service([path], CsvOptions(), cutoff, cutoff // DAY - 7)
    assert len(mine.customer) == 21
    assert sum(bool(event) for event in mine.event_id) == 8


def test_files_that_overlap_hold_each_event_once(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", text([GOOD, GOOD, line(Quantity="7")]))
    second = write(tmp_path / "b.csv", text([GOOD, line(Quantity="8")]))
    mine = read_history([first, second], Reading(), None, 0)
    assert mine == by_the_service([first, second], CsvOptions(), None, 0)
    assert list(mine.units) == [6, 6, 7, 8]


def test_a_return_that_names_its_order_is_read_alike(tmp_path: Path) -> None:
    back = line(InvoiceNo="C9", Quantity="-1", InvoiceDate="2010-12-05 10:00:00")
    named = ("536365", "536365.0", " 536365 ", "", "nan", "NULL", "C9", "x" * 256, "x" * 257)
    rows = [(*row, number) for number in named for row in (back, line(Quantity="-2"), GOOD, back)]
    path = write(tmp_path / "export.csv", text(rows, (*HEADER, "Original Invoice No")))
    for repeats in ("keep", "drop"):
        options = CsvOptions(repeats=repeats)
        mine = read_history([path], Reading(drop_repeats=repeats == "drop"), None, 0)
        service = read_by_the_service([path], options)
        assert mine.row == by_the_service([path], options, None, 0).row
        assert mine.event_id == service.event_ids()
        assert [hash64(order) for order in mine.invoice] == service.order.tolist()
    assert set(mine.invoice) == {"536365", "C9", "x" * 256}


def test_slashed_dates_are_read_in_the_order_that_the_file_proves(tmp_path: Path) -> None:
    for name, dates in {
        "us": ("12/1/2010 8:26", "12/13/2010 8:26"),
        "uk": ("1/12/2010 8:26", "13/12/2010 8:26"),
    }.items():
        path = write(tmp_path / f"{name}.csv", text([line(InvoiceDate=date) for date in dates]))
        mine = read_history([path], Reading(), None, 0)
        assert mine == by_the_service([path], CsvOptions(), None, 0)
        assert [time // DAY for time in mine.time] == [14_944, 14_956]


def test_a_mapped_export_of_amounts_with_a_decimal_comma_is_read_alike(tmp_path: Path) -> None:
    rows = [
        ("4711", "09.12.2011 12:50", "1.234,50", "EUR"),
        ("4711", "09.12.2011 12:50", "-20,00", "eur"),
        ("4712", "10.12.2011 00:00", "0,00", "EUR"),
        ("4712", "10.12.2011 00:01", "3,5", "USD"),
        ("4713", "10.12.2011 00:02", "7", ""),
    ]
    header = ("Kunde", "Tag", "Betrag", "Currency")
    path = write(tmp_path / "export.csv", text(rows, header, ";").encode("cp1252"))
    columns = {"customer_id": "Kunde", "invoice_date": "Tag", "amount": "Betrag"}
    common = {"separator": ";", "decimal": ",", "encoding": "cp1252", "date_format": "%d.%m.%Y %H:%M"}
    options = CsvOptions(columns=columns, currency="EUR", **common)  # type: ignore[arg-type]
    reading = Reading(columns=columns, currency="EUR", **common)  # type: ignore[arg-type]
    mine = read_history([path], reading, None, 0)
    assert mine == by_the_service([path], options, None, 0)
    assert list(mine.amount) == [12_345_000, -200_000, 70_000]
    assert list(mine.invoice) == ["2011-12-09T12:50:00", "2011-12-09T12:50:00/1", "2011-12-10T00:02:00"]


def test_ids_of_the_file_are_taken_and_count_once(tmp_path: Path) -> None:
    rows = [(*GOOD, "e1"), (*GOOD, "e1"), (*GOOD, ""), (*GOOD, " e2 "), (*line(CustomerID="1"), "e1")]
    path = write(tmp_path / "export.csv", text(rows, (*HEADER, "event_id")))
    mine = read_history([path], Reading(), None, 0)
    assert mine == by_the_service([path], CsvOptions(), None, 0)
    assert list(mine.event_id) == ["e1", "", "e2", "e1"]


def test_parquet_is_read_alike(tmp_path: Path) -> None:
    frame = pd.DataFrame([dict(zip(HEADER, row, strict=True)) for row in shuffled(3)])
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"], format="ISO8601", errors="coerce", utc=True)
    frame["Quantity"] = pd.to_numeric(frame["Quantity"], errors="coerce").clip(-1000, 1000)
    frame["UnitPrice"] = pd.to_numeric(frame["UnitPrice"], errors="coerce")
    frame["InvoiceDate"] = frame["InvoiceDate"].dt.tz_localize(None)
    path = tmp_path / "export.parquet"
    frame.to_parquet(path)
    mine = read_history([path], Reading(), None, 0)
    assert mine == by_the_service([path], CsvOptions(), None, 0)
    assert len(mine.customer) > 10


def test_the_real_file_is_read_alike(real_dataset: Path | None) -> None:
    if real_dataset is None:
        return  # the project does not carry it
    cutoff = 15_126 * DAY - 1  # the end of 2011-05-31
    mine = read_history([real_dataset], Reading(), cutoff, 15_118)
    assert mine == by_the_service([real_dataset], CsvOptions(), cutoff, 15_118)
    assert len(mine.customer) == 149_040
