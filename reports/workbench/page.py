"""Sections as one HTML file that opens offline: plotly's library, the figures, the tables and their CSVs are all in it.

    Section --html--> <section>      figure --JSON--> drawn by plotly in the browser      data --base64--> a CSV to save

What a person typed (products, countries, customer ids) is escaped for HTML, for scripts and for spreadsheets.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from reports.spreadsheet import csv_of
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.tables import rows

SHOWN = 25
"""Rows of a table that stand in the page; its CSV has all."""

SENTENCE = 40
"""Characters from which a cell's text is a sentence."""

TABLES = "tables"
"""The folder beside the page that holds each exhibit's CSV."""


def page(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """Return the whole file's text. Raises ValueError where two sections or exhibits have one key."""
    keys = [section.key for section in sections] + [each.key for section in sections for each in section.exhibits]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two parts of a report are called {', '.join(repeated)}")
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        navigation="\n".join(f'<li><a href="#{each.key}">{escape(each.title)}</a></li>' for each in sections),
        body="\n".join(_section(each) for each in sections),
        footer=escape(footer),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
    )


def _section(section: Section) -> str:
    parts = [f'<section aria-labelledby="{section.key}">', f'<h2 id="{section.key}">{escape(section.title)}</h2>']
    if section.lead:
        parts.append(f"<p>{escape(section.lead)}</p>")
    if section.points:
        parts += ['<ul class="points">', *(f"<li>{escape(point)}</li>" for point in section.points), "</ul>"]
    parts += [_exhibit(exhibit) for exhibit in section.exhibits]
    parts += [f'<p class="note">{escape(note)}</p>' for note in section.notes]
    return "\n".join([*parts, "</section>"])


def _exhibit(exhibit: Exhibit) -> str:
    parts = [
        f'<h3 id="{exhibit.key}">{escape(exhibit.title)}</h3>',
        f'<p class="sentence">{escape(exhibit.sentence)}</p>',
    ]
    if exhibit.figure is None:
        parts.append(_table(exhibit))
    else:
        label = escape(f"{exhibit.title}. {exhibit.sentence}", quote=True)
        spec = exhibit.figure.to_json().replace("<", "\\u003c")
        height = exhibit.figure.layout.height
        parts += [
            f'<figure><div class="plot" role="img" aria-label="{label}" style="height:{height}px">',
            f'<script type="application/json">{spec}</script></div></figure>',
            f"<details><summary>The figures as a table</summary>{_table(exhibit)}</details>",
        ]
    parts.append(f'<p class="csv">{_link(exhibit)}</p>')
    return "\n".join(parts)


def _link(exhibit: Exhibit) -> str:
    name, n = f"{exhibit.key}.csv", f"{len(exhibit.data):,} rows"
    if not exhibit.whole:
        return f'All {n}: <a href="{TABLES}/{name}">{TABLES}/{name}</a>, a file beside this one.'
    data = base64.b64encode(csv_of(exhibit.data)).decode()
    return f'<a download="{name}" href="data:text/csv;charset=utf-8;base64,{data}">{name}</a> ({n})'


def _table(exhibit: Exhibit) -> str:
    data = exhibit.data.head(SHOWN)
    classes = {column: _class(data[column]) for column in data.columns}
    head = "".join(f"<th{classes[column]}>{escape(_heading(str(column)))}</th>" for column in data.columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td{classes[name]}>{escape(cell(name, value))}</td>" for name, value in row.items())
        + "</tr>"
        for row in rows(data)
    )
    more = len(exhibit.data) - len(data)
    label = escape(f"Table: {exhibit.title}", quote=True)
    below = f'<p class="csv">and {more:,} more rows in the CSV</p>' if more > 0 else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{below}"
    )


def _class(column: pd.Series) -> str:
    """Return how a column is set: numbers to the right, and sentences so wide that a phone does not fold each word."""
    if column.dtype.kind in "iuf":
        return ' class="number"'
    return ' class="sentences"' if column.astype(str).str.len().max() > SENTENCE else ""


def _heading(column: str) -> str:
    return column.replace("_", " ")


def cell(column: str, value: Any) -> str:
    """Return a value as a table of the page shows it; a column that ends with ``share`` is in per cent."""
    if value is None or value is pd.NaT or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if column.endswith("share"):
            return f"{value * 100:.2f} %"
        if value == int(value) and abs(value) < 1e15:
            return f"{value:,.0f}"
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return str(value)
