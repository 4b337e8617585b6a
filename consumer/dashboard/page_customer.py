"""A customer: where he is and why, what he has been, and what would move him."""

from __future__ import annotations

import streamlit as st

from consumer.commands.explain import Explanation
from consumer.commands.lookup import silence_in_words
from consumer.dashboard.board import Board, Person
from consumer.dashboard.pieces import Html, Notice, Tile, said, table, tiles
from consumer.dashboard.plots import contributions
from consumer.dashboard.shown import EVERY_S, in_address, plot, put, read_at, standing, tell
from features.identity import MAX_ID_BYTES
from reports.workbench.phrases import count

UNITS = {
    "recency": "days since the last order",
    "tenure": "days since the first order",
    "frequency": "orders in the horizon",
    "monetary": "net in the horizon",
    "basket_value": "net of an order, the mean",
    "basket_items": "units of an order, the mean",
    "mean_gap": "days between orders, the mean",
    "return_rate": "share of what was bought that came back",
}


def show(board: Board) -> None:
    """Show the page."""
    st.title("Customer", anchor=False)
    asked = st.text_input(
        "Customer id",
        value=st.query_params.get("id", ""),
        max_chars=MAX_ID_BYTES,
        key="id",
        placeholder="such as 12748",
    )
    customer = (asked or "").strip()
    in_address("id", customer)
    if not customer:
        put(said("Write an id as it stands in the events; the feed of moves and the segments' pages name some."))
        return
    _live(board, customer)


@st.fragment(run_every=EVERY_S)
def _live(board: Board, customer: str) -> None:
    standing(board)
    found = board.person(customer)
    if found.trouble is not None:
        tell(Notice("warning", f"He cannot be looked up now: {found.trouble}.", "It is tried again by itself."))
        return
    if found.value is None:
        tell(Notice("note", f"Nobody is known as {customer}.", "No order of his was applied, or he was erased."))
        return
    person = found.value
    put(tiles(figures(person)), said(next_in_words(person.explanation)))
    if person.explanation.contributions and person.explanation.second is not None:
        plot("Why there", why(person.explanation), contributions(person.explanation), "contributions")
    st.subheader("Features", anchor=False)
    put(features(person))
    st.subheader("Moves", anchor=False)
    put(moves(person))
    read_at(found)


def figures(person: Person) -> list[Tile]:
    """Return who he is, in figures."""
    customer = person.customer
    before = f"before that {customer.previous.name}" if customer.previous else "his first segment"
    margin = customer.margin
    return [
        Tile("Customer", customer.customer_id, f"{count(customer.records, 'order')} kept"),
        Tile("Segment", customer.segment.name if customer.segment else "none yet", before),
        Tile("There since", customer.entered_on or "–", f"revision {customer.revision:,}"),
        Tile("Margin", "–" if margin is None else f"{margin:.2f}", "1 on a centroid, 0 halfway to the next"),
        Tile("As of", customer.as_of, f"model version {customer.model_version:,}"),
    ]


def next_in_words(found: Explanation) -> str:
    """Return what moves him next, as a sentence."""
    return f"What would move him: {found.in_words or silence_in_words(found.next_move)}."


def why(found: Explanation) -> str:
    """Return what the plot of contributions says."""
    first = max(found.contributions, key=lambda each: abs(each.contribution))
    best, second = (each.name if each else "" for each in (found.best, found.second))
    side = best if first.contribution >= 0 else second
    held = f" He is held in {found.segment.name} by the margin rule." if found.held and found.segment else ""
    return f"Between {best} (to the right) and {second} (to the left) {first.feature} decides most, for {side}.{held}"


def features(person: Person) -> Html:
    """Return every feature with its value."""
    rows = [
        (name, UNITS.get(name, _window(name)), "–" if value is None else f"{value:,.2f}".removesuffix(".00"))
        for name, value in person.customer.features.items()
    ]
    return table(f"As of {person.customer.as_of}", ["feature", "what it is", "value>"], rows)


def moves(person: Person) -> Html:
    """Return what he has been, the newest first."""
    history = person.history
    if history is None:
        return said("The state is of a version that kept nothing of the past: `segmenter upgrade`.")
    if not history.moves:
        return said("He has not moved yet.")
    rows = [
        (move.day, move.source.name if move.source else "(new)", move.target.name, move.cause, f"{move.revision:,}")
        for move in reversed(history.moves)
    ]
    earlier = "" if history.complete else "; earlier ones are not kept"
    return table(f"{count(len(rows), 'move')}{earlier}", ["day", "from", "to", "cause", "revision>"], rows)


def _window(name: str) -> str:
    base, _, days = name.rpartition("_")
    return f"{UNITS[base].removesuffix(' in the horizon')} in {days} days" if base in UNITS and days.isdigit() else ""
