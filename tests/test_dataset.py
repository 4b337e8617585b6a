"""The sample that the repository carries is the generator's, and is as awkward as it is said to be."""

import gzip
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from consumer.history.csv_source import History, find, fold_history, read_history
from features.ledger import expire
from features.vector import RFM, vectors

DATASET = Path(__file__).parents[1] / "Dataset"
SAMPLE = DATASET / "sample.csv.gz"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dataset_generate", DATASET / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def history() -> History:
    return read_history([SAMPLE])


def test_the_committed_sample_is_the_generators_output(generate: ModuleType) -> None:
    with gzip.open(SAMPLE, "rt", encoding="utf-8", newline="") as file:
        assert file.read() == generate.content()


def test_another_seed_is_another_shop(generate: ModuleType) -> None:
    assert generate.rows(1)[:100] != generate.rows(2)[:100]


def test_the_sample_is_small() -> None:
    assert SAMPLE.stat().st_size < 1_500_000


def test_the_sample_stands_in_where_no_real_file_was_dropped(tmp_path: Path) -> None:
    (tmp_path / SAMPLE.name).write_bytes(SAMPLE.read_bytes())
    assert find(tmp_path).paths == (tmp_path / SAMPLE.name,)


def test_the_sample_has_what_makes_real_data_hard(history: History) -> None:
    funnel = history.funnel
    assert 60_000 <= funnel.lines <= 80_000
    assert {rule.name for rule in funnel.rules if not rule.lines} == {"foreign currency", "repeated event"}
    assert {unreadable.reason for unreadable in funnel.unreadable} >= {
        "the date cannot be read",
        "the quantity cannot be read",
        "the price cannot be read",
        "the price has more than 4 decimals",
    }
    assert funnel.textbook[2].customers < funnel.ledger.customers  # some only give back


def test_the_sample_has_seasons_and_closing_days(history: History) -> None:
    days = history.day.astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(int) % 12 + 1
    assert (days.min(), days.max()) == (np.datetime64("2010-12-01"), np.datetime64("2011-12-09"))
    assert np.count_nonzero(months == 11) > 1.5 * np.count_nonzero(months == 2)
    bought = history.amount > 0
    weekday = (history.day[bought] + 3) % 7
    assert set(weekday.tolist()) == {0, 1, 2, 3, 4, 6}


def test_the_samples_customers_come_stay_and_fall_silent(history: History) -> None:
    day = int(np.datetime64("2011-12-10").astype(int))
    customers, ledger = fold_history(history)
    found = vectors(expire(ledger, day - 365)[0], len(customers), day, np.zeros(len(customers), np.int64), RFM)
    recency, frequency = (found.values[name][found.clustered] for name in ("recency", "frequency"))
    assert len(customers) == pytest.approx(2_000, abs=20)
    assert np.mean(frequency == 1) > 0.15
    assert np.mean(frequency >= 10) > 0.08
    assert np.mean(recency > 180) > 0.1
    assert np.mean(recency < 30) > 0.3
    assert found.lapsed.any()
    assert (~found.clustered & ~found.lapsed).any()


def test_the_figures_of_the_readme_are_the_samples(history: History) -> None:
    funnel = history.funnel
    textbook = funnel.textbook[2]
    expected = {
        "lines": f"{funnel.lines:,}",
        "of them without a customer": f"{funnel.count('guest (no customer)'):,}",
        "unreadable": f"{funnel.count('unreadable'):,}",
        "the ledger's view: lines, customers, net": _figures(funnel.ledger),
        "the textbook view (no cancellations, positive): lines, customers, revenue": _figures(textbook),
    }
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", (DATASET / "README.md").read_text(), re.MULTILINE)
    assert dict(table).items() >= expected.items()


def _figures(view: tuple[str, int, int, int]) -> str:
    _, lines, customers, value = view
    return f"{lines:,}, {customers:,}, {value / 10_000:,.2f}"
