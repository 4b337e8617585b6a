import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from consumer.history import csv_reading
from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_source import History, read_history
from tests.consumer.history.csv_files import GOOD, HEADER, line, read, text, write

MANY = [line(InvoiceNo=str(n)) for n in range(2_000)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has many blocks."""
    monkeypatch.setattr(csv_reading, "BLOCK", 16 << 10)


def rows_of(history: History) -> list[int]:
    return [int(row) for row in history.row]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.txt", "a.tsv.gz"])
def test_plain_and_gzipped_files_give_the_same(tmp_path: Path, name: str) -> None:
    history = read_history([write(tmp_path / name, text(MANY))])
    assert history.invoice_no.tolist() == [row[0] for row in MANY]
    assert rows_of(history) == list(range(2, 2_002))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path / "a.csv", text([line(UnitPrice="2,55")], separator=separator))
    assert read_history([path], CsvOptions(decimal=",")).price.tolist() == [25500]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(MANY[:3]).replace("\n", ending).encode())
    assert rows_of(read_history([path])) == [2, 3, 4]


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbf" + text(MANY[:3]).encode())
    assert len(read_history([path])) == len(read_history([path], CsvOptions(encoding="utf-8-sig"))) == 3


@pytest.mark.usefixtures("small_blocks")
def test_a_wrong_encoding_is_an_error_with_the_row_and_the_remedy(tmp_path: Path) -> None:
    rows = [*MANY, line(Description="CAFÉ")]
    path = write(tmp_path / "a.csv", text(rows).encode("cp1252"))
    with pytest.raises(CsvError, match=r"a\.csv: row 2002: not utf-8 text; pass --encoding cp1252"):
        read_history([path])
    assert read_history([path], CsvOptions(encoding="cp1252")).description.tolist()[-1] == "CAFÉ"


def test_a_header_in_another_encoding_is_row_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text([], header=("Größe", *HEADER)).encode("latin-1"))
    with pytest.raises(CsvError, match="row 1: not utf-8 text"):
        read_history([path])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(MANY).encode("utf-16"), "this is UTF-16"),
        (b"PK\x03\x04\x00\x00", "this is not text"),
        (b"", "empty or has no header"),
        (b"\n\n", "empty or has no header"),
    ],
)
def test_what_is_no_table_of_text_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(CsvError, match=said):
        read_history([write(tmp_path / "a.csv", content)])


def test_a_header_without_a_line_end_has_no_rows(tmp_path: Path) -> None:
    assert len(read_history([write(tmp_path / "a.csv", ",".join(HEADER))])) == 0


def test_a_first_line_beyond_the_header_is_refused_and_one_that_fits_is_read_whole(tmp_path: Path) -> None:
    wide = [f"c{n}" for n in range(10_000)]
    path = write(tmp_path / "a.csv", text([(*GOOD, *wide)], header=(*HEADER, *wide)))
    assert len(read_history([path])) == 1
    wider = write(tmp_path / "b.csv", text([(*GOOD, *wide, *wide)], header=(*HEADER, *wide, *wide)))
    with pytest.raises(CsvError, match=r"b\.csv: row 1: no line ends in the first 64 KiB"):
        read_history([wider])


@pytest.mark.parametrize("before", [1, 1_999])
def test_a_zero_byte_is_an_error_with_its_row(tmp_path: Path, before: int) -> None:
    path = write(tmp_path / "a.csv", text([*MANY[:before], line(CustomerID="a\0b")]))
    with pytest.raises(CsvError, match=rf"a\.csv: row {before + 2}: a zero byte"):
        read_history([path])


def test_a_pipe_is_refused_for_it_is_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(CsvError, match="no plain file"):
        read_history([tmp_path / "a.csv"])


def test_a_kind_of_file_we_cannot_read_lists_those_we_can(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match=r"sales\.xlsx: cannot read this kind of file; give one of \.csv, "):
        read_history([write(tmp_path / "sales.xlsx", b"PK")])


@pytest.mark.usefixtures("small_blocks")
def test_misshapen_rows_are_counted_with_their_numbers_and_shift_no_others(tmp_path: Path) -> None:
    rows = [("too", "short") if n in (7, 999, 1_500) else row for n, row in enumerate(MANY)]
    history = read(tmp_path, *rows)
    assert [u.row for u in history.funnel.unreadable] == [9, 1_001, 1_502]
    assert {u.reason for u in history.funnel.unreadable} == {"another number of cells than the header"}
    assert set(rows_of(history)) == set(range(2, 2_002)) - {9, 1_001, 1_502}


def test_a_line_break_in_quotes_makes_one_row(tmp_path: Path) -> None:
    history = read(tmp_path, line(Description="two\nlines"), line(InvoiceDate="never"), line(InvoiceNo="536366"))
    assert history.description.tolist()[0] == "two\nlines"
    assert [u.row for u in history.funnel.unreadable] == [3]
    assert rows_of(history) == [2, 4]


def test_a_quote_inside_a_cell_is_an_inch(tmp_path: Path) -> None:
    raw = text([line()]).replace("WHITE HEART", '3" NAIL')
    assert read_history([write(tmp_path / "a.csv", raw)]).description.tolist() == ['3" NAIL']


def test_an_open_quote_is_named_with_its_row(tmp_path: Path) -> None:
    raw = text(MANY[:50]).replace("WHITE HEART", '"WHITE HEART', 1)
    funnel = read_history([write(tmp_path / "a.csv", raw)]).funnel
    assert [(u.row, "quote left open" in u.reason) for u in funnel.unreadable] == [(2, True)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("before", [0, 1_000])
def test_a_cell_without_end_is_refused_with_its_row(tmp_path: Path, before: int) -> None:
    rows = [*MANY[:before], line(Description="x" * 100_000), *MANY]
    with pytest.raises(CsvError, match=rf"row {before + 2}: longer than .*a quote that is never closed"):
        read(tmp_path, *rows)


def test_blank_lines_are_no_rows_but_keep_their_numbers(tmp_path: Path) -> None:
    one, two = (",".join(row) for row in MANY[:2])
    path = write(tmp_path / "a.csv", f"{','.join(HEADER)}\n{one}\n\n{two}\n\n\n")
    history = read_history([path])
    assert rows_of(history) == [2, 4]
    assert history.funnel.lines == 2


def test_a_header_alone_is_an_empty_history(tmp_path: Path) -> None:
    history = read(tmp_path)
    assert len(history) == history.funnel.lines == len(history.lines()) == 0
    assert history.customers == ()


def test_a_cut_off_file_is_refused_whole(tmp_path: Path) -> None:
    whole = gzip.compress(text(MANY).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[:-200])
    with pytest.raises(CsvError, match=r"a\.csv\.gz: .*damaged or cut off"):
        read_history([tmp_path / "a.csv.gz"])


def test_a_plain_file_called_gz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(text(MANY).encode())
    with pytest.raises(CsvError, match="damaged or cut off"):
        read_history([tmp_path / "a.csv.gz"])


def test_a_decompression_bomb_is_refused_before_it_has_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reading, "BOMB_FLOOR", 1 << 20)
    seen: list[int] = []
    rows = text([GOOD]) + f"{','.join(GOOD)}\n" * 500_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode()))
    with pytest.raises(CsvError, match="more than a file of sales holds"):
        read_history([tmp_path / "a.csv.gz"], progress=lambda done, _total: seen.append(done))
    assert len(seen) * csv_reading.BLOCK < len(rows)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reading, "BLOCK", 1 << 20)
    path = write(tmp_path / "a.csv", text([GOOD]) + f"{','.join(GOOD)}\n" * 50_000)
    with pytest.raises(CsvError, match="split it"):
        read_history([path], CsvOptions(max_bytes=1 << 20))


def test_a_file_of_another_shape_altogether_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reading, "MOST_MISSHAPEN", 10)
    with pytest.raises(CsvError, match="over 10 rows have another number of cells than the header"):
        read(tmp_path, *[("a", "b")] * 20)


def test_a_stop_at_an_error_does_not_end_the_process(tmp_path: Path) -> None:
    write(tmp_path / "a.csv.gz", text([line(Description="x" * 200_000), *MANY * 10]))
    program = (
        "import sys; from pathlib import Path; from consumer.history import csv_reading, csv_source\n"
        "csv_reading.BLOCK = 16384\n"
        "try: csv_source.read_history([Path(sys.argv[1])])\n"
        "except csv_reading.CsvError: raise SystemExit(2)"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.csv.gz")], check=False, timeout=60)
        assert done.returncode == 2


def test_a_typed_parquet_file_gives_what_the_csv_gives(tmp_path: Path) -> None:
    rows = [line(), line(InvoiceNo="C536366", Quantity="-2", Description=""), line(CustomerID="", UnitPrice="0.001")]
    frame = pd.DataFrame(rows, columns=list(HEADER)).astype(
        {"Quantity": "int64", "UnitPrice": "float64", "Country": "category"}
    )
    frame["CustomerID"] = pd.to_numeric(frame["CustomerID"])  # floats, as pandas reads a column with gaps
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"])
    frame["Description"] = frame["Description"].replace("", None)
    frame.to_parquet(tmp_path / "a.parquet")
    typed, plain = read_history([tmp_path / "a.parquet"]), read(tmp_path, *rows)
    assert typed.funnel == plain.funnel
    assert typed.customers == plain.customers == ("17850",)
    assert typed.event_ids() == plain.event_ids()
    assert rows_of(typed) == rows_of(plain)


def test_a_parquet_time_with_a_zone_is_brought_to_the_shops(tmp_path: Path) -> None:
    frame = pd.DataFrame([line(), line()], columns=list(HEADER)).astype({"Quantity": "int64", "UnitPrice": "float64"})
    frame["InvoiceDate"] = pd.to_datetime(["2011-06-01T23:30:00", "2011-12-01T12:00:00"], utc=True)
    frame.to_parquet(tmp_path / "a.parquet")
    history = read_history([tmp_path / "a.parquet"], CsvOptions(zone="Europe/London"))
    assert history.iso_times() == ["2011-06-02T00:30:00", "2011-12-01T12:00:00"]


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match="not a readable Parquet file"):
        read_history([write(tmp_path / "a.parquet", b"PAR1nothing")])


def test_a_parquet_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    pd.DataFrame(MANY, columns=list(HEADER)).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(CsvError, match="would unpack to"):
        read_history([tmp_path / "a.parquet"], CsvOptions(max_bytes=1_000))


def test_several_files_stand_under_one_another_and_keep_their_rows(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", text([line(), line(CustomerID="12346")]))
    two = write(
        tmp_path / "two.csv", text([line(InvoiceNo="600000", CustomerID="17850.0")]).replace("UnitPrice", "Price")
    )
    history = read_history([one, two])
    assert history.customers == ("12346", "17850")
    assert history.owner.tolist() == [1, 0, 1]
    assert history.file.tolist() == [0, 0, 1]
    assert rows_of(history) == [2, 3, 2]
    assert history.files == (str(one), str(two))


def test_a_field_that_one_file_lacks_is_empty_there(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", text([line()]))
    two = write(tmp_path / "two.csv", text([line(InvoiceNo="600000")[:-1]], header=HEADER[:-1]))
    assert read_history([one, two]).country.tolist() == ["United Kingdom", ""]


def test_progress_tells_the_stored_bytes_and_ends_at_all_of_them(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.csv", text(MANY)) for n in range(2)]
    seen: list[tuple[int, int]] = []
    read_history(paths, progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in paths)
    assert seen[-1] == (total, total)
    assert np.all(np.diff([done for done, _ in seen]) >= 0)
