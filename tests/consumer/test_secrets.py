"""Secrets from files, and that no secret is told by whatever holds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.commands.configuration import effective
from consumer.commands.doctor import findings
from consumer.commands.place import Place, hosted, placed, settings_from
from consumer.exits import ExitCode, Stop
from consumer.secrets import SECRETS
from consumer.settings import PREFIX, Settings
from features.redis_cluster import addresses
from features.redis_store import connect, ping
from features.store import StoreUnavailable

SECRET = "Sesam öffne dich"


def value(settings: Settings, name: str) -> str:
    found: str = getattr(settings, name).get_secret_value()
    return found


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without .env, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
def test_a_secret_comes_from_its_file_without_the_newline(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, name: str, newline: str
) -> None:
    file = elsewhere / "secret"
    file.write_bytes(f"{SECRET}{newline}".encode())
    monkeypatch.setenv(f"{PREFIX}{name.upper()}_FILE", str(file))
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", "")
    assert value(settings_from(), name) == SECRET
    shown = {row.setting: row for row in effective()}[f"{PREFIX}{name.upper()}"]
    assert (shown.value, shown.source) == ("********", "file")


def test_a_secret_of_the_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setenv("SEGMENTER_REDIS_PASSWORD", f" {SECRET}\n")
    assert value(settings_from(), "redis_password") == f" {SECRET}\n"


def test_dotenv_may_name_the_file(elsewhere: Path) -> None:
    (elsewhere / "key").write_text(SECRET)
    (elsewhere / ".env").write_text("SEGMENTER_ERASURE_KEY_FILE=key\n")
    assert settings_from().erasure_key_bytes == SECRET.encode()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda _file: None, "cannot be read: No such file"),
        (lambda file: file.mkdir(), "cannot be read: Is a directory"),
        (lambda file: file.write_bytes(b"\n"), "is empty"),
        (lambda file: file.write_bytes(b"\xffSesam"), "is no text in UTF-8"),
    ],
)
def test_a_file_that_gives_no_secret_ends_with_2_and_is_named(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, name: str, make: Callable[[Path], None], problem: str
) -> None:
    make(file := elsewhere / "secret")
    monkeypatch.setenv(f"{PREFIX}{name.upper()}_FILE", str(file))
    with pytest.raises(Stop) as stopped:
        settings_from()
    assert stopped.value.code is ExitCode.USAGE
    assert str(stopped.value).startswith(f"{PREFIX}{name.upper()}_FILE: {file} {problem}")
    assert "Sesam" not in str(stopped.value)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_both_ways_ends_with_2(monkeypatch: pytest.MonkeyPatch, elsewhere: Path, name: str) -> None:
    (elsewhere / "secret").write_text(SECRET)
    monkeypatch.setenv(f"{PREFIX}{name.upper()}_FILE", "secret")
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", SECRET)
    with pytest.raises(Stop, match=f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both given") as stopped:
        settings_from()
    assert stopped.value.code is ExitCode.USAGE
    assert SECRET not in str(stopped.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://:Sesam/x@host:6379/0", "redis://[Sesam", "http://Sesam@host", "Sesam", "redis://:a@Sesam:99999"),
        *("redis+cluster://:Sesam@host:1,:2", "redis+cluster://:Sesam@host/1", "redis+cluster://:Sesam/x@host:6379"),
        *("unix+cluster:///Sesam", "redis+cluster://:Sesam@a:1,b:99999", "redis+cluster://"),
    ],
)
def test_an_address_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(Stop, match="SEGMENTER_REDIS_URL: an address is") as stopped:
        settings_from(redis_url=url)
    assert "Sesam" not in str(stopped.value)


def test_an_address_of_a_cluster_names_its_hosts() -> None:
    given = "rediss+cluster://user:S%2Fam@a:1,b,[::1]:3/0"
    assert settings_from(redis_url=given).redis().url == given
    assert addresses(given) == [f"rediss://user:S%2Fam@{host}/0" for host in ("a:1", "b", "[::1]:3")]
    assert addresses("redis+cluster://one") == ["redis://one"]
    assert addresses("redis://one:1/2?x=a,b") == ["redis://one:1/2?x=a,b"]


def test_a_cluster_that_cannot_be_reached_tells_no_secrets(elsewhere: Path) -> None:
    url = "redis+cluster://user:Sesam@localhost:1,localhost:2"
    settings = settings_from(redis_url=url, redis_password="Sesam", kafka_bootstrap="localhost:1")
    (found,) = [each for each in findings(Place(settings, None)) if each.part == "Redis"]
    assert found.what.startswith("Redis does not answer")
    said = [repr(found), str(ping(settings.redis()))]
    with pytest.raises(StoreUnavailable) as unreached:
        connect(settings.redis())
    assert not [text for text in [*said, str(unreached.value)] if "Sesam" in text]


def test_nothing_that_holds_secrets_tells_them(elsewhere: Path) -> None:
    settings = settings_from(
        redis_url="redis://user:Sesam@localhost:1/0?password=Sesam",
        redis_password="Sesam://x@y",
        kafka_sasl_password="http://Sesam@host",
        erasure_key="Sesam",
        kafka_bootstrap="localhost:1",
    )
    place = Place(settings, None)
    said = [repr(settings), str(settings), repr(settings.redis()), repr(settings.kafka()), repr(place)]
    said += [repr(connect(settings.redis())), repr(list(findings(place)))]
    assert "does not answer" in said[-1]
    assert not [text for text in said if "Sesam" in text]


def test_a_password_that_looks_like_an_address_is_masked(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setenv("SEGMENTER_REDIS_PASSWORD", "x://Sesam/")
    assert not [row for row in effective() if "Sesam" in str(row.value)]


def test_the_embedded_store_is_not_asked_with_the_password_of_another(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    (elsewhere / "secret").write_text(SECRET)
    monkeypatch.setenv("SEGMENTER_REDIS_PASSWORD_FILE", "secret")
    monkeypatch.setenv("SEGMENTER_ERASURE_KEY_FILE", "secret")
    with hosted(elsewhere / "pair") as host:
        connect(host.settings.redis()).ping()
        assert host.settings.erasure_key_bytes == SECRET.encode()
    kept = (elsewhere / "pair" / "settings.json").read_text()
    assert SECRET not in kept
    assert "erasure_key" not in kept
    with placed(True, elsewhere / "pair") as place:
        connect(place.settings.redis()).ping()
