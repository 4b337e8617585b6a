"""Where the parts are for one command: the configured Kafka and Redis, or the embedded pair under a directory.

    <directory>/settings.json   the settings that its state was made with; they stay with it
    <directory>/live.json       the addresses, while a demo or `run --embedded` hosts the pair, or a dashboard the store
    <directory>/wanted          while a run waits for a dashboard to leave the store to it
    <directory>/store/          the Valkey server's data
    <directory>/recorded/       what went through the broker (consumer.demo.recording)

A command with --embedded joins the pair that runs, else it starts the store alone on what is kept: enough
to look at, while topics are gone with the broker that held them. A dashboard stays for long: it lets others join, and
leaves the store to a run that asks for it (`Tenancy`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pydantic
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from consumer.exits import ExitCode, Stop
from consumer.settings import PREFIX, Settings
from consumer.transport.embedded import DirectoryInUseError, EmbeddedBroker, EmbeddedStore, in_use
from consumer.transport.kafka_settings import KafkaSettings

DEFAULT_DIRECTORY = Path(".segmenter/demo")
KEPT = "settings.json"
LIVE = "live.json"
WANTED = "wanted"
PATIENCE_S = 10.0
"""How long the store of an embedded pair is waited for: a command that looks into a kept state holds it so briefly."""
_POLL_S = 0.1
NO_BROKER = "localhost:1"
"""The address in the settings where no broker runs; `Place.broker` says so before anybody tries it."""
_ADDRESSES = frozenset(
    {"instance", "metrics_port", "metrics_host", "erasure_key", "erasure_key_file", "api_tokens_file"}
)
"""Fields that belong to a process or are secret, beside everything about reaching Kafka and Redis."""


class FixedSettings(Settings):
    """Settings given as a whole: neither the environment nor .env is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the caller gives, and the defaults."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class Live(msgspec.Struct, frozen=True):
    """Where an embedded pair runs. kafka: None where only the store does, so that a kept state can be looked at."""

    kafka: str | None
    redis: str


@dataclass(frozen=True, slots=True)
class Place:
    """Settings whose addresses are right, and how Kafka is spoken to; kafka: None where the broker is gone."""

    settings: Settings
    kafka: KafkaSettings | None
    directory: Path | None = None

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded pair."""
        return self.directory is not None

    def broker(self) -> KafkaSettings:
        """Return how Kafka is reached, or say that an embedded broker holds nothing when it does not run."""
        if self.kafka is None:
            raise Stop(
                ExitCode.USAGE,
                f"the embedded broker of {self.directory} does not run, and what it held is gone with it; start it by "
                f"`segmenter run --embedded --directory {self.directory}`",
            )
        return self.kafka


def settings_from(**given: Any) -> Settings:
    """Return the settings of environment, .env and the given options; one that is wrong is a usage error."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        raise Stop(ExitCode.USAGE, _sentence(error)) from None


@contextmanager
def placed(embedded: bool, directory: Path, **given: Any) -> Iterator[Place]:
    """Give the place that a command works on; an embedded store that nobody hosts is started for its time."""
    if not embedded:
        settings = settings_from(**given)
        yield Place(settings, settings.kafka())
        return
    found = _store_or_live(kept_directory(directory))
    if isinstance(found, Live):
        yield _joined(directory, found, given)
        return
    with found as store:
        yield _joined(directory, Live(None, store.url), given)


def kept_directory(directory: Path) -> Path:
    """Return a directory in which an embedded pair has kept something. Raises `Stop` for another."""
    if not (directory / KEPT).exists():
        raise Stop(
            ExitCode.USAGE,
            f"{directory} holds nothing embedded yet: `segmenter demo` or `segmenter run --embedded` first",
        )
    return directory


