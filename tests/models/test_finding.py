from datetime import date

from models.finding import EPISODE, Finding, Kind, episodes


def of(day: int, kind: Kind = "level", up: bool = True) -> Finding:
    when = date(2011, 6, day)
    return Finding(
        severity="alarm", kind=kind, measure="units", direction="up" if up else "down", day=when, since=when,
        expected=1.0, found=2.0, message="twice as many", advice="look",
    )  # fmt: skip


def test_the_same_finding_within_a_week_belongs_to_one_episode() -> None:
    told = episodes([of(3), of(1), of(3 + EPISODE), of(4 + 2 * EPISODE)])
    assert [(f.day.day, f.since.day, f.is_new) for f in told] == [
        (1, 1, True),
        (3, 1, False),
        (10, 1, False),
        (18, 18, True),
    ]


def test_another_kind_or_direction_is_another_finding() -> None:
    assert all(f.is_new for f in episodes([of(1), of(2, kind="tail"), of(3, up=False)]))


def test_a_sentence_says_how_bad_when_what_and_how_much() -> None:
    assert of(3).sentence == "alarm: 2011-06-03 units (level): twice as many"
