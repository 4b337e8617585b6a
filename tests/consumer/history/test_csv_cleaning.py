from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_source import History, read_history
from features.identity import hash64
from tests.consumer.history.csv_files import GOOD, HEADER, line, read, text, write

MONEY = 10_000


def only_reason(history: History) -> str:
    (unreadable,) = history.funnel.unreadable
    return unreadable.reason


@pytest.mark.parametrize("customer", ["", " ", "nan", "NaN", "NULL", "None", "<NA>"])
def test_a_guest_goes_out_and_is_counted(tmp_path: Path, customer: str) -> None:
    history = read(tmp_path, line(CustomerID=customer), line())
    assert history.funnel.count("guest (no customer)") == 1
    assert len(history) == 1


def test_a_return_is_kept_and_netted(tmp_path: Path) -> None:
    history = read(tmp_path, line(), line(Quantity="-2"))
    assert history.funnel.count("return") == 1
    assert history.amount.tolist() == [6 * 25500, -2 * 25500]
    assert history.units.tolist() == [6, -2]


@pytest.mark.parametrize("invoice", ["C536379", "c536379"])
@pytest.mark.parametrize("quantity", ["3", "-3"])
def test_a_cancelled_invoice_is_a_return_whatever_the_sign_of_its_quantity(
    tmp_path: Path, invoice: str, quantity: str
) -> None:
    history = read(tmp_path, line(InvoiceNo=invoice, Quantity=quantity))
    assert history.amount.tolist() == [-3 * 25500]
    assert history.units.tolist() == [-3]


def test_a_return_is_a_line_of_the_order_that_it_names(tmp_path: Path) -> None:
    back = line(InvoiceNo="C536379", Quantity="-2")
    rows = [(*GOOD, "1"), (*back, "536365.0"), (*line(InvoiceNo="7", Quantity="-1"), "nan"), (*back, "")]
    path = write(tmp_path / "a.csv", text(rows, (*HEADER, "takes back")))
    history = read_history([path], CsvOptions(columns={"original_invoice_no": "takes back"}))
    assert history.order.tolist() == [hash64(number) for number in ("536365", "536365", "7", "C536379")]
    assert history.invoice_no.tolist() == ["536365", "C536379", "7", "C536379"]
    assert history.original_invoice_no.tolist() == ["", "536365", "", ""]
    assert (history.funnel.count("return"), history.funnel.count("return that names its order")) == (3, 1)


def test_a_return_that_names_a_number_too_long_is_unreadable_and_a_sold_line_is_not(tmp_path: Path) -> None:
    rows = [(*GOOD, "x" * 257), (*line(Quantity="-1"), "x" * 256), (*line(Quantity="-1"), "x" * 257)]
    history = read_history([write(tmp_path / "a.csv", text(rows, (*HEADER, "OriginalInvoiceNo")))])
    assert history.row.tolist() == [2, 3]
    assert only_reason(history) == "the number of the order that a return names is longer than 256 bytes"


def test_a_return_that_names_another_order_is_no_exact_repeat(tmp_path: Path) -> None:
    rows = [(*line(Quantity="-1"), number) for number in ("1", "2", "1")]
    history = read_history([write(tmp_path / "a.csv", text(rows, (*HEADER, "original_invoice_no")))])
    assert history.funnel.count("exact repeat") == 1


@pytest.mark.parametrize("price", ["0", "0.00", "-1.5"])
def test_a_price_not_above_zero_goes_out(tmp_path: Path, price: str) -> None:
    history = read(tmp_path, line(UnitPrice=price))
    assert len(history) == 0
    assert history.funnel.count("price not above zero") == 1


def test_a_zero_quantity_goes_out(tmp_path: Path) -> None:
    assert read(tmp_path, line(Quantity="0")).funnel.count("zero quantity") == 1


def test_exact_repeats_are_kept_and_counted_by_default(tmp_path: Path) -> None:
    history = read(tmp_path, line(), line(), line(Description="another"))
    assert len(history) == 3
    assert history.funnel.count("exact repeat") == 1


def test_exact_repeats_go_out_when_asked(tmp_path: Path) -> None:
    history = read(tmp_path, line(), line(), line(Description="another"), options=CsvOptions(repeats="drop"))
    assert history.row.tolist() == [2, 4]
    assert history.funnel.count("exact repeat") == 1


