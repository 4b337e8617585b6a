"""The notebook is run cell by cell, and says what it said when it was committed.

python -m tests.test_notebook     runs it and writes its outputs anew
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[1]
NOTEBOOK = REPOSITORY / "notebooks" / "customer_segmentation.ipynb"
LARGEST = 2 << 20
"""Bytes: with tables as HTML and plots as figures to draw, there are no pictures in it."""


def executed() -> Any:
    """Return the notebook, its cells run in order beside this tree's modules."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    place = {"metadata": {"path": NOTEBOOK.parent}}
    client = NotebookClient(notebook, kernel_name="python3", timeout=240, resources=place)
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    try:
        client.execute()
    finally:
        if kept is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = kept
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, which make each run another file
    return notebook


def said(notebook: Any) -> Iterator[tuple[int, str]]:
    """Yield what each cell printed, and its tables and sentences as text; plots are said by their sentences."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if output.output_type == "stream":
                yield number, output.text
            elif "text/html" in data or "text/markdown" in data:
                yield number, data.get("text/markdown", data["text/plain"])


def test_every_cell_says_what_it_said_when_it_was_committed() -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert list(said(executed())) == list(said(committed)), "run: python -m tests.test_notebook"


def test_it_is_committed_with_its_outputs_small_and_without_a_picture() -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert NOTEBOOK.stat().st_size < LARGEST
    outputs = [output for cell in committed.cells for output in cell.get("outputs", ())]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "application/vnd.plotly.v1+json" in kinds
    assert not [kind for kind in kinds if kind.startswith("image/")]
    assert not [output for output in outputs if output.output_type == "error"]
    assert all(cell.outputs for cell in committed.cells[2:] if cell.cell_type == "code")


def test_it_computes_by_the_projects_modules_and_defines_nothing_but_how_to_show() -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    source = "\n".join(cell.source for cell in committed.cells if cell.cell_type == "code")
    assert re.findall(r"(?m)^def (\w+)", source) == ["show"]
    assert not re.search(r"\b(sklearn|KMeans|StandardScaler)\b", source)


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)  # type: ignore[no-untyped-call]
