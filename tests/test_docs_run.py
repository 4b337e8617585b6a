"""The commands of the documentation run as printed: each fenced block, from its first line to its last."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from consumer.serving.tokens import read_tokens
from consumer.transport.child import free_port
from features.decoding import decode
from tests.harness.commands import Inside, Shell
from tests.harness.exports import DAYS, lines_export, orders_export, small_export
from tests.harness.runbook import blocks, end_process, fenced, install_shim, section
from tests.test_docs import DEPLOYMENT, NOT_RUN_HERE, QUICKSTART, REPOSITORY


class TestRun:
    """Each fenced block, run from its first line to its last as a reader would, on servers of the tests."""

    @pytest.fixture
    def place(self, tmp_path: Path, kafka_bootstrap: str, redis_url: str, namespace: str) -> Iterator[Shell]:
        topics = ("transactions", "segments", "dead_letters", "erasures")
        variables = {f"SEGMENTER_{topic.upper()}_TOPIC": f"{namespace}-{topic}" for topic in topics}
        addresses = {"SEGMENTER_KAFKA_BOOTSTRAP": kafka_bootstrap, "SEGMENTER_REDIS_URL": redis_url}
        path = {"PATH": install_shim(tmp_path)}
        yield Shell(tmp_path, variables | addresses | path | {"SEGMENTER_NAMESPACE": namespace})
        workers = tmp_path / "workers"
        for pid in workers.read_text().split() if workers.exists() else ():
            end_process(int(pid))

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

    def follow(self, shell: Inside, script: str, name: str) -> Iterator[str]:
        """Run a script of exports and `segmenter`, in this process but for `run`; yield what each call said."""
        with ExitStack() as workers:
            for line in adapted(script, shell, name).splitlines():
                verb, *words = shlex.split(line, comments=True) or [""]
                if verb == "export":
                    shell = Inside(shell.folder, {**shell.variables, **dict(word.split("=", 1) for word in words)})
                elif verb == "segmenter" and words == ["run"]:
                    workers.enter_context(shell.running("run"))
                    shell.until_caught_up()
                elif verb == "segmenter":
                    done = shell(words[: words.index("||")] if "||" in words else words)
                    assert done.code == 0 or "||" in words, f"{line}\n{done.out[-3000:]}\n{done.err[-3000:]}"
                    yield done.out

    def test_the_readmes_own_data(self, place: Shell, namespace: str) -> None:
        orders_export(place.folder, recently())
        (block,) = [block for block in fenced(REPOSITORY / "README.md") if "segmenter" in block]
        self.execute(place, block, namespace)

    def test_the_report_of_ones_own_files(self, place: Shell, namespace: str) -> None:
        small_export(place.folder / "Dataset")
        (block,) = fenced(REPOSITORY / "docs" / "report.md")
        self.execute(place, block, namespace)
        assert (place.folder / "report" / "report.html").is_file()

    def test_ones_own_csv_and_ones_own_topic_in_the_quickstart(self, place: Shell, namespace: str) -> None:
        lines_export(place.folder, recently())
        blocks = [block for block in fenced(QUICKSTART) if re.search("(?m)^(segmenter|export) ", block)]
        said = list(self.follow(Inside(place.folder, place.variables), "".join(blocks), namespace))
        assert (place.folder / "report" / "report.html").is_file()
        assert "verified  0 differences" in said[0]
        assert said[-1].startswith("1001")

    def test_the_token_of_the_deployment_opens_the_api(self, place: Shell, namespace: str) -> None:
        (block,) = [block for block in fenced(DEPLOYMENT) if "TOKEN=" in block]
        self.execute(place, f"{block}\necho $TOKEN > told\n", namespace)
        tokens = read_tokens(str(place.folder / "deploy" / "secrets" / "api-tokens"))
        grant = tokens.grant_of((place.folder / "told").read_text().strip())
        assert grant is not None
        assert grant.roles == {"read"}

    def test_the_other_commands_of_the_deployment_that_need_no_engine(self, place: Shell, namespace: str) -> None:
        for block in fenced(DEPLOYMENT):
            if "TOKEN=" not in block:
                self.execute(place, block, namespace)

    def test_the_first_days_of_operations_a_shadow_run_and_an_erasure(self, place: Shell, namespace: str) -> None:
        small_export(place.folder, "orders.csv.gz", first=recently())
        found = [block for block in blocks(section("First days")) if re.search("(?m)^segmenter ", block)]
        assert len(found) == 2
        for block in found:
            self.execute(place, block, namespace)
        exports = "".join(re.findall(r"(?m)^export .*\n", found[0]))
        (erasure,) = blocks(section("An erasure is asked for"))
        self.execute(place, exports + erasure, namespace)


def test_what_kcat_sends_in_the_quickstart_is_an_event_under_its_customers_key() -> None:
    (line,) = re.findall(
        r"(?m)^echo '([^']+)' \| kcat -P .*-X partitioner=murmur2_random$", QUICKSTART.read_text("utf-8")
    )
    key, _, value = line.partition(":")
    batch = decode([0], [key.encode()], [value.encode()], [0], zone=ZoneInfo("UTC"), currency="EUR", today=30_000)
    assert (batch.customers, batch.refused) == ([key], ())


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
