"""What `status` adds to Redis and Kafka: why something stands still, from the workers that know."""

from __future__ import annotations

from consumer.commands.status import paused_by
from consumer.telemetry.health import Health, HealthServer
from consumer.telemetry.metrics import Metrics
from consumer.transport.child import free_port


def standing(paused: dict[int, str]) -> HealthServer:
    found = Health(not paused, {"redis": None}, paused, None, {})
    return HealthServer("127.0.0.1", 0, lambda: found, Metrics(frozenset).registry)


def test_the_workers_say_what_is_paused_and_why() -> None:
    with standing({3: "the dead-letter topic is gone"}) as one, standing({}) as other:
        found = paused_by([f"http://127.0.0.1:{one.port}/", f"http://127.0.0.1:{other.port}"])
    assert found == ({3: "the dead-letter topic is gone"}, [])


def test_one_that_does_not_answer_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    paused, silent = paused_by([address, "file:///etc/passwd"])
    assert paused == {}
    assert address in silent[0]
    assert "begins with http://" in silent[1]


def test_what_is_no_worker_is_named() -> None:
    with standing({}) as one:
        assert "does not say" in paused_by([f"http://127.0.0.1:{one.port}/livez#"])[1][0]
