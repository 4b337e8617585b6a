"""Tokens from a file: what a line grants, and what is wrong with one."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from consumer.exits import ExitCode, Stop
from consumer.serving.tokens import read_tokens

HASH = sha256(b"a token").hexdigest()


def test_a_token_has_the_roles_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\n  read,erase {HASH}  the privacy desk\nread {'0' * 64} shop\n", encoding="utf-8")
    tokens = read_tokens(str(path))
    grant = tokens.grant_of("a token")
    assert grant is not None
    assert (sorted(grant.roles), grant.name) == (["erase", "read"], "the privacy desk")
    assert [tokens.grant_of(other) for other in ("", "A token", HASH, "\udc80")] == [None] * 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "grants nobody anything"),
        ("# nobody yet\n", "grants nobody anything"),
        ("read a-token shop\n", "line 1: a line is `roles sha256 name`"),
        (f"\nread {HASH}\n", "line 2: a line is `roles sha256 name`"),
        (f"read,write {HASH} shop\n", "line 1: there is no role 'write'"),
        (f"read {HASH} one\nerase {HASH.upper()} two\n", "has one token twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_without_what_it_holds(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Stop, match="SEGMENTER_API_TOKENS_FILE") as stopped:
        read_tokens(str(path))
    assert stopped.value.code is ExitCode.USAGE
    assert said in str(stopped.value)
    assert HASH not in str(stopped.value)
    assert "a-token" not in str(stopped.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="nowhere cannot be read"):
        read_tokens(str(tmp_path / "nowhere"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Stop, match="is no text"):
        read_tokens(str(tmp_path / "binary"))
