"""Figures in sentences: counts, shares, money and days as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

SIGNS = {"GBP": "£", "EUR": "€", "USD": "$", "JPY": "¥"}


def count(n: int, one: str, many: str | None = None) -> str:
    """Return ``1 customer``, ``4,338 customers``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: float, digits: int = 1) -> str:
    """Return a share in 0 .. 1 as per cent: ``24.9 %``; one that is not known as ``unknown``."""
    return "unknown" if math.isnan(part) else f"{part * 100:.{digits}f} %"


def money(amount: float, currency: str, digits: int = 0) -> str:
    """Return an amount with its currency: ``£8,911,408``, ``CHF 12``, or the number alone where none is known."""
    sign = SIGNS.get(currency, f"{currency} " if currency else "")
    return f"{'-' if amount < 0 else ''}{sign}{abs(amount):,.{digits}f}"


def unit(currency: str) -> str:
    """Return what an axis of amounts has for a unit."""
    return currency or "currency units"


def day(value: date) -> str:
    """Return ``9 December 2011``."""
    return f"{value.day} {value:%B %Y}"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``; nothing for nothing."""
    if not words:
        return ""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
