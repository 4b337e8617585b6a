"""Retention took unread input: the worker stops with the size of the gap, and goes on only when told (FAULTS 26).

The commands are those of docs/operations.md, run as printed.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from kafka import KafkaAdminClient, TopicPartition

from tests.harness.commands import Inside, Shell
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.runbook import Runbook
from tests.harness.world import FIRST_DAY, shopping

LIVES = Callable[..., Live]
HEADING = "Exit code 3: input lost"
LINES = list(shopping(11, customers=40, days=20, per_day=20))


def day(n: int) -> str:
    return f"{FIRST_DAY + timedelta(days=n)}"


def between(first: int, last: int) -> list[dict[str, object]]:
    """Return the shop's lines of some days."""
    return [x for x in LINES if day(first) <= x["invoice_date"] < day(last)]


def delete_before(live: Live, offsets: Mapping[int, int]) -> None:
    """Do what retention does, at once."""
    client = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
    topic = live.settings.transactions_topic
    client.delete_records({TopicPartition(topic, p): offset for p, offset in offsets.items()})
    client.close()


def ends(live: Live) -> dict[int, int]:
    return {p: live.reader.bounds(live.settings.transactions_topic, p)[1] for p in range(live.partitions)}


def shell_of(live: Live) -> Shell:
    """Return a shell in the world's folder, where the bootstrap's file has the runbook's name."""
    with live.history_file.open("rb") as file, gzip.open(live.directory / "orders.csv.gz", "wb") as packed:
        shutil.copyfileobj(file, packed)
    return Inside(live.directory, live.environment())


@pytest.mark.fault(26)
def test_input_gone_before_the_first_start_stops_with_its_size_and_is_skipped_on_request(
    lives: LIVES, fault: Fault
) -> None:
    live = lives()
    live.bootstrap(between(0, 8))
    live.publish(between(8, 12))
    fault.inject()
    gone = ends(live)
    delete_before(live, gone)
    live.publish(between(12, 18))
    live.tick(FIRST_DAY + timedelta(days=20))
    shell = shell_of(live)
    stopped = shell("run")
    assert stopped.code == 3, stopped.err
    (partition, wanted, begins, size) = re.findall(
        r"partition (\d+): offset (\d+) is wanted but the log begins at (\d+): (\d+) records are gone", stopped.err
    )[-1]
    assert (int(wanted), int(begins), int(size)) == (0, gone[int(partition)], gone[int(partition)])
    assert "--on-input-loss=skip" in stopped.err
    fault.fired()

    runbook = Runbook(shell)
    said = runbook.follow(HEADING, "--on-input-loss=skip")
    fault.recovered()
    assert "nothing differs" in said
    for p, end in gone.items():
        assert f"partition {p}: offsets 0 to {end - 1} were gone unread" in said
    counters = shell(["status", "--json"]).json["counters"]
    assert counters["skipped"] == sum(gone.values())
    assert {p: [(g.start, g.stop) for g in s.gaps] for p, s in live.states().items()} == {
        p: [(0, end)] for p, end in gone.items()
    }
    fault.judge(live.verdict())


@pytest.mark.fault(26)
def test_input_that_goes_under_a_running_worker_is_skipped_once_each(lives: LIVES, fault: Fault) -> None:
    live = lives(session_timeout_s=6.0)
    live.bootstrap(between(0, 8))
    live.publish(between(8, 10))
    shell = shell_of(live)
    with shell.running("run --on-input-loss=skip") as worker:
        wait_until(lambda: live.applied() == live.ends(), "the first days applied")
        worker.send_signal(signal.SIGSTOP)
        # What a fetch under way has brought already is read all the same; so a first part may be.
        live.publish(between(10, 11))
        live.publish(between(11, 14))
        fault.inject()
        delete_before(live, ends(live))
        live.publish(between(14, 18))
        live.tick(FIRST_DAY + timedelta(days=20))
        worker.send_signal(signal.SIGCONT)
        live.settle()
        fault.recovered()
    gaps = [gap for state in live.states().values() for gap in state.gaps]
    assert gaps
    fault.fired()
    found = shell(["verify", "--json", "orders.csv.gz"])
    assert found.code == 0, found.out
    assert sorted((first, stop) for _, first, stop in json.loads(found.out)["gaps"]) == sorted(
        (gap.start, gap.stop) for gap in gaps
    )
    fault.unstreamed("what retention took before it was read is nobody's to lose; verify names it")
