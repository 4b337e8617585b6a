"""What is to be said of a state that is old, empty, unreachable or standing still: decided from what was read."""

from __future__ import annotations

from datetime import UTC, datetime

from consumer.commands.place import DEFAULT_DIRECTORY, Place
from consumer.commands.status import Status
from consumer.dashboard.board import Reading
from consumer.dashboard.pieces import Notice
from consumer.serving.standing import Standing
from reports.workbench.phrases import count

QUIET_S = 30.0
"""Input waits and nothing is decided for so long: something stands still."""
NO_WORKER = "no worker is in the group"
"""How the note of `status` begins that says the same as a notice here."""


def notices(reading: Reading[Standing], place: Place) -> list[Notice]:
    """Return what hinders, the worst first; none where all is well."""
    found = reading.value
    if found is None:
        return [nothing(reading.trouble)]
    shown = []
    if reading.trouble is not None:
        shown.append(old(reading.read_at, reading.trouble))
    status = found.status
    day = min(row.day for row in status.partitions)
    if place.kafka is None:
        shown.append(
            Notice(
                "note", f"No worker is running: state as of {day}.", f"Start one: `{starting(place)}`. It goes on here."
            )
        )
    elif status.workers == 0:
        shown.append(Notice("warning", f"No worker is running: state as of {day}.", "Start one: `segmenter run`."))
    for partition, why in status.paused.items():
        where = "Everything" if partition < 0 else f"Partition {partition}"
        shown.append(Notice("warning", f"{where} is paused: {why}.", "`segmenter resume` lifts a pause."))
    if status.lag and found.still_s is not None and found.still_s > QUIET_S and not status.paused:
        still = f"{status.lag:,} records wait, and none was decided for {found.still_s:.0f} s."
        shown.append(Notice("warning", still, "`segmenter doctor` says what is wrong."))
    shown += [
        Notice("note", f"{note[0].upper()}{note[1:]}.") for note in status.notes if not note.startswith(NO_WORKER)
    ]
    return shown


def nothing(trouble: str | None) -> Notice:
    """Return what is said where nothing was ever read."""
    return Notice(
        "warning", f"Nothing can be shown yet: {trouble or 'no answer so far'}.", "It is asked again by itself."
    )


def old(read_at: float, trouble: str) -> Notice:
    """Return what is said where what is shown is of before."""
    return Notice(
        "warning",
        f"Disconnected: {trouble}.",
        f"What is shown is of {clock(read_at)}; it is asked again by itself.",
    )


def clock(moment: float) -> str:
    """Return a moment, seconds since 1970, as a time of day in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S} UTC"


def starting(place: Place) -> str:
    """Return the command that starts a worker on an embedded pair."""
    return f"segmenter run --embedded{where(place)}"


def where(place: Place) -> str:
    """Return the option that names an embedded pair's directory, empty where it is the default."""
    return "" if place.directory in (None, DEFAULT_DIRECTORY) else f" --directory {place.directory}"


def day_in_words(status: Status) -> str:
    """Return how old the day is that the state is of."""
    if status.clock == "event":
        return "the day of the newest event"
    return "today" if not status.days_behind else f"{count(status.days_behind, 'day')} old"
