"""A folder that is made once, whatever runs beside us: the parts of `make test` begin at one moment."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder, made if it is not there; whoever comes meanwhile waits, and it is never taken away again.

    make: fills the path that it is given, where nothing is yet. What it raises is raised, and nothing is kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            arriving = folder.parent / "arriving"  # one cut short is never taken for whole
            shutil.rmtree(arriving, ignore_errors=True)
            make(arriving)
            arriving.rename(folder)
    return folder
