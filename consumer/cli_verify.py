"""What `verify` does and prints."""

from __future__ import annotations

from typing import Any

from consumer.cli_output import Output
from consumer.csv_source import History
from consumer.history_files import HistoryFiles
from consumer.place import Place


def run_verify(place: Place, files: HistoryFiles, output: Output) -> None:
    """Compare and print."""
    raise NotImplementedError


def verify_recorded(place: Place, past: History) -> dict[str, Any]:
    """Verify a demo from what it recorded."""
    return {"customers": 0, "records": 0, "state_differences": 0, "output_differences": 0, "revision_errors": 0}
