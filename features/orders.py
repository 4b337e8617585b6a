"""What an operator asks of all workers of a namespace, as it stands in the store; read once a second by each.

{<namespace>:model}:paused    string  JSON, `Pause`: nothing may be written now; absent: it may
{<namespace>:model}:binding   string  JSON (features.redis_generation): here only its schema
"""

from __future__ import annotations

import msgspec

from features.store import Orders


class Pause(msgspec.Struct, frozen=True):
    """Why all stand still, in the operator's words, and since when (RFC 3339)."""

    reason: str
    since: str

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"paused by an operator since {self.since}{because}; `segmenter resume` lets it go on"


class _Schema(msgspec.Struct):
    schema: int = 1


def binding_key(namespace: str) -> bytes:
    """Return the name of the registry's record."""
    return f"{{{namespace}:model}}:binding".encode()


def paused_key(namespace: str) -> bytes:
    """Return the name of the flag; it belongs to the namespace, whichever generation is live."""
    return f"{{{namespace}:model}}:paused".encode()


def orders_of(pause: bytes | None, binding: bytes | None) -> Orders:
    """Return the orders in what the store holds. Raises `msgspec.DecodeError`."""
    paused = None if pause is None else str(msgspec.json.decode(pause, type=Pause))
    return Orders(paused, None if binding is None else msgspec.json.decode(binding, type=_Schema).schema)
