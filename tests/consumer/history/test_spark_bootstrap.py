"""The states that Spark's tasks load are those of one machine, byte for byte; a task may run twice, and late."""

import gzip
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.history.csv_columns import CsvError, CsvOptions
from consumer.history.csv_source import read_history
from consumer.history.loading import Bootstrap, Loaded
from consumer.service import begin_bootstrap
from features.redis_generation import read_binding
from tests.consumer.history.csv_files import line, text, write
from tests.consumer.history.stored import stored
from tests.harness.live import Live

pytestmark = pytest.mark.spark

SAMPLE = Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    """Spark's Python workers see the repository, and two of its tasks run side by side."""
    given = {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    given["PYSPARK_SUBMIT_ARGS"] = (
        "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.log.level=ERROR "
        "--conf spark.sql.shuffle.partitions=4 pyspark-shell"
    )
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    yield
    from pyspark.sql import SparkSession

    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def live(kafka_bootstrap: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Live]:
    one = Live(kafka_bootstrap, redis_url, namespace, tmp_path)
    yield one
    one.close()


def by_both(live: Live, files: list[Path], options: CsvOptions, *, k: int | None = None) -> tuple[Loaded, Loaded]:
    from consumer.history.spark_bootstrap import load_by_spark

    def run(namespace: str) -> Bootstrap:
        settings = live.settings.model_copy(update={"namespace": namespace})
        start = begin_bootstrap(settings, live.kafka, live.client, replace=False)
        return Bootstrap(settings, live.kafka, live.client, start, k, time.time(), lambda *_: None)

    name = live.settings.namespace
    here = run(f"{name}-h").whole(read_history(files, options))
    spark = load_by_spark(run(f"{name}-s"), files, options, None)
    return here, spark


def assert_same(live: Live, here: Loaded, spark: Loaded) -> None:
    one, other = (stored(live.client, f"{live.settings.namespace}-{each}") for each in "hs")
    assert len(one) > here.customers
    assert one == other
    assert here == spark


def test_every_key_of_the_sample_is_the_same_bytes(live: Live, real_dataset: Path | None, tmp_path: Path) -> None:
    head, *rows = gzip.decompress((real_dataset or SAMPLE).read_bytes()).splitlines(keepends=True)
    middle = len(rows) // 2
    files = [
        write(tmp_path / "a.csv", head + b"".join(rows[:middle])),
        write(tmp_path / "b.csv.gz", head + b"".join(rows[middle:])),
    ]
    assert_same(live, *by_both(live, files, CsvOptions(currency="GBP")))


def test_overlaps_unreadable_rows_and_few_customers_are_the_same_bytes(live: Live, tmp_path: Path) -> None:
    rows = [
        line(
            CustomerID=f"{i % 5}.0",
            InvoiceNo=f"{i // 2}",
            Quantity=f"{1 + i % 9}",
            InvoiceDate=f"12/{1 + i % 20}/2010 8:26",
        )
        for i in range(60)
    ]
    one = write(tmp_path / "a.csv", text([*rows[:40], line(Quantity="many"), line(CustomerID="")]) + "too,short\n\n")
    two = write(tmp_path / "b.csv", text(rows[20:]))
    assert_same(live, *by_both(live, [one, two], CsvOptions(currency="GBP"), k=2))


def test_a_file_that_cannot_be_read_is_told_as_on_one_machine_and_leaves_no_state(live: Live, tmp_path: Path) -> None:
    from consumer.history.spark_bootstrap import load_by_spark

    file = write(tmp_path / "a.csv", text([line(), line(Description="CAF?")]).replace("?", "\xc9").encode("latin-1"))
    start = begin_bootstrap(live.settings, live.kafka, live.client, replace=False)
    run = Bootstrap(live.settings, live.kafka, live.client, start, 2, time.time(), lambda *_: None)
    with pytest.raises(CsvError, match="row 3: not utf-8 text"):
        load_by_spark(run, [file], CsvOptions(currency="GBP"), None)
    assert read_binding(live.client, live.settings.namespace) is None
