"""The documentation is complete and true: every verb, setting, metric and exit code is in it; what it names exists.

python -m tests.test_docs     writes docs/commands.md from the help of the commands
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.exits import ExitCode
from consumer.settings import PREFIX, Settings
from consumer.telemetry import metrics
from tests.consumer.commands.test_cli import commands
from tests.harness.runbook import fenced

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
OPERATIONS = REPOSITORY / "docs" / "operations.md"
REPORT = REPOSITORY / "docs" / "report.md"
COMMANDS = REPOSITORY / "docs" / "commands.md"
QUICKSTART = REPOSITORY / "docs" / "quickstart.md"
DEPLOYMENT = REPOSITORY / "docs" / "deployment.md"

NOT_RUN_HERE = {
    "make demo": "sets an environment of its own up; the demo itself runs in tests/consumer/demo/test_demo.py",
    "make test": "is what runs this",
    "make install": "sets an environment up, which these tests are run in",
    "git clone": "needs a place to clone from",
    ".venv/bin/segmenter --help": "needs the environment of make; --help runs in tests/consumer/commands/test_cli.py",
    ". .venv/bin/activate": "the same",
    "docker compose": "needs a Docker engine; docker-compose.yml says that it was not run",
    "segmenter dashboard": "serves until somebody ends it; tests/consumer/dashboard walk it in a browser",
    "kubectl": "needs a cluster; what is applied is held against the API's schemas in tests/test_stack.py",
    "kcat": "needs kcat, which nothing here installs; the quickstart has the same with `segmenter replay`",
    "echo '1001:": "is what kcat is given; tests/test_docs_run.py sees that it is an event",
    "venv-pack": "packs the environment for a cluster",
    "export PYSPARK_": "names a cluster; `make spark` runs Spark on one machine",
    "segmenter bootstrap /shared/history/": "needs that cluster",
    "kafka-transactions.sh": "needs Kafka's own tools and a broker that lost a marker",
}
"""Commands in fenced blocks that tests/test_docs_run.py does not execute, by their beginning, and why."""

RUN = ("segmenter", "export SEGMENTER_", "export GRAFANA_", "mkdir -p deploy/secrets", "TOKEN=", 'echo "read ')
"""What it does execute, on the pages that it reads."""


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

    def test_every_other_command_in_a_fenced_block_is_named_as_not_run(self) -> None:
        pages = (REPOSITORY / "README.md", OPERATIONS, REPORT, QUICKSTART, DEPLOYMENT)
        run = [block for page in pages for block in fenced(page)]
        for page in PAGES:
            for block in fenced(page):
                for text in block.splitlines():
                    command = text.partition("#")[0].strip()
                    ours = command.startswith(RUN) and block in run
                    known = any(command.startswith(beginning) for beginning in NOT_RUN_HERE)
                    assert ours or known or not command, f"{page.name}: {command} is neither run nor excused"

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_every_link_to_a_file_or_heading_of_ours_leads_there(self, page: Path) -> None:
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
            file, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            assert not anchor or target.suffix != ".md" or anchor in anchors(target), link

    def test_every_make_target_that_is_mentioned_exists(self) -> None:
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"(?m)^([a-z]+):", makefile))
        for page in PAGES:
            found = re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert set(found) <= targets, page.name


def without_code(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in links."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_code(page))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def _public(default: Any) -> str | None:
    return None if default is None else str(default.get_secret_value())


if __name__ == "__main__":
    COMMANDS.write_text(reference(), encoding="utf-8")
