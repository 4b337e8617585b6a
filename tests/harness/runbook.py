"""The runbook, docs/operations.md, followed to the letter: its blocks of commands run as printed, by the real CLI.

    block("Redis was emptied") -> the fenced commands under that heading -> Runbook(shell).follow(...)

Two things are a machine's where the page means a person's. `segmenter run` is the supervisor that starts the worker:
it returns when the worker has caught up. And before any command that wants the workers stopped, they are stopped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.harness.commands import REPOSITORY, Shell

OPERATIONS = REPOSITORY / "docs" / "operations.md"

SHIM = """#!{python}
# Stands in for the installed `segmenter`; `run` stays in the background until it has caught up.
import json, os, signal, subprocess, sys, time
command = [sys.executable, "-m", os.environ.get("CLI_MODULE", "consumer.cli")]
verb = sys.argv[1]

def running():
    return [int(pid) for pid in open("workers").read().split()] if os.path.exists("workers") else []

def alive(pid):
    try:
        os.kill(pid, 0)
        return open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

if verb != "run" or "--dry-run" in sys.argv or "--drain" in sys.argv:
    if verb in ("bootstrap", "repartition", "verify", "run") and os.environ.get("STOP_FIRST"):
        for pid in running():
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
        while any(alive(pid) for pid in running()):
            time.sleep(0.1)
    sys.exit(subprocess.call([*command, *sys.argv[1:]]))
worker = subprocess.Popen([*command, *sys.argv[1:]], stdout=open("run.log", "a"), stderr=subprocess.STDOUT)
open("workers", "a").write(str(worker.pid) + "\\n")
for _ in range(120):
    time.sleep(0.5)
    if worker.poll() is not None:
        break
    asked = subprocess.run([*command, "status", "--json"], capture_output=True)
    found = json.loads(asked.stdout) if asked.returncode == 0 else None
    if found and found["lag"] == 0 and all(p["swept"] == 1 and p["sequence"] for p in found["partitions"]):
        if len({{p["day"] for p in found["partitions"]}}) == 1:
            sys.exit(0)
print(open("run.log").read()[-2000:], file=sys.stderr)
sys.exit(worker.poll() or 1)
"""


def fenced(page: Path) -> list[str]:
    """Return the shell blocks of a page, without their indentation."""
    return blocks(page.read_text(encoding="utf-8"))


def blocks(text: str) -> list[str]:
    """Return the shell blocks of a text."""
    found = re.findall(r"(?ms)^( *)```(?:sh|console|bash)\n(.*?)^ *```", text)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def section(heading: str) -> str:
    """Return what stands under a heading of the runbook, up to the next one."""
    text = OPERATIONS.read_text(encoding="utf-8")
    found = re.search(rf"(?ms)^(#+) {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text)
    assert found is not None, f"docs/operations.md has no heading {heading!r}"
    return found[2]


def block(heading: str, containing: str = "") -> str:
    """Return the one block of commands under a heading (that has a text in it)."""
    found = [each for each in blocks(section(heading)) if containing in each]
    assert len(found) == 1, f"{heading!r} has {len(found)} blocks with {containing!r}"
    return found[0]


def install_shim(folder: Path) -> str:
    """Put a `segmenter` into a folder's bin; return the PATH that finds it."""
    shim = folder / "bin" / "segmenter"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    return f"{shim.parent}{os.pathsep}{os.environ['PATH']}"


class Runbook:
    """Follows blocks in a shell's folder; `end` stops the workers that they started."""

    def __init__(self, shell: Shell) -> None:
        self.shell = Shell(shell.folder, {**shell.variables, "PATH": install_shim(shell.folder), "STOP_FIRST": "1"})

    def follow(self, heading: str, containing: str = "", **replaced: str) -> str:
        """Run a block, from its first line to its last; return what it printed. replaced: TEXT=what stands for it."""
        script = block(heading, containing)
        for text, value in replaced.items():
            assert text in script, f"the block under {heading!r} has no {text}"
            script = script.replace(text, value)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.shell.folder,
            env=self.shell.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def end(self) -> None:
        """Stop the workers that blocks have started."""
        for pid in self.pids():
            end_process(pid)

    def pids(self) -> list[int]:
        """Return the workers that blocks have started."""
        workers = self.shell.folder / "workers"
        return [int(pid) for pid in workers.read_text().split()] if workers.exists() else []


def end_process(pid: int) -> None:
    """Ask a process to end, if it is still there."""
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        return