@contextmanager
def hosted(directory: Path, *, fixed: bool = False, **given: Any) -> Iterator[Place]:
    """Start both parts of the embedded pair on a directory, and end them with the context.

    fixed: what is not given is as by default, whatever the environment says.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if fixed:
        (directory / KEPT).write_bytes(b"{}")
    found = _store_or_live(directory, to_host=True)
    if isinstance(found, Live):
        raise Stop(ExitCode.USAGE, f"{directory} is in use by another run ({found.redis}): choose another --directory")
    with found as store, EmbeddedBroker() as broker:
        live = Live(broker.bootstrap, store.url)
        settings = kept_settings(directory, live, **given)
        (directory / KEPT).write_bytes(msgspec.json.format(msgspec.json.encode(_kept(settings)), indent=2))
        (directory / LIVE).write_bytes(msgspec.json.encode(live))
        try:
            yield Place(settings, settings.kafka(embedded=True), directory)
        finally:
            (directory / LIVE).unlink(missing_ok=True)


def emptied(directory: Path) -> Path:
    """Remove what an earlier run left in a directory of ours; refuse one that holds anything else."""
    held = {path.name for path in directory.iterdir()} if directory.exists() else set()
    if held and KEPT not in held:
        raise Stop(
            ExitCode.USAGE, f"{directory} is not empty and was not made by segmenter: choose another --directory"
        )
    if held:
        if in_use(store_directory(directory)):
            raise Stop(
                ExitCode.USAGE, f"{directory} is in use by another run: wait for its end, or choose another --directory"
            )
        shutil.rmtree(directory)
    return directory


def kept_settings(directory: Path, live: Live, **given: Any) -> Settings:
    """Return the settings that a directory was made with, else those of the environment, at the live addresses."""
    addresses = {
        "kafka_bootstrap": live.kafka or NO_BROKER,
        "kafka_security_protocol": "PLAINTEXT",
        "redis_url": live.redis,
    }
    addresses |= dict.fromkeys(("redis_username", "redis_password", "redis_password_file"), "")  # it asks for none
    chosen = {name: value for name, value in given.items() if value is not None}
    path = directory / KEPT
    if not path.exists():
        return settings_from(**chosen, **addresses)
    kept = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    try:
        return FixedSettings(**(kept | chosen | addresses))
    except pydantic.ValidationError as error:
        raise Stop(ExitCode.USAGE, f"{path}: {_sentence(error)}") from None


def read_live(directory: Path) -> Live | None:
    """Return where a directory's pair runs, None where it does not."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((directory / LIVE).read_bytes(), type=Live)
    return None


def store_directory(directory: Path) -> Path:
    """Return where the store of an embedded pair keeps its data."""
    return directory / "store"


class Tenancy:
    """A place on an embedded pair for long: joins whoever hosts it, else keeps the store open until a run wants it.

    For one thread that lives as long as the process (consumer.transport.child says why).
    """

    def __init__(self, directory: Path, **given: Any) -> None:
        self._directory, self._given = directory, given
        self._store: EmbeddedStore | None = None
        self._live: Live | None = None
        self._place: Place | None = None

    def place(self) -> Place:
        """Return where the pair is now; the same addresses as before while nothing has changed. Raises `Stop`."""
        if self._store is not None and (self._directory / WANTED).exists():
            self.leave()
            self._await_host()
        if self._store is None:
            live = read_live(self._directory) if in_use(store_directory(self._directory)) else None
            if live is None or live != self._live:
                self._place = None
        if self._place is None:
            found = _store_or_live(self._directory)
            self._live = found if isinstance(found, Live) else Live(None, found.url)
            if not isinstance(found, Live):
                self._store = found
                (self._directory / LIVE).write_bytes(msgspec.json.encode(self._live))
            self._place = _joined(self._directory, self._live, self._given)
        return self._place

    def leave(self) -> None:
        """End the store where it is ours, in good order."""
        if self._store is not None:
            (self._directory / LIVE).unlink(missing_ok=True)
            self._store.stop()
        self._store = self._live = self._place = None

    def _await_host(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (self._directory / WANTED).exists() and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _joined(directory: Path, live: Live, given: dict[str, Any]) -> Place:
    settings = kept_settings(directory, live, **given)
    return Place(settings, None if live.kafka is None else settings.kafka(embedded=True), directory)


def _store_or_live(directory: Path, *, to_host: bool = False) -> EmbeddedStore | Live:
    """Return the store of a directory, started; where a run hosts the pair, its addresses.

    Waits for a command that holds the store for its moment, and for a run that has the store and not yet its broker.
    to_host: a dashboard that keeps the store open is asked for it.
    """
    store, deadline = EmbeddedStore(store_directory(directory)), time.monotonic() + PATIENCE_S
    try:
        while True:
            try:
                store.start()
            except DirectoryInUseError as error:
                live = read_live(directory)
                if live is not None and (live.kafka is not None or not to_host):
                    return live
                if time.monotonic() >= deadline:
                    raise Stop(ExitCode.USAGE, str(error)) from None
                if to_host:
                    (directory / WANTED).touch()
                time.sleep(_POLL_S)
            else:
                (directory / LIVE).unlink(missing_ok=True)  # of a run that was killed
                return store
    finally:
        if to_host:
            (directory / WANTED).unlink(missing_ok=True)


def _kept(settings: Settings) -> dict[str, Any]:
    """Return what stays with a state: every setting but addresses, secrets and a process's own."""
    plain = settings.model_dump(mode="json")
    return {
        name: value
        for name, value in plain.items()
        if not name.startswith(("kafka_", "redis_")) and name not in _ADDRESSES
    }


def _sentence(error: pydantic.ValidationError) -> str:
    """Return what is wrong with the settings, without the values: one may be a secret."""
    said = [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in error.errors()]
    return "; ".join(f"{PREFIX}{str(where[0]).upper()}: {what}" if where else what for where, what in said)
