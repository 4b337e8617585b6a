"""Health: whether the parts answer, where each partition stands, and what is odd."""

from __future__ import annotations

import streamlit as st

from consumer.commands.place import Place
from consumer.commands.status import Status
from consumer.dashboard.board import Board, Reading
from consumer.dashboard.pieces import Html, Notice, Tile, table, tiles
from consumer.dashboard.shown import EVERY_S, put, read_at, standing, tell
from consumer.dashboard.standing import notices
from consumer.serving.standing import Standing
from reports.workbench.phrases import count


def show(board: Board) -> None:
    """Show the page."""
    st.title("Health", anchor=False)
    _live(board)


@st.fragment(run_every=EVERY_S)
def _live(board: Board) -> None:
    reading = board.standing()
    found = standing(board)
    put(tiles(parts(reading, board.place)))
    if found is None:
        return
    if not notices(reading, board.place):
        tell(Notice("live", "Everything answers and nothing stands still."))
    put(partition_table(found.status))
    read_at(reading)


def parts(reading: Reading[Standing], place: Place) -> list[Tile]:
    """Return whether each part answers."""
    status = reading.value.status if reading.value is not None and reading.trouble is None else None
    workers = "–" if status is None or status.workers is None else f"{status.workers:,}"
    if place.kafka is None:
        kafka, why = "not running", "the embedded broker ends with its worker"
    elif status is None:
        kafka, why = "–", "not asked while the state cannot be read"
    else:
        kafka = "answers" if status.lag is not None else "does not answer"
        why = "asked every 5 s"
    return [
        Tile("State", "answers" if status is not None else "does not answer", "Redis, asked every second"),
        Tile("Kafka", kafka, why),
        Tile("Workers", workers, "in the consumer group" if workers != "–" else "an embedded broker does not say"),
        Tile("Sweep", _sweep(status), "customers scored as of the day"),
        Tile("Namespace", place.settings.namespace, "" if status is None else f"generation {status.generation}"),
    ]


def partition_table(status: Status) -> Html:
    """Return a row a partition."""
    rows = [
        (
            str(row.partition),
            row.day,
            f"{row.applied:,}",
            "–" if row.lag is None else f"{row.lag:,}",
            f"{row.swept:.0%}",
            str(row.model_version),
            f"{row.epoch}:{row.sequence}",
            {None: "–", True: "yes", False: "a commit is in flight"}[row.published],
        )
        for row in status.partitions
    ]
    columns = ["partition", "day", "applied offset>", "lag>", "swept>", "model>", "epoch:sequence>", "Kafka knows it"]
    return table(f"{count(len(rows), 'partition')} of the input", columns, rows)


def _sweep(status: Status | None) -> str:
    if status is None:
        return "–"
    swept = min(row.swept for row in status.partitions)
    return "done" if swept == 1.0 else f"{swept:.0%}"
