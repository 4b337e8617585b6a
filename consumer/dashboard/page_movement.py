"""Movement: from where to where, and each move as it is published, with its cause."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from consumer.dashboard.board import Board
from consumer.dashboard.pieces import Html, Notice, named, said, table
from consumer.dashboard.plots import GONE, NEW, colours_of, flows
from consumer.dashboard.shown import EVERY_S, choice, customer_link, plot, put, standing, tell
from consumer.serving.recent import Move
from consumer.serving.standing import Movement, movement
from features.moves import CAUSES
from reports.workbench.action.sankey import GROUND
from reports.workbench.phrases import count, share

FEED, SHOWN = 20, 10
EVERYTHING = "all"
WINDOWS = {"7": "7 days", "1": "1 day", "30": "30 days", "0": "since the last sweep", EVERYTHING: "all days kept"}


def show(board: Board) -> None:
    """Show the page."""
    st.title("Movement", anchor=False)
    segments = board.segments().value
    names = {str(p.id): p.name for p in (segments.segments if segments else ())}
    left, middle, right = st.columns(3)
    with left:
        window = choice("Days", "days", WINDOWS)
    with middle:
        segment = choice("From or to", "segment", {"": "any segment"} | names)
    with right:
        cause = choice("Cause", "cause", {"": "any cause"} | {each: each for each in CAUSES if each})
    _feed(board, segment, cause)
    _flows(board, window, segment, cause)


@st.fragment(run_every=EVERY_S)
def _flows(board: Board, window: str, segment: str, cause: str) -> None:
    found = board.standing().value
    if found is None:
        return
    trend = board.trend().value
    days = trend.days if trend else []
    wanted = len(days) if window == EVERYTHING else int(window)
    moved = chosen(movement(days, found.flows or (), wanted), segment, cause)
    if not moved.moves:
        st.subheader("Flows of customers", anchor=False)
        put(said(f"Nobody moved {span(moved)}. Choose more days, or another filter."))
        return
    segments = board.segments().value
    colours = colours_of(segments.segments if segments else ())
    plot("Flows of customers", flows_in_words(moved), flows(moved.flows, colours), "flows")
    put(flow_table(moved, colours))


def flow_table(moved: Movement, colours: dict[str, str]) -> Html:
    """Return the greatest flows."""
    rows = [
        (
            _named(f.source.name if f.source else NEW, colours),
            _named(f.target.name if f.target else GONE, colours),
            f.cause,
            f"{f.customers:,}",
        )
        for f in moved.flows[:SHOWN]
    ]
    shown = f"The {len(rows)} greatest of {len(moved.flows)} flows {span(moved)}"
    return table(shown, ["from", "to", "cause", "customers>"], rows)


def chosen(moved: Movement, segment: str, cause: str) -> Movement:
    """Return the flows of a segment, by its id as text, and of a cause; "" of any."""
    kept = [
        flow
        for flow in moved.flows
        if cause in ("", flow.cause)
        and (not segment or segment in {str(s.id) for s in (flow.source, flow.target) if s})
    ]
    return Movement(moved.since, moved.until, moved.days, sum(flow.customers for flow in kept), kept)


def span(moved: Movement) -> str:
    """Return of which days the flows are."""
    if not moved.days:
        return "since the last sweep" + (f" of {moved.until}" if moved.until else "")
    return f"after {moved.since}, up to now" if moved.since else f"in {count(moved.days, 'day')}, up to now"


def flows_in_words(moved: Movement) -> str:
    """Return what the diagram says."""
    first = moved.flows[0]
    pairs: dict[str, int] = {}
    for flow in moved.flows:
        pairs[flow.cause] = pairs.get(flow.cause, 0) + flow.customers
    cause = max(pairs, key=lambda each: pairs[each])
    source, target = first.source.name if first.source else NEW, first.target.name if first.target else GONE
    return (
        f"{count(moved.moves, 'move')} {span(moved)}; the greatest flow is from {source} to {target} "
        f"({first.customers:,}, {first.cause}), and {share(pairs[cause] / moved.moves)} of all come from {cause}. "
        "Who moved twice counts twice."
    )


@st.fragment(run_every=EVERY_S / 2)
def _feed(board: Board, segment: str, cause: str) -> None:
    standing(board)
    st.subheader("Moves as they are published", anchor=False)
    found = board.moves()
    if found.trouble is not None:
        tell(Notice("warning", f"Disconnected from the moves: {found.trouble}.", "It is tried again by itself."))
    elif not found.following:
        tell(Notice("note", "No broker runs: these are the last moves that were recorded."))
    shown = [move for move in found.moves if _wanted(move, segment, cause)][:FEED]
    if not shown:
        put(said("No move has come yet. One stands here as soon as it is published, a second or two after its event."))
        return
    segments = board.segments().value
    colours = colours_of(segments.segments if segments else ())
    rows = [
        (
            _moment(move.published, shown[0].published),
            customer_link(board, move.customer_id),
            _named(move.previous.name if move.previous else NEW, colours),
            _named(move.segment.name if move.segment else GONE, colours),
            move.cause,
            move.as_of,
        )
        for move in shown
    ]
    columns = ["time (UTC)", "customer", "from", "to", "cause", "as of"]
    day = datetime.fromtimestamp(shown[0].published, UTC).date()
    put(table(f"The newest {count(len(rows), 'move')}, the last one published on {day}", columns, rows))


def _wanted(move: Move, segment: str, cause: str) -> bool:
    ids = {str(each.id) for each in (move.previous, move.segment) if each is not None}
    return cause in ("", move.cause) and (not segment or segment in ids)


def _named(name: str, colours: dict[str, str]) -> Html:
    return named(name, colours.get(name, GROUND))


def _moment(seconds: float, newest: float) -> str:
    """Return a time, with its date where that is another one than the newest move's."""
    moment = datetime.fromtimestamp(seconds, UTC)
    same = moment.date() == datetime.fromtimestamp(newest, UTC).date()
    return f"{moment:%H:%M:%S}" if same else f"{moment:%Y-%m-%d %H:%M:%S}"