@pytest.mark.parametrize(
    "code", ["POST", "D", "m", "BANK CHARGES", "AMAZONFEE", "gift_0001_20", "DOT", "C2", "TEST001"]
)
@pytest.mark.parametrize("option", ["keep", "drop"])
def test_non_product_codes_are_counted_and_go_out_when_asked(tmp_path: Path, code: str, option: str) -> None:
    options = CsvOptions(non_products=option)  # type: ignore[arg-type]  # a parameter of the test
    history = read(tmp_path, line(StockCode=code), line(), options=options)
    assert history.funnel.count("non-product code") == 1
    assert len(history) == (2 if option == "keep" else 1)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"InvoiceDate": "not a date"}, "the date cannot be read"),
        ({"InvoiceDate": "1969-12-31 23:59:59"}, "the date is before 1970 or in the future"),
        ({"InvoiceDate": "2200-01-01"}, "the date is before 1970 or in the future"),
        ({"Quantity": "many"}, "the quantity cannot be read"),
        ({"Quantity": "1.5"}, "the quantity cannot be read"),
        ({"UnitPrice": "free"}, "the price cannot be read"),
        ({"UnitPrice": "inf"}, "the price cannot be read"),
        ({"UnitPrice": "2.555555555555"}, "the price has more than 4 decimals"),
        ({"UnitPrice": "10000000.01"}, "the price is above 10,000,000"),
        ({"UnitPrice": "10000000", "Quantity": "101"}, "the amount is above 1,000,000,000"),
        ({"UnitPrice": "10000000", "Quantity": "-1000000000"}, "the amount is above 1,000,000,000"),
        ({"InvoiceNo": " "}, "the invoice number is missing or longer than 256 bytes"),
        ({"InvoiceNo": "9" * 257}, "the invoice number is missing or longer than 256 bytes"),
        ({"CustomerID": "ö" * 257}, "the customer id is longer than 512 bytes"),
    ],
)
def test_an_unreadable_row_is_refused_with_its_number_and_reason(
    tmp_path: Path, cells: dict[str, str], reason: str
) -> None:
    history = read(tmp_path, line(), line(**cells), line())
    assert only_reason(history) == reason
    assert history.funnel.unreadable[0].row == 3
    assert history.funnel.count("unreadable") == 1
    assert history.row.tolist() == [2, 4]


def test_a_row_from_the_future_does_not_move_history(tmp_path: Path) -> None:
    latest = int(np.datetime64("2011-12-10", "s").astype(int))
    rows = [line(InvoiceDate="2011-12-10"), line(InvoiceDate="2099-12-10")]
    history = read(tmp_path, *rows, options=CsvOptions(latest=latest))
    assert history.row.tolist() == [2]
    assert only_reason(history) == "the date is before 1970 or in the future"


@pytest.mark.parametrize(
    ("price", "quantity"), [("10000000", "100"), ("0.0001", "1000000000"), ("10000000", "-100"), ("0.0001", "1")]
)
def test_the_largest_and_the_smallest_numbers_are_exact(tmp_path: Path, price: str, quantity: str) -> None:
    history = read(tmp_path, line(UnitPrice=price, Quantity=quantity))
    assert history.amount.tolist() == [int(Decimal(price) * int(quantity) * MONEY)]


def test_a_bad_row_does_not_disturb_its_neighbours(tmp_path: Path) -> None:
    alone = read(tmp_path, line(), line(InvoiceNo="536366"))
    among = read(tmp_path, line(), line(UnitPrice="1e300", Quantity="9223372036854775808"), line(InvoiceNo="536366"))
    assert among.event_ids() == alone.event_ids()
    assert among.amount.tolist() == alone.amount.tolist()


CURRENCIES = (*HEADER, "Currency")


def with_currencies(folder: Path, *currencies: str, home: str | None) -> History:
    rows = [(*line(InvoiceNo=str(n)), currency) for n, currency in enumerate(currencies)]
    return read_history([write(folder / "a.csv", text(rows, header=CURRENCIES))], CsvOptions(currency=home))


def test_a_foreign_currency_goes_out(tmp_path: Path) -> None:
    history = with_currencies(tmp_path, "GBP", "EUR", "gbp ", "", home="GBP")
    assert history.invoice_no.tolist() == ["0", "2", "3"]
    assert history.funnel.count("foreign currency") == 1


def test_one_currency_throughout_needs_no_option(tmp_path: Path) -> None:
    assert len(with_currencies(tmp_path, "EUR", "EUR", home=None)) == 2


def test_several_currencies_without_an_option_are_never_added_up(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match=r"several currencies \(EUR, GBP\).*pass --currency"):
        with_currencies(tmp_path, "GBP", "EUR", home=None)


def test_a_file_in_another_currency_altogether_is_refused_line_by_line(tmp_path: Path) -> None:
    history = with_currencies(tmp_path, "EUR", "EUR", home="GBP")
    assert len(history) == 0
    assert history.funnel.count("foreign currency") == 2


def test_the_lines_out_and_the_lines_kept_add_up(tmp_path: Path) -> None:
    rows: Sequence[Sequence[str]] = [
        line(),
        line(),
        line(CustomerID="", UnitPrice="0"),  # a guest first, then a price
        line(InvoiceDate="?", CustomerID=""),  # unreadable first
        line(Quantity="0"),
        line(UnitPrice="0"),
        line(StockCode="POST"),
        line(InvoiceNo="C1", Quantity="-1"),
        ("short",),
    ]
    for options in (CsvOptions(), CsvOptions(repeats="drop", non_products="drop")):
        funnel = read(tmp_path, *rows, options=options).funnel
        out = [rule.lines for rule in funnel.rules if rule.effect == "out"]
        assert funnel.lines == len(rows) == sum(out) + funnel.ledger.lines
        assert [funnel.count(n) for n in ("unreadable", "guest (no customer)", "zero quantity")] == [2, 1, 1]


