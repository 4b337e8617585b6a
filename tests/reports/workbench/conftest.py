"""Studies that the sections' tests share: read and clustered once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.commands.place import FixedSettings
from consumer.history.csv_source import read_history
from consumer.history.csv_study import study_of
from reports.workbench.study import Study

SAMPLE = Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"


def studied(path: Path, k: int | None = None) -> Study:
    """Read a file and cluster it with the default settings."""
    history = read_history([path], everything=True)
    return study_of(history, FixedSettings(currency="GBP"), k=k, progress=lambda _stage, _done, _of: None)


@pytest.fixture(scope="session")
def sample() -> Study:
    """The sample that the repository carries."""
    return studied(SAMPLE, k=4)


@pytest.fixture(scope="session")
def real(real_dataset: Path | None) -> Study | None:
    """UCI Online Retail, where it lies beside the repository: an input of another size and shape than the sample."""
    return None if real_dataset is None else studied(real_dataset, k=4)
