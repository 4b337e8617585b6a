"""A broker that asks for a password, encrypts and authorizes: the least that is needed, and what one right less says.

The rights are those of the table in docs/operations.md (FAULTS S3; 17 for an output that may not be written).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.certificates import make_certificates
from tests.harness.fault import Fault
from tests.harness.forked import REPOSITORY
from tests.harness.live import Live, wait_until
from tests.harness.runbook import section
from tests.harness.secured import MECHANISM, Right, SecuredBroker, rights_of
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
PASSWORD = "geheim-91c4"
LAST = FIRST_DAY + timedelta(days=10)


def rights(live: Live, role: str) -> list[Right]:
    """Return what the documentation says that a role needs, by this world's names."""
    s = live.settings
    names = {
        "transactions-dead-letters": s.dead_letters_topic,
        "transactions": s.transactions_topic,
        "customer-segments": s.segments_topic,
        "customer-erasures": s.erasures_topic,
        "segmenter": s.namespace,
    }
    return rights_of(section("Kafka"), role, names)


def enter(live: Live, broker: SecuredBroker, user: str) -> None:
    """Let this world's processes come as a user, through the secured listener."""
    live.given = {
        "SEGMENTER_KAFKA_BOOTSTRAP": broker.secured,
        "SEGMENTER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "SEGMENTER_KAFKA_SASL_MECHANISM": MECHANISM,
        "SEGMENTER_KAFKA_SASL_USER": user,
        "SEGMENTER_KAFKA_SASL_PASSWORD": PASSWORD,
        "SEGMENTER_KAFKA_SSL_CAFILE": str(broker.authority),
    }


def users(live: Live, broker: SecuredBroker) -> tuple[str, str]:
    """Make this world's two users, with the rights of the documentation; return their names."""
    made = []
    for role in ("run", "commands"):
        name = f"{role}-{live.settings.namespace}"
        broker.add_user(name, PASSWORD)
        broker.allow(name, rights(live, role))
        made.append(name)
    return made[0], made[1]


def shop(live: Live) -> None:
    lines = list(shopping(3, customers=20, days=10, per_day=8))
    cut = f"{FIRST_DAY + timedelta(days=7)}"
    live.write_history([x for x in lines if x["invoice_date"] < cut])
    live.publish(x for x in lines if x["invoice_date"] >= cut)
    live.tick(LAST)


def worker(live: Live) -> subprocess.Popen[bytes]:
    """Start the command itself, which logs."""
    log = live.directory / f"run-{len(live.processes)}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer.cli", "run"],
            cwd=REPOSITORY,
            env=live.shell().environment,
            stdout=file,
            stderr=file,
        )
    live.processes.append(process)
    return process


def log(live: Live) -> str:
    return (live.directory / f"run-{len(live.processes) - 1}.log").read_text()


def await_words(live: Live, *words: str) -> None:
    wait_until(lambda: all(each in log(live) for each in words), f"in the log: {words}")


@pytest.mark.fault("S3", 17)
def test_every_command_passes_with_the_documented_rights_and_a_withdrawn_one_pauses_and_alarms(
    lives: LIVES, secured_kafka: SecuredBroker, fault: Fault
) -> None:
    live = lives(kafka=secured_kafka.bootstrap, partitions=2, with_topics=False)
    runner, operator = users(live, secured_kafka)
    enter(live, secured_kafka, operator)
    shell = live.shell()
    for command in ("topics create --partitions 2", "doctor"):
        done = shell(command)
        assert done.code == 0, (command, done.err, done.out)
    live.open()
    shop(live)
    done = shell(f"bootstrap {live.history_file} --k 3 --json")
    assert done.code == 0, done.err
    enter(live, secured_kafka, runner)
    worker(live)
    live.settle()

    outputs = live.settings.segments_topic, live.settings.dead_letters_topic
    for number, topic in enumerate(outputs):
        right = ("topic", topic, "literal", "Write")
        secured_kafka.withdraw(runner, right)
        fault.inject()
        # A purchase that moves somebody new to a segment, and one that is refused.
        live.publish([line(f"new-{number}-{n}", LAST, event_id=f"n{number}-{n}") for n in range(8)])
        live.publish([line("c1", LAST, quantity=0, event_id=f"p{number}")])
        await_words(live, "partition paused", f"needs Write on topic {topic}")
        assert live.processes[-1].poll() is None, "a right that is missing is no reason to end"
        fault.fired()
        fault.ended()
        secured_kafka.allow(runner, [right])
        live.settle(60)
        fault.recovered()
    assert "Traceback" not in log(live)
    assert PASSWORD not in log(live)

    for command in ("status", "erase c1"):
        done = shell(command)
        assert done.code == 0, (command, done.err, done.out)
    live.end()
    done = shell(f"verify {live.history_file}")
    assert done.code == 0, (done.err, done.out)
    fault.judge(live.verdict())


