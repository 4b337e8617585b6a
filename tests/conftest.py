"""What every test may ask for: a real broker, a real store, a namespace of its own, a history to read.

A test that cannot have a broker fails with the sentence that says what to install. It is never skipped.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness.broker import Broker, BrokerUnavailableError, find_broker, make_broker
from tests.harness.redis_cluster import StoreCluster
from tests.harness.store import Store, StoreUnavailableError, find_store, make_store

REPOSITORY = Path(__file__).parents[1]
REAL_DATASET = REPOSITORY.parent / "shared" / "data" / "OnlineRetail.csv.gz"

# scikit-learn's threads else spin while they wait for each other: beside other tests that takes seven times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A busy machine is no failure of a property; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("segmenter", deadline=None, print_blob=True)
hypothesis.settings.load_profile("segmenter")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """The broker that all tests share. Whoever stops or kills it starts it again; `own_kafka` is better for that."""
    yield from _started_broker(dict(os.environ))


@pytest.fixture
def own_kafka() -> Iterator[Broker]:
    """A broker for one test, to be stopped and killed at will. Never the given one. It takes about six seconds."""
    yield from _started_broker({name: value for name, value in os.environ.items() if name != "SEGMENTER_TEST_KAFKA"})


@pytest.fixture
def kafka_bootstrap(kafka: Broker) -> str:
    """The shared broker's address."""
    return kafka.bootstrap


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Store]:
    """The store that all tests share. Whoever stops or kills it starts it again; `own_redis` is better for that."""
    yield from _started_store(dict(os.environ))


@pytest.fixture
def own_redis() -> Iterator[Store]:
    """A store for one test, to be stopped, killed, filled and emptied at will. Never the given one."""
    yield from _started_store({name: value for name, value in os.environ.items() if name != "SEGMENTER_TEST_REDIS"})


@pytest.fixture
def redis_url(redis_server: Store) -> str:
    """The shared store's address, `redis://…`."""
    return redis_server.url


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[StoreCluster]:
    """The cluster that all tests share; nobody breaks it. Always of servers of ours."""
    with StoreCluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[StoreCluster]:
    """One to be broken."""
    with StoreCluster() as cluster:
        yield cluster


@pytest.fixture(params=["server", "cluster"])
def each_redis(request: pytest.FixtureRequest) -> str:
    """The address of a server, then of a cluster: for what both must do alike."""
    store = request.getfixturevalue("redis_server" if request.param == "server" else "redis_cluster")
    return str(store.url)


@pytest.fixture
def namespace() -> str:
    """A name that no other test and no other run has: for keys, topics and groups on shared servers."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def real_dataset() -> Path | None:
    """UCI Online Retail, if it lies beside the repository; the project does not carry it."""
    return REAL_DATASET if REAL_DATASET.is_file() else None


def _started_broker(environ: dict[str, str]) -> Iterator[Broker]:
    try:
        broker = make_broker(find_broker(environ))
    except BrokerUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        broker.start()
        yield broker
    except BrokerUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    finally:
        broker.close()


def _started_store(environ: dict[str, str]) -> Iterator[Store]:
    store = make_store(find_store(environ))
    try:
        store.start()
        yield store
    except StoreUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    finally:
        store.close()
