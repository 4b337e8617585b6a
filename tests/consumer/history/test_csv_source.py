from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_source import History, find, fold_history, read_history
from features.identity import content_event_id, hash64
from features.ledger import from_lines
from tests.consumer.history.csv_files import GOOD, line, read, text, write

JUNE = int(np.datetime64("2011-06-01T00:00:00", "s").astype(int))


@pytest.fixture(scope="module")
def history(real_dataset: Path | None) -> History:
    """UCI's file where it is at hand, else the sample."""
    return read_history([real_dataset or Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"])


def test_one_customer_however_his_id_is_written(tmp_path: Path) -> None:
    ids = ["17850", "17850.0", " 17850", "017850"]
    history = read(tmp_path, *[line(CustomerID=text) for text in ids])
    assert history.customers == ("017850", "17850")
    assert history.customer_ids() == ["17850", "17850", "17850", "017850"]


@pytest.mark.parametrize("customer", ["\u00e9", "e\u0301", "\u202eabc", "\U0001f642", "{a}", "a\x01b", "=1+1"])
def test_an_id_is_kept_byte_for_byte(tmp_path: Path, customer: str) -> None:
    assert read(tmp_path, line(CustomerID=customer)).customers == (customer,)


def test_a_day_is_a_day_of_the_wall_clock(tmp_path: Path) -> None:
    times = ["2011-06-01 00:00:00", "2011-05-31 23:59:59", "1970-01-01 00:00:00"]
    history = read(tmp_path, *[line(InvoiceDate=time) for time in times])
    assert history.day.tolist() == [15126, 15125, 0]


def test_an_event_id_is_the_hash_of_the_content_and_its_occurrence(tmp_path: Path) -> None:
    history = read(tmp_path, line(), line(Description="other"), line(Quantity="7"), line(CustomerID="1"), line())
    content = "17850\x1f536365\x1f85123A\x1f6\x1f25500\x1f2010-12-01T08:26:00"
    seven, other = content.replace("\x1f6\x1f", "\x1f7\x1f"), content.replace("17850", "1")
    assert history.event_ids() == [
        content_event_id(content, 0),
        content_event_id(content, 1),
        content_event_id(seven, 0),
        content_event_id(other, 0),
        content_event_id(content, 2),
    ]


def test_event_ids_do_not_depend_on_how_the_file_is_cut_or_written(tmp_path: Path) -> None:
    rows = [line(), line(), line(InvoiceDate="2011-06-01 00:00:01"), line(), line(InvoiceDate="2011-05-31 10:00:00")]
    whole = read(tmp_path, *rows)
    before, after = whole.split(JUNE)
    assert sorted(before.event_ids() + after.event_ids()) == sorted(whole.event_ids())
    assert len(set(whole.event_ids())) == len(rows)
    rewritten = [(*row[:4], row[4].replace(" ", "T"), "2.550", "17850.0", row[7]) for row in rows]
    assert read(tmp_path, *rewritten).event_ids() == whole.event_ids()


def test_the_ids_of_the_dataset_are_distinct(history: History) -> None:
    lines = history.lines()
    assert len(np.unique(lines.event_id)) == len(history)
    assert lines.event_id[:3].tolist() == [hash64(text) for text in history.take(slice(3)).event_ids()]


def test_a_cut_puts_the_cutoff_itself_into_the_past(tmp_path: Path) -> None:
    history = read(tmp_path, line(InvoiceDate="2011-06-01 00:00:00"), line(InvoiceDate="2011-06-01 00:00:01"))
    before, after = history.split(JUNE)
    assert (before.row.tolist(), after.row.tolist()) == ([2], [3])
    assert before.customers == after.customers == history.customers


def with_ids(folder: Path, *ids: str, customers: tuple[str, ...] = ()) -> History:
    who = customers or ("17850",) * len(ids)
    rows = [
        (*line(CustomerID=customer, InvoiceNo=str(n)), key)
        for n, (customer, key) in enumerate(zip(who, ids, strict=True))
    ]
    header = [*text([]).strip().split(","), "id"]
    return read_history([write(folder / "a.csv", text(rows, header=header))], CsvOptions(columns={"event_id": "id"}))


def test_a_mapped_id_column_is_the_event_id(tmp_path: Path) -> None:
    history = with_ids(tmp_path, "a", "", "b")
    assert history.has_ids
    assert history.event_ids() == ["a", "", "b"]
    assert history.lines().event_id.tolist() == [hash64("a"), 0, hash64("b")]


def test_a_mapped_id_counts_once_a_customer(tmp_path: Path) -> None:
    history = with_ids(tmp_path, "a", "a", "a", "", "", customers=("1", "1", "2", "1", "1"))
    assert history.row.tolist() == [2, 4, 5, 6]
    assert history.funnel.count("repeated event") == 1


def test_a_mapped_id_that_is_too_long_is_unreadable(tmp_path: Path) -> None:
    assert with_ids(tmp_path, "x" * 513, "y" * 512).row.tolist() == [3]


def test_lines_that_two_files_share_count_once_and_repeats_within_a_file_stay(tmp_path: Path) -> None:
    first, shared, later = line(InvoiceDate="2010-11-30"), line(), line(InvoiceDate="2010-12-30")
    one = write(tmp_path / "one.csv", text([first, shared, shared]))
    two = write(tmp_path / "two.csv", text([shared, shared, shared, later]))
    history = read_history([one, two])
    assert list(zip(history.file.tolist(), history.row.tolist(), strict=True)) == [
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 4),
        (1, 5),
    ]
    assert history.funnel.count("repeated event") == 2
    assert len(set(history.event_ids())) == len(history)


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text([GOOD]))
    with pytest.raises(CsvError, match="given twice"):
        read_history([path, tmp_path / ".." / tmp_path.name / "a.csv"])


