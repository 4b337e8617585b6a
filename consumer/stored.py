"""Reading what is stored as JSON or MessagePack: whatever the bytes are, a value of the type or one kind of error."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""An offset, an epoch, a version, a number of things."""

FIRST_DAY = -719_162
"""0001-01-01, in days since 1970-01-01."""

Day = Annotated[int, msgspec.Meta(ge=FIRST_DAY, le=2_932_896)]
"""Days since 1970-01-01, within the years 1 to 9999."""

Seconds = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
"""Local seconds since 1970-01-01."""


def read_json(data: bytes, kind: type[T]) -> T:
    """Return the value. Raises `msgspec.DecodeError`, whatever is wrong with the bytes."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def read_msgpack(data: bytes, kind: type[T]) -> T:
    """Return the value. Raises `msgspec.DecodeError`, whatever is wrong with the bytes."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
