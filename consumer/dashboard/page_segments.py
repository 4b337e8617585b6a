"""Segments: what is typical of each, how their sizes went, and who is in one."""

from __future__ import annotations

import msgspec
import streamlit as st

from consumer.commands.trend import Day
from consumer.dashboard.board import Board
from consumer.dashboard.page_overview import profile_table
from consumer.dashboard.pieces import Tile, said, table, tiles
from consumer.dashboard.plots import colours_of, sizes
from consumer.dashboard.shown import EVERY_S, choice, customer_link, known, plot, put, read_at, standing
from consumer.history.profile import Profile
from consumer.serving.queries import Segments
from reports.workbench.phrases import count, money, share

MEMBERS = 20
ALL = ""


def show(board: Board) -> None:
    """Show the page."""
    st.title("Segments", anchor=False)
    segments = board.segments().value
    options = {ALL: "All segments"} | {str(p.id): p.name for p in (segments.segments if segments else ())}
    chosen = choice("Segment", "segment", options)
    _live(board, chosen)


@st.fragment(run_every=EVERY_S)
def _live(board: Board, chosen: str) -> None:
    if standing(board) is None:
        return
    reading = board.segments()
    segments = known(reading)
    if segments is None:
        return
    currency = board.place.settings.currency
    one = next((each for each in segments.segments if str(each.id) == chosen), None)
    if one is None:
        put(profile_table(segments.segments, currency))
    else:
        put(tiles(of_one(one, currency)))
        _members(board, one)
    _sizes(board, segments, one)
    read_at(reading)


def of_one(profile: Profile, currency: str) -> list[Tile]:
    """Return one segment's figures."""
    revenue = profile.share_of_revenue
    return [
        Tile("Customers", f"{profile.customers:,}", f"{share(profile.share_of_customers)} of all"),
        Tile("Revenue", "–" if revenue is None else share(revenue), "of the segments' net revenue"),
        Tile("Last order", "–" if profile.recency is None else count(round(profile.recency), "day"), "ago, the median"),
        Tile("Orders", "–" if profile.frequency is None else f"{profile.frequency:,.0f}", "in the horizon, the median"),
        Tile(
            "Net",
            "–" if profile.monetary is None else money(profile.monetary, currency),
            "in the horizon, the median",
        ),
    ]


def grown(days: list[Day], name: str | None) -> str:
    """Return what the plot of sizes says: which segment changed most, or how the chosen one did."""
    first, last = ({each.name: each.customers for each in day.segments} for day in (days[0], days[-1]))
    names = [name] if name is not None else sorted({*first, *last})
    most = max(names, key=lambda each: abs(last.get(each, 0) - first.get(each, 0)))
    between = f"from {days[0].day} to {days[-1].day} ({count(len(days), 'day')})"
    before, after = first.get(most, 0), last.get(most, 0)
    if before == after:
        return f"{'No segment' if name is None else most} has another size at the end {between} than at the beginning."
    went = "grew" if after > before else "shrank"
    return f"{most} {went}{' most' if name is None else ''}, from {before:,} to {count(after, 'customer')}, {between}."


def _sizes(board: Board, segments: Segments, one: Profile | None) -> None:
    trend = known(board.trend())
    if trend is None:
        return
    days = trend.days
    colours = colours_of(segments.segments)
    drawn = days
    if one is not None:
        drawn = [
            msgspec.structs.replace(day, segments=[each for each in day.segments if each.id == one.id]) for day in days
        ]
    plot("Size, day by day", grown(drawn, None if one is None else one.name), sizes(drawn, colours), "sizes")


def _members(board: Board, one: Profile) -> None:
    page = known(board.members(one.id, MEMBERS))
    if page is None:
        return
    rows = [(customer_link(board, each.customer_id), each.entered_on) for each in page.customers]
    if not rows:
        put(said(f"Nobody is in {one.name} now."))
        return
    put(table(f"Some of its customers ({len(rows)} of {one.customers:,})", ["customer", "there since"], rows))
