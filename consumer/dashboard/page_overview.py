"""Overview: how many, how much, how fast, how old."""

from __future__ import annotations

import streamlit as st

from consumer.dashboard.board import Board
from consumer.dashboard.pieces import Html, Tile, named, table, tiles
from consumer.dashboard.plots import colours_of, shares
from consumer.dashboard.shown import EVERY_S, known, plot, put, read_at, standing
from consumer.dashboard.standing import day_in_words
from consumer.history.profile import Profile
from consumer.serving.standing import RATE_S, Standing
from models.bundle import FIXED
from reports.workbench.phrases import count, share

OUTSIDE = frozenset(segment.id for segment in FIXED)


def show(board: Board) -> None:
    """Show the page."""
    st.title("Overview", anchor=False)
    _live(board)


@st.fragment(run_every=EVERY_S)
def _live(board: Board) -> None:
    found, reading = standing(board), board.segments()
    segments = None if found is None else known(reading)
    if found is None or segments is None:
        return
    profiles = segments.segments
    put(tiles(figures(found, profiles, segments.customers)))
    if not segments.customers:
        put(Html("<p>Nobody is known yet: a history is loaded by <code>segmenter bootstrap</code>.</p>"))
        return
    plot("Who brings the revenue", leading(profiles), shares(profiles), "shares")
    put(profile_table(profiles, board.place.settings.currency))
    read_at(board.standing(), reading)


def figures(found: Standing, profiles: tuple[Profile, ...], customers: int) -> list[Tile]:
    """Return the figures at the top."""
    status = found.status
    clusters = [each for each in profiles if each.id not in OUTSIDE]
    outside = sum(each.customers for each in profiles if each.id in OUTSIDE)
    speed = found.records_per_second
    day = min(row.day for row in status.partitions)
    version = "none" if status.model_version is None else f"{status.model_version:,}"
    return [
        Tile("Customers", f"{customers:,}", "known to the service"),
        Tile("Segments", str(len(clusters)), f"{count(outside, 'customer')} outside of them"),
        Tile("Events per second", "–" if speed is None else f"{speed:,.1f}", f"mean of the last {RATE_S:.0f} s"),
        Tile("Lag", "–" if status.lag is None else f"{status.lag:,}", "events that wait in Kafka"),
        Tile("Model version", version, "one a day"),
        Tile("Data as of", day, day_in_words(status)),
    ]


def leading(profiles: tuple[Profile, ...]) -> str:
    """Return what the plot of shares says."""
    clusters = [each for each in profiles if each.share_of_revenue is not None and each.customers]
    if not clusters:
        return "No segment has customers with a net revenue yet."
    top = max(clusters, key=lambda each: each.share_of_revenue or 0.0)
    return (
        f"{top.name} is {share(top.share_of_customers)} of the customers ({top.customers:,}) and brings "
        f"{share(top.share_of_revenue or 0.0)} of the segments' net revenue."
    )


def profile_table(profiles: tuple[Profile, ...], currency: str) -> Html:
    """Return a row a segment: its size, its share of the revenue, what is typical of it."""
    colours = colours_of(profiles)
    rows = [
        (
            named(each.name, colours.get(each.name, "#777777")),
            f"{each.customers:,}",
            share(each.share_of_customers),
            "" if each.share_of_revenue is None else share(each.share_of_revenue),
            _median(each.recency),
            _median(each.frequency),
            _median(each.monetary),
        )
        for each in profiles
    ]
    net = f"net [{currency}]>" if currency else "net>"
    columns = ["segment", "customers>", "share>", "of revenue>", "days since order>", "orders>", net]
    return table("Each segment; days, orders and net are medians within the horizon", columns, rows)


def _median(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