CDNOW = [
    ("1", "19970101", "29.33"),
    ("4", "19970118", "29.73"),
    ("4", "19970118", "14.96"),
    ("4", "19970802", "-14.96"),
]


def test_one_row_an_order_with_an_amount_needs_no_stock_code_or_quantity(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text(CDNOW, header=["id", "date", "dollars"], separator=";").replace(".", ","))
    mapping = {"customer_id": "id", "invoice_date": "date", "amount": "dollars"}
    history = read_history([path], CsvOptions(columns=mapping, decimal=",", date_format="%Y%m%d"))
    assert history.amount.tolist() == [293_300, 297_300, 149_600, -149_600]
    assert history.units.tolist() == [1, 1, 1, -1]
    assert (history.price * history.quantity).tolist() == history.amount.tolist()
    assert len(set(history.order.tolist())) == 4
    assert len(set(history.event_ids())) == 4
    assert fold_history(history)[1].net.sum() == 590_600


def test_an_amount_of_zero_goes_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text([("1", "2011-01-01", "0.00")], header=["id", "date", "sum"]))
    mapping = {"customer_id": "id", "invoice_date": "date", "amount": "sum"}
    assert read_history([path], CsvOptions(columns=mapping)).funnel.count("price not above zero") == 1


def test_a_directory_means_its_real_files_before_the_sample(tmp_path: Path) -> None:
    sample = write(tmp_path / "sample.csv.gz", text([GOOD]))
    write(tmp_path / "README.md", "no data")
    assert find(tmp_path).paths == (sample,)
    assert "generated sample" in find(tmp_path).sentence
    real = write(tmp_path / "OnlineRetail.csv.gz", text([GOOD]))
    assert find(tmp_path).paths == (real,)
    assert "the sample stays aside" in find(tmp_path).sentence
    assert read_history([tmp_path]).files == (str(real),)


def test_a_path_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match="no file to read in it"):
        find(tmp_path)
    with pytest.raises(CsvError, match="no such file or directory"):
        read_history([tmp_path / "absent.csv"])


def test_folding_leaves_out_customers_without_a_line(tmp_path: Path) -> None:
    rows = [line(CustomerID="2"), line(CustomerID="1", InvoiceDate="2011-06-02"), line(CustomerID="3")]
    before, _ = read(tmp_path, *rows).split(JUNE)
    customers, ledger = fold_history(before)
    assert customers == ("2", "3")
    assert ledger.owner.tolist() == [0, 1]


def test_folding_is_what_pandas_groups(history: History) -> None:
    customers, ledger = fold_history(history)
    frame = pd.DataFrame(
        {
            "customer": history.customer_ids(),
            "order": history.order,
            "day": history.day,
            "net": history.amount,
            "units": history.units,
        }
    )
    grouped = frame.groupby(["customer", "order", "day"]).agg(
        net=("net", "sum"), units=("units", "sum"), lines=("net", "size")
    )
    expected = grouped.sort_index().reset_index()
    assert [customers[i] for i in ledger.owner] == expected["customer"].tolist()
    for column in ("order", "day", "net", "units", "lines"):
        assert getattr(ledger, column).tolist() == expected[column].tolist()


def test_lines_without_ids_differ_in_the_ids_alone(history: History) -> None:
    part = history.take(slice(0, 1_000))
    assert not part.lines(with_ids=False).event_id.any()
    assert from_lines(part.lines(with_ids=False)).net.tolist() == from_lines(part.lines()).net.tolist()


def test_the_texts_of_a_line_are_those_of_the_file(tmp_path: Path) -> None:
    history = read(tmp_path, line(StockCode=" 85123A ", Description=" X ", Country="EIRE"), line(CustomerID=""), line())
    last = history.take(np.array([1]))
    assert (history.stock_code.tolist()[0], history.description.tolist()[0], history.country.tolist()[0]) == (
        "85123A",
        "X",
        "EIRE",
    )
    assert (last.row.tolist(), last.invoice_no.tolist()) == ([4], ["536365"])
