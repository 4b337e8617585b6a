"""`config show`: each setting's value, its source and its meaning; secrets masked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from dotenv import dotenv_values
from pydantic import SecretStr

from consumer.commands.cli_output import Output, table
from consumer.commands.place import KEPT, Live, kept_settings, read_live, settings_from
from consumer.secrets import SECRETS
from consumer.settings import PREFIX, Settings

MASK = "********"


class Shown(msgspec.Struct, frozen=True):
    """One setting. source: environment, .env, file (a secret's), the directory of an embedded pair, or default."""

    setting: str
    value: Any
    source: str
    meaning: str


def show_config(embedded: bool, directory: Path, output: Output) -> None:
    """Print the settings in force."""
    rows = effective(embedded, directory)
    shown = [(row.setting, _text(row.value), row.source) for row in rows]
    output.result(rows, table(None, ["setting", "value", "source"], shown))


def effective(embedded: bool = False, directory: Path | None = None) -> list[Shown]:
    """Return every setting, in the order of the file that defines them."""
    kept: dict[str, Any] = {}
    if embedded and directory is not None and (directory / KEPT).exists():
        kept = msgspec.json.decode((directory / KEPT).read_bytes())
        settings = kept_settings(directory, read_live(directory) or Live("localhost:9092", "redis://localhost:6379/0"))
    else:
        settings = settings_from()
    return [
        Shown(
            PREFIX + name.upper(),
            _masked(name, getattr(settings, name)),
            "file" if _from_file(settings, name) else _source(name, kept, directory),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _source(name: str, kept: dict[str, Any], directory: Path | None) -> str:
    """Return where a setting comes from; the environment goes before .env."""
    if kept:
        return f"{directory}/{KEPT}" if name in kept else "default"
    variable = PREFIX + name.upper()
    for source, names in (("environment", os.environ), (".env", dotenv_values(".env"))):
        if variable in {each.upper() for each in names}:
            return source
    return "default"


def _from_file(settings: Settings, name: str) -> bool:
    return name in SECRETS and bool(getattr(settings, f"{name}_file"))


def _masked(name: str, value: Any) -> Any:
    """Return a value that may be shown: of a secret that it is set, of an address everything but its password."""
    if not isinstance(value, SecretStr):
        return value
    text = value.get_secret_value()
    if name != "redis_url":
        return MASK if text else ""
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    credentials = f"{MASK}@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, credentials + host, parts.path, "", ""))


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
