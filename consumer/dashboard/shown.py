"""What pages put on the screen: HTML of `pieces`, figures of `plots`, and choices that stand in the address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import plotly.graph_objects as go
import streamlit as st

from consumer.dashboard.board import Board, Reading
from consumer.dashboard.pieces import Html, Notice, notice, said, text
from consumer.dashboard.plots import inked
from consumer.dashboard.standing import clock, nothing, notices, old
from consumer.serving.standing import Standing

T = TypeVar("T")

EVERY_S = 2.0
"""Pages renew themselves so often; the feed of moves twice as often."""


def put(*parts: Html) -> None:
    """Put HTML on the page."""
    if parts:
        st.html("".join(parts))


def tell(*shown: Notice) -> None:
    """Put notices on the page."""
    put(*map(notice, shown))


def plot(title: str, sentence: str, figure: go.Figure, key: str) -> None:
    """Put a figure on the page, under its title and what it says. key: of this figure on the page."""
    st.subheader(title, anchor=False)
    put(said(sentence))
    theme = getattr(st.context.theme, "type", None) or "light"
    shown = inked(figure, theme)
    st.plotly_chart(
        shown, theme=None, key=key, alt=f"{title}. {sentence}", config={"displayModeBar": False, "scrollZoom": False}
    )


def choice(label: str, name: str, options: Mapping[str, str]) -> str:
    """Return what a visitor chose among values with labels; the first one stands where nothing is in the address."""
    values = list(options)
    asked = st.query_params.get(name, values[0])
    index = values.index(asked) if asked in values else 0
    found = st.selectbox(label, values, index=index, format_func=lambda value: options[value], key=name)
    in_address(name, "" if found == values[0] else found)
    return found


def in_address(name: str, value: str) -> None:
    """Keep a choice in the address, so that it can be sent to somebody; "" takes it out."""
    if value:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def standing(board: Board) -> Standing | None:
    """Return how the service stands, after saying what hinders; None where nothing is known."""
    reading = board.standing()
    tell(*notices(reading, board.place))
    return reading.value


def known(reading: Reading[T]) -> T | None:
    """Return what was read, after saying what hinders; None where nothing is known."""
    if reading.value is None:
        tell(nothing(reading.trouble))
    elif reading.trouble is not None:
        tell(old(reading.read_at, reading.trouble))
    return reading.value


def read_at(*readings: Reading[Any]) -> None:
    """Say of when the oldest of some readings is."""
    moments = [each.read_at for each in readings if each.value is not None]
    if moments:
        put(said(f"Read at {clock(min(moments))}; this page renews itself."))


def customer_link(board: Board, customer: str) -> Html:
    """Return an id that leads to its page. A new page asks for the token anew: where there are tokens it is text."""
    if board.tokens is not None:
        return text(customer)
    return Html(f'<a href="customer?id={quote(customer, safe="")}" target="_self">{text(customer)}</a>')
