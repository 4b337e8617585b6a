"""The documentation is complete and true: every verb, setting, metric and exit code is in it, and its commands run.

python -m tests.test_docs     writes docs/commands.md from the help of the commands
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consumer.exits import ExitCode
from consumer.settings import PREFIX, Settings
from consumer.telemetry import metrics
from consumer.transport.child import free_port
from tests.consumer.commands.test_cli import commands
from tests.harness.commands import Shell
from tests.harness.exports import DAYS, orders_export, small_export

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
OPERATIONS = REPOSITORY / "docs" / "operations.md"
COMMANDS = REPOSITORY / "docs" / "commands.md"

NOT_RUN_HERE = {
    "make demo": "sets an environment of its own up; the demo itself runs in tests/consumer/demo/test_demo.py",
    "make test": "is what runs this",
    "git clone": "needs a place to clone from",
    ".venv/bin/segmenter --help": "needs the environment of make; --help runs in tests/consumer/commands/test_cli.py",
    ". .venv/bin/activate": "the same",
    "docker compose": "needs a Docker engine; docker-compose.yml says that it was not run",
}
"""Commands in fenced blocks that this test does not execute, by their beginning, and why."""


def fenced(page: Path) -> list[str]:
    """Return the shell blocks of a page, without their indentation."""
    blocks = r"(?ms)^( *)```(?:sh|console|bash)\n(.*?)^ *```"
    found = re.findall(blocks, page.read_text(encoding="utf-8"))
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def mentioned(page: Path) -> Iterator[list[str]]:
    """Yield every `segmenter ...` of a page, in code spans and fenced blocks, as words."""
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"`segmenter ([^`]+)`", text) + re.findall(r"(?m)^\s*segmenter (.+)$", text):
        for part in re.split(r"\s+&&\s+segmenter\s+|\s*&&\s*", re.sub(r"\s+#.*$", "", " ".join(command.split()))):
            yield shlex.split(part.replace("…", "...").replace("|", " "))


WRITTEN = """\
Written by `python -m tests.test_docs` from the commands' own help; a test keeps it so. Exit codes and settings:
[operations.md](operations.md)."""
COMMON = """\
Each verb takes `--json` and then prints one JSON document on stdout; progress and errors go to stderr. `NO_COLOR` and
an output that is no terminal are respected. `segmenter --traceback VERB` shows where an unexpected error happened."""


def reference() -> str:
    """Return docs/commands.md: each verb's help, its options and its example."""
    parts = [
        "# Commands",
        WRITTEN,
        COMMON,
    ]
    for verb, command in commands().items():
        parts += [f"## segmenter {verb}", " ".join((command.help or "").split("\n\n")[0].split())]
        parts += [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")[1:]]
        rows = ["| option | meaning |", "|---|---|", *_options(command)]
        example = (command.epilog or "").removeprefix("Example: ")
        parts += ["\n".join(rows), f"Example: `{example}`"]
    return "\n\n".join(parts) + "\n"


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        name = ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar
        if name != "--help":
            default = parameter.default
            shown = f" Default: `{default}`." if default not in (None, False, []) and not callable(default) else ""
            yield f"| `{name}` | {(parameter.help or '').replace('|', '/')}{shown} |"


class TestComplete:
    def test_the_page_of_commands_is_what_the_help_says(self) -> None:
        assert COMMANDS.read_text(encoding="utf-8") == reference(), "run: python -m tests.test_docs"

    def test_every_setting_stands_in_operations_with_its_default_and_meaning(self) -> None:
        text = OPERATIONS.read_text(encoding="utf-8")
        plain = json.loads(Settings(_env_file=None).model_dump_json())
        missing = []
        for name, field in Settings.model_fields.items():
            value = plain[name] if "Secret" not in str(field.annotation) else _public(field.default)
            shown = ",".join(value) if isinstance(value, list) else str(value)
            default = f"`{shown}`" if value not in (None, "") else ""
            row = f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"
            if row not in text:
                missing.append(row)
        assert missing == []

    def test_no_setting_is_documented_that_is_gone(self) -> None:
        rows = re.findall(rf"(?m)^\| `({PREFIX}[A-Z_]+)` ", OPERATIONS.read_text(encoding="utf-8"))
        assert rows == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]

    def test_every_metric_stands_in_operations_and_none_that_is_gone(self) -> None:
        named = set(re.findall(r"`(segmenter_[a-z_]+)`", OPERATIONS.read_text(encoding="utf-8")))
        assert named == set(metrics.names())

    def test_every_exit_code_stands_in_operations(self) -> None:
        rows = dict(re.findall(r"(?m)^\| (\d+) \| ([a-z ]+) \|", OPERATIONS.read_text(encoding="utf-8")))
        assert {code.value: code.name.lower().replace("_", " ") for code in ExitCode} == {
            int(code): name for code, name in rows.items() if int(code) in set(ExitCode)
        }

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_every_command_that_a_page_mentions_exists_with_its_options(self, page: Path) -> None:
        known = commands()
        for words in mentioned(page):
            if words[0].startswith("-") or words[0] == "VERB":
                continue
            verb = next((v for v in (" ".join(words[:2]), words[0]) if v in known), None)
            group = any(v.startswith(f"{words[0]} ") for v in known) and len(words) == 1
            assert verb is not None or group, f"{page.name}: segmenter {' '.join(words)}"
            if verb is not None:
                options = {opt for parameter in known[verb].params for opt in parameter.opts}
                assert {word.split("=")[0] for word in words if word.startswith("--")} <= options, words


