"""Where a file may be put, and whose ids are left out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import pytest

from consumer.commands.export import read_ids
from consumer.commands.whole_file import check_place, whole_file
from consumer.exits import ExitCode, Stop


def half(file: IO[bytes]) -> None:
    """Write, and be interrupted."""
    file.write(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("link.csv", "this is a link; name the file itself"),
        ("dangling.csv", "this is a link"),
        ("folder.csv", "this is a folder"),
        ("deep/../a.csv", "without"),
        ("none/a.csv", "there is no folder"),
        ("a.xlsx", r"the name ends with \.csv or \.parquet"),
        (".csv/a", "the name ends with"),
    ],
)
def test_a_file_is_put_where_it_was_named_and_nowhere_else(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "there.csv").write_text("kept", "utf-8")
    (tmp_path / "link.csv").symlink_to(tmp_path / "there.csv")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nothing.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "deep").mkdir()
    with pytest.raises(Stop, match=rf"--out .*{said}") as caught:
        check_place(tmp_path / name, "--out", (".csv", ".parquet"))
    assert caught.value.code is ExitCode.USAGE


def test_a_file_of_that_name_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old", "utf-8")
    check_place(tmp_path / "a.csv", "--out", (".csv",))


def test_what_stood_there_stays_until_the_new_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old", "utf-8")
    with pytest.raises(KeyboardInterrupt), whole_file(path, "--out") as file:
        half(file)
    assert [(each.name, each.read_text("utf-8")) for each in tmp_path.iterdir()] == [("a.csv", "old")]
    with whole_file(path, "--out") as file:
        file.write(b"new")
        assert path.read_text("utf-8") == "old"
    assert [(each.name, each.read_text("utf-8")) for each in tmp_path.iterdir()] == [("a.csv", "new")]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(Stop, match="No space left on device; nothing was written"), whole_file(tmp_path / "a", "--out"):
        raise full
    assert list(tmp_path.iterdir()) == []


def test_ids_to_leave_out_are_lines_and_read_as_ids_are(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeff12815.0\r\n\n caf\u00e9 \n=1+1\n12815".encode())
    assert read_ids(path) == {"12815", "caf\u00e9", "=1+1"}


def test_ids_that_cannot_be_read_leave_nobody_out_unsaid(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="No such file"):
        read_ids(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("c1\nGr\u00f6\u00dfe\n".encode("latin-1"))
    with pytest.raises(Stop, match="line 2: not UTF-8"):
        read_ids(tmp_path / "latin.txt")
