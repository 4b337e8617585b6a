"""What an operator asks of all workers of a namespace (features.orders): pause and freeze, set and taken away."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from features.orders import Freeze, Pause, frozen_key, paused_key
from features.redis_store import Client, guarded
from features.store import StoreRefused

_Order = TypeVar("_Order", Pause, Freeze)


def read_pause(client: Client, namespace: str) -> Pause | None:
    """Return the flag, None where nothing is paused. Raises `StoreError`."""
    return _read(client, paused_key(namespace), Pause)


def set_pause(client: Client, namespace: str, pause: Pause) -> None:
    """Let every worker stand still within about a second. Raises `StoreError`."""
    guarded(lambda: client.set(paused_key(namespace), msgspec.json.encode(pause)))


def end_pause(client: Client, namespace: str) -> None:
    """Let them go on. Raises `StoreError`."""
    guarded(lambda: client.delete(paused_key(namespace)))


def read_freeze(client: Client, namespace: str) -> Freeze | None:
    """Return until when no model is learned, None where it is. Raises `StoreError`."""
    return _read(client, frozen_key(namespace), Freeze)


def set_freeze(client: Client, namespace: str, freeze: Freeze) -> None:
    """Let the leader hold the model still. Raises `StoreError`."""
    guarded(lambda: client.set(frozen_key(namespace), msgspec.json.encode(freeze)))


def end_freeze(client: Client, namespace: str) -> None:
    """Let it learn again. Raises `StoreError`."""
    guarded(lambda: client.delete(frozen_key(namespace)))


def _read(client: Client, key: bytes, order: type[_Order]) -> _Order | None:
    data: Any = guarded(lambda: client.get(key), key)
    try:
        return None if data is None else msgspec.json.decode(data, type=order)
    except msgspec.DecodeError as error:
        raise StoreRefused(f"{key.decode()} is no {order.__name__.lower()} of this version: {error}") from None
