"""Tables and texts that no spreadsheet runs (FAULTS S6).

A spreadsheet takes a cell that begins with = + - @, a tab or a line end for a formula, quoted or not. Such a text gets
an apostrophe in front, as OWASP's page on CSV injection has it; so does one that begins with an apostrophe itself: who
takes one off each text that begins with one has the very texts back. Numbers, also negative ones, and dates are as
they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever only escapes a text does not wait for it
    import pandas as pd

RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""First characters that are escaped; the four in numbers are = + - @ of full width."""


def escaped(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(RISKY) else text


def csv_of(data: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8, no text of which a spreadsheet takes for a formula."""
    safe = data.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "biufmM":
            safe[column] = [escaped(value) if isinstance(value, str) else value for value in safe[column]]
    text: str = safe.to_csv(index=False, float_format="%.10g")
    return text.encode()
