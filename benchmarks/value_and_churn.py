"""What the forecasts of silence and of value are worth: on a file, every figure that docs/value_and_churn.md names.

python -m benchmarks.value_and_churn [PATH]     PATH: a file of order lines; without it, the sample

Value needs the extra clv (make clv); without it a note says so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from consumer.commands.place import FixedSettings
from consumer.history.csv_source import read_history
from consumer.history.csv_study import study_of
from reports.workbench.exhibit import Section
from reports.workbench.outlook import churn, value
from reports.workbench.study import Study

SAMPLE = Path(__file__).parents[1] / "Dataset" / "sample.csv.gz"


def main(argv: list[str]) -> None:
    study = read(Path(argv[1]) if len(argv) > 1 else SAMPLE)
    for section in (churn.section, value.section):
        began = time.perf_counter()
        show(section(study))
        print(f"\n{time.perf_counter() - began:.1f} s")


def read(path: Path) -> Study:
    history = read_history([path], everything=True)
    return study_of(history, FixedSettings(currency="GBP"), k=4, progress=lambda _stage, _done, _of: None)


def show(section: Section) -> None:
    print(f"\n# {section.title}\n\n{section.lead}")
    for exhibit in section.exhibits:
        print(f"\n## {exhibit.title}\n{exhibit.sentence}")
        if len(exhibit.data) <= 40:
            print(exhibit.data.round(4).to_string(index=False))
    print(*(f"\nNote: {note}" for note in section.notes))


if __name__ == "__main__":
    main(sys.argv)
