"""A canary is sent down every way on which something fails, and sings nowhere (FAULTS S4).

Customer, invoice, description and event id carry one word. It may stand in records and states, where it belongs, not in
logs, metrics, /readyz, headers, nor in what `status` and `doctor` print: there a customer is a keyed hash.
"""

from __future__ import annotations

import hmac
import http.client
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from consumer.service import local_partition_of
from consumer.transport.kafka_admin import TopicSpec, admin
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_settings import KafkaSettings
from features.codec import NARROW
from features.transaction import Reason
from tests.faults.test_input import TODAY
from tests.harness.broker import Broker
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.store import Store
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
PARTITIONS = 2
WORD = "kanari"
CUSTOMER, NEWCOMER = "kanari-7f3a@example.test", "kanari Ünï {x}:c: 9"
EARLY = FIRST_DAY + timedelta(days=5)


def song(**more: Any) -> bytes:
    """Return an order line of today in which everything personal is the canary's."""
    own = {"invoice_no": "KANARI-81", "description": "Kanarienvogel", "country": "Kanari", "event_id": None}
    return json.dumps(line(CUSTOMER, TODAY) | own | more).encode()


def refused() -> dict[Reason, tuple[bytes | None, bytes | None, int | None]]:
    """Return (key, value, partition) for each reason to refuse a record."""
    key = CUSTOMER.encode()
    away = (partition_of(key, PARTITIONS) + 1) % PARTITIONS
    values: dict[Reason, bytes | None] = {
        Reason.EMPTY: None,
        Reason.TOO_LARGE: song(description=WORD * 200_000),
        Reason.MALFORMED: song()[:-9],
        Reason.SCHEMA: song(invoice_date="kanari"),
        Reason.SCHEMA_VERSION: song(schema_version="2.kanari"),
        Reason.UNKNOWN_TYPE: song(type="kanari"),
        Reason.CUSTOMER_ID: song(customer_id=WORD * 200),
        Reason.INVOICE_NO: song(invoice_no=WORD * 200),
        Reason.EVENT_ID: song(event_id=WORD * 200),
        Reason.QUANTITY: song(quantity="kanari"),
        Reason.PRICE: song(unit_price="kanari"),
        Reason.AMOUNT: song(quantity=1_000_000_000, unit_price=10_000_000),
        Reason.CURRENCY: song(currency="KANARI"),
        Reason.FUTURE: song(invoice_date="2100-01-01T00:00:00"),
        Reason.AHEAD: song(invoice_date=f"{TODAY + timedelta(days=60)}T00:00:00"),
        Reason.TOO_LATE: song(invoice_date="1970-01-01T00:00:00"),
        Reason.BEFORE_CUTOFF: song(invoice_date=f"{EARLY}T00:00:00", event_id="kanari-5"),
    }
    found: dict[Reason, tuple[bytes | None, bytes | None, int | None]] = {
        reason: (WORD.encode() * 200 if reason is Reason.CUSTOMER_ID else key, value, None)
        for reason, value in values.items()
    }
    found[Reason.KEY_MISSING] = (None, song(), away)
    found[Reason.KEY_MISMATCH] = (b"kanari?", song(), away)
    found[Reason.FOREIGN_PARTITION] = (key, song(), away)
    return found


