"""What fault tests may ask for: live worlds, servers that may be broken, and a record of what the fault did.

Every run compares what it recorded with tests/faults/results/faults.json, from which docs/reliability.md is made;
`make faults` writes that file anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.table import compare, read_results, write_results
from tests.harness.broker import Broker, find_broker, make_broker
from tests.harness.certificates import make_certificates
from tests.harness.fault import Fault, FaultRecord
from tests.harness.live import Live
from tests.harness.secured import SecuredBroker, make_secured
from tests.harness.store import Store, find_store, make_store

LIVES = Callable[..., Live]
RECORDS = pytest.StashKey[list[FaultRecord]]()
PASSED = pytest.StashKey[bool]()


@pytest.fixture
def lives(kafka: Broker, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[LIVES]:
    """Make worlds: on the shared broker and store, or on those named by `kafka` (host:port) and `redis` (a URL)."""
    made: list[Live] = []

    def make(**options: object) -> Live:
        where = {"kafka": kafka.bootstrap, "redis": redis_url} | options
        bootstrap, store = str(where.pop("kafka")), str(where.pop("redis"))
        directory = tmp_path / f"world-{len(made)}"
        directory.mkdir()
        name = namespace if not made else f"{namespace}-{len(made)}"
        made.append(Live(bootstrap, store, name, directory, **where))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for live in made:
        live.close()


@pytest.fixture(scope="session")
def breakable_kafka() -> Iterator[Broker]:
    """A broker that fault tests share, to be stopped and killed; whoever does so starts it again."""
    broker = make_broker(find_broker({k: v for k, v in os.environ.items() if k != "SEGMENTER_TEST_KAFKA"}))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def breakable_redis() -> Iterator[Store]:
    """A store that fault tests share, to be stopped and killed; whoever does so starts it again."""
    store = make_store(find_store({k: v for k, v in os.environ.items() if k != "SEGMENTER_TEST_REDIS"}))
    try:
        store.start()
        yield store
    finally:
        store.close()


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker with TLS, passwords and an authorizer."""
    broker = make_secured(make_certificates(tmp_path_factory.mktemp("certificates")))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[Fault]:
    """The record of this test's fault; it fails a test in which the fault did not land, or did harm."""
    node = request.node
    rows = [str(row) for mark in reversed(list(node.iter_markers("fault"))) for row in mark.args]
    name = node.nodeid.removeprefix("tests/faults/")
    kept = Fault(name, rows, long=node.get_closest_marker("long") is not None)
    yield kept
    if node.stash.get(PASSED, False):
        request.config.stash.setdefault(RECORDS, []).append(kept.record())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the record of a failed test is nobody's evidence
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed  # type: ignore[attr-defined]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the records, or compare them with those that are kept."""
    found = session.config.stash.get(RECORDS, [])
    if not found:
        return
    if os.environ.get("SEGMENTER_FAULT_RESULTS") == "write":
        write_results(found)
        return
    problems = compare(read_results(), found)
    if problems and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    for problem in problems:
        reporter.write_line(f"fault results: {problem}", red=True)
