"""Prometheus' promtool: the one on the PATH, else Debian's package, unpacked beside the tests and never installed.

Installing the package would start a service; so it is downloaded and its one program taken out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "promtool"
FETCH_S = 300


class PromtoolUnavailableError(RuntimeError):
    """There is no promtool and none can be had; the message says what to do."""


def promtool() -> str:
    """Return its path; a machine with apt gets it once."""
    kept = CACHE / "promtool"
    found = shutil.which("promtool") or (str(kept) if kept.exists() else None)
    if found is not None:
        return found
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PromtoolUnavailableError("no promtool: install Prometheus so that it is on the PATH")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _download(Path(folder))
        (package,) = Path(folder).glob("prometheus_*.deb")
        _run(["dpkg-deb", "-x", str(package), "unpacked"], Path(folder))
        (Path(folder) / "unpacked/usr/bin/promtool").replace(kept)
    return str(kept)


def checked(*arguments: str | Path, given: str | None = None, folder: Path | None = None) -> str:
    """Run it and return what it said. Raises AssertionError with that where it found something."""
    command = [promtool(), *map(str, arguments)]
    done = subprocess.run(
        command, input=given, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def _download(folder: Path) -> None:
    download = ["apt-get", "download", "-qq", "prometheus"]
    try:
        _run(download, folder)
    except PromtoolUnavailableError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update", "-qq"], folder)  # a fresh machine knows of no package
        _run(download, folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    if done.returncode:
        raise PromtoolUnavailableError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