class Listener:
    """Keeps all that a worker and commands say."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.heard: dict[str, str] = {}

    def listen(self, what: str, worker: Served) -> None:
        """Ask a worker and every command that looks."""
        for path in ("/metrics", "/readyz", "/livez"):
            connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=5)
            connection.request("GET", path)
            self.heard[f"{what} {path}"] = connection.getresponse().read().decode()
            connection.close()

    def run(self, what: str, command: str) -> None:
        """Run a command."""
        done = self._live.shell()(command)
        self.heard[f"{what}: {command}"] = done.out + done.err

    def singing(self) -> list[str]:
        """Return where the word was heard."""
        return [f"{where}: {said}" for where, said in self.heard.items() if WORD in said.lower()]


def hashed(live: Live, customer: str) -> str:
    """Return how a customer may be called."""
    return hmac.new(live.settings.erasure_key_bytes, customer.encode(), "sha256").hexdigest()[:16]


def headers_of(live: Live) -> tuple[set[str], list[str]]:
    """Return the reasons of all dead letters, and every header of every output that has the word in it."""
    reasons, found = set(), []
    s = live.settings
    for topic in (s.dead_letters_topic, s.segments_topic, s.erasures_topic):
        for partition in range(PARTITIONS):
            for record in live.records(topic, partition):
                reasons |= {value.decode() for name, value in record.headers if name == "reason"}
                found += [f"{topic}: {name}" for name, value in record.headers if WORD in (name + repr(value)).lower()]
    return reasons, found


def refusals(live: Live, fault: Fault) -> tuple[Served, Served]:
    """Send records that are refused; crash behind a commit that holds some; take over. Return both workers."""
    cases = refused()
    fault.inject(len(cases) + 1)
    for key, value, partition in cases.values():
        live.writer.send(key, value, partition)
    live.publish([json.loads(song(event_id="kanari-now")), line("c1", TODAY)])
    first = Served(live, at=("after_commit", 4, "kill"))
    assert first.process.wait(90) == -9
    fault.fired()
    worker = Served(live)
    live.settle()
    fault.recovered()
    return first, worker


def damage(live: Live, fault: Fault, listener: Listener, worker: Served, customer: str, command: str) -> None:
    """Damage a customer's key, and let him buy; hear what is said; put it right."""
    client: Any = live.client
    key = live.store().keys.customer(local_partition_of(PARTITIONS)(customer), customer)
    whole, state = client.dump(key), client.get(key)
    fault.inject()
    if state is None:
        client.rpush(key, "x")
    else:
        middle = NARROW.head.itemsize
        client.set(key, state[:middle] + bytes([state[middle] ^ 0xFF]) + state[middle + 1 :])
    live.publish([line(customer, TODAY, event_id=f"kanari-{command[:3]}", invoice_no="KANARI-82")])
    wait_until(lambda: hashed(live, customer) in worker.ready().reasons, "the customer, by a hash", 60)
    listener.listen(command, worker)
    listener.run("damaged", command)
    fault.fired()
    client.delete(key)
    if whole is not None:
        client.restore(key, 0, whole)
    live.settle()


def refuse(live: Live, fault: Fault, listener: Listener, worker: Served, do: str, undo: str, sign: str) -> None:
    """Let the store refuse what quotes ids; hear what is said; let it go on."""
    server: Any = live.client
    fault.inject()
    server.execute_command(*do.split())
    live.publish([json.loads(song(event_id=f"kanari-{sign}")), line(NEWCOMER, TODAY, event_id=f"kanari {sign}")])
    wait_until(lambda: sign in worker.ready().reasons, sign, 60)
    listener.listen(sign, worker)
    fault.fired()
    server.execute_command(*undo.split())
    live.settle()


@pytest.mark.fault("S4")
def test_a_canary_sent_down_every_way_that_fails_is_heard_nowhere(
    kafka: Broker, namespace: str, lives: LIVES, fault: Fault, own_redis: Store
) -> None:
    with admin(KafkaSettings(bootstrap_servers=kafka.bootstrap)) as asked:
        asked.create([TopicSpec(f"{namespace}-in", PARTITIONS, {"max.message.bytes": str(4 << 20)})])
    live = lives(redis=own_redis.url, partitions=PARTITIONS)
    listener = Listener(live)
    live.bootstrap([*shopping(5, customers=20, days=9, per_day=10), line(CUSTOMER, EARLY, invoice_no="KANARI-1")])
    live.tick(TODAY)

    first, worker = refusals(live, fault)
    listener.listen("refused", worker)
    damage(live, fault, listener, worker, CUSTOMER, f"status --worker http://127.0.0.1:{worker.port}")
    damage(live, fault, listener, worker, NEWCOMER, "doctor")
    refuse(live, fault, listener, worker, "ACL SETUSER default -mget", "ACL SETUSER default +mget", "'mget' command")
    refuse(live, fault, listener, worker, "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "memory")
    fault.inject()
    live.publish([{"type": "erase", "customer_id": CUSTOMER}, json.loads(song(event_id="kanari-late"))])
    live.settle()
    listener.listen("erased", worker)
    worker.end()
    fault.fired(live.counted("erased_customers"))

    reasons, singing = headers_of(live)
    fault.fired(len(reasons - {Reason.ERASED}))
    assert reasons == {reason.value for reason in Reason}
    listener.heard |= {"log of the first": first.output(), "log of the second": worker.output()}
    assert singing + listener.singing() == []
    assert "#" + hashed(live, NEWCOMER) in worker.output(), "what is looked for would be seen"
    letters = [each for p in range(PARTITIONS) for each in live.records(live.settings.dead_letters_topic, p)]
    assert any(WORD.encode() in (letter.value or b"") for letter in letters)
    fault.judge(live.verdict())
