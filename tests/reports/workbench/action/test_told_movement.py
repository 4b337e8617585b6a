"""Movement from the service's own daily table, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from reports.workbench.action import movement
from reports.workbench.study import Past, Study

SIZES = pd.DataFrame(
    [
        ("2024-01-01", "Champions", 5, 50.0),
        ("2024-01-01", "Dormant", 9, 9.0),
        ("2024-01-02", "Champions", 4, 40.0),
        ("2024-01-02", "Dormant", 12, 12.0),
    ],
    columns=["day", "segment", "customers", "revenue"],
)
FLOWS = pd.DataFrame(
    [
        ("2024-01-02", "Champions", "Dormant", "silence", 2),
        ("2024-01-02", "Dormant", "Champions", "purchase", 1),
        ("2024-01-02", "(new)", "Dormant", "purchase", 2),
        ("2024-01-02", "Dormant", "Dormant", "model", 7),  # nobody moved
    ],
    columns=["day", "source", "target", "cause", "customers"],
)


def told(study: Study, flows: pd.DataFrame = FLOWS) -> dict[str, str]:
    """Return the sentences by exhibit."""
    section = movement.section(replace(study, past=Past(SIZES, flows)))
    return {exhibit.key: exhibit.sentence for exhibit in section.exhibits}


def test_what_the_service_told_is_counted_and_named(sample: Study) -> None:
    said = told(sample)
    assert said["segment-sizes-over-time"] == (
        "Dormant changed most, from 9 to 12 customers between 2024-01-01 and 2024-01-02."
    )
    assert said["movement-flows"].startswith("5 moves in all; most often from (new) to Dormant: 2 (40.0 %).")
    assert said["moves-by-cause"] == "Most moves come from purchase: 3 of 5 (60.0 %)."


def test_days_on_which_nobody_moved_have_sizes_alone(sample: Study) -> None:
    assert list(told(sample, FLOWS[FLOWS["source"] == FLOWS["target"]])) == ["segment-sizes-over-time"]
