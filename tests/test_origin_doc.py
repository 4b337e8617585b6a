"""docs/origin.md holds the table that `segmenter origin` prints for UCI Online Retail.

python -m tests.test_origin_doc     writes the table anew, from the real file beside the repository
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from consumer.commands.cli_output import Output
from consumer.commands.origin_table import closing, compared, figure
from consumer.commands.place import FixedSettings
from consumer.history.history_files import HistoryFiles
from reports.workbench.origin import origin_recorded as recorded
from reports.workbench.origin.origin_rows import Row
from tests.conftest import REAL_DATASET

PAGE = Path(__file__).parents[1] / "docs" / "origin.md"
BEGIN, END = "<!-- written by python -m tests.test_origin_doc -->", "<!-- end -->"
HEADER = "| | recorded | reproduced | corrected | why |"


def table(rows: Sequence[Row]) -> str:
    """The table in Markdown, a part's name in a line of its own."""
    lines = [HEADER, "|---|--:|--:|---|---|"]
    for row, before in zip(rows, [None, *rows], strict=False):
        if before is None or before.part != row.part:
            lines.append(f"| **{row.part}** | | | | |")
        shown = (
            figure(row.recorded, row.digits),
            figure(row.reproduced, row.digits),
            figure(row.corrected, row.digits),
        )
        lines.append(f"| {row.what} | {' | '.join(shown)} | {row.why} |")
    return "\n".join(lines)


def documented() -> Iterator[list[str]]:
    """The rows of the page, cell by cell, the parts' names left out."""
    body = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    for line in body.splitlines():
        if line.startswith("| ") and line != HEADER and not line.startswith("| **"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_holds_every_recorded_figure_and_what_became_of_it() -> None:
    found = {what: (theirs, ours, corrected, why) for what, theirs, ours, corrected, why in documented()}
    for k, (wcss, silhouette) in recorded.RUNS.items():
        sums, scores = found[f"k = {k}: within-cluster sum of squares"], found[f"k = {k}: silhouette"]
        assert (sums[0], scores[0]) == (f"{wcss:,.6f}", f"{silhouette:.6f}")
        if k <= recorded.LAST_REPRODUCED:
            assert (sums[0], scores[0]) == (sums[1], scores[1])
        assert float(sums[2].replace(",", "")) <= wcss
    whole = {"lines": recorded.LINES, "customers": recorded.CUSTOMERS, "churned, of 4,331": recorded.CHURNED}
    for what, n in whole.items():
        assert found[what][:2] == (f"{n:,}", f"{n:,}")
    assert found["area under the ROC curve, random forest"][0] == f"{recorded.FOREST_AUC}"
    assert all(why for *_, why in found.values())


def test_every_defect_of_the_origin_is_in_it() -> None:
    text = " ".join(" ".join(row) for row in documented())
    for defect in (
        "recency counts twice",
        "upside down",
        "cancellations count as orders",
        "ln\\(M \\+ 1\\) does not exist",
        "fills in nothing",
        "equal to an earlier one",
        "no products",
        "day and month swapped",
        "leakage",
    ):
        assert re.search(defect, text), defect


def written() -> None:
    """Write the table of the real file into the page."""
    output = Output(as_json=False)
    with output.progress() as progress:
        report, rows = compared(HistoryFiles([REAL_DATASET]), FixedSettings(), progress)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    body = f"{before}{BEGIN}\n\n{table(rows)}\n\n{closing(report)}\n\n{END}{rest.partition(END)[2]}"
    PAGE.write_text(body, encoding="utf-8")


if __name__ == "__main__":
    written()
