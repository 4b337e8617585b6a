"""Two customers never share a key in Redis, and no id moves its key to another slot (FAULTS S9).

Slots are computed here by CRC-16 from its definition; keys are taken apart by a grammar of the test's own.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from consumer.commands.place import settings_from
from consumer.exits import Stop
from features.identity import position
from features.orders import binding_key
from features.redis_generation import GenerationLoader
from features.redis_store import Keys, RedisStore, connect
from tests.harness.fault import Fault

NAMESPACES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
PARTITIONS = st.integers(0, 10_000)
GENERATIONS = st.integers(1, 10**6).map(str)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.text("{}:c1*?[]\0\n", min_size=1)
"""Whatever UTF-8 can say; and what means something in keys, patterns and hash tags."""
PLACES = st.tuples(NAMESPACES, GENERATIONS, PARTITIONS, IDS)
NAMES = ("fence", "outbox", "statistics", "index", "days", "snapshots", "erased", "sample:1", "touched:1")
GRAMMAR = re.compile(rb"\{([A-Za-z0-9._-]+):(\d+)\}:(?:(\d+):)?(.*)", re.DOTALL)

HOSTILE = (
    "caf\u00e9", "cafe\u0301", "\ufb01", "fi", "A", "a", "\u0410", "\u0130", "i\u0307", "\u212a", "K",
    "x", "x\0", "\0x", "x\0y", " x", "x ", "x\n", "x\r\n", "\tx", "\u200bx", "\u202ex", "\ufeffx",
    "{x}", "}{x", "{", "}", "{}", "{}x", "{x", "x}", "{other:1}:1:c:x", "}:1:c:x", ":", "::", "c:x", "x:c", "1:c:x",
    "*", "?", "[x]", "x*", "\\x", "fence", "outbox", "c:fence", "sample:1", "0", "00", "0x0", "-1",
    "👩\u200d👧", "👩👧", "\U0010ffff", "\uffff", "e" * 511, "e" * 512,
)  # fmt: skip
"""Ids that something on the way could take for each other: a normalizer, a trimmer, a C string, a tag, a pattern."""


def slot(key: bytes) -> int:
    """Return a key's slot: CRC-16/XMODEM of the text in its first braces, if there is any, modulo 16,384."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    hashed = key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key
    crc = 0
    for byte in hashed:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ (0x1021 if crc & 0x8000 else 0)
            crc &= 0xFFFF
    return crc % 16_384


def test_the_slots_of_the_test_are_those_of_the_specification() -> None:
    assert slot(b"123456789") == 0x31C3 % 16_384
    assert slot(b"{user1000}.following") == slot(b"{user1000}.followers") == slot(b"user1000")
    assert slot(b"foo{}{bar}") != slot(b"bar")


@given(PLACES)
@example(("a", "1", 0, "}:1:c:x"))
@example(("a", "1", 0, "{b:1}:1:c:x"))
def test_a_key_can_be_taken_apart_again_so_no_two_places_share_one(place: tuple[str, str, int, str]) -> None:
    namespace, generation, partition, customer = place
    keys = Keys(namespace, generation)
    parts = GRAMMAR.fullmatch(keys.customer(partition, customer))
    assert parts is not None
    found = parts[1].decode(), parts[3].decode(), int(parts[2]), parts[4].removeprefix(b"c:").decode()
    assert parts[4].startswith(b"c:")
    assert found == place
    others = {keys.of(partition, name) for name in NAMES} | {keys.generation(partition), binding_key(namespace)}
    assert len(others) == len(NAMES) + 2
    assert keys.customer(partition, customer) not in others


@given(PLACES, PLACES)
def test_two_places_have_two_keys(one: tuple[str, str, int, str], other: tuple[str, str, int, str]) -> None:
    keys = [Keys(namespace, generation).customer(p, customer) for namespace, generation, p, customer in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


@given(IDS)
def test_a_normal_form_is_another_customer(customer: str) -> None:
    forms = {customer, *(unicodedata.normalize(form, customer) for form in ("NFC", "NFD", "NFKC", "NFKD"))}
    assert len({Keys("shop", "1").customer(0, form) for form in forms}) == len(forms)


@given(PLACES)
def test_whatever_the_id_a_key_has_the_slot_of_its_partition(place: tuple[str, str, int, str]) -> None:
    namespace, generation, partition, customer = place
    keys = Keys(namespace, generation)
    wanted = slot(f"{namespace}:{partition}".encode())
    assert {slot(key) for key in (keys.customer(partition, customer), keys.generation(partition))} == {wanted}
    assert {slot(keys.of(partition, name)) for name in NAMES} == {wanted}


@pytest.mark.parametrize("namespace", ["", "a:1", "a}", "{a", "a*", "a?", "[a]", "a\\", "a b", "ä", "a\n", "a" * 65])
def test_a_namespace_that_could_mean_another_place_is_refused(namespace: str) -> None:
    with pytest.raises(Stop, match="SEGMENTER_NAMESPACE"):
        settings_from(namespace=namespace)


@pytest.mark.fault("S9")
def test_ids_that_look_alike_keep_states_of_their_own_on_a_real_server(
    redis_url: str, namespace: str, fault: Fault
) -> None:
    with connect(redis_url) as client:
        pairs = list(combinations(HOSTILE, 2))
        fault.inject(len(pairs))
        loader, store = GenerationLoader(client, namespace, "1"), RedisStore(client, namespace, "1")
        places = [position(customer) for customer in HOSTILE]
        states = [b"state of %d" % n for n in range(len(HOSTILE))]
        loader.load(3, HOSTILE, places, states)
        found = dict(zip(HOSTILE, store.load({3: HOSTILE})[3], strict=True))
        fault.fired(sum(found[a] != found[b] for a, b in pairs))
        assert list(found.values()) == states
        everybody = store.chunk(3, -1, len(HOSTILE) + 1)
        assert dict(zip(everybody.ids, everybody.blobs, strict=True)) == found
        assert {key_slot(store.keys.customer(3, each)) for each in HOSTILE} == {slot(f"{namespace}:3".encode())}

        # What is dropped is one partition of one generation, whatever ids it holds; nothing whose name begins alike.
        neighbours = {(f"{namespace}x", "1", 3), (namespace, "11", 3), (namespace, "1", 31), (namespace, "2", 3)}
        for name, generation, partition in neighbours:
            GenerationLoader(client, name, generation).load(partition, HOSTILE, places, states)
        loader.drop(3)
        assert store.load({3: HOSTILE})[3] == [None] * len(HOSTILE)
        for name, generation, partition in neighbours:
            assert RedisStore(client, name, generation).load({partition: HOSTILE})[partition] == states
            GenerationLoader(client, name, generation).drop(partition)
    fault.unstreamed("keys only: the stream's way to them is tests/faults/test_input.py")
