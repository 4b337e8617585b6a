"""Dead letters are looked at and redriven by the runbook's own commands: each goes once, verify agrees (FAULTS 18)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from consumer.publication import REDRIVEN
from tests.faults.test_operations_input_loss import between, shell_of
from tests.faults.test_operations_state_lost import tick
from tests.harness.commands import REPOSITORY, Shell
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.runbook import Runbook
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, line

LIVES = Callable[..., Live]
HEADING = "Dead letters pile up"
INTERRUPTED = """
import os, signal, sys
from consumer import cli
from consumer.transport import kafka_sink
commit = kafka_sink.commit
def killed(producer, deadline):
    os.kill(os.getpid(), signal.SIGKILL)
kafka_sink.commit = killed
sys.exit(cli.run(sys.argv[1:]))
"""
"""`segmenter` that dies when everything of a transaction is written but its commit."""


def refused(live: Live) -> int:
    """Publish lines that are refused: some in a foreign partition, some that no redrive mends; return how many."""
    foreign = [line(f"new-{n}", FIRST_DAY + timedelta(days=6), event_id=f"n{n}", invoice_no=f"N{n}") for n in range(6)]
    for each in foreign:
        key = each["customer_id"].encode()
        live.writer.send(
            key, json.dumps(each).encode(), partition=(live.writer.partition_of(key) + 1) % live.partitions
        )
    live.writer.send(b"c1", b'{"note": "\x1b[31m' + "\u202e".encode() + b'", "quantity"', partition=0)
    live.writer.flush()
    return len(foreign) + 1


def redriven(live: Live) -> list[tuple[int, bytes | None]]:
    topic = live.settings.transactions_topic
    return [
        (partition, record.key)
        for partition in range(live.partitions)
        for record in live.records(topic, partition)
        if REDRIVEN in dict(record.headers)
    ]


def killed_half_way(shell: Shell) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "dlq", "redrive"]
    done = subprocess.run(
        command, cwd=shell.folder, env=shell.environment | {"PYTHONPATH": str(REPOSITORY)}, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.fault(18, 28)
def test_what_was_refused_is_found_shown_and_sent_once_more_though_a_redrive_dies_half_way(
    lives: LIVES, fault: Fault
) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    shell = shell_of(live)
    worker = Served(live)
    number = refused(live)
    tick(live, 7)
    live.settle()
    assert live.counted("refused.foreign_partition") == number - 1

    fault.inject()
    killed_half_way(shell)
    runbook = Runbook(shell)
    said = runbook.follow(HEADING, "dlq list")
    assert f"Dead letters in {live.settings.dead_letters_topic}: {number}" in said
    assert "\\u001b[31m\\u202e" in said, "a terminal obeys nothing of it"
    assert "\x1b" not in said
    assert "6 letters would go" in said
    assert not redriven(live), "what the one that died had written is no part of the input"
    said = runbook.follow(HEADING, "segmenter dlq redrive --reason foreign_partition\n")
    assert "6 letters went" in said
    fault.fired()
    shell.until_caught_up()  # the marker that ends the transaction in the input is no lag
    fault.recovered()
    assert live.counted("applied") == 6
    found = redriven(live)
    assert sorted(found) == sorted((live.writer.partition_of(key), key) for _, key in found)

    again = [shell("dlq redrive --json").json["sent"] for _ in range(2)]
    assert again == [{"malformed": 1}, {}]
    live.writer.flush()
    tick(live, 7)
    live.settle()
    listed = shell("dlq list --json").json
    assert listed["fates"] == {"redriven": number, "failed_again": 1}
    assert len(redriven(live)) == number
    worker.end()
    verified = shell(["verify", "orders.csv.gz"])
    assert verified.code == 0, verified.out
    fault.judge(live.verdict())
