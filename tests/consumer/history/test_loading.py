"""A history loaded in parts is the one loaded at once, and what is published meanwhile is read by the workers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.history.csv_splitting import spill
from consumer.history.loading import Bootstrap, Loaded
from consumer.partition import decode_state
from consumer.service import begin_bootstrap
from consumer.transport.kafka_partitioner import partition_of
from features.redis_generation import GenerationLoader, LoadEnded
from features.redis_store import RedisStore
from tests.consumer.history.stored import stored
from tests.harness.live import Live

SAMPLE = Path(__file__).parents[3] / "Dataset" / "sample.csv.gz"
OPTIONS = CsvOptions(currency="GBP")


@pytest.fixture
def live(kafka_bootstrap: str, each_redis: str, namespace: str, tmp_path: Path) -> Iterator[Live]:
    one = Live(kafka_bootstrap, each_redis, namespace, tmp_path)
    yield one
    one.close()


def at_once(run: Bootstrap, _directory: Path) -> Loaded:
    return run.whole(read_history([SAMPLE.resolve()], OPTIONS))


def in_parts(run: Bootstrap, directory: Path) -> Loaded:
    directory.mkdir()
    spilled = spill([SAMPLE.resolve()], OPTIONS, 3, directory, lambda *_: None)
    return run.in_parts(lambda terms: [spilled.fold(part, terms) for part in range(3)], None)


WAYS: dict[str, Callable[[Bootstrap, Path], Loaded]] = {"at-once": at_once, "in-parts": in_parts}


def test_every_key_is_the_same_bytes_in_parts_and_begins_before_what_is_published_meanwhile(
    live: Live, tmp_path: Path
) -> None:
    found, keys = [], []
    for name, load in WAYS.items():
        settings = live.settings.model_copy(update={"namespace": f"{live.settings.namespace}-{name}"})
        start = begin_bootstrap(settings, live.kafka, live.client, replace=False)
        assert start.ends == dict.fromkeys(range(live.partitions), 0)
        run = Bootstrap(settings, live.kafka, live.client, start, None, time.time(), lambda *_: None)
        found.append(load(run, tmp_path / name))
        keys.append(stored(live.client, settings.namespace))
    assert len(keys[0]) > found[0].customers > 0
    assert keys[0] == keys[1]
    assert found[0] == found[1]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_published_while_the_history_is_read_is_left_to_the_workers(
    live: Live, tmp_path: Path, way: str
) -> None:
    start = begin_bootstrap(live.settings, live.kafka, live.client, replace=False)
    event = {"customer_id": "late", "invoice_no": "1", "stock_code": "S", "quantity": 1, "unit_price": 1.0}
    live.publish([event | {"invoice_date": "2012-01-01T00:00:00Z"}])
    run = Bootstrap(live.settings, live.kafka, live.client, start, 2, time.time(), lambda *_: None)
    WAYS[way](run, tmp_path / way)
    home = partition_of(b"late", live.partitions)
    fence = RedisStore(live.client, live.settings.namespace, "1").fences([home])[home]
    assert fence.state is not None
    assert decode_state(fence.state).applied == 0


def test_a_task_that_wakes_after_its_load_has_ended_writes_nothing(live: Live) -> None:
    name = live.settings.namespace
    loader = GenerationLoader(live.client, name, "1")
    loader.admit(0, "one")
    loader.load_admitted(0, ["c1", "c2"], [7, 8], [b"first", b"second"], "one")
    once = stored(live.client, name)
    loader.load_admitted(0, ["c1", "c2"], [7, 8], [b"first", b"second"], "one")
    assert stored(live.client, name) == once
    assert {b"first", b"second"} <= {value for value in once.values() if isinstance(value, bytes)}
    with pytest.raises(LoadEnded):
        loader.load_admitted(0, ["c1"], [7], [b"older"], "another")
    loader.end_admission(0)
    with pytest.raises(LoadEnded):
        loader.load_admitted(0, ["c1"], [7], [b"older"], "one")
    assert once.items() >= stored(live.client, name).items()
