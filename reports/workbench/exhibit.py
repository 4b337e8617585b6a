"""What a report is made of: sections of exhibits, each a plot or a table with one sentence that the data decided."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A plot, or a table where `figure` is None.

    key: lower case with hyphens, unique in a report: its anchor, and the name of its CSV. sentence: what it shows,
    worked out from `data`; it never says what would be true of any shop. data: what is drawn, a row a mark or a row a
    line of the table; columns whose name ends with ``share`` are in 0 .. 1. whole: the rows are too many to stand in
    the page, so the page shows the first ones and its CSV stands beside it.
    """

    key: str
    title: str
    sentence: str
    data: pd.DataFrame
    figure: go.Figure | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """Exhibits under a reader's question.

    key: as of an exhibit; lead: a paragraph; points: a list below it, a sentence each; notes: below the exhibits.
    """

    key: str
    title: str
    lead: str
    exhibits: tuple[Exhibit, ...] = ()
    points: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
