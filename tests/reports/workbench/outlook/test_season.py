"""The season's days in a window, counted by hand."""

from __future__ import annotations

from datetime import date

import pytest

from reports.workbench.outlook.season import season_days, seasonal


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2011-06-13", "2011-09-11", 0),
        ("2011-09-11", "2011-12-10", 39),  # 30 of November, 9 of December
        ("2011-10-31", "2011-11-02", 1),
        ("2011-12-24", "2011-12-26", 1),
        ("2010-01-01", "2012-01-01", 108),  # 54 a year
        ("2011-11-05", "2011-11-05", 0),
    ],
)
def test_a_window_holds_the_days_from_november_to_christmas_eve(start: str, end: str, days: int) -> None:
    assert season_days(day(start), day(end)) == days


def test_the_words_say_how_many_of_how_many() -> None:
    assert seasonal(day("2011-09-11"), day("2011-12-10")).startswith("39 of 90 days are in")
    assert seasonal(day("2011-12-24"), day("2011-12-26")).startswith("1 of 2 days is in")
    assert seasonal(day("2011-06-13"), day("2011-09-11")).startswith("none of 90 days is in")
