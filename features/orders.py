"""What an operator asks of all workers of a namespace, as it stands in the store; read once a second by each.

{<namespace>:model}:paused    string  JSON, `Pause`: nothing may be written now; absent: it may
{<namespace>:model}:binding   string  JSON (features.redis_generation): here only its schema
{<namespace>:model}:frozen    string  JSON, `Freeze`: the centroids do not move; absent: they do
{<namespace>:model}:<g>:promoted  string  number of a version that a person chose: everybody is swept under it at once
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


class Freeze(msgspec.Struct, frozen=True):
    """Until which day (since 1970-01-01, itself included) no model is learned, and why, in the operator's words."""

    until: int
    reason: str = ""


class _Schema(msgspec.Struct):
    schema: int = 1


def binding_key(namespace: str) -> bytes:
    """Return the name of the registry's record."""
    return f"{{{namespace}:model}}:binding".encode()


def paused_key(namespace: str) -> bytes:
    """Return the name of the flag; it belongs to the namespace, whichever generation is live."""
    return f"{{{namespace}:model}}:paused".encode()


def frozen_key(namespace: str) -> bytes:
    """Return the name of the freeze; like the pause it outlives a generation."""
    return f"{{{namespace}:model}}:frozen".encode()


def promoted_key(namespace: str, generation: str) -> bytes:
    """Return the name of the number of the version that was promoted last."""
    return f"{{{namespace}:model}}:{generation}:promoted".encode()


def orders_of(pause: bytes | None, binding: bytes | None, freeze: bytes | None, promoted: bytes | None) -> Orders:
    """Return the orders in what the store holds. Raises `msgspec.DecodeError`."""
    return Orders(
        paused=None if pause is None else str(msgspec.json.decode(pause, type=Pause)),
        schema=None if binding is None else msgspec.json.decode(binding, type=_Schema).schema,
        frozen_until=None if freeze is None else msgspec.json.decode(freeze, type=Freeze).until,
        promoted=0 if promoted is None else msgspec.json.decode(promoted, type=int),
    )
