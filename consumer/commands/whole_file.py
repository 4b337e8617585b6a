"""A file that is there whole or not at all: written beside its place, moved into it at the end.

check     the place: a folder that is there, no link, nothing but a plain file in the way     exit code 2
write     .NAME.XXXXXXXX.part beside it, readable by its owner alone
move      only once everything is on disk; a failure removes the part, and what stood there before stays
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from consumer.exits import ExitCode, Stop


def check_place(path: Path, option: str, suffixes: Sequence[str]) -> None:
    """Raise `Stop` where no file can be put; a link would lead the file to where nobody named."""
    problem = None
    if not path.name.endswith(tuple(suffixes)):
        problem = f"the name ends with {' or '.join(suffixes)}"
    elif ".." in path.parts:
        problem = "write the path without '..'"
    elif path.is_symlink():
        problem = "this is a link; name the file itself"
    elif path.is_dir():
        problem = "this is a folder; name a file in it"
    elif path.exists() and not path.is_file():
        problem = "this is no plain file; name another"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}; make it first"
    if problem is not None:
        raise Stop(ExitCode.USAGE, f"{option} {path}: {problem}")


@contextmanager
def whole_file(path: Path, option: str) -> Iterator[IO[bytes]]:
    """Give a file to write; it takes its place when the block ends well. Raises `Stop` where the disk refuses."""
    part: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            part = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Stop(ExitCode.USAGE, f"{option} {path}: {error.strerror or error}; nothing was written") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
