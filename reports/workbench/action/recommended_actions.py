"""The table of what to do with each segment: the one that comes with the package, or a person's own in the same form.

    segment,traits,campaign,channel,offer,kpi        UTF-8 CSV, a row a segment, every cell filled
    Champions,...

Names are those of docs/segments.md, and those that people gave to segments of the model. A row of a person's table
takes the place of the packaged one; segments that it does not name keep theirs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from importlib.resources import files
from typing import NamedTuple

from models.bundle import FIXED
from models.segments import PLACES
from reports.workbench.phrases import listed


class Action(NamedTuple):
    """A row, in words for people: traits: who they are; kpi: the figure that says whether it worked."""

    segment: str
    traits: str
    campaign: str
    channel: str
    offer: str
    kpi: str


COLUMNS = Action._fields

VOCABULARY = (*PLACES, *(segment.name for segment in FIXED))
"""Every name that the rules give."""


class ActionsError(ValueError):
    """A table that cannot be used; the message says where, what, and what would do."""


def packaged() -> dict[str, Action]:
    """Return the table that comes with the package, by segment name: a row for each of `VOCABULARY`."""
    text = (files(__package__) / "actions.csv").read_text(encoding="utf-8")
    return parsed(text, "actions.csv", VOCABULARY)


def with_own(text: str, source: str, names: Collection[str]) -> dict[str, Action]:
    """Return the packaged table with a person's rows in place of its own. names: the segments of the model.

    Raises ActionsError as `parsed` does.
    """
    return packaged() | parsed(text, source, {*VOCABULARY, *names})


def parsed(text: str, source: str, names: Collection[str]) -> dict[str, Action]:
    """Read a table, by segment name. source: the file's name, for messages; names: those that may occur.

    Raises ActionsError for columns that are missing or unknown, for a segment that is unknown or comes twice, and for
    an empty cell.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    header = [cell.strip() for cell in next(reader, [])]
    if unknown := [column for column in header if column not in COLUMNS]:
        raise ActionsError(f"{source}: unknown column {unknown[0]!r}; the columns are {listed(COLUMNS)}")
    if missing := [column for column in COLUMNS if header.count(column) != 1]:
        raise ActionsError(f"{source}: column {missing[0]!r} must be there once; the columns are {listed(COLUMNS)}")
    found: dict[str, Action] = {}
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{source}, line {reader.line_num}"
        if len(cells) != len(header):
            raise ActionsError(f"{where}: {len(cells)} cells where there are {len(header)} columns; quote commas")
        action = Action(**dict(zip(header, (cell.strip() for cell in cells), strict=True)))
        if empty := [column for column, cell in zip(COLUMNS, action, strict=True) if not cell]:
            raise ActionsError(f"{where}: {empty[0]} is empty; write 'none' where there is none")
        if action.segment not in names:
            raise ActionsError(f"{where}: unknown segment {action.segment!r}; known are {listed(sorted(names))}")
        if action.segment in found:
            raise ActionsError(f"{where}: segment {action.segment!r} comes a second time")
        found[action.segment] = action
    return found
