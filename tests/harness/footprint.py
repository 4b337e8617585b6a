"""What a process holds of its host, read from /proc, and whether that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

PAGE = os.sysconf("SC_PAGE_SIZE")


class Footprint(NamedTuple):
    """One look at a process. at: monotonic seconds; rss: bytes; files: open descriptors."""

    at: float
    rss: int
    files: int
    threads: int


def footprint(pid: int) -> Footprint:
    """Look at a process that runs."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    files, threads = (len(list((process / name).iterdir())) for name in ("fd", "task"))
    return Footprint(time.monotonic(), pages * PAGE, files, threads)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the growth a second: the median slope of all pairs (Theil 1950, Sen 1968).

    Memory grows in steps, and now and then falls: one step, or a peak, moves this estimate little, a leak moves it all.
    """
    at, value = np.asarray(times, float), np.asarray(values, float)
    first, second = np.triu_indices(len(at), k=1)
    return float(np.median((value[second] - value[first]) / (at[second] - at[first])))


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far, by Linux's /proc; 0 elsewhere."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text("ascii", "replace").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
