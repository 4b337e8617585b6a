"""The script that Streamlit runs for each visitor: sign-in, navigation, and the page that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from consumer.dashboard import (
    page_customer,
    page_data,
    page_health,
    page_model,
    page_movement,
    page_overview,
    page_segments,
)
from consumer.dashboard.access import let_in
from consumer.dashboard.board import Board
from consumer.dashboard.held import held
from consumer.dashboard.pieces import STYLE, Html, text
from consumer.dashboard.shown import put

PAGES = {
    "overview": ("Overview", page_overview.show),
    "segments": ("Segments", page_segments.show),
    "movement": ("Movement", page_movement.show),
    "customer": ("Customer", page_customer.show),
    "model": ("Model", page_model.show),
    "data": ("Data quality", page_data.show),
    "health": ("Health", page_health.show),
}
"""By the end of the address. The first one is also shown at the address itself."""


def main(board: Board) -> None:
    """Show what a visitor asked for."""
    st.set_page_config(layout="wide")
    st.html(STYLE)
    if not let_in(board):
        return
    pages = [
        st.Page(_page(board, path), title=title, url_path=path, default=path == next(iter(PAGES)))
        for path, (title, _) in PAGES.items()
    ]
    chosen = st.navigation(pages)
    with st.sidebar:
        put(Html(f'<p class="sg-more">Segmenter, namespace {text(board.place.settings.namespace)}</p>'))
    chosen.run()


def _page(board: Board, path: str) -> Callable[[], None]:
    show = PAGES[path][1]

    def page() -> None:
        show(board)

    return page


if __name__ == "__main__":
    main(held())
