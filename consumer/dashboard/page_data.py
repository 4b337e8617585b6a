"""Data quality: what became of the records that came in, what was refused and why, and the dead letters."""

from __future__ import annotations

import streamlit as st

from consumer.commands.dlq import LEFT, Listing
from consumer.commands.status import Status
from consumer.dashboard.board import Board
from consumer.dashboard.pieces import Html, Notice, Tile, said, table, tiles
from consumer.dashboard.plots import refused
from consumer.dashboard.shown import EVERY_S, choice, known, plot, put, read_at, standing, tell
from consumer.deadletters import Fate
from reports.workbench.phrases import count, share

OUTCOMES = {
    "applied": "lines that changed a ledger",
    "repeated": "had come before: counted once",
    "guests": "without a customer",
    "ticks": "turned the day",
    "erasures": "asked to forget somebody",
}
FATES = {Fate.WAITS: "would go by a redrive"} | LEFT


def show(board: Board) -> None:
    """Show the page."""
    st.title("Data quality", anchor=False)
    _counts(board)
    _letters(board)


@st.fragment(run_every=EVERY_S)
def _counts(board: Board) -> None:
    found = standing(board)
    if found is None:
        return
    status = found.status
    total = sum(status.refused.values())
    put(tiles(figures(status, total)))
    if total:
        plot("Refused, by reason", refused_in_words(status.refused), refused(status.refused), "refused")
    else:
        put(said("No record was refused."))
    read_at(board.standing())


def figures(status: Status, total: int) -> list[Tile]:
    """Return what became of the records."""
    read = status.counters.get("lines", 0)
    parts = [Tile("Records read", f"{read:,}", "since the bootstrap")]
    parts += [Tile(name.capitalize(), f"{status.counters.get(name, 0):,}", what) for name, what in OUTCOMES.items()]
    return [*parts, Tile("Refused", f"{total:,}", share(total / read) + " of those read" if read else "of none")]


def refused_in_words(reasons: dict[str, int]) -> str:
    """Return what the plot says."""
    total = sum(reasons.values())
    most = max(reasons, key=lambda each: reasons[each])
    return (
        f"{count(total, 'record was', 'records were')} refused, most of them as {most}: {reasons[most]:,} "
        f"({share(reasons[most] / total)}). Each is a dead letter; what a reason means stands in docs/topics.md."
    )


@st.fragment(run_every=30.0)
def _letters(board: Board) -> None:
    st.subheader("Dead letters", anchor=False)
    if board.place.kafka is None:
        tell(Notice("note", "No broker runs, and the letters themselves are gone with it; the counts above stay."))
        return
    reading = board.letters()
    letters = known(reading)
    if letters is None:
        return
    if not letters.letters:
        put(said(f"There is none in {letters.topic}."))
        return
    reason = choice("Reason", "reason", {"": "any reason"} | {g.reason: g.reason for g in letters.groups})
    put(said(fates_in_words(letters)), letter_table(letters, reason))
    read_at(reading)


def fates_in_words(listing: Listing) -> str:
    """Return what became of the letters."""
    parts = [f"{number:,} {FATES[Fate(fate)]}" for fate, number in sorted(listing.fates.items())]
    return f"{count(listing.letters, 'letter')} in {listing.topic}: {'; '.join(parts)}. `segmenter dlq show` has them."


def letter_table(listing: Listing, reason: str) -> Html:
    """Return the letters by reason and partition. reason: "" for any."""
    rows = [
        (g.reason, str(g.partition), f"{g.letters:,}", f"{g.waiting:,}", g.oldest, g.newest)
        for g in listing.groups
        if reason in ("", g.reason)
    ]
    columns = ["reason", "partition>", "letters>", "waiting>", "oldest", "newest"]
    return table("By reason and partition of the input", columns, rows)
