"""Partitions added: the workers stop with 4, and one command moves everybody, whole or not at all (FAULTS 27, 28).

The commands are those of docs/operations.md, run as printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from consumer.repartition import Repartition
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_writer import EventWriter
from features.redis_generation import read_binding
from tests.faults.test_operations_input_loss import between, shell_of
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.runbook import Runbook
from tests.harness.world import FIRST_DAY, line

LIVES = Callable[..., Live]
HEADING = "Partitions are added"
OLD, NEW = 4, 6


def add_partitions(live: Live) -> None:
    with admin(live.kafka) as asked:
        asked.add_partitions(live.settings.transactions_topic, NEW)


def grown(live: Live) -> None:
    """Let the world know that its topics have more partitions now."""
    live.partitions = NEW
    live.writer.__exit__(None, None, None)
    live.writer = EventWriter(live.kafka, live.settings.transactions_topic)


def erase(customer: str, day: int) -> dict[str, str]:
    return {"type": "erase", "customer_id": customer, "at": f"{FIRST_DAY + timedelta(days=day)}T00:00:00"}


def stays(customer: str) -> bool:
    return partition_of(customer.encode(), OLD) == partition_of(customer.encode(), NEW)


def folded(live: Live) -> dict[str, dict[str, Any]]:
    """Return what a reader keeps: the highest revision of each key over all partitions; a tombstone ends one."""
    kept: dict[str, dict[str, Any]] = {}
    for record in live.output():
        customer = (record.key or b"").decode()
        if record.value is None:
            kept.pop(customer, None)
            continue
        value = json.loads(record.value)
        if customer not in kept or value["revision"] > kept[customer]["revision"]:
            kept[customer] = value
    return kept


@pytest.mark.fault(27)
@pytest.mark.fault(28)
def test_partitions_added_under_a_worker_move_everybody_by_the_runbook(lives: LIVES, fault: Fault) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    live.publish([*between(6, 9), erase("c0", 8), erase("c1", 8)])
    live.tick(FIRST_DAY + timedelta(days=10))
    shell = shell_of(live)
    with shell.running("run") as worker:
        live.settle()
        fault.inject(2)
        add_partitions(live)
        wait_until(lambda: worker.poll() is not None, "the worker's end", 20.0)
        assert worker.returncode == 4
    again = shell("run")
    assert again.code == 4
    assert f"has {NEW} partitions, the state was made for {OLD}" in again.err
    assert "segmenter repartition" in again.err
    fault.fired()

    # A producer that knows of nothing writes to the old partition: applied there by the drain, while it is at home.
    mover = next(f"c{n}" for n in range(2, 40) if not stays(f"c{n}"))
    live.publish([line(mover, FIRST_DAY + timedelta(days=10), invoice_no="late")])
    before = folded(live)
    runbook = Runbook(shell)
    said = runbook.follow(HEADING, "--drain")
    assert "nothing differs" in said
    moved = folded(live)
    assert {customer: moved[customer]["revision"] for customer in before if customer != mover} == {
        customer: value["revision"] for customer, value in before.items() if customer != mover
    }

    # And one that goes on doing so afterwards: refused, never a second state.
    grown(live)
    home = partition_of(mover.encode(), NEW)
    assert home != partition_of(mover.encode(), OLD)
    stray = json.dumps(line(mover, FIRST_DAY + timedelta(days=11), invoice_no="stray")).encode()
    live.writer.send(mover.encode(), stray, partition=partition_of(mover.encode(), OLD))
    live.publish([*between(10, 14), erase(mover, 11)])
    live.tick(FIRST_DAY + timedelta(days=15))
    with shell.running("run"):
        live.settle()
    fault.recovered()
    counters = shell("status --json").json
    assert counters["refused"]["foreign_partition"] == 1
    fault.fired()
    found = shell("verify --json orders.csv.gz")
    assert found.code == 0, found.out
    assert mover not in folded(live) or folded(live)[mover]["as_of"] >= f"{FIRST_DAY + timedelta(days=11)}"
    assert any((b"moved_to" in str(r.headers).encode()) and r.value is None for r in live.output())
    fault.judge(live.verdict())


class Interrupted(BaseException):
    """The process is gone."""


@pytest.mark.long
@pytest.mark.fault(27)
def test_a_repartition_that_is_interrupted_anywhere_is_begun_again(lives: LIVES, fault: Fault) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    live.publish([*between(6, 9), erase("c0", 8)])
    live.tick(FIRST_DAY + timedelta(days=10))
    shell = shell_of(live)
    with shell.running("run"):
        live.settle()
    dry = shell(f"repartition --partitions {NEW} --dry-run --json")
    assert dry.code == 0, dry.err
    assert dry.json["moved"] > 0
    assert sum(move["customers"] for move in dry.json["moves"]) == dry.json["customers"]
    facts = live.reader.facts(live.settings.transactions_topic)
    assert facts.partitions == OLD, "a dry run changes nothing"

    for point in ("topics", "copies", "load 1", "loaded", "half a flip"):
        fault.inject()
        with pytest.raises(Interrupted):
            repartition(live, point)
        fault.fired()
        assert shell("run").code in (4, 6), f"a worker started after the end at {point}"
    done = shell("repartition --json")
    assert done.code == 0, done.err
    assert done.json["moved"] == dry.json["moved"]
    fault.recovered()
    fault.inject()  # the old generation is still there when a run ends between flip and clean-up: nothing to do
    again = shell("repartition --json")
    assert (again.code, again.json["moved"]) == (0, 0)
    fault.fired()
    grown(live)
    live.publish(between(10, 13))
    live.tick(FIRST_DAY + timedelta(days=14))
    with shell.running("run"):
        live.settle()
    found = shell("verify --json orders.csv.gz")
    assert found.code == 0, found.out
    # Each copy once, whatever was interrupted: those of a first attempt are found by the next.
    copies = [r for r in live.output() if "moved_from" in dict(r.headers)]
    assert len(copies) == len({record.key for record in copies}) == dry.json["copied"]
    fault.judge(live.verdict())


def repartition(live: Live, point: str) -> None:
    """Repartition until a point, then be gone."""
    binding = read_binding(live.client, live.settings.namespace)
    assert binding is not None

    def interrupt(reached: str) -> None:
        if point == "half a flip" and reached == "loaded":
            new = str(int(binding.generation) + 1)
            live.client.set(f"{{{live.settings.namespace}:0}}:generation".encode(), new)
            raise Interrupted
        if reached == point:
            raise Interrupted

    made = Repartition(live.settings, live.kafka, live.client, binding, partitions=NEW, interrupt=interrupt)
    try:
        made.run(lambda *_: None)
    finally:
        made.close()


@pytest.mark.fault(27)
@pytest.mark.long
def test_a_repartition_waits_for_workers_and_for_what_is_not_applied(lives: LIVES, fault: Fault) -> None:
    live = lives()
    live.bootstrap(between(0, 6))
    live.publish(between(6, 9))
    live.tick(FIRST_DAY + timedelta(days=10))
    shell = shell_of(live)
    fault.inject(3)
    early = shell(f"repartition --partitions {NEW}")
    assert early.code == 2
    assert "are not applied yet" in early.err
    assert "--drain" in early.err
    fault.fired()
    with shell.running("run"):
        live.settle()
        beside = shell(f"repartition --partitions {NEW}")
        assert beside.code == 2
        assert "1 workers are running" in beside.err
        fault.fired()
    fewer = shell("repartition --partitions 2")
    assert fewer.code == 2
    assert "Kafka takes no partition away" in fewer.err
    fault.fired()
    said = Runbook(shell).follow(HEADING, "--dry-run")
    assert "nothing differs" in said
    fault.recovered()
    live.partitions = NEW
    fault.judge(live.verdict())
