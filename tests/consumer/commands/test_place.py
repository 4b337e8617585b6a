"""Where a command works: configured servers, the embedded pair that runs, or what one left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from consumer.commands.place import (
    KEPT,
    LIVE,
    Place,
    Tenancy,
    emptied,
    hosted,
    placed,
    read_live,
    settings_from,
    store_directory,
)
from consumer.exits import Stop
from consumer.transport.embedded import EmbeddedStore
from tests.harness.live import wait_until


def test_settings_of_the_environment_reach_a_command_and_options_go_before_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGMENTER_NAMESPACE", "shop")
    monkeypatch.setenv("SEGMENTER_CLOCK", "event")
    with placed(False, tmp_path, namespace="shadow", clock=None) as place:
        assert (place.settings.namespace, place.settings.clock, place.embedded) == ("shadow", "event", False)


def test_a_wrong_setting_is_named_without_its_value() -> None:
    with pytest.raises(Stop, match=r"^SEGMENTER_MARGIN: .*less than or equal to 1") as stopped:
        settings_from(margin=4711)
    assert "4711" not in str(stopped.value)


def test_a_pair_is_joined_while_it_runs_and_its_state_read_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the state was made with stays with it, whatever the environment says later."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "pair"
    with hosted(directory, clock="event", currency="EUR") as host:
        with placed(True, directory) as guest:
            assert guest.broker() == host.broker()
            assert guest.settings.redis_url == host.settings.redis_url
        with pytest.raises(Stop, match="in use by another run"):
            emptied(directory)
    monkeypatch.setenv("SEGMENTER_CURRENCY", "USD")
    assert read_live(directory) is None
    with placed(True, directory) as alone:
        assert (alone.settings.clock, alone.settings.currency) == ("event", "EUR")
        with pytest.raises(Stop, match="run --embedded"):
            alone.broker()


def test_a_dashboard_keeps_the_store_open_lets_others_join_and_leaves_it_to_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "pair"
    with hosted(directory, currency="EUR"):
        pass
    tenancy, leaving = Tenancy(directory), threading.Event()
    seen: list[Place] = []

    def stay() -> None:  # the thread that starts the store lives as long as it
        while not leaving.wait(0.05):
            seen.append(tenancy.place())
        tenancy.leave()

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        wait_until(lambda: bool(seen), "a store that is open", 30)
        alone = seen[-1]
        assert (alone.kafka, alone.settings.currency) == (None, "EUR")
        with placed(True, directory) as guest:
            assert (guest.settings.redis_url, guest.kafka) == (alone.settings.redis_url, None)
        with hosted(directory) as host:
            wait_until(lambda: seen[-1].kafka == host.kafka, "the run's pair", 30)
            assert seen[-1].settings.redis_url == host.settings.redis_url
            joined = seen[-1]
            assert tenancy.place() is joined, "the same while nothing changes"
        wait_until(lambda: seen[-1].kafka is None, "a store of its own again", 30)
    finally:
        leaving.set()
        thread.join()
    assert {path.name for path in directory.iterdir()} == {KEPT, "store"}
    with placed(True, directory):
        pass  # nobody holds it any more


def test_a_pair_that_died_without_a_word_is_not_joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "pair"
    with hosted(directory):
        left = (directory / LIVE).read_bytes()
    (directory / LIVE).write_bytes(left)
    with placed(True, directory) as place:
        assert place.kafka is None


def waiting(monkeypatch: pytest.MonkeyPatch, first: Callable[[], object]) -> list[float]:
    """Let what a wait is for happen as soon as somebody waits; returns the waits."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        if not waits:
            first()
        waits.append(seconds)

    monkeypatch.setattr("consumer.commands.place.time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return waits


def test_a_command_that_holds_the_store_for_its_moment_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`status --embedded` while `run --embedded` begins made the run end with "in use"."""
    monkeypatch.chdir(tmp_path)
    with hosted(tmp_path):
        pass
    moment = EmbeddedStore(store_directory(tmp_path))
    moment.start()
    waits = waiting(monkeypatch, moment.stop)
    with hosted(tmp_path) as place:
        assert place.kafka is not None
    assert len(waits) == 1


def test_a_run_that_has_its_store_and_not_yet_its_broker_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with hosted(tmp_path):
        live = (tmp_path / LIVE).read_bytes()
    with EmbeddedStore(store_directory(tmp_path)):
        waits = waiting(monkeypatch, lambda: (tmp_path / LIVE).write_bytes(live))
        with placed(True, tmp_path) as place:
            assert place.broker().bootstrap_servers == json.loads(live)["kafka"]
        assert len(waits) == 1
        with pytest.raises(Stop, match="in use by another run"), hosted(tmp_path):
            pass


def test_a_store_that_is_held_for_long_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("consumer.commands.place.PATIENCE_S", 0.2)
    with hosted(tmp_path):
        pass
    with (
        EmbeddedStore(store_directory(tmp_path)),
        pytest.raises(Stop, match="in use by another embedded store"),
        placed(True, tmp_path),
    ):
        pass


def test_no_secret_is_kept_with_a_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_PASSWORD", "KAFKA_SASL_PASSWORD", "ERASURE_KEY"):
        monkeypatch.setenv(f"SEGMENTER_{name}", "Sesame")
    with hosted(tmp_path / "pair"):
        kept = (tmp_path / "pair" / KEPT).read_text()
    assert "Sesame" not in kept
    assert not {"erasure_key", "redis_url", "kafka_bootstrap"} & json.loads(kept).keys()


def test_a_demo_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SEGMENTER_HORIZON_DAYS=9\n")
    monkeypatch.setenv("SEGMENTER_TIMEZONE", "Asia/Tokyo")
    with hosted(tmp_path / "pair", fixed=True, namespace="demo") as place:
        assert (place.settings.horizon_days, place.settings.timezone) == (365, "UTC")


def test_only_a_directory_of_ours_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(Stop, match="was not made by segmenter"):
        emptied(tmp_path)
    (tmp_path / "letter").rename(tmp_path / KEPT)
    assert not emptied(tmp_path).exists()
