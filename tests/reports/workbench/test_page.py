"""The page: what a person typed stays text, and a real browser draws every plot without a word to the network."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser

from reports.spreadsheet import csv_of
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.page import cell, page
from reports.workbench.report import html, sections, tables
from reports.workbench.study import Study, pseudonymous
from reports.workbench.theme import styled
from tests.harness.browser import Opened, opened, running

AXES = """plot => Object.fromEntries(Object.entries(plot._fullLayout)
  .filter(([name, axis]) => /^[xy]axis\\d*$/.test(name) && axis.visible && axis.showticklabels)
  .map(([name, axis]) => [name, axis.title.text]))"""
"""The title of each axis that has labels, as the browser drew it."""

INKS = """() => [...new Set([...document.querySelectorAll(".infolayer text, [class*=tick] > text")]
  .filter(text => !text.closest(".annotation-text-g")).map(text => getComputedStyle(text).fill))]"""
"""The colours of titles, labels and legends in all plots."""

EVIL = "</script><script>document.body.dataset.owned = 1</script>"


def silent(_stage: str, _done: int, _of: int) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def named(sample: Study) -> Study:
    """The sample with ids that are found in any text."""
    return pseudonymous(sample, lambda customer: f"Person {customer}")


@pytest.fixture(scope="module")
def hidden(named: Study) -> Study:
    """The same under other names."""
    return pseudonymous(named, lambda customer: sha256(customer.encode()).hexdigest()[:12])


@pytest.fixture(scope="module")
def found(hidden: Study) -> list[Section]:
    """All sections, made once: they take as long as the rest of these tests."""
    return sections(hidden, silent)


@pytest.fixture(scope="module")
def written(hidden: Study, found: list[Section], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on disk."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(html(hidden, found), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def wide(browser: Browser, written: Path) -> Iterator[Opened]:
    """The report on a desk, all plots drawn."""
    with opened(browser, written, width=1440) as found:
        found.page.wait_for_function("document.body.dataset.drawn", timeout=60_000)
        yield found


@pytest.fixture
def phone(browser: Browser, written: Path) -> Iterator[Opened]:
    """The report on a phone at night, all plots drawn."""
    with opened(browser, written, width=390, dark=True) as found:
        found.page.wait_for_function("document.body.dataset.drawn", timeout=60_000)
        yield found


def test_a_keyboard_reaches_the_report_its_tables_and_its_files(wide: Opened) -> None:
    page = wide.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.", "DIV.scroll"} <= reached
    with page.expect_download() as download:
        page.locator("a[download]").first.click()
    assert download.value.suggested_filename == "segments-at-a-glance.csv"


@pytest.mark.parametrize("screen", ["wide", "phone"])
def test_every_plot_is_drawn_with_titled_axes_and_nothing_is_asked_of_the_network(
    screen: str, request: pytest.FixtureRequest
) -> None:
    shown: Opened = request.getfixturevalue(screen)
    page, width, dark = shown.page, *((1440, False) if screen == "wide" else (390, True))
    plots = page.locator(".plot")
    assert plots.count() == int(page.evaluate("document.body.dataset.drawn")) > 15
    for plot in plots.all():
        name = plot.get_attribute("aria-label") or ""
        assert len(name) > 20
        marks = plot.locator(
            ".barlayer path, .scatterlayer path, .boxlayer path, .heatmaplayer image, .sankey-link, "
            ".violinlayer path, .polarlayer path"
        )
        assert marks.count() > 0, f"nothing is drawn: {name}"
        axes = plot.evaluate(AXES)
        assert all(axes.values()), f"an axis of {axes} has no title: {name}"
    assert shown.troubles == []
    assert shown.requests == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink = "rgb(230, 237, 243)" if dark else "rgb(27, 31, 36)"
    assert page.evaluate(INKS) == [ink]
    page.emulate_media(media="print")  # paper is white, whatever the screen was
    assert page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill") == "rgb(27, 31, 36)"


def test_what_people_typed_is_text_everywhere(browser: Browser, tmp_path: Path) -> None:
    data = pd.DataFrame({"product": [EVIL, "=cmd()"], "value": [1.0, -2.5]})
    figure = styled(go.Figure(go.Bar(x=data["product"], y=data["value"])), x=EVIL, y="value")
    exhibit = Exhibit("one", EVIL, EVIL, data, figure)
    text = page(
        EVIL, EVIL, [Section("s", EVIL, EVIL, (exhibit, replace(exhibit, key="two", figure=None)), (EVIL,))], EVIL
    )
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    with opened(browser, file, width=800) as found:
        found.page.wait_for_function("document.body.dataset.drawn", timeout=60_000)
        assert found.page.evaluate("document.body.dataset.owned") is None
        assert found.page.locator("h1").inner_text() == EVIL
        assert EVIL in (found.page.locator("td").first.text_content() or "")
        assert found.troubles == []


def test_a_csv_in_the_page_is_the_table_and_runs_in_no_spreadsheet() -> None:
    data = pd.DataFrame({"product": ["=1+1", 'ÄÖ,\n"x"', "-5"], "value": [-1.5, 2.0, float("nan")]})
    text = page("t", "", [Section("s", "s", "", (Exhibit("e", "e", "e.", data),))], "")
    embedded = re.search(r"base64,([^\"]+)", text)
    assert embedded is not None
    held = base64.b64decode(embedded[1])
    assert held == csv_of(data)
    rows = list(csv.reader(io.StringIO(held.decode())))
    assert rows == [["product", "value"], ["'=1+1", "-1.5"], ['ÄÖ,\n"x"', "2"], ["'-5", ""]]


def test_two_exhibits_of_one_name_are_refused() -> None:
    exhibit = Exhibit("e", "e", "e.", pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match="are called e"):
        page("t", "", [Section("s", "s", "", (exhibit, exhibit))], "")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("share", 0.1234, "12.34 %"),
        ("net", 1234567.891, "1,234,567.89"),
        ("net", 0.001234, "0.00123"),
        ("customers", 4338, "4,338"),
        ("customers", float("nan"), ""),
        ("day", pd.Timestamp("2011-12-09"), "2011-12-09"),
        ("kept", True, "yes"),
    ],
)
def test_figures_are_written_as_people_read_them(column: str, value: object, shown: str) -> None:
    assert cell(column, value) == shown


def test_a_report_with_other_names_holds_no_customer_id(named: Study, hidden: Study, found: list[Section]) -> None:
    sheets = {key: csv_of(each).decode() for key, each in tables(hidden, found).items()}
    assert "Person " in csv_of(tables(named, [])["customers"]).decode()
    assert not [key for key, text in sheets.items() if "Person " in text]
    assert "Person " not in html(hidden, found)
    with pytest.raises(ValueError, match="one name"):
        pseudonymous(named, lambda _: "same")


def test_everybodys_row_is_among_the_tables(sample: Study) -> None:
    table = tables(sample, [])["customers"]
    assert table["customer"].tolist() == list(sample.customers.index)
    assert table["monetary"].sum() == pytest.approx(sample.customers["monetary"].sum())
