"""Secrets from files, as Docker and Kubernetes hand them over: SEGMENTER_REDIS_PASSWORD_FILE=/run/secrets/redis.

A file is read once, with the settings; a newline at its end is no part of the secret. What is wrong is said by the
names of setting and file, never by what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

SECRETS = ("kafka_sasl_password", "redis_password", "erasure_key")
"""Settings that may be given by a file: its path is in the setting of that name and `_file`."""


def read_secrets(given: Mapping[str, Any], prefix: str) -> dict[str, SecretStr]:
    """Return the secrets whose file is named among the given settings. Raises ValueError with what to do."""
    return {
        name: _read(given[f"{name}_file"], f"{prefix}{name}".upper(), given.get(name))
        for name in SECRETS
        if given.get(f"{name}_file")
    }


def _read(path: object, setting: str, also: object) -> SecretStr:
    if also:
        raise ValueError(f"{setting} and {setting}_FILE are both given: which is meant? Unset one of them")
    try:
        text = Path(str(path)).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{setting}_FILE: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{setting}_FILE: {path} is no text in UTF-8") from None
    if not text:
        raise ValueError(f"{setting}_FILE: {path} is empty")
    return SecretStr(text)