def test_the_printed_rows_tell_the_whole_story(tmp_path: Path) -> None:
    rows = read(tmp_path, line(), line(CustomerID=""), line(InvoiceNo="C1", Quantity="-2")).funnel.rows()
    assert [(r.kind, r.name, r.lines, r.customers, r.value) for r in rows if r.lines] == [
        ("read", "lines read", 3, None, None),
        ("out", "guest (no customer)", 1, None, 15.3),
        ("view", "ledger: returns netted", 2, 1, 10.2),
        ("kept", "return", 1, None, -5.1),
        ("view", "textbook: with a customer", 2, 1, 10.2),
        ("view", "textbook: not cancelled", 1, 1, 15.3),
        ("view", "textbook: quantity and price positive", 1, 1, 15.3),
        ("view", "textbook: without exact repeats", 1, 1, 15.3),
    ]


def test_unreadable_rows_are_told_in_a_line_and_the_rest_counted(tmp_path: Path) -> None:
    told = read(tmp_path, *[line(Quantity="x")] * 5).funnel.unreadable_text(most=2)
    path = (tmp_path / "export.csv").resolve()
    reason = "the quantity cannot be read"
    assert told == f"{path} row 2: {reason}; {path} row 3: {reason}; and 3 more"


@pytest.fixture(scope="module")
def dataset(real_dataset: Path | None) -> Path:
    """UCI's file where it is at hand, else the sample."""
    return real_dataset or Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"


@pytest.fixture(scope="module")
def funnel(dataset: Path) -> Funnel:
    return read_history([dataset]).funnel


@pytest.fixture(scope="module")
def by_pandas(dataset: Path) -> pd.DataFrame:
    """The readable lines with a customer, read and typed by pandas."""
    frame = pd.read_csv(dataset, dtype=str, keep_default_na=False)
    frame["price"] = pd.to_numeric(frame["UnitPrice"], errors="coerce")
    frame["quantity"] = pd.to_numeric(frame["Quantity"], errors="coerce")
    at = pd.to_datetime(frame["InvoiceDate"], format="%m/%d/%Y %H:%M", errors="coerce")
    ticks = frame["price"] * MONEY
    bounded = (frame["price"].abs() <= 1e7) & (frame["quantity"].abs() <= 1e9)
    readable = at.notna() & (frame["quantity"] % 1 == 0) & ((ticks - ticks.round()).abs() < 1e-4) & bounded
    frame["net"] = frame["price"] * frame["quantity"]
    return frame[readable & (frame["CustomerID"] != "")]


def view(frame: pd.DataFrame) -> tuple[int, int, float]:
    return len(frame), frame["CustomerID"].nunique(), round(float(frame["net"].sum()), 3)


def test_the_two_views_are_what_pandas_counts(funnel: Funnel, by_pandas: pd.DataFrame) -> None:
    cancelled = by_pandas["InvoiceNo"].str.startswith("C")
    positive = (by_pandas["quantity"] > 0) & (by_pandas["price"] > 0)
    sold = by_pandas[~cancelled & positive]
    expected = [
        view(by_pandas[(by_pandas["price"] > 0) & (by_pandas["quantity"] != 0)]),
        view(by_pandas),
        view(by_pandas[~cancelled]),
        view(sold),
        view(sold[~sold.duplicated(list(HEADER))]),
    ]
    views = (funnel.ledger, *funnel.textbook)
    assert [(v.lines, v.customers, v.value / MONEY) for v in views] == expected


def test_the_two_figures_that_people_compare(funnel: Funnel, real_dataset: Path | None) -> None:
    if real_dataset is None:
        assert funnel.ledger.lines > funnel.textbook[2].lines  # returns stay in the ledger's view
        return
    positive = funnel.textbook[2]
    assert (positive.lines, positive.customers, round(positive.value / MONEY, 2)) == (397_884, 4_338, 8_911_407.90)
    assert (funnel.ledger.lines, funnel.ledger.customers, funnel.ledger.value) == (406_789, 4_371, 83_000_658_140)
    assert [funnel.count(name) for name in ("guest (no customer)", "return")] == [135_080, 8_905]
    assert (funnel.textbook[3].lines, round(funnel.textbook[3].value / MONEY, 2)) == (392_692, 8_887_208.89)


def test_every_line_of_the_dataset_is_accounted_for(funnel: Funnel, dataset: Path) -> None:
    rows = len(pd.read_csv(dataset, dtype=str, usecols=["InvoiceNo"], keep_default_na=False))
    out = sum(rule.lines for rule in funnel.rules if rule.effect == "out")
    assert funnel.lines == rows == out + funnel.ledger.lines
    assert np.all([rule.lines >= 0 for rule in funnel.rules])
