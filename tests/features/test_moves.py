"""Moves beside a state: the newest are kept, in order, in every schema that knows them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args
from zlib import crc32

import numpy as np
import pytest

from consumer.messages import Cause
from features.codec import HEAD, SCHEMA, InvalidState, Seen, States, blank_heads, decode_states, encode_states
from features.ledger import empty
from features.moves import CAUSES, MAX_MOVES, MOVE, Moves, joined, no_moves, reverted
from reports.verify_states import Move, State, read_state


def moves(*rows: tuple[int, int]) -> Moves:
    """Return moves of (owner, revision)."""
    records = [(revision, 19_000 + revision, 7, 11, 12, 1) for _, revision in rows]
    return Moves(np.array([owner for owner, _ in rows], np.int64), np.array(records, MOVE))


def states(*, of: Moves, revision: int = 99) -> States:
    heads = blank_heads(2)
    heads["revision"] = revision
    nothing = np.empty(0, np.int64)
    return States(heads, empty(), Seen(nothing, np.empty(0, np.uint64), nothing), of)


def pairs(found: Moves) -> list[tuple[int, int]]:
    return list(zip(found.owner.tolist(), found.records["revision"].tolist(), strict=True))


def test_every_cause_of_a_record_has_its_number() -> None:
    assert get_args(Cause) == CAUSES


def test_later_moves_come_behind_each_customers_own() -> None:
    found = joined(moves((0, 1), (1, 1)), [moves((1, 2)), moves((0, 2), (1, 3))])
    assert pairs(found) == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]


def test_the_newest_sixteen_stay() -> None:
    found = joined(moves(*((0, n) for n in range(1, 17))), [moves((0, 17), (0, 18), (1, 1))])
    assert pairs(found) == [*((0, n) for n in range(3, 19)), (1, 1)]
    assert MAX_MOVES == 16


def test_flows_count_sources_targets_and_causes() -> None:
    assert moves((0, 1), (1, 1)).flows() == {(11, 12, "purchase"): 2}
    assert no_moves().flows() == {}


def test_a_state_keeps_its_moves_and_an_independent_reader_finds_them() -> None:
    blobs = encode_states(states(of=moves((0, 3), (0, 4), (1, 5))), np.arange(2))
    back = decode_states(blobs)
    assert pairs(back.moves) == [(0, 3), (0, 4), (1, 5)]
    assert encode_states(back, np.arange(2)) == blobs
    read = read_state(blobs[0])
    assert isinstance(read, State)
    assert read.moves == (Move(3, 19_003, 7, 11, 12, "purchase"), Move(4, 19_004, 7, 11, 12, "purchase"))


def test_schema_1_drops_moves_and_is_as_it_was() -> None:
    known = states(of=moves((0, 3)))
    old = encode_states(known, np.arange(2), 1)
    assert old == encode_states(replace(known, moves=no_moves()), np.arange(2), 1)
    assert (old[0][0], old[0][1], len(old[0])) == (1, 0, HEAD.itemsize + 4)
    both = [old[0], encode_states(states(of=moves((1, 3))), np.arange(2))[1]]
    assert pairs(decode_states(both).moves) == [(1, 3)], "both schemas are read side by side"


def test_a_state_never_goes_back_to_an_older_schema() -> None:
    blobs = encode_states(states(of=moves((0, 3))), np.arange(2))
    assert encode_states(decode_states(blobs), np.arange(2), 1) == blobs
    fresh = encode_states(decode_states([blobs[0], None]), np.arange(2), 1)
    assert [blob[0] for blob in fresh] == [SCHEMA, 1], "who is new is written as the worker was told"


@pytest.mark.parametrize("schema", [2, 3])
@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("revision", 100, "newer than its customer"),
        ("revision", 2, "not in order"),
        ("cause", len(CAUSES), "no cause"),
        ("day", 3_000_000, "none of the calendar"),
    ],
)
def test_a_move_that_cannot_be_is_refused(field: str, value: int, problem: str, schema: int) -> None:
    wrong = moves((0, 3), (0, 4))
    wrong.records[field][1] = value
    with pytest.raises(InvalidState, match=problem):
        decode_states(encode_states(states(of=wrong), np.arange(1), schema))


def test_a_state_of_schema_1_has_no_place_for_moves() -> None:
    blob = encode_states(states(of=moves((0, 3))), np.arange(1), 2)[0]
    body = b"\1" + blob[1:-4]
    with pytest.raises(InvalidState, match="never used"):
        decode_states([body + crc32(body).to_bytes(4, "little")])


# --- taking moves back ------------------------------------------------------------------------------------------------


def taken_back(*moves: tuple[int, int, int, str], label: int | None = None) -> int:
    """Return one customer's label after versions 5 to 8 were taken back. moves: (version, from, to, cause)."""
    records = np.zeros(len(moves), MOVE)
    for n, (version, source, target, cause) in enumerate(moves):
        records[n] = (n + 1, 100 + n, version, source, target, CAUSES.index(cause))
    labels = np.array([7, label or moves[-1][2], 8])
    found = reverted(Moves(np.full(len(moves), 1), records), labels, 5, 9)
    assert (found[0], found[2]) == (7, 8), "others keep theirs"
    return int(found[1])


@pytest.mark.parametrize(
    ("moves", "label"),
    [
        ([(3, 11, 12, "model")], 12),  # before the versions that are taken back
        ([(3, 11, 12, "purchase"), (5, 12, 13, "model")], 12),
        ([(5, 12, 13, "model"), (6, 13, 14, "model"), (7, 14, 1, "silence")], 12),
        ([(5, 12, 13, "model"), (6, 13, 14, "purchase")], 14),  # an order of his own has the last word
        ([(5, 12, 13, "purchase"), (6, 13, 14, "model")], 14),
        ([(5, 12, 13, "purchase"), (5, 13, 12, "return"), (6, 12, 14, "model")], 12),  # back before the next turn
        ([(5, 12, 13, "model"), (5, 13, 14, "late"), (5, 14, 13, "return")], 12),
        ([(5, 12, 13, "model"), (9, 13, 12, "model")], 12),  # taken back already
        ([(5, 12, 13, "model"), (9, 13, 15, "silence")], 15),
        ([(5, 0, 13, "bootstrap"), (6, 13, 14, "model")], 14),  # there was none before
    ],
)
def test_moves_of_models_are_taken_back_but_not_those_of_orders(
    moves: list[tuple[int, int, int, str]], label: int
) -> None:
    assert taken_back(*moves) == label


def test_where_the_label_before_is_no_longer_kept_the_present_one_stays() -> None:
    flips = [(5, 12 + n % 2, 13 - n % 2, "model") for n in range(MAX_MOVES)]
    assert taken_back(*flips) == flips[-1][2]
