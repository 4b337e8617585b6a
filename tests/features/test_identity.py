from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.identity import HISTORY_SCHEME, POSITION_BITS, canonical_id, content_event_id, hash64, position


@pytest.mark.parametrize("text", ["17850", "17850.0", " 17850", "17850.00 ", "\t17850\n"])
def test_one_customer_however_a_spreadsheet_wrote_him(text: str) -> None:
    assert canonical_id(text) == "17850"


@pytest.mark.parametrize(
    "text", ["0012", "12.5", "12.50", "-12.0", "a.0", ".0", "12.", "1e3", "1.2.0", "10", "100", "é", "e\u0301"]
)
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert canonical_id(text) == text


def test_leading_zeros_stay_before_a_float_artefact() -> None:
    assert canonical_id("0012.0") == "0012"


@given(st.text())
def test_a_canonical_id_is_canonical(text: str) -> None:
    assert canonical_id(canonical_id(text)) == canonical_id(text)


@given(st.text())
def test_a_hash_is_blake2b_of_the_utf8_bytes_and_never_zero(text: str) -> None:
    expected = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
    assert hash64(text) == (expected or 1)
    assert 0 < hash64(text) < 2**64


def test_hashes_are_the_same_in_every_version() -> None:
    assert hash64("17850") == 1073825730085349662
    assert position("17850") == 1073825730085349662 >> 16
    assert content_event_id("a\x1fb", 3) == "h1-d75b3e77041f1c2cefadc34f-3"


@given(st.text())
def test_a_position_fits_a_double_exactly(text: str) -> None:
    assert 0 <= position(text) < 2**POSITION_BITS
    assert int(float(position(text))) == position(text)


@given(st.text(), st.text(), st.integers(0, 100), st.integers(0, 100))
def test_equal_rows_of_an_order_keep_different_event_ids(a: str, b: str, m: int, n: int) -> None:
    assert (content_event_id(a, m) == content_event_id(b, n)) == ((a, m) == (b, n))
    assert content_event_id(a, m).startswith(HISTORY_SCHEME)
