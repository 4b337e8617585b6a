"""What is said of a state that is old, empty, unreachable or standing still, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.commands.place import DEFAULT_DIRECTORY, Place
from consumer.commands.status import PartitionStatus, Status
from consumer.dashboard.board import Latest, Reading
from consumer.dashboard.standing import day_in_words, notices
from consumer.serving.standing import Standing
from consumer.settings import Settings

SETTINGS = Settings(_env_file=None, namespace="shop")
REAL = Place(SETTINGS, SETTINGS.kafka())
KEPT = Place(SETTINGS, None, DEFAULT_DIRECTORY)


def standing(still_s: float | None = None, **more: Any) -> Standing:
    rows = [PartitionStatus(p, 9, 9, 0, "2011-06-10", 1, 1, 1.0, 3, True) for p in range(2)]
    status = Status("shop", "1", "wall", 3, 1, 0, 0, rows, {}, {}, {}, {}, [])
    return Standing("2011-06-10T08:00:00+00:00", msgspec.structs.replace(status, **more), 1.0, still_s, [])


def said(reading: Reading[Standing], place: Place = REAL) -> str:
    return " | ".join(f"{each.level}: {each.text} {each.todo}".strip() for each in notices(reading, place))


def test_where_all_is_well_nothing_is_said() -> None:
    assert said(Reading(standing(), 1.0)) == ""


@pytest.mark.parametrize(
    ("found", "place", "words"),
    [
        (
            standing(workers=0),
            REAL,
            "warning: No worker is running: state as of 2011-06-10. Start one: `segmenter run`.",
        ),
        (
            standing(),
            KEPT,
            "note: No worker is running: state as of 2011-06-10. Start one: `segmenter run --embedded`.",
        ),
        (standing(), Place(SETTINGS, None, Path("there")), "`segmenter run --embedded --directory there`"),
        (standing(paused={1: "its key is damaged"}), REAL, "warning: Partition 1 is paused: its key is damaged."),
        (standing(paused={-1: "prices are wrong"}), REAL, "warning: Everything is paused: prices are wrong."),
        (standing(still_s=45.0, lag=1_200), REAL, "warning: 1,200 records wait, and none was decided for 45 s."),
        (standing(notes=["the first sweep has not begun everywhere"]), REAL, "note: The first sweep has not begun"),
    ],
)
def test_what_hinders_is_said_with_what_to_do(found: Standing, place: Place, words: str) -> None:
    assert words in said(Reading(found, 1.0), place)


@pytest.mark.parametrize("found", [standing(still_s=45.0), standing(still_s=5.0, lag=9), standing(lag=9)])
def test_waiting_for_input_and_catching_up_are_no_trouble(found: Standing) -> None:
    assert said(Reading(found, 1.0)) == ""


def test_what_was_read_before_an_outage_is_shown_as_old() -> None:
    found = said(Reading(standing(), 3_661.0, "Redis cannot be asked now"))
    assert "warning: Disconnected: Redis cannot be asked now." in found
    assert "of 01:01:01 UTC" in found


def test_where_nothing_was_ever_read_the_reason_is_said() -> None:
    assert "there is no state in namespace shop yet" in said(Reading(trouble="there is no state in namespace shop yet"))


def test_a_note_that_says_the_same_is_left_out() -> None:
    found = standing(workers=0, notes=["no worker is in the group: start one with `segmenter run`"])
    assert len(notices(Reading(found, 1.0), REAL)) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "today"),
        ({"days_behind": 1}, "1 day old"),
        ({"days_behind": 9, "clock": "event"}, "the day of the newest event"),
    ],
)
def test_the_age_of_the_data_is_said_by_its_clock(more: dict[str, Any], words: str) -> None:
    assert day_in_words(standing(**more).status) == words


class TestLatest:
    """One answer for all visitors, asked as often as it may be old."""

    def test_it_is_asked_once_while_it_is_young(self) -> None:
        clock, answers = [0.0], [3, 2, 1]
        latest = Latest(answers.pop, 2.0, lambda: clock[0])
        assert [latest.get().value, latest.get().value] == [1, 1]
        clock[0] = 2.5
        assert latest.get() == Reading(2, 2.5)
        latest.drop()
        assert latest.get().value == 3

    def test_the_last_good_answer_stays_beside_what_hinders_the_next(self) -> None:
        clock, answers = [0.0], [1]
        latest = Latest(answers.pop, 1.0, lambda: clock[0])
        assert latest.get() == Reading(1, 0.0)
        clock[0] = 5.0
        found = latest.get()
        assert (found.value, found.read_at) == (1, 0.0)
        assert "IndexError" in str(found.trouble), "the kind of what was not foreseen, and nothing of its words"
        assert "pop" not in str(found.trouble)
        answers.append(7)
        clock[0] = 7.0
        assert latest.get() == Reading(7, 7.0)
