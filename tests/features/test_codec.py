"""The bytes of a customer's state: of every schema the first byte is its number and the end a checksum."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from features import codec
from features.codec import SCHEMA, InvalidState, NewerSchema, Seen, States, blank_heads, decode_states, encode_states
from features.ledger import empty


def blob(schema: int | None = None) -> bytes:
    nothing = np.empty(0, np.int64)
    states = States(blank_heads(1), empty(), Seen(nothing, np.empty(0, np.uint64), nothing))
    return encode_states(states, np.arange(1), schema)[0]


def sealed(body: bytes) -> bytes:
    return body + crc32(body).to_bytes(4, "little")


def test_a_state_is_written_in_the_schema_that_is_asked_for_and_by_default_in_the_newest() -> None:
    assert blob()[0] == SCHEMA
    assert blob(SCHEMA + 1)[0] == SCHEMA + 1


def test_a_newer_schema_is_told_from_a_damaged_byte() -> None:
    good = blob()
    with pytest.raises(InvalidState, match="checksum"):
        decode_states([bytes([SCHEMA + 1]) + good[1:]])
    with pytest.raises(NewerSchema, match="newer version"):
        decode_states([sealed(bytes([SCHEMA + 1]) + good[1:-4])])
    with pytest.raises(InvalidState, match="no state schema 0"):
        decode_states([sealed(b"\0" + good[1:-4])])


def test_a_newer_version_reads_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCHEMA", SCHEMA + 1)
    assert decode_states([blob(SCHEMA), blob(SCHEMA + 1)]).heads["schema"].tolist() == [SCHEMA, SCHEMA + 1]
