"""The bytes of a customer's state: of every schema the first byte is its number and the end a checksum."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import codec
from features.codec import (
    NARROW_BIT,
    SCHEMA,
    InvalidState,
    NewerSchema,
    Seen,
    States,
    blank_heads,
    decode_states,
    encode_states,
)
from features.ledger import Ledger, empty
from features.moves import MOVE, Moves, no_moves
from reports.verify_states import State, read_state


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


# --- narrow and wide --------------------------------------------------------------------------------------------------

LIMITS = {
    "first_day": (0, 65_535),
    "last_day": (0, 65_535),
    "entered_day": (0, 65_535),
    "revision": (1, 65_535),
    "sweep": (0, 65_535),
    "past_orders": (0, 65_535),
    "past_net": (-(2**31), 2**31 - 1),
}
"""The least and the most that fits narrow, of the fields of the head."""
OF_RECORDS = {
    "day": (0, 65_535),
    "net": (-(2**31), 2**31 - 1),
    "units": (-(2**15), 2**15 - 1),
    "lines": (1, 255),
    "orders": (0, 0),
}


def customers(n: int) -> States:
    """Return n customers with two records, an id and a move each; all fits narrow."""
    heads = blank_heads(n)
    plain = {"first_day": 14_000, "last_day": 15_300, "entered_day": 15_301, "revision": 7, "sweep": 3}
    for name, value in (
        plain | {"segment": 12, "previous": 11, "anchor": 12, "past_orders": 2, "past_net": -5}
    ).items():
        heads[name] = value
    owner = np.arange(n)
    records = (
        np.tile(np.array([5, 2**64 - 1], np.uint64), n),
        *(np.tile(np.array(pair), n) for pair in ([15_000, 15_300], [12_345, -300], [4, -1], [2, 1], [0, 0])),
    )
    moves = np.array([(7, 15_301, 4, 11, 12, 1)] * n, MOVE)
    ids = Seen(owner, np.full(n, 2**63 + 9, np.uint64), np.full(n, 15_300))
    return States(heads, Ledger(np.repeat(owner, 2), *records), ids, Moves(owner, moves))


def with_value(states: States, part: str, name: str, value: int, row: int = 0) -> States:
    """Return the states with one value of one customer changed."""
    heads, moves, day = states.heads.copy(), states.moves.records.copy(), states.seen.day.copy()
    columns = {each.name: getattr(states.ledger, each.name).copy() for each in fields(Ledger)}
    match part:
        case "head":
            heads[name][row] = value
        case "record":
            columns[name][2 * row] = value
        case "move":
            moves[name][row] = value
        case "seen":
            day[row] = value
    return States(heads, Ledger(**columns), replace(states.seen, day=day), Moves(states.moves.owner, moves))


def same(a: States, b: States) -> bool:
    """Say whether both hold the same, whatever the schema."""
    first, second = a.heads.copy(), b.heads.copy()
    for heads in (first, second):
        for name in ("schema", "records", "seen", "moves"):
            heads[name] = 0
    tables: list[tuple[Any, Any]] = [(first, second), (a.moves.records, b.moves.records)]
    for one, other in ((a.ledger, b.ledger), (a.seen, b.seen)):
        tables += [(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)]
    return all(np.array_equal(one, other) for one, other in [*tables, (a.moves.owner, b.moves.owner)])


def test_the_bytes_of_each_schema_are_those_that_they_always_were() -> None:
    states, who = customers(1), np.arange(1)
    head = "0c000b000c00b0360000c43b0000c53b00000700000003000000" + "02000000" + "fbffffffffffffff"
    records = "0500000000000000" + "3930000000000000" + "0400000000000000" + "983a0000" + "02000000"
    records += "ffffffffffffffff" + "d4feffffffffffff" + "ffffffffffffffff" + "c43b0000" + "01000000"
    seen, move = "0900000000000080" + "c43b0000", "07000000" + "c53b0000" + "04000000" + "0b00" + "0c00" + "01"
    assert encode_states(states, who, 1) == [sealed(bytes.fromhex("0100" + "02000100" + head + records + seen))]
    assert encode_states(states, who, 2) == [sealed(bytes.fromhex("0201" + "02000100" + head + records + seen + move))]
    narrow = "0381" + "0100" + "0c000b000c00" + "b036c43bc53b" + "0700" + "0300" + "0200" + "fbffffff"
    narrow += (
        "0500000000000000" + "39300000" + "0400" + "983a" + "02" + "ffffffffffffffff" + "d4feffff" + "ffff" + "c43b01"
    )
    narrow += "0900000000000080" + "c43b" + "0700" + "c53b" + "0400" + "0b00" + "0c00" + "01"
    assert encode_states(states, who, 3) == [sealed(bytes.fromhex(narrow))]
    wide = with_value(states, "record", "units", 2**15)
    assert encode_states(wide, who, 3) == [sealed(b"\x03" + encode_states(wide, who, 2)[0][1:-4])]


@pytest.mark.parametrize(
    ("part", "name", "least", "most"),
    [
        *(("head", name, *limits) for name, limits in LIMITS.items()),
        *(("record", name, *limits) for name, limits in OF_RECORDS.items()),
        *((part, name, 0, 65_535) for part, name in [("move", "day"), ("move", "version"), ("seen", "day")]),
    ],
)
def test_what_just_fits_is_narrow_and_what_is_beyond_is_wide(part: str, name: str, least: int, most: int) -> None:
    signed = name in ("net", "units", "past_net") or name.endswith("day")
    for value, fits in [(least, True), (most, True), (most + 1, False), *([(least - 1, False)] if signed else [])]:
        states = with_value(customers(3), part, name, value, row=1)
        if name == "revision":
            states.moves.records["revision"] = 1
        blobs = encode_states(states, np.arange(3))
        assert [bool(blob[1] & NARROW_BIT) for blob in blobs] == [True, fits, True], value
        back = decode_states(blobs)
        assert same(back, states), value
        assert encode_states(back, np.arange(3)) == blobs


def test_lines_that_saturate_do_so_in_whatever_order_they_come() -> None:
    for value in (255, 256, 65_535, 65_536, 10**9):
        blob = encode_states(with_value(customers(1), "record", "lines", value), np.arange(1))[0]
        assert bool(blob[1] & NARROW_BIT) == (value <= 255)
        assert decode_states([blob]).ledger.lines[0] == min(value, 65_535)


def test_a_wide_state_that_would_fit_is_refused() -> None:
    good = encode_states(customers(2), np.arange(2))
    wide = sealed(b"\x03" + encode_states(customers(1), np.arange(1), 2)[0][1:-4])
    with pytest.raises(InvalidState, match="written wide") as refused:
        decode_states([good[0], None, wide, good[1]])
    assert refused.value.index == 2


def test_a_customer_without_an_order_has_days_that_are_none_and_is_wide() -> None:
    blobs = [blob(), encode_states(customers(1), np.arange(1))[0]]
    assert [bool(each[1] & NARROW_BIT) for each in blobs] == [False, True]
    back = decode_states([None, *blobs])
    assert back.heads["first_day"].tolist() == [codec.NO_DAY, codec.NO_DAY, 14_000]
    assert encode_states(back, np.array([1, 2])) == blobs


def test_of_a_narrow_state_every_length_but_the_right_one_is_refused() -> None:
    good = encode_states(customers(1), np.arange(1))[0]
    for length in range(len(good) + 40):
        body = (good[:-4] + bytes(40))[:length]
        if length + 4 != len(good):
            with pytest.raises(InvalidState):
                decode_states([sealed(body)])


def numbers(limits: tuple[int, int], most: int, least: int | None = None) -> st.SearchStrategy[int]:
    low = limits[0] if least is None else least
    edges = [limits[0], limits[1], min(limits[1] + 1, most), max(limits[0] - 1, low), most, low]
    return st.sampled_from(edges) | st.integers(*limits)


@given(data=st.data())
def test_narrow_and_wide_beside_each_other_are_read_as_they_were_written(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 5))
    states = customers(n)
    heads, ledger, moves = states.heads, states.ledger, states.moves.records
    for i in range(n):
        for name, limits in LIMITS.items():
            signed = name.endswith("day")
            most = 2**63 - 1 if name == "past_net" else 2_932_896 if signed else 2**32 - 1
            least = -(2**63) if name == "past_net" else -719_162 if signed else limits[0]
            if data.draw(st.booleans()):
                heads[name][i] = data.draw(numbers(limits, most, least))
        moves["revision"][i] = min(int(heads["revision"][i]), data.draw(numbers((1, 65_535), 2**32 - 1)))
        ledger.units[2 * i] = data.draw(numbers(OF_RECORDS["units"], 2**63 - 1, -(2**63)))
        ledger.net[2 * i + 1] = data.draw(numbers(OF_RECORDS["net"], 2**63 - 1, -(2**63)))
        ledger.lines[2 * i] = data.draw(numbers((1, 255), 65_535, 1))
        ledger.orders[2 * i] = data.draw(st.sampled_from([0, 0, 0, 1, 65_535]))
    known = np.isin(states.seen.owner, data.draw(st.lists(st.integers(0, 4))))
    ids = Seen(states.seen.owner[known], states.seen.id[known], states.seen.day[known])
    states = replace(states, seen=ids, moves=states.moves if data.draw(st.booleans()) else no_moves())
    everybody = np.arange(n)
    blobs = encode_states(states, everybody)
    back = decode_states(blobs)
    assert same(back, states)
    assert encode_states(back, everybody) == blobs
    assert same(decode_states(encode_states(states, everybody, 2)), states)
    assert encode_states(states, everybody[1::2]) == blobs[1::2], "whatever comes beside it"
    names = ("order", "net", "units", "day", "lines", "orders")
    for i, each in enumerate(blobs):
        read, own = read_state(each), back.ledger.owner == i
        assert isinstance(read, State)
        records = [getattr(back.ledger, name)[own].tolist() for name in names]
        assert [list(record) for record in read.records] == [list(row) for row in zip(*records, strict=True)]
        assert [read.first_day, read.past_net] == [heads["first_day"][i], heads["past_net"][i]]
        assert [seen for seen, _ in read.seen] == back.seen.id[back.seen.owner == i].tolist()
        assert [move.revision for move in read.moves] == back.moves.records["revision"][back.moves.owner == i].tolist()