@pytest.mark.fault("S3")
def test_whoever_may_not_enter_is_told_why(
    lives: LIVES, secured_kafka: SecuredBroker, fault: Fault, tmp_path: Path
) -> None:
    live = lives(kafka=secured_kafka.bootstrap, with_topics=False)
    secured_kafka.add_user("somebody", PASSWORD)
    enter(live, secured_kafka, "somebody")
    port = secured_kafka.secured.rpartition(":")[2]
    stranger = make_certificates(tmp_path).authority
    wrong = [
        ({"SEGMENTER_KAFKA_SASL_PASSWORD": "wrong-91c4"}, "SEGMENTER_KAFKA_SASL_USER and its password"),
        ({"SEGMENTER_KAFKA_SASL_MECHANISM": "PLAIN"}, "sasl.enabled.mechanisms"),
        ({"SEGMENTER_KAFKA_SSL_CAFILE": ""}, "SEGMENTER_KAFKA_SSL_CAFILE must hold the authority"),
        ({"SEGMENTER_KAFKA_SSL_CAFILE": str(stranger)}, "SEGMENTER_KAFKA_SSL_CAFILE must hold the authority"),
        ({"SEGMENTER_KAFKA_SSL_CAFILE": str(tmp_path / "none")}, "none cannot be read"),
        ({"SEGMENTER_KAFKA_BOOTSTRAP": f"127.1:{port}"}, "made out to the host names"),
        ({"SEGMENTER_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "speak SEGMENTER_KAFKA_SECURITY_PROTOCOL"),
    ]
    for variables, sentence in wrong:
        fault.inject()
        done = live.shell(**variables)("topics show")
        assert done.code == 70, variables
        assert sentence in done.err, variables
        assert not [text for text in ("Traceback", PASSWORD, "wrong-91c4") if text in done.err]
        fault.fired()
    # By another name that stands in the certificate the broker is trusted; then it is the rights that are missing.
    done = live.shell(SEGMENTER_KAFKA_BOOTSTRAP=f"localhost:{port}")("topics show")
    assert "needs Read on topic" in done.err
    fault.unstreamed("nobody enters")


@pytest.mark.fault("S3")
@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_right_that_a_command_lacks_is_named(
    lives: LIVES, secured_kafka: SecuredBroker, fault: Fault, tmp_path: Path
) -> None:
    live = lives(kafka=secured_kafka.bootstrap, partitions=2)
    runner, operator = users(live, secured_kafka)
    shop(live)
    live.bootstrap(list(shopping(3, customers=20, days=7, per_day=8)))
    enter(live, secured_kafka, runner)
    live.publish([line("c1", LAST, quantity=0)])
    worker(live)
    live.settle()
    live.end()
    enter(live, secured_kafka, operator)
    history = live.history_file
    verify = f"verify {history}"
    s = live.settings
    topics = (s.transactions_topic, s.segments_topic, s.dead_letters_topic, s.erasures_topic)
    told = {
        (s.transactions_topic, "Read"): verify,
        (s.transactions_topic, "Write"): "erase c1 --timeout 0",
        (s.segments_topic, "Read"): verify,
        (s.dead_letters_topic, "Read"): verify,
        (s.dead_letters_topic, "Write"): "dlq redrive",
        (f"{s.namespace}-", "Write"): "dlq redrive",
        (s.erasures_topic, "Read"): f"bootstrap --replace {history} --k 3",
        (s.namespace, "Describe"): "doctor",
        ("kafka-cluster", "DescribeConfigs"): "doctor",
        **{(topic, "DescribeConfigs"): "doctor" for topic in topics},
    }
    rest = {(topic, "Create") for topic in topics}
    assert {(right[1], right[3]) for right in rights(live, "commands")} == told.keys() | rest
    for right in rights(live, "commands"):
        command = told.get((right[1], right[3]))
        if command is None:
            continue
        secured_kafka.withdraw(operator, right)
        fault.inject()
        done = live.shell()(command)
        said = done.out + done.err
        assert f"{right[3]} on " in said, (right, command, said)
        assert "Traceback" not in said
        secured_kafka.allow(operator, [right])
        fault.fired()
    # Without Create: topics that are not there yet, of which everything but that is allowed.
    fresh = lives(kafka=secured_kafka.bootstrap, with_topics=False)
    name = f"fresh-{fresh.settings.namespace}"
    secured_kafka.add_user(name, PASSWORD)
    secured_kafka.allow(name, [each for each in rights(fresh, "commands") if each[3] != "Create"])
    enter(fresh, secured_kafka, name)
    fault.inject()
    done = fresh.shell()("topics create")
    assert done.code == 70
    assert "needs Create on " in done.err
    fault.fired()
    fault.unstreamed("what may not be done is not done")


@pytest.mark.fault("S3")
@pytest.mark.long
@pytest.mark.parametrize("resource", ["topic", "group", "transactional id"])
def test_a_worker_without_a_right_says_so(
    lives: LIVES, secured_kafka: SecuredBroker, fault: Fault, resource: str
) -> None:
    live = lives(kafka=secured_kafka.bootstrap, partitions=2)
    shop(live)
    live.bootstrap(list(shopping(3, customers=20, days=7, per_day=8)))
    runner, _ = users(live, secured_kafka)
    enter(live, secured_kafka, runner)
    secured_kafka.withdraw(runner, next(right for right in rights(live, "run") if right[0] == resource))
    fault.inject()
    worker(live)
    named = f"topic {live.settings.transactions_topic}" if resource == "topic" else f"the {resource}"
    await_words(live, f" on {named}", "SEGMENTER_KAFKA_SASL_USER needs")
    assert "Traceback" not in log(live)
    assert live.applied() == 0
    fault.fired()
    fault.unstreamed("nothing is read")
