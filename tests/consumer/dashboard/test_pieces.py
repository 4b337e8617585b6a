"""Whatever a text holds, it is shown as that text."""

from __future__ import annotations

import re
from html import unescape

import pytest

from consumer.commands.trend import Day, DayFlow, SegmentDay
from consumer.dashboard.pieces import Notice, Tile, named, notice, said, table, text, tiles
from consumer.dashboard.plots import flows, sizes
from models.bundle import Segment

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "![](http://evil.example/x.png)", "a`b<i>`c")
TAGS = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "span"}


@pytest.mark.parametrize("evil", EVIL)
def test_a_text_is_never_a_tag(evil: str) -> None:
    shown = [
        tiles([Tile(evil, evil, evil)]),
        table(evil, [evil, "n>"], [(evil, evil)]),
        notice(Notice("warning", evil, evil)),
        said(evil),
        named(evil, "#000000"),
    ]
    for made in shown:
        without_values = re.sub(r'"[^"]*"', '""', made)
        assert {tag.strip("/") for tag in re.findall(r"</?([a-zA-Z]+)", without_values)} <= TAGS, made
        assert "onerror" not in " ".join(re.findall(r"<[^>]*>", without_values))


def test_a_text_comes_back_whole() -> None:
    assert unescape(text("<b> & 'q' \"d\" é")) == "<b> & 'q' \"d\" é"


def test_what_turns_or_hides_text_is_shown_as_its_code() -> None:
    assert text("12\u202e748\x00") == "12\\u202e748\\u0000"


def test_only_what_stands_between_backquotes_is_code() -> None:
    assert said("run `segmenter run` now") == '<p class="sg-said">run <code>segmenter run</code> now</p>'


def test_numbers_stand_to_the_right() -> None:
    made = table("sizes", ["name", "n>"], [("a", "1")])
    assert '<th scope="col">name</th><th scope="col" class="sg-right">n</th>' in made
    assert '<td>a</td><td class="sg-right">1</td>' in made


def test_names_in_figures_are_escaped() -> None:
    one = Segment(11, EVIL[0])
    sankey = flows([DayFlow(one, None, "erasure", 2)], {})
    lines = sizes([Day("2011-06-10", 1, 4, [SegmentDay(11, EVIL[0], 3, 1.0)], None)], {})
    for figure in (sankey, lines):
        assert "<script" not in figure.to_json().replace("\\u003c", "<")
