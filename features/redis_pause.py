"""The flag that lets all workers of a namespace stand still (features.orders): set, read and taken away."""

from __future__ import annotations

from typing import Any

import msgspec

from features.orders import Pause, paused_key
from features.redis_store import Client, guarded
from features.store import StoreRefused


def read_pause(client: Client, namespace: str) -> Pause | None:
    """Return the flag, None where nothing is paused. Raises `StoreError`."""
    key = paused_key(namespace)
    data: Any = guarded(lambda: client.get(key), key)
    try:
        return None if data is None else msgspec.json.decode(data, type=Pause)
    except msgspec.DecodeError as error:
        raise StoreRefused(f"{key.decode()} is no pause of this version: {error}") from None


def set_pause(client: Client, namespace: str, pause: Pause) -> None:
    """Let every worker stand still within about a second. Raises `StoreError`."""
    guarded(lambda: client.set(paused_key(namespace), msgspec.json.encode(pause)))


def end_pause(client: Client, namespace: str) -> None:
    """Let them go on. Raises `StoreError`."""
    guarded(lambda: client.delete(paused_key(namespace)))
