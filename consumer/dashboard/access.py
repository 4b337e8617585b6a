"""Who is let in, and what he may do: the tokens of the API (consumer.serving.tokens).

    no file of tokens    this machine alone; everything is shown, nothing can be changed
    a file               a token with the role `read` for anything at all, and with `promote` for a promotion

A token stays in the session of one open page: it is in no cookie and in no address, and a reload asks again.
"""

from __future__ import annotations

import streamlit as st

from consumer.dashboard.board import Board
from consumer.dashboard.pieces import Notice, said
from consumer.dashboard.shown import put, tell
from consumer.serving.tokens import SETTING, Tokens

ROLES = "roles"
NONE: frozenset[str] = frozenset()


def roles_of(tokens: Tokens | None, token: str) -> frozenset[str]:
    """Return what a token is good for; without a file everybody may read."""
    if tokens is None:
        return frozenset({"read"})
    grant = tokens.grant_of(token.strip())
    return NONE if grant is None or "read" not in grant.roles else grant.roles


def roles(board: Board) -> frozenset[str]:
    """Return what the visitor may do."""
    if board.tokens is None:
        return roles_of(None, "")
    found = st.session_state.get(ROLES, NONE)
    return found if isinstance(found, frozenset) else NONE


def let_in(board: Board) -> bool:
    """Say whether the visitor may see anything; ask for his token where he may not yet."""
    if roles(board):
        return True
    st.set_page_config(page_title="Segmenter")
    st.title("Segmenter", anchor=False)
    put(said("Customers are shown to whom the operator lets in: give a token with the role read."))
    with st.form("sign-in", border=False):
        token = st.text_input("Token", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Enter", type="primary")
    if asked:
        found = roles_of(board.tokens, token)
        if found:
            st.session_state[ROLES] = found
            st.rerun()
        tell(Notice("warning", "This token is not known, or has not the role read.", f"{SETTING} names those who may."))
    return False
