"""`report` of files: what is written, what stays, and what is refused before anything is read."""

from __future__ import annotations

import csv
import gzip
import hmac
import itertools
import re
from pathlib import Path

import pytest

from consumer.commands.cli_output import Output
from consumer.commands.place import FixedSettings
from consumer.commands.reporting import namer
from tests.harness.commands import Done, Inside

SAMPLE = Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"
OWN = "segment,traits,campaign,channel,offer,kpi\nChampions,Ours,Call them by telephone,Telephone,none,Calls answered\n"
CUSTOMERS = 841
"""Before 2011-01-10, counted by a plain loop over the rows that have a customer, a price and a quantity."""


@pytest.fixture
def here(tmp_path: Path) -> Inside:
    """A shell whose settings are the defaults."""
    return Inside(tmp_path, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample's first weeks, of which a report takes seconds, and an earlier report in it."""
    made = tmp_path_factory.mktemp("reporting")
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        (made / "shop.csv").write_text("".join(itertools.islice(file, 10_001)), encoding="utf-8")
    (made / "r" / "tables").mkdir(parents=True)
    for name in ("report.html", "tables/old.csv"):
        (made / "r" / name).write_text("of an earlier report", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def done(folder: Path) -> Done:
    """What one run printed, with every option that changes what is written."""
    (folder / "own.csv").write_text(OWN, encoding="utf-8")
    options = ["--k", "4", "--out", "r", "--hash-ids", "--compare", "2010-12-20", "2011-01-10", "--actions", "own.csv"]
    return Inside(folder, {})(["report", "shop.csv", *options, "--json"])


def customers_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the report's table of customers."""
    with (folder / "tables" / "customers.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_report_and_its_tables_are_written_and_an_earlier_one_is_gone(folder: Path, done: Done) -> None:
    assert done.code == 0, done.err
    page = folder / "r" / "report.html"
    assert page.stat().st_size == done.json["bytes"] < 15_000_000
    assert len(list((folder / "r" / "tables").iterdir())) == done.json["tables"] > 20
    assert not (folder / "r" / "tables" / "old.csv").exists()


def test_of_two_days_that_are_compared_the_later_is_the_reports(folder: Path, done: Done) -> None:
    assert (done.json["day"], done.json["k"]) == ("2011-01-10", 4)
    assert done.json["customers"] == len(customers_of(folder / "r")) == CUSTOMERS
    assert "In the 21 days before" in (folder / "r" / "report.html").read_text(encoding="utf-8")


def test_a_persons_own_actions_stand_in_the_report(folder: Path, done: Done) -> None:
    assert done.code == 0, done.err
    table = (folder / "r" / "tables" / "recommended-actions.csv").read_text(encoding="utf-8")
    assert "Champions" in table
    assert "Call them by telephone" in table


def test_customers_bear_other_names(folder: Path, done: Done) -> None:
    names = {row["customer"] for row in customers_of(folder / "r")}
    assert len(names) == CUSTOMERS
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)
    assert "hold for this report alone" in done.err


def test_names_are_the_same_under_one_key_and_without_a_key_hold_for_one_report() -> None:
    def name(key: str | None) -> str:
        return namer(FixedSettings(erasure_key=key), Output(as_json=True))("12345")

    assert name("one") == name("one") == hmac.new(b"one", b"12345", "sha256").hexdigest()[:12]
    assert len({name("one"), name("two"), name(None), name(None)}) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere.csv"], "no such file"),
        (["--out", "letters"], "not empty and holds no report"),
        (["--out", "a/b"], "there is no folder a"),
        (["--compare", "2011-09-01", "2011-06-01"], "the earlier day comes first"),
        (["--compare", "soon", "later"], "write a date such as"),
        (["--compare", "2009-01-01", "2010-01-01"], "before 2010-01-01"),
        (["--actions", "letters/one"], "--actions letters/one: unknown column 'dear'"),
        (["--live", "--k", "3"], "leave --k and --compare out"),
    ],
)
def test_what_cannot_be_reported_is_said_and_nothing_is_written(here: Inside, options: list[str], said: str) -> None:
    (here.folder / "letters").mkdir()
    (here.folder / "letters" / "one").write_text("dear")
    paths = [] if "nowhere.csv" in options or "--live" in options else [str(SAMPLE)]
    done = here(["report", *paths, *options])
    assert done.code == 2
    assert said in done.err
    assert not (here.folder / "report").exists()