def _public(default: Any) -> str | None:
    return None if default is None else str(default.get_secret_value())


SHIM = """#!{python}
# Stands in for the installed `segmenter`; `run` stays in the background until it has caught up.
import json, subprocess, sys, time
command = [sys.executable, "-m", "consumer.cli"]
if sys.argv[1] != "run" or "--dry-run" in sys.argv:
    sys.exit(subprocess.call([*command, *sys.argv[1:]]))
worker = subprocess.Popen([*command, *sys.argv[1:]], stdout=open("run.log", "a"), stderr=subprocess.STDOUT)
open("workers", "a").write(str(worker.pid) + "\\n")
for _ in range(60):
    time.sleep(0.5)
    asked = subprocess.run([*command, "status", "--json"], capture_output=True)
    found = json.loads(asked.stdout) if asked.returncode == 0 else None
    if found and found["lag"] == 0 and all(p["swept"] == 1 and p["sequence"] for p in found["partitions"]):
        sys.exit(0)
    if worker.poll() is not None:
        break
sys.exit(open("run.log").read()[-2000:])
"""


class TestRun:
    """Each fenced block, run from its first line to its last as a reader would, on servers of the tests."""

    @pytest.fixture
    def place(self, tmp_path: Path, kafka_bootstrap: str, redis_url: str, namespace: str) -> Iterator[Shell]:
        shim = tmp_path / "bin" / "segmenter"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(python=sys.executable))
        shim.chmod(0o755)
        topics = ("transactions", "segments", "dead_letters", "erasures")
        variables = {f"SEGMENTER_{topic.upper()}_TOPIC": f"{namespace}-{topic}" for topic in topics}
        addresses = {"SEGMENTER_KAFKA_BOOTSTRAP": kafka_bootstrap, "SEGMENTER_REDIS_URL": redis_url}
        path = {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
        yield Shell(tmp_path, variables | addresses | path | {"SEGMENTER_NAMESPACE": namespace})
        workers = tmp_path / "workers"
        for pid in workers.read_text().split() if workers.exists() else ():
            _end(int(pid))

    def execute(self, shell: Shell, block: str, name: str) -> None:
        script = adapted(block, shell, name)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=shell.folder,
            env=shell.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def test_the_readmes_own_data(self, place: Shell, namespace: str) -> None:
        orders_export(place.folder, recently())
        (block,) = [block for block in fenced(REPOSITORY / "README.md") if "segmenter" in block]
        self.execute(place, block, namespace)

    def test_the_first_days_of_operations_and_the_shadow_run_beside_them(self, place: Shell, namespace: str) -> None:
        small_export(place.folder, "orders.csv.gz", first=recently())
        blocks = [block for block in fenced(OPERATIONS) if re.search("(?m)^segmenter ", block)]
        assert len(blocks) == 2
        for block in blocks:
            self.execute(place, block, namespace)

    def test_every_other_command_in_a_fenced_block_is_named_as_not_run(self) -> None:
        run = [block for page in (REPOSITORY / "README.md", OPERATIONS) for block in fenced(page)]
        for page in PAGES:
            for block in fenced(page):
                for text in block.splitlines():
                    command = text.partition("#")[0].strip()
                    ours = command.startswith(("segmenter", "export SEGMENTER_")) and block in run
                    known = any(command.startswith(beginning) for beginning in NOT_RUN_HERE)
                    assert ours or known or not command, f"{page.name}: {command} is neither run nor excused"

    def test_every_make_target_that_is_mentioned_exists(self) -> None:
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"(?m)^([a-z]+):", makefile))
        for page in PAGES:
            found = re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert set(found) <= targets, page.name


def recently() -> datetime:
    """Return the first day of an export that ends today: the wall clock's history."""
    return datetime.now().replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)  # noqa: DTZ005 -- as a shop's own export


def adapted(block: str, shell: Shell, name: str) -> str:
    """Return a block for the tests' servers: other addresses, names of its own, no environment to activate."""
    lines = [line for line in block.splitlines() if not line.strip().startswith(tuple(NOT_RUN_HERE))]
    script = "\n".join(lines)
    for variable in ("SEGMENTER_KAFKA_BOOTSTRAP", "SEGMENTER_REDIS_URL"):
        script = re.sub(rf"{variable}=\S+", f"{variable}={shell.variables[variable]}", script)
    script = re.sub(r"SEGMENTER_NAMESPACE=\w+", lambda m: f"{m[0]}-{name}", script)
    script = re.sub(r"(SEGMENTER_\w+_TOPIC)=(\S+)", rf"\1=\2-{name}", script)
    # Before the topics are made the doctor finds them missing and ends with 1, as it should.
    script = script.replace("segmenter doctor", "segmenter doctor || test $? = 1; true")
    return script.replace("--metrics-port 9100", f"--metrics-port {free_port()}")


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    COMMANDS.write_text(reference(), encoding="utf-8")
