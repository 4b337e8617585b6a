"""The append-only file of a store of ours: where it ends now, and how to lose what came after.

A kill -9 of the server alone loses nothing that it wrote: the kernel still has it. What a crash of the machine takes
with `appendfsync everysec`, the last second, is cut off here while the server is down. The server drops a transaction
that is cut in two (`aof-load-truncated`), so a script's writes come back whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.redis_store import Client


class AppendOnlyFile:
    """The file of a running server; `lose_after` while it is down."""

    def __init__(self, client: Client) -> None:
        told: Mapping[str, Any] = client.config_get("dir", "appenddirname")  # type: ignore[assignment]
        self._folder = Path(told["dir"]) / told["appenddirname"]

    @property
    def path(self) -> Path:
        """The file that is written now: each start and each rewrite begins a new one."""
        found: list[Path] = sorted(self._folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
        return found[-1]

    def end(self) -> int:
        """Return how many bytes it has."""
        return self.path.stat().st_size

    def lose_after(self, end: int) -> int:
        """Cut it off there; return how many bytes were lost."""
        lost = self.end() - end
        assert lost > 0, "nothing was written since: there is nothing to lose"
        with self.path.open("r+b") as file:
            file.truncate(end)
        return lost
