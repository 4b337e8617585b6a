import re
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_parsing import UNREADABLE, money, numbers, possible, quantities, times


def read(texts: list[str], **options: str | int) -> list[str | None]:
    """The times as ISO text, None where unreadable."""
    seconds = times(texts, CsvOptions(**options)).tolist()  # type: ignore[arg-type]
    return [None if s == UNREADABLE else str(np.datetime64(s, "s")) for s in seconds]


@given(st.decimals(min_value="-9999999", max_value="9999999", places=4))
def test_every_price_of_four_decimals_is_exact(price: Decimal) -> None:
    read = money([format(price, "f")], ".")
    assert read.value.tolist() == [int(price * 10_000)]
    assert not read.too_fine.any()


@given(st.decimals(min_value="0.00001", max_value="100000", places=5).filter(lambda p: p * 10_000 % 1 != 0))
def test_a_price_of_five_decimals_is_refused_not_rounded(price: Decimal) -> None:
    read = money([format(price, "f")], ".")
    assert read.value.tolist() == [UNREADABLE]
    assert read.too_fine.all()


def test_the_noise_of_doubles_is_no_fifth_decimal() -> None:
    assert money([repr(0.1 + 0.2), repr(1.1 * 3)], ".").value.tolist() == [3000, 33000]


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "1_000", "1,234.5", "£2", "0x10", "--1", "1 2", "٣"])
def test_what_is_not_a_plain_number_is_unreadable(text: str) -> None:
    assert np.isnan(numbers([text], ".")).all()


@pytest.mark.parametrize(
    ("text", "value"), [("2.55", 2.55), (" 6 ", 6), ("-.5", -0.5), ("+3", 3), ("7.", 7), ("1e3", 1000), ("6.0", 6)]
)
def test_a_plain_number_is_read(text: str, value: float) -> None:
    assert numbers([text], ".").tolist() == [value]


@pytest.mark.parametrize(("text", "value"), [("2,55", 2.55), ("1.234,50", 1234.5), ("1234,5", 1234.5), ("12", 12)])
def test_a_decimal_comma_is_read_when_said(text: str, value: float) -> None:
    assert numbers([text], ",").tolist() == [value]


@pytest.mark.parametrize("text", ["2.55", "1.23,5", "1,2,3", "12.3456"])
def test_with_a_decimal_comma_a_dot_only_groups_thousands(text: str) -> None:
    assert np.isnan(numbers([text], ",")).all()


@pytest.mark.parametrize(("text", "quantity"), [("6", 6), ("6.0", 6), ("-12", -12), ("0", 0), ("1000000000", 10**9)])
def test_a_whole_quantity_is_read(text: str, quantity: int) -> None:
    assert quantities([text], ".").tolist() == [quantity]


@pytest.mark.parametrize("text", ["1.5", "", "x", "1000000001", "9223372036854775808", "1e30"])
def test_a_quantity_that_is_broken_or_beyond_a_billion_is_unreadable(text: str) -> None:
    assert quantities([text], ".").tolist() == [UNREADABLE]


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 12, 31)))  # noqa: DTZ001  # wall clock
def test_iso_times_are_read_to_the_second(moment: datetime) -> None:
    second = moment.replace(microsecond=0).isoformat()
    assert read([moment.isoformat(), moment.isoformat(sep=" "), second]) == [second] * 3


def test_iso_times_may_lack_seconds_or_the_time_of_day() -> None:
    assert read(["2011-06-01 09:30", "2011-06-01"]) == ["2011-06-01T09:30:00", "2011-06-01T00:00:00"]


def test_a_time_with_an_offset_is_brought_to_the_shops_zone() -> None:
    texts = ["2011-06-01T23:30:00Z", "2011-12-01T23:30:00+00:00", "2011-06-01T10:00:00-05:00", "2011-06-01 10:00"]
    assert read(texts, zone="Europe/London") == [
        "2011-06-02T00:30:00",
        "2011-12-01T23:30:00",
        "2011-06-01T16:00:00",
        "2011-06-01T10:00:00",
    ]


def test_a_slashed_date_is_month_first_where_a_day_above_twelve_proves_it() -> None:
    assert read(["12/1/2010 8:26", "12/13/2010 17:05"]) == ["2010-12-01T08:26:00", "2010-12-13T17:05:00"]


def test_a_slashed_date_is_day_first_where_a_day_above_twelve_proves_it() -> None:
    assert read(["01/12/2010 08:26:30", "13/12/2010"]) == ["2010-12-01T08:26:30", "2010-12-13T00:00:00"]


def test_a_slashed_date_without_proof_is_an_error_that_says_what_to_pass() -> None:
    with pytest.raises(CsvError, match=re.escape("pass --date-format '%m/%d/%Y %H:%M' (month first) or")):
        read(["12/1/2010 8:26", "1/12/2010 8:26"])


def test_dates_are_never_read_both_ways_in_one_file() -> None:
    with pytest.raises(CsvError, match="month first and with the day first"):
        read(["12/13/2010 8:26", "13/12/2010 8:26"])


def test_a_given_format_decides_and_nothing_else_is_tried() -> None:
    assert read(["13.12.2010 08:26", "2010-12-13 08:26"], date_format="%d.%m.%Y %H:%M") == ["2010-12-13T08:26:00", None]


def test_a_given_format_may_have_an_offset() -> None:
    assert read(["13.12.2010 23:26 +0000"], date_format="%d.%m.%Y %H:%M %z", zone="Asia/Tokyo") == [
        "2010-12-14T08:26:00"
    ]


def test_a_senseless_format_is_named() -> None:
    with pytest.raises(CsvError, match="--date-format '%Q'"):
        read(["13.12.2010"], date_format="%Q")


def test_when_no_date_can_be_read_the_error_shows_one() -> None:
    with pytest.raises(CsvError, match=re.escape("for example '13.12.2010 08:26'; pass --date-format")):
        read(["", "13.12.2010 08:26"])


@pytest.mark.parametrize("text", ["not a date", "13/45/2011 10:00", "2011-02-30", "1291191960", "1291191960000", ""])
def test_what_is_no_date_is_unreadable(text: str) -> None:
    assert read([text, "2011-01-01"])[0] is None


def test_a_sale_is_from_1970_on_and_before_2200() -> None:
    texts = ["1969-12-31 23:59:59", "1970-01-01", "2199-12-31 23:59:59", "2200-01-01", "9999-01-01"]
    assert possible(times(texts, CsvOptions()), None).tolist() == [False, True, True, False, False]


def test_a_sale_is_not_after_the_latest() -> None:
    seconds = times(["2011-12-10 12:00:00", "2011-12-10 12:00:01", "not a date"], CsvOptions())
    assert possible(seconds, int(seconds[0])).tolist() == [True, False, False]
