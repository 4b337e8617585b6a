"""The board of this process. Streamlit runs its script by path and hands it nothing, so it is left here for it."""

from __future__ import annotations

from consumer.dashboard.board import Board

_boards: list[Board] = []


def hold(board: Board) -> None:
    """Leave the board that this process serves."""
    _boards[:] = [board]


def held() -> Board:
    """Return it. Raises `RuntimeError` outside of `segmenter dashboard`."""
    if not _boards:
        raise RuntimeError("start it by `segmenter dashboard`")
    return _boards[0]
