"""Texts that no spreadsheet runs (FAULTS S6).

A spreadsheet takes a cell that begins with = + - @, a tab or a line end for a formula, quoted or not. Such a text gets
an apostrophe in front, as OWASP's page on CSV injection has it; so does one that begins with an apostrophe itself: who
takes one off each text that begins with one has the very texts back. Numbers, also negative ones, and dates are as
they are.
"""

from __future__ import annotations

RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""First characters that are escaped; the four in numbers are = + - @ of full width."""


def escaped(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(RISKY) else text
