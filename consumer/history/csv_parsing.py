"""Texts to numbers and times, once a distinct text.

Dates: ISO 8601 is always read. A slashed date has two readings; the file must prove one of them (a day
above 12), otherwise it is an error that says what to pass: never a guess, and never both ways in one file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from consumer.history.csv_columns import CsvError, CsvOptions
from features.ledger import MONEY, Ints

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

UNREADABLE = np.iinfo(np.int64).min
"""Stands for a number or time that could not be read."""

MAX_QUANTITY = 1_000_000_000
MAX_PRICE = 10_000_000 * MONEY
MAX_AMOUNT = 10**13
"""The bounds of the stream's schema too; amounts and prices in 1/10,000."""

EARLIEST, LATEST = 0, 7_258_118_400
"""1970-01-01 and 2200-01-01, local seconds; a time outside is a unit mistaken for another."""

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?( ?(?:[Zz]|[+-]\d\d:?\d\d))?", re.ASCII)
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: (\d{1,2}):(\d\d)(?::(\d\d))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """Distinct money texts: value in 1/10,000 (UNREADABLE if not), and which are numbers but too fine."""

    value: Ints
    too_fine: Flags


def numbers(texts: Sequence[str], decimal: str) -> Floats:
    """Return each text as a float, NaN where it is not a plain number.

    With a decimal comma a dot may only group thousands (``1.234,50``); with a decimal point there is no
    grouping, since ``1,234`` would be a guess.
    """
    pattern = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+"
    if decimal == ",":
        pattern = r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d*)?"
    plain = re.compile(pattern, re.ASCII).fullmatch
    stripped = [text.strip() for text in texts]
    readable = [text if plain(text) else "nan" for text in stripped]
    if decimal == ",":
        readable = [text.replace(".", "").replace(",", ".") for text in readable]
    values = np.asarray([float(text) for text in readable], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def money(texts: Sequence[str], decimal: str) -> Money:
    """Read prices or amounts: a multiple of 1/10,000 within 4 ulp of its double, otherwise too fine."""
    values = numbers(texts, decimal)
    readable = np.abs(values) < 1e15
    safe = np.where(readable, values, 0.0)
    units = np.rint(safe * MONEY)
    exact = np.abs(safe - units / MONEY) <= 4 * np.spacing(np.abs(safe))
    return Money(np.where(readable & exact, units, UNREADABLE).astype(np.int64), readable & ~exact)


def quantities(texts: Sequence[str], decimal: str) -> Ints:
    """Read whole numbers, also written ``6.0``; UNREADABLE where it is none or above a billion."""
    values = numbers(texts, decimal)
    whole = (np.abs(values) <= MAX_QUANTITY) & (values == np.rint(values))
    return np.where(whole, np.nan_to_num(values), UNREADABLE).astype(np.int64)


def times(texts: Sequence[str], options: CsvOptions) -> Ints:
    """Read times as seconds since 1970-01-01T00:00 of the shop's wall clock; UNREADABLE where it is none.

    A time with an offset is brought to the options' zone; one without is the zone's already.
    """
    stripped = [text.strip() for text in texts]
    if options.date_format is None:
        read = _iso(_unslashed(stripped, options.day_first), options.zone)
    else:
        read = _by_format(stripped, options.date_format, options.zone)
    if not options.part and len(read) and (read == UNREADABLE).all() and any(stripped):
        example = next(text for text in stripped if text)
        raise CsvError(
            f"no date could be read, for example {example[:40]!r}; pass --date-format with strptime's codes, "
            "for example '%d.%m.%Y %H:%M'"
        )
    return read


def possible(seconds: Ints, latest: int | None) -> Flags:
    """Return which readable times a sale can have: from 1970 up to `latest` (local seconds), or up to 2200."""
    return (seconds >= EARLIEST) & (seconds < (LATEST if latest is None else latest + 1))


def slashed(texts: Iterable[str]) -> dict[tuple[int, int], str]:
    """Return the first two numbers of the slashed dates, each pair with an example."""
    found = (_SLASHED.fullmatch(text.strip()) for text in texts)
    return {(int(match[1]), int(match[2])): match[0] for match in found if match}


def day_comes_first(pairs: Mapping[tuple[int, int], str]) -> bool | None:
    """Return whether the day comes first in slashed dates, None where there are none; CsvError as for one table."""
    return _day_comes_first(list(pairs), next(iter(pairs.values()))) if pairs else None


def _unslashed(texts: Sequence[str], proved: bool | None) -> list[str]:
    """Rewrite slashed dates as ISO, in the one order of day and month that was proved or the texts allow."""
    found = [_SLASHED.fullmatch(text) for text in texts]
    matches = [match for match in found if match]
    if not matches:
        return list(texts)
    day_first = proved
    if day_first is None:
        day_first = _day_comes_first([(int(match[1]), int(match[2])) for match in matches], matches[0][0])
    day, month = (1, 2) if day_first else (2, 1)
    return [
        f"{m[3]}-{m[month]:0>2}-{m[day]:0>2}T{m[4] or '0':0>2}:{m[5] or '00'}:{m[6] or '00'}" if m else text
        for m, text in zip(found, texts, strict=True)
    ]


def _day_comes_first(pairs: Sequence[tuple[int, int]], example: str) -> bool:
    """Return whether the first number is the day, by the numbers that cannot be a month."""
    first, second = any(12 < a <= 31 for a, _ in pairs), any(12 < b <= 31 for _, b in pairs)
    formats = "--date-format '%m/%d/%Y %H:%M' (month first) or --date-format '%d/%m/%Y %H:%M' (day first)"
    if first and second:
        raise CsvError(f"dates like {example!r} come with the month first and with the day first; pass {formats}")
    if not first and not second:
        raise CsvError(f"dates like {example!r} may begin with the month or with the day; pass {formats}")
    return first


def _iso(texts: Sequence[str], zone: str) -> Ints:
    found = [_ISO.fullmatch(text) for text in texts]
    naive = pd.to_datetime(
        [text if match and not match[1] else "" for match, text in zip(found, texts, strict=True)],
        format="ISO8601",
        errors="coerce",
    )
    seconds = _seconds(naive)
    if aware := [i for i, match in enumerate(found) if match and match[1]]:
        absolute = pd.to_datetime([texts[i] for i in aware], format="ISO8601", errors="coerce", utc=True)
        seconds[aware] = _seconds(absolute.tz_convert(ZoneInfo(zone)).tz_localize(None))
    return seconds


def _by_format(texts: Sequence[str], date_format: str, zone: str) -> Ints:
    try:
        if "%z" not in date_format:
            return _seconds(pd.to_datetime(list(texts), format=date_format, errors="coerce"))
        aware = pd.to_datetime(list(texts), format=date_format, errors="coerce", utc=True)
        return _seconds(aware.tz_convert(ZoneInfo(zone)).tz_localize(None))
    except ValueError as error:
        raise CsvError(f"--date-format {date_format!r}: {error}") from error


def _seconds(index: pd.DatetimeIndex) -> Ints:
    seconds = index.to_numpy().astype("datetime64[s]").astype(np.int64)
    return np.where(index.isna(), UNREADABLE, seconds)
