"""Tables, figures and notes as HTML. Every text is escaped here: an id such as `<script>` is text, and so is Markdown.

Streamlit's own tables and messages read Markdown, in which an id could hold a picture from elsewhere; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal, NamedTuple

Level = Literal["live", "note", "warning"]

LONG = 28
"""A cell of more characters is folded."""

STYLE = """
<style>
[data-testid="stMainBlockContainer"]{padding-top:3.5rem}
.sg-tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.75rem;margin:.25rem 0 .5rem}
.sg-tile{border:1px solid rgba(128,128,128,.35);border-radius:.6rem;padding:.7rem .9rem;min-width:0}
.sg-tile p{margin:0}
.sg-label,.sg-more{font-size:.875rem;opacity:.85}
.sg-tile .sg-value{font-size:1.55rem;font-weight:600;line-height:1.35;overflow-wrap:anywhere}
.sg-scroll{overflow-x:auto;margin:.25rem 0 .75rem}
.sg-scroll:focus-visible{outline:2px solid currentColor;outline-offset:2px}
table.sg{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
p.sg-label{margin:0}
table.sg th,table.sg td{padding:.4rem .6rem;text-align:left;border-bottom:1px solid rgba(128,128,128,.25);
 vertical-align:top}
table.sg th{font-weight:600;white-space:nowrap}
table.sg .sg-right{text-align:right;white-space:nowrap}
table.sg td{white-space:nowrap}
table.sg td.sg-long{white-space:normal;overflow-wrap:anywhere;min-width:12rem;max-width:24rem}
table.sg a{color:inherit;text-decoration:underline}
.sg-note{border-left:4px solid rgba(128,128,128,.6);background:rgba(128,128,128,.10);border-radius:.3rem;
 padding:.6rem .9rem;margin:.25rem 0 .5rem;overflow-wrap:anywhere}
.sg-note p{margin:0}
.sg-note.sg-warning{border-left-color:#D55E00;background:rgba(213,94,0,.10)}
.sg-note.sg-live{border-left-color:#009E73;background:rgba(0,158,115,.10)}
.sg-note code,.sg-said code{font-size:.9em;overflow-wrap:anywhere;color:inherit;background:rgba(128,128,128,.15);
 padding:.05rem .3rem;border-radius:.25rem}
.sg-said{margin:0 0 .5rem;max-width:60rem}
.sg-dot{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin-right:.45rem}
</style>
"""


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


class Tile(NamedTuple):
    """One figure. more: a line below it."""

    label: str
    value: str
    more: str = ""


class Notice(NamedTuple):
    """What a visitor should know of the state of what he sees. todo: what to do about it, with `commands` marked so."""

    level: Level
    text: str
    todo: str = ""


def text(value: str | None) -> Html:
    """Return a text as HTML that shows just that text; what is HTML already stays."""
    return value if isinstance(value, Html) else Html(escape(_printable(value or "")))


def coded(words: str) -> Html:
    """Return a sentence as HTML, with what stands between backquotes as code."""
    parts = words.split("`")
    return Html("".join(f"<code>{text(p)}</code>" if i % 2 else text(p) for i, p in enumerate(parts)))


def tiles(shown: Sequence[Tile]) -> Html:
    """Return figures side by side, as many in a row as there is room for."""
    made = "".join(
        f'<div class="sg-tile"><p class="sg-label">{text(each.label)}</p><p class="sg-value">{text(each.value)}</p>'
        f'<p class="sg-more">{text(each.more)}</p></div>'
        for each in shown
    )
    return Html(f'<div class="sg-tiles">{made}</div>')


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table; columns whose name ends with > are numbers, set to the right. It scrolls where it is too wide."""
    right = [name.endswith(">") for name in columns]
    head = "".join(
        f'<th scope="col"{_class("", side)}>{text(name.removesuffix(">"))}</th>'
        for name, side in zip(columns, right, strict=True)
    )
    cells = [
        "".join(f"<td{_class(cell, side)}>{text(cell)}</td>" for cell, side in zip(row, right, strict=True))
        for row in rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    # The caption stands before what scrolls: it is read whole on a phone.
    return Html(
        f'<p class="sg-label">{text(caption)}</p><div class="sg-scroll" tabindex="0" role="region" '
        f'aria-label="{text(caption)}"><table class="sg"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def notice(shown: Notice) -> Html:
    """Return a notice as a box."""
    todo = f"<p>{coded(shown.todo)}</p>" if shown.todo else ""
    return Html(f'<div class="sg-note sg-{shown.level}" role="status"><p>{coded(shown.text)}</p>{todo}</div>')


def said(sentence: str) -> Html:
    """Return a sentence as a paragraph, with what stands between backquotes as code."""
    return Html(f'<p class="sg-said">{coded(sentence)}</p>')


def named(name: str, colour: str) -> Html:
    """Return a segment's name behind its colour."""
    return Html(f'<span class="sg-dot" style="background:{text(colour)}" aria-hidden="true"></span>{text(name)}')


def _class(cell: str, right: bool) -> str:
    if right:
        return ' class="sg-right"'
    return ' class="sg-long"' if len(cell) > LONG and not isinstance(cell, Html) else ""


def _printable(value: str) -> str:
    """Return a text without what could turn its direction, or is seen by nobody."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in value)
